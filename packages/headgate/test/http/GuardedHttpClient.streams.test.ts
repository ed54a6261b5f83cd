import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { HttpClient, HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { message, paced, paths, quiet, setUp, streamed } from "./support.ts"

const usage = { inputTokens: 30, outputTokens: 5, cachedInputTokens: 20 }
const words = "one two three four five six seven eight nine ten"

const requests: ReadonlyArray<readonly [string, string, object]> = [
  ["OpenAI's chat completions", paths.chat, streamed],
  ["OpenAI's responses", paths.responses, { model: "test-model", input: "Six by seven?", stream: true }],
  ["Anthropic's messages", paths.messages, { ...message, stream: true }],
  ["Gemini's streamGenerateContent", paths.geminiStream, { contents: [{ parts: [{ text: "Six by seven?" }] }] }]
]

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

const read = (response: HttpClientResponse.HttpClientResponse) => Stream.mkString(Stream.decodeText(response.stream))

/** The text that had come before a body ended, and how it ended. */
const readTo = (response: HttpClientResponse.HttpClientResponse) => {
  const seen: Array<string> = []
  return Effect.map(
    Effect.exit(Stream.runForEach(Stream.decodeText(response.stream), (text) => Effect.sync(() => seen.push(text)))),
    (exit) => ({ exit, text: seen.join("") })
  )
}

describe("GuardedHttpClient, streams", () => {
  it.effect.each(requests)("settles %s on the usage at the end, and lets every byte through", ([_, path, body]) =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({ answers: { script: () => ({ answer: words, usage }) } })
      const plain = yield* Effect.promise(() =>
        fetch(provider.url + path, { method: "POST", body: JSON.stringify(body) }).then((response) => response.text())
      )
      const response = yield* post(body, path)
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers["content-type"], "text/event-stream; charset=utf-8")
      const text = yield* read(response)
      // Ids count the requests.
      assert.strictEqual(text.replaceAll("_2", "_1").replaceAll("chatcmpl-2", "chatcmpl-1"), plain)
      assert.deepStrictEqual(yield* booked, { tokens: 35, cost: 40_000, held: 0 })
    })
  )

  const long = [{ role: "user", content: "How deep is the sea? ".repeat(250) }]
  const lastWords: ReadonlyArray<readonly [string, string, object, string]> = [
    ["chat completions", paths.chat, { ...streamed, messages: long }, `"usage":{`],
    [
      "responses",
      paths.responses,
      { model: "test-model", input: long[0]?.content, stream: true },
      "response.completed"
    ],
    ["messages", paths.messages, { ...message, messages: long, stream: true }, "message_stop"],
    [
      "streamGenerateContent",
      paths.geminiStream,
      { contents: [{ parts: [{ text: long[0]?.content }] }] },
      "finishReason"
    ]
  ]
  it.effect.each(lastWords)("settles %s on their last word when they are left at it", ([_, path, body, lastWord]) =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({ answers: { script: () => ({ answer: words, usage }) } })
      const lines = Effect.map(post(body, path), (response) => Stream.splitLines(Stream.decodeText(response.stream)))
      const isLast = (line: string) => line.startsWith("data") && line.includes(lastWord)
      // As Effect's own clients end their streams.
      yield* Stream.runDrain(Stream.takeUntil(yield* lines, isLast))
      yield* quiet(provider)
      assert.deepStrictEqual(yield* booked, { tokens: 35, cost: 40_000, held: 0 })
      const seen = yield* Deferred.make<void>()
      const waiting = Stream.tap(yield* lines, (line) =>
        isLast(line) ? Effect.andThen(Deferred.succeed(seen, undefined), Effect.never) : Effect.void
      )
      const reading = yield* Effect.forkChild(Stream.runDrain(waiting))
      yield* Deferred.await(seen)
      yield* Fiber.interrupt(reading)
      assert.deepStrictEqual(yield* booked, { tokens: 70, cost: 80_000, held: 0 })
      assert.strictEqual((yield* provider.totals).tokens, 70)
    })
  )

  it.effect("gives its body as text, once", () =>
    Effect.gen(function* () {
      const { booked, post } = yield* setUp({ answers: { script: () => ({ answer: words, usage }) } })
      const response = yield* post(streamed)
      assert.match(yield* response.text, /\[DONE\]/)
      const error = yield* Effect.flip(response.text)
      assert.strictEqual(error.reason._tag, "DecodeError")
      assert.strictEqual((yield* booked).tokens, 35)
    })
  )

  it.effect("hold more as output comes, and end where no more can be held", () =>
    Effect.gen(function* () {
      const answer = Array.from({ length: 2000 }, (_, index) => `word${index} `).join("")
      const { booked, post } = yield* setUp({
        budget: { maxTokensPerMinute: 1500 },
        answers: { script: () => ({ answer, every: "1 millis" }) }
      })
      const response = yield* post({ ...streamed, max_tokens: 5000 })
      const reading = yield* Effect.forkChild(readTo(response))
      yield* TestClock.adjust("3 seconds")
      const { exit, text } = yield* Fiber.join(reading)
      assert(exit._tag === "Failure")
      const error = yield* Effect.flip(exit)
      assert(HttpClientError.isHttpClientError(error))
      assert.strictEqual((error.cause as { _tag: string })._tag, "BudgetExceeded")
      assert.match(text, /word100 /)
      assert.notMatch(text, /word1999/)
      const { held, tokens } = yield* booked
      assert.strictEqual(held, 0)
      assert.isAtMost(tokens, 1500 + 256)
    })
  )

  it.effect("are retried before they begin, and never after", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({
        answers: {
          script: [{ fail: "overloaded" }, { answer: words, every: "1 second", cutAfter: 3 }, { answer: "again" }]
        }
      })
      const response = yield* paced(provider, post({ ...message, stream: true }, paths.messages))
      assert.strictEqual(response.status, 200)
      const { exit, text } = yield* paced(provider, readTo(response))
      assert.strictEqual(exit._tag, "Failure")
      assert.match(text, /three/)
      assert.strictEqual((yield* provider.totals).requests, 2)
      const { held, tokens } = yield* booked
      assert.strictEqual(held, 0)
      assert.isAtLeast(tokens, 3)
    })
  )

  it.effect.each<readonly [string, string, object, unknown]>([
    ["one JSON", paths.chat, streamed, { choices: [], usage: { prompt_tokens: 30, completion_tokens: 5 } }],
    [
      "one JSON of Anthropic's",
      paths.messages,
      { ...message, stream: true },
      { type: "message", usage: { input_tokens: 30, output_tokens: 5 } }
    ],
    [
      "a list of Gemini's, in which each part tells what it took up to then",
      paths.geminiStream,
      { contents: [] },
      [
        { usageMetadata: { promptTokenCount: 30, candidatesTokenCount: 1 } },
        { usageMetadata: { promptTokenCount: 30, candidatesTokenCount: 5 } }
      ]
    ]
  ])("that come as %s are settled on what that says", ([_, path, body, reply]) =>
    Effect.gen(function* () {
      const text = JSON.stringify(reply)
      const { booked, client } = yield* setUp(
        {},
        HttpClient.make((request) =>
          Effect.sync(() =>
            HttpClientResponse.fromWeb(request, new Response(text, { headers: { "content-type": "application/json" } }))
          )
        )
      )
      const request = HttpClientRequest.post(`http://model.example${path}`).pipe(HttpClientRequest.bodyJsonUnsafe(body))
      const response = yield* client.execute(request)
      assert.strictEqual(yield* read(response), text)
      assert.deepStrictEqual(yield* booked, { tokens: 35, cost: 40_000, held: 0 })
    })
  )

  it.effect("whose reader goes away stop, and are settled on what was delivered", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({
        answers: { script: () => ({ answer: words, every: "1 second" }) }
      })
      const response = yield* post(streamed)
      const reading = yield* Effect.forkChild(read(response))
      yield* TestClock.adjust("3500 millis")
      yield* quiet(provider)
      yield* Fiber.interrupt(reading)
      yield* quiet(provider)
      const [call] = yield* provider.calls
      assert.strictEqual(call?.outcome, "interrupted")
      assert.strictEqual(call?.billed.outputTokens, 3)
      const { held, tokens } = yield* booked
      assert.strictEqual(held, 0)
      assert.isAtLeast(tokens, 3)
      assert.isAtMost(tokens, 200)
    })
  )

  it.effect("of which only the beginning is wanted are settled at once", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({
        answers: { script: () => ({ answer: words, every: "1 second" }) }
      })
      const response = yield* post(streamed)
      const reading = yield* Effect.forkChild(Stream.runHead(response.stream))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(reading)
      yield* quiet(provider)
      assert.strictEqual((yield* booked).held, 0)
      assert.strictEqual((yield* provider.calls)[0]?.outcome, "interrupted")
    })
  )

  it.effect("are given up with the caller that waits for their beginning", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({ answers: { script: ["silent"] }, onUnknown: "release" })
      const asking = yield* Effect.forkChild(post(streamed))
      yield* quiet(provider)
      assert.isAbove((yield* booked).held, 0)
      yield* Fiber.interrupt(asking)
      yield* quiet(provider)
      assert.strictEqual((yield* provider.calls)[0]?.outcome, "interrupted")
      assert.deepStrictEqual(yield* booked, { tokens: 0, cost: 0, held: 0 })
    })
  )

  it.effect("that nobody reads and nobody holds are given up", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({ answers: { script: () => ({ answer: words, usage }) } })
      yield* Effect.asVoid(post(streamed))
      assert.isAbove((yield* booked).held, 0)
      for (let held = 1; held > 0; held = (yield* booked).held) {
        collectGarbage()
        yield* quiet(provider, 2)
      }
      assert.isAbove((yield* booked).tokens, 0)
    })
  )

  it.effect("whose body is kept for later are not", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({ answers: { script: () => ({ answer: words, usage }) } })
      const { stream } = yield* post(streamed)
      for (let turns = 0; turns < 20; turns++) {
        collectGarbage()
        yield* quiet(provider, 2)
      }
      assert.match(yield* Stream.mkString(Stream.decodeText(stream)), /\[DONE\]/)
      assert.deepStrictEqual(yield* booked, { tokens: 35, cost: 40_000, held: 0 })
    })
  )
})
