// Streams of the vendors' official clients behind promises, guarded, from a provider on the loopback interface.
import { createOpenAI } from "@ai-sdk/openai"
import type Anthropic from "@anthropic-ai/sdk"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { BudgetExceeded, Gate, ModelGuard, RequestTooLarge, UnpricedModel } from "headgate"
import OpenAI from "openai"
import { chat, message, question, setUp, settled, streamed } from "./gates.ts"
import { paced, quiet } from "./http/support.ts"

const words = "one two three four five six seven eight nine ten"
const usage = { inputTokens: 30, outputTokens: 10 }
const slowly = { script: () => ({ answer: words, usage, every: "1 second" }) as const }

const textOf = (chunk: OpenAI.ChatCompletionChunk): string => chunk.choices[0]?.delta.content ?? ""
const textOfEvent = (event: Anthropic.RawMessageStreamEvent): string =>
  event.type === "content_block_delta" && event.delta.type === "text_delta" ? event.delta.text : ""

type ElementOf<S> = S extends AsyncIterable<infer A> ? A : never

/** Reads until so many elements had text, and then leaves the loop. */
const read = async <A>(stream: AsyncIterable<A>, textOf: (element: A) => string, most = Infinity) => {
  let text = ""
  for await (const element of stream) {
    text += textOf(element)
    if (textOf(element) !== "" && --most === 0) break
  }
  return text
}

const errorOf = (outcome: { readonly value: unknown } | { readonly error: unknown }): unknown =>
  "error" in outcome ? outcome.error : assert.fail("answered")

/** The same call through both clients. */
const doors = Effect.fnUntraced(function* (...options: Parameters<typeof setUp>) {
  const { anthropic, openai, ...rest } = yield* setUp(...options)
  const openChat = (signal: AbortSignal) => openai.chat.completions.create({ ...chat, ...streamed }, { signal })
  const openMessage = (signal: AbortSignal) => anthropic.messages.create({ ...message, stream: true }, { signal })
  const { gate } = rest
  return {
    ...rest,
    openChat,
    doors: [
      (most?: number, signal?: AbortSignal) => read(gate.stream(openChat, { ...question, signal }), textOf, most),
      (most?: number, signal?: AbortSignal) =>
        read(gate.stream(openMessage, { ...question, signal }), textOfEvent, most)
    ]
  }
})

describe("Gate.stream", () => {
  it.effect("gives what the SDK gives, and books what its last part says", () =>
    Effect.gen(function* () {
      const { booked, doors: both, provider } = yield* doors({ script: () => ({ answer: words, usage }) })
      for (const ask of both) assert.strictEqual(yield* Effect.promise(() => ask()), words)
      assert.deepStrictEqual(yield* booked, { tokens: 80, cost: 2 * (30 * 1000 + 10 * 10_000), held: 0 })
      assert.strictEqual((yield* provider.totals).tokens, 80)
    })
  )

  it.effect("reads a stream that the SDK gives at once, without a promise of it", () =>
    Effect.gen(function* () {
      const { anthropic, booked, gate } = yield* setUp({ script: [{ answer: words, usage }] })
      const stream = gate.stream((signal) => anthropic.messages.stream(message, { signal }), question)
      assert.strictEqual(yield* Effect.promise(() => read(stream, textOfEvent)), words)
      assert.strictEqual((yield* booked).tokens, 40)
    })
  )

  it.effect("reads what a model of Vercel's ai gives, to its end or until the loop is left", () =>
    Effect.gen(function* () {
      const { booked, gate, provider } = yield* setUp(slowly)
      const model = createOpenAI({ apiKey: "none", baseURL: `${provider.url}/v1` }).chat("my-model")
      const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: "Six by seven?" }] }]
      const parts = gate.stream(
        (abortSignal) => model.doStream({ prompt, maxOutputTokens: 50, abortSignal }).then(({ stream }) => stream),
        question
      )
      const textOf = (part: ElementOf<typeof parts>) => (part.type === "text-delta" ? part.delta : "")
      assert.strictEqual(
        yield* paced(
          provider,
          Effect.promise(() => read(parts, textOf))
        ),
        words
      )
      assert.deepStrictEqual(yield* booked, { tokens: 40, cost: 30 * 1000 + 10 * 10_000, held: 0 })
      assert.strictEqual(
        yield* paced(
          provider,
          Effect.promise(() => read(parts, textOf, 4))
        ),
        "one two three four "
      )
      yield* quiet(provider)
      assert.deepInclude((yield* provider.calls).at(-1), { outcome: "interrupted" })
      const { held, tokens } = yield* booked
      assert.deepStrictEqual([held, tokens > 40 + 4], [0, true])
    })
  )

  it.effect("is settled on what was delivered when the loop is left, and ends the request", () =>
    Effect.gen(function* () {
      const { booked, doors: both, provider } = yield* doors(slowly)
      // The input and the bytes of four words: by its estimate, or as Anthropic tells it first, with a token of output.
      const expected = [20 + 19, 30 + 1 + 19]
      for (const [door, ask] of both.entries()) {
        const before = yield* booked
        const text = yield* paced(
          provider,
          Effect.promise(() => ask(4))
        )
        assert.strictEqual(text, "one two three four ")
        yield* quiet(provider)
        const call = (yield* provider.calls).at(-1)!
        assert.deepInclude(call, { outcome: "interrupted", billed: { inputTokens: 30, outputTokens: 4 } })
        const { held, tokens } = yield* booked
        assert.strictEqual(held, 0)
        assert.strictEqual(tokens - before.tokens, expected[door])
      }
    })
  )

  it.effect("is settled on its last word when the loop is left at it", () =>
    Effect.gen(function* () {
      const { anthropic, booked, gate, openai, provider } = yield* setUp({ script: () => ({ answer: words, usage }) })
      const long = { ...question, input: "Six by seven? ".repeat(360) }
      const leave = <A>(
        open: (signal: AbortSignal) => PromiseLike<AsyncIterable<A>>,
        isLast: (element: A) => boolean
      ): Effect.Effect<void> =>
        Effect.promise(async () => {
          for await (const element of gate.stream(open, long)) if (isLast(element)) return
          assert.fail("came to its end")
        })
      const model = createOpenAI({ apiKey: "none", baseURL: `${provider.url}/v1` }).chat("my-model")
      const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: "Six by seven?" }] }]
      const left = [
        leave(
          (signal) => openai.chat.completions.create({ ...chat, ...streamed }, { signal }),
          ({ usage }) => usage != null
        ),
        leave(
          (signal) => openai.responses.create({ model: "my-model", input: "Six by seven?", stream: true }, { signal }),
          ({ type }) => type === "response.completed"
        ),
        leave(
          (signal) => anthropic.messages.create({ ...message, stream: true }, { signal }),
          ({ type }) => type === "message_delta"
        ),
        leave(
          (signal) => anthropic.messages.create({ ...message, stream: true }, { signal }),
          ({ type }) => type === "message_stop"
        ),
        leave(
          (abortSignal) => model.doStream({ prompt, abortSignal }).then(({ stream }) => stream),
          ({ type }) => type === "finish"
        )
      ]
      for (const [index, one] of left.entries()) {
        yield* one
        yield* quiet(provider)
        const tokens = 40 * (index + 1)
        assert.strictEqual((yield* provider.totals).tokens, tokens)
        assert.deepStrictEqual(yield* booked, { tokens, cost: (index + 1) * (30 * 1000 + 10 * 10_000), held: 0 })
      }
    })
  )

  it.effect("does not count the bytes of an image as tokens", () =>
    Effect.gen(function* () {
      const { booked, gate } = yield* setUp()
      const parts = [
        { candidates: [{ content: { parts: [{ text: "Here." }] } }] },
        {
          candidates: [{ content: { parts: [{ inlineData: { mimeType: "image/png", data: "A".repeat(1_500_000) } }] } }]
        },
        { candidates: [{ finishReason: "STOP" }], usageMetadata: { promptTokenCount: 6, candidatesTokenCount: 1292 } }
      ]
      const call = { model: question.model, input: { tokens: 6 } }
      const open = async function* () {
        yield* parts
      }
      const read = (most: number) =>
        Effect.promise(async () => {
          let seen = 0
          for await (const _ of gate.stream(open, call)) if (++seen === most) break
          return seen
        })
      assert.strictEqual(yield* read(Infinity), 3)
      assert.strictEqual((yield* booked).tokens, 6 + 1292)
      // What it took is not told: its input and 7 tokens around it, and the text.
      assert.strictEqual(yield* read(2), 2)
      assert.strictEqual((yield* booked).tokens, 6 + 1292 + 13 + "Here.".length)
    })
  )

  it.effect("is ended by an aborted signal, rejects with its reason, and is settled on what was delivered", () =>
    Effect.gen(function* () {
      const { booked, doors: both, provider } = yield* doors(slowly)
      for (const ask of both) {
        const before = yield* booked
        const abort = new AbortController()
        const reading = yield* Effect.forkChild(settled(ask(undefined, abort.signal)))
        yield* paced(
          provider,
          Effect.repeat(Effect.andThen(Effect.sleep("1 second"), provider.calls), {
            until: (calls) => calls.at(-1)?.billed.outputTokens === 3
          })
        )
        yield* quiet(provider)
        abort.abort(new Error("the user went away"))
        const error = errorOf(yield* Fiber.join(reading))
        assert.strictEqual(error, abort.signal.reason)
        yield* quiet(provider)
        assert.strictEqual((yield* provider.calls).at(-1)?.outcome, "interrupted")
        const { held, tokens } = yield* booked
        assert.strictEqual(held, 0)
        assert.isAbove(tokens, before.tokens + 20)
      }
    })
  )

  it.effect("that is aborted gives back what it held also while nobody reads it", () =>
    Effect.gen(function* () {
      const { booked, gate, openChat, provider } = yield* doors(slowly)
      const abort = new AbortController()
      const elements = gate.stream(openChat, { ...question, signal: abort.signal })[Symbol.asyncIterator]()
      yield* paced(
        provider,
        Effect.promise(() => elements.next())
      )
      assert.isAbove((yield* booked).held, 0)
      abort.abort("too late")
      yield* quiet(provider)
      assert.strictEqual((yield* booked).held, 0)
      assert.strictEqual(errorOf(yield* settled(elements.next())), "too late")
      // One that was aborted before it began is never sent.
      const never = gate.stream(openChat, { ...question, signal: abort.signal })
      assert.strictEqual(errorOf(yield* settled(read(never, textOf))), "too late")
      assert.strictEqual((yield* provider.totals).requests, 1)
    })
  )

  it.effect("that has ended stays ended, whatever becomes of the signal", () =>
    Effect.gen(function* () {
      const { gate, openChat } = yield* doors({ script: [{ answer: "ok", usage }] })
      const abort = new AbortController()
      const elements = gate.stream(openChat, { ...question, signal: abort.signal })[Symbol.asyncIterator]()
      while (!(yield* Effect.promise(() => elements.next())).done);
      abort.abort()
      assert.deepStrictEqual(yield* settled(elements.next()), { value: { done: true, value: undefined } })
    })
  )

  it.effect("holds chunk by chunk, and rejects with BudgetExceeded after what was paid for", () =>
    Effect.gen(function* () {
      const answer = Array.from({ length: 200 }, (_, word) => `w${word} `).join("")
      const { booked, gate, openChat, provider } = yield* doors(
        { script: () => ({ answer, usage: { inputTokens: 30, outputTokens: 200 }, every: "10 millis" }) as const },
        { budget: { maxTokensPerDay: 300 } }
      )
      const most: Array<number> = []
      let text = ""
      const reading = async () => {
        for await (const chunk of gate.stream(openChat, { ...question, maxOutputTokens: 1000, chunk: 16 })) {
          text += textOf(chunk)
          most.push((await Effect.runPromise(booked)).held)
        }
      }
      const error = errorOf(yield* paced(provider, settled(reading()), "100 millis"))
      assert.instanceOf(error, BudgetExceeded)
      assert.isAbove(text.length, 100)
      assert.isBelow(text.length, answer.length)
      assert.isTrue(answer.startsWith(text))
      assert.isBelow(most[0]!, 100)
      assert.isAbove(Math.max(...most), 200)
      assert.strictEqual((yield* booked).held, 0)
    })
  )

  it.effect("is repeated while nothing has come, at the time that the provider says, and not once something has", () =>
    Effect.gen(function* () {
      const {
        booked,
        doors: both,
        provider
      } = yield* doors({
        script: [
          { fail: "rate_limit_exceeded", retryAfter: "20 seconds" },
          { answer: words, usage },
          { fail: "overloaded" },
          { answer: words, usage },
          { answer: words, usage, cutAfter: 3 }
        ]
      })
      for (const ask of both)
        assert.strictEqual(
          yield* paced(
            provider,
            Effect.promise(() => ask())
          ),
          words
        )
      const starts = (yield* provider.calls).map(({ startedAt }) => startedAt)
      assert.strictEqual(starts[1]! - starts[0]!, 20_000)
      assert.strictEqual((yield* booked).tokens, 80)
      assert.instanceOf(errorOf(yield* settled(both[0]!())), Error)
      assert.strictEqual((yield* provider.totals).requests, 5)
    })
  )

  it.effect("rejects with the SDK's own errors, and with ours before anything is sent", () =>
    Effect.gen(function* () {
      const { booked, gate, openChat, provider } = yield* doors(
        { script: [{ fail: "insufficient_quota" }] },
        { budget: { maxTokensPerDay: 1000 } }
      )
      const fromProvider = errorOf(yield* settled(read(gate.stream(openChat, question), textOf)))
      assert.instanceOf(fromProvider, OpenAI.RateLimitError)
      assert.strictEqual(fromProvider.code, "insufficient_quota")
      assert.strictEqual((yield* booked).tokens, 0)
      const unpriced = gate.stream(openChat, { ...question, model: "nobody's" })
      assert.instanceOf(errorOf(yield* settled(read(unpriced, textOf))), UnpricedModel)
      const long = gate.stream(openChat, { ...question, input: { bytes: 5000 } })
      assert.instanceOf(errorOf(yield* settled(read(long, textOf))), RequestTooLarge)
      assert.strictEqual((yield* provider.totals).requests, 1)
    })
  )

  it.effect("rejects with the error of a layer that cannot be built", () =>
    Effect.gen(function* () {
      const gate = Gate.make(Layer.effect(ModelGuard.ModelGuard)(Effect.fail("no store")))
      const never = () => assert.fail("called")
      for (const _ of [1, 2]) {
        assert.strictEqual(errorOf(yield* settled(read(gate.stream(never, question), String))), "no store")
      }
      yield* Effect.promise(gate.dispose)
    })
  )
})
