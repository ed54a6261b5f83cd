import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { LoopbackProvider } from "headgate/testing"

const { make } = LoopbackProvider
type Provider = LoopbackProvider.LoopbackProvider

const chat = { model: "gpt-5-mini", messages: [{ role: "user", content: "Six by seven?" }] }

const fetched = (provider: Provider, body: unknown, path: string, signal?: AbortSignal) =>
  fetch(provider.url + path, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json" },
    signal: signal ?? null
  })

/** The whole reply: its status, its headers, and its body or why there is none. */
const post = (provider: Provider, body: unknown = chat, path = "/v1/chat/completions") =>
  Effect.promise(async (signal) => {
    const response = await fetched(provider, body, path, signal)
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      text: await response.text().catch((error: unknown) => `cut: ${error}`)
    }
  })

const statuses = (provider: Provider, count: number, body?: unknown) =>
  Effect.map(
    Effect.forEach(Array(count).keys(), () => post(provider, body)),
    (replies) => replies.map(({ status }) => status)
  )

/** Waits for something that comes over a socket, however long the machine takes. */
const until = <A>(read: Effect.Effect<A>, isSo: (value: A) => boolean): Effect.Effect<A> =>
  Effect.flatMap(read, (value) =>
    isSo(value)
      ? Effect.succeed(value)
      : Effect.andThen(
          Effect.promise(() => new Promise((resolve) => setImmediate(resolve))),
          until(read, isSo)
        )
  )

const outcomes = (provider: Provider) =>
  Effect.map(provider.calls, (calls) =>
    calls.map(({ billed, outcome }) => [outcome, billed.inputTokens, billed.outputTokens])
  )

describe("LoopbackProvider", () => {
  it.effect("plays its steps in the order of the requests and records them", () =>
    Effect.gen(function* () {
      const provider = yield* make({ script: [{ fail: "server_error" }, { answer: "two words" }] })
      assert.deepStrictEqual(yield* statuses(provider, 2), [500, 200])
      const calls = yield* provider.calls
      assert.deepStrictEqual(
        calls.map(({ request: _, ...call }) => call),
        [
          {
            attempt: 1,
            startedAt: 0,
            endedAt: 0,
            outcome: "failed",
            status: 500,
            billed: { inputTokens: 0, outputTokens: 0 }
          },
          {
            attempt: 2,
            startedAt: 0,
            endedAt: 0,
            outcome: "answered",
            status: 200,
            billed: { inputTokens: 4, outputTokens: 2 }
          }
        ]
      )
      const { body, format, maxTokens, model, prompt, stream } = calls[1]!.request
      assert.deepStrictEqual(
        { body, format, maxTokens, model, prompt, stream },
        {
          body: chat,
          format: "chat",
          maxTokens: undefined,
          model: "gpt-5-mini",
          prompt: "Six by seven?",
          stream: false
        }
      )
      const third = yield* post(provider)
      assert.strictEqual(third.status, 500)
      assert.strictEqual(third.headers["x-should-retry"], "false")
      assert.match(third.text, /the script ends after 2 steps/)
    })
  )

  it.effect("asks a function with the request, its attempt, the index and the time", () =>
    Effect.gen(function* () {
      const asked: Array<unknown> = []
      const provider = yield* make({
        script: ({ attempt, index, now, request }) => {
          asked.push([request.model, attempt, index, now])
          return { answer: "ok" }
        }
      })
      yield* post(provider)
      yield* TestClock.adjust("1 second")
      yield* post(provider, { ...chat, model: "other" })
      yield* post(provider)
      assert.deepStrictEqual(asked, [
        ["gpt-5-mini", 1, 0, 0],
        ["other", 1, 1, 1000],
        ["gpt-5-mini", 2, 2, 1000]
      ])
    })
  )

  it.effect("sends the same bytes for the same requests", () =>
    Effect.gen(function* () {
      const session = Effect.scoped(
        Effect.gen(function* () {
          const provider = yield* make({ requestsPerMinute: 5, tokensPerMinute: 100 })
          const first = yield* post(provider)
          const second = yield* post(provider, { ...chat, stream: true })
          return [first, second]
        })
      )
      assert.deepStrictEqual(yield* session, yield* session)
    })
  )

  it.effect("waits on the clock, before an answer and between the pieces of a stream", () =>
    Effect.gen(function* () {
      const provider = yield* make({
        script: [
          { answer: "one two three", after: "5 seconds", every: "1 second", usage: { inputTokens: 9, outputTokens: 7 } }
        ]
      })
      const reply = yield* Effect.forkChild(post(provider, { ...chat, stream: true }))
      yield* until(provider.calls, (calls) => calls.length === 1)
      yield* TestClock.adjust("6 seconds")
      yield* until(outcomes(provider), ([call]) => call?.[2] === 2)
      yield* TestClock.adjust("1 second")
      yield* until(outcomes(provider), ([call]) => call?.[2] === 4)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(reply)).text.match(/"content":"\w+ ?"/g)?.length, 3)
      const [call] = yield* provider.calls
      assert.strictEqual(call?.endedAt, 8000)
      assert.deepStrictEqual(call?.billed, { inputTokens: 9, outputTokens: 7 })
    })
  )

  it.effect("records who goes away, and what was delivered until then", () =>
    Effect.gen(function* () {
      const provider = yield* make({ script: ["silent", { answer: "one two three", every: "1 second" }] })
      const silent = yield* Effect.forkChild(post(provider))
      yield* until(provider.calls, (calls) => calls.length === 1)
      yield* Fiber.interrupt(silent)
      const stream = yield* Effect.forkChild(post(provider, { ...chat, stream: true }))
      yield* until(provider.calls, (calls) => calls[1]?.status === 200)
      yield* TestClock.adjust("2 seconds")
      yield* until(outcomes(provider), (calls) => calls[1]?.[2] === 2)
      yield* Fiber.interrupt(stream)
      const ended = yield* until(outcomes(provider), (calls) => calls.every(([outcome]) => outcome !== "running"))
      assert.deepStrictEqual(ended, [
        ["interrupted", 0, 0],
        ["interrupted", 4, 2]
      ])
    })
  )

  it.effect("cuts a reply in its middle", () =>
    Effect.gen(function* () {
      const provider = yield* make({ script: () => ({ answer: "one two three", every: "1 second", cutAfter: 1 }) })
      const json = yield* post(provider)
      assert.strictEqual(json.status, 200)
      assert.match(json.text, /^cut: TypeError: terminated/)
      const streamed = { ...chat, stream: true }
      const response = yield* Effect.promise(() => fetched(provider, streamed, "/v1/chat/completions"))
      let seen = ""
      const reading = yield* Effect.forkChild(
        Effect.promise(async () => {
          const decoder = new TextDecoder()
          try {
            for await (const chunk of response.body!) seen += decoder.decode(chunk)
          } catch (error) {
            return error
          }
        })
      )
      yield* TestClock.adjust("1 second")
      // What a socket still holds is lost to a client when it closes.
      yield* until(
        Effect.sync(() => seen),
        (text) => text.includes("one ")
      )
      yield* TestClock.adjust("1 second")
      assert.instanceOf(yield* Fiber.join(reading), TypeError)
      assert.match(seen, /"content":"one "/)
      assert.notMatch(seen, /two/)
      assert.deepStrictEqual(yield* outcomes(provider), [
        ["failed", 4, 3],
        ["failed", 4, 1]
      ])
    })
  )

  it.effect("bills without a usage block, and says an explicit zero", () =>
    Effect.gen(function* () {
      const usage = { inputTokens: 0, outputTokens: 0 }
      const provider = yield* make({
        script: ({ index }) => (index % 2 === 0 ? { answer: "ok", usageBlock: "missing" } : { answer: "ok", usage })
      })
      const stream_options = { include_usage: true }
      const formats: ReadonlyArray<readonly [string, object, RegExp]> = [
        ["/v1/chat/completions", chat, /"total_tokens":0/],
        ["/v1/chat/completions", { ...chat, stream: true, stream_options }, /"total_tokens":0/],
        ["/v1/responses", { model: "m", input: "four" }, /"total_tokens":0/],
        ["/v1/embeddings", { model: "m", input: "four" }, /"total_tokens":0/],
        ["/v1/messages", chat, /"output_tokens":0/],
        ["/v1/messages", { ...chat, stream: true }, /"usage":\{"output_tokens":0\}/],
        ["/v1beta/models/m:generateContent", {}, /"totalTokenCount":0/]
      ]
      for (const [path, body, zero] of formats) {
        const missing = yield* post(provider, body, path)
        assert.notMatch(missing.text, /total_tokens|input_tokens|output_tokens":\d|TokenCount/)
        assert.match((yield* post(provider, body, path)).text, zero)
      }
    })
  )

  it.effect("stops at max_tokens", () =>
    Effect.gen(function* () {
      const provider = yield* make({ script: () => ({ answer: "one two three" }) })
      const { text } = yield* post(provider, { ...chat, max_tokens: 2 })
      assert.match(text, /"content":"one two "/)
      assert.match(text, /"finish_reason":"length"/)
      assert.match(
        (yield* post(provider, { ...chat, max_tokens: 2 }, "/v1/messages")).text,
        /"stop_reason":"max_tokens"/
      )
      assert.strictEqual((yield* provider.totals).outputTokens, 4)
    })
  )

  it.effect("speaks Gemini", () =>
    Effect.gen(function* () {
      const provider = yield* make({
        script: [
          { answer: "It is 42.", usage: { inputTokens: 9, outputTokens: 5, reasoningTokens: 2 } },
          { answer: "It is 42." },
          { answer: { tool: "weather", input: { city: "Bern" } } },
          { fail: "rate_limit_exceeded", retryAfter: "34400 millis" }
        ]
      })
      const body = { contents: [{ parts: [{ text: "Six by seven?" }] }], generationConfig: { maxOutputTokens: 50 } }
      const whole = yield* post(provider, body, "/v1beta/models/gemini-3-flash:generateContent")
      assert.deepStrictEqual(JSON.parse(whole.text).usageMetadata, {
        promptTokenCount: 9,
        candidatesTokenCount: 3,
        totalTokenCount: 14,
        thoughtsTokenCount: 2
      })
      const stream = yield* post(provider, body, "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse")
      const events = stream.text
        .split("\r\n\r\n")
        .filter(Boolean)
        .map((event) => JSON.parse(event.slice("data: ".length)))
      const text = events.map((event) => event.candidates[0].content.parts[0].text).join("")
      assert.strictEqual(text, "It is 42.")
      assert.strictEqual(events.at(-1).usageMetadata.totalTokenCount, 7)
      const call = yield* post(provider, body, "/v1beta/models/gemini-3-flash:generateContent")
      assert.match(call.text, /"functionCall":\{"name":"weather","args":\{"city":"Bern"\}\}/)
      const failed = yield* post(provider, body, "/v1beta/models/gemini-3-flash:generateContent")
      assert.strictEqual(JSON.parse(failed.text).error.details[0].retryDelay, "34.4s")
      assert.strictEqual((yield* provider.calls)[0]?.request.model, "gemini-3-flash")
    })
  )

  it.effect("knows nothing else", () =>
    Effect.gen(function* () {
      const provider = yield* make()
      assert.strictEqual((yield* post(provider, chat, "/v1/models")).status, 404)
      assert.strictEqual((yield* post(provider, "{")).status, 400)
      assert.strictEqual((yield* provider.totals).requests, 0)
    })
  )

  it.effect("closes with its scope, also the sockets of those who wait", () =>
    Effect.gen(function* () {
      const { provider, waiting } = yield* Effect.scoped(
        Effect.gen(function* () {
          const provider = yield* make({ script: ["silent"] })
          const waiting = yield* Effect.forkDetach(Effect.exit(post(provider)))
          yield* until(provider.calls, (calls) => calls.length === 1)
          return { provider, waiting }
        })
      )
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "Failure")
      assert.strictEqual((yield* provider.calls)[0]?.outcome, "interrupted")
      assert.strictEqual((yield* Effect.exit(post(provider)))._tag, "Failure")
    })
  )
})

describe("LoopbackProvider limits", () => {
  const asking = (tokens: number) => ({ ...chat, max_tokens: tokens })

  it.effect("refuses before the time it says, and admits at it", () =>
    Effect.gen(function* () {
      const provider = yield* make({ requestsPerMinute: 7 })
      assert.deepStrictEqual(yield* statuses(provider, 8), [200, 200, 200, 200, 200, 200, 200, 429])
      const refused = yield* post(provider)
      const wait = Number(refused.headers["retry-after-ms"])
      assert.strictEqual(wait, 8572)
      assert.strictEqual(refused.headers["retry-after"], "9")
      assert.strictEqual(refused.headers["x-ratelimit-remaining-requests"], "0")
      assert.strictEqual(refused.headers["x-ratelimit-reset-requests"], "1m0s")
      assert.deepStrictEqual(JSON.parse(refused.text).error.type, "requests")
      yield* TestClock.adjust(wait - 1)
      assert.deepStrictEqual(yield* statuses(provider, 1), [429])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* statuses(provider, 2), [200, 429])
      assert.deepStrictEqual(
        { ...(yield* provider.totals), inputTokens: 0, tokens: 0 },
        { requests: 12, rateLimited: 4, inputTokens: 0, outputTokens: 8, tokens: 0 }
      )
    })
  )

  it.effect("charges max_tokens at the start and for good, as OpenAI does", () =>
    Effect.gen(function* () {
      const provider = yield* make({ tokensPerMinute: 100, requestsPerMinute: 100 })
      assert.deepStrictEqual(yield* statuses(provider, 2, asking(50)), [200, 200])
      const refused = yield* post(provider, asking(50))
      assert.strictEqual(refused.headers["retry-after"], "30")
      assert.strictEqual(refused.headers["x-ratelimit-remaining-requests"], "98")
      const { code, message, type } = JSON.parse(refused.text).error
      assert.deepStrictEqual([code, type], ["rate_limit_exceeded", "tokens"])
      assert.match(message, /Limit: 100 tokens per minute, requested: 50/)
      // What it asked for takes nothing, and a smaller one still fits later.
      yield* TestClock.adjust("12 seconds")
      assert.deepStrictEqual(yield* statuses(provider, 1, asking(20)), [200])
    })
  )

  it.effect("says of a request beyond the whole limit no time at which to come again", () =>
    Effect.gen(function* () {
      const provider = yield* make({ tokensPerMinute: 100 })
      const refused = yield* post(provider, asking(101))
      assert.strictEqual(refused.status, 429)
      assert.isUndefined(refused.headers["retry-after"])
      assert.strictEqual((yield* post(provider, asking(100))).status, 200)
    })
  )

  it.effect("charges the sum at the start and settles at the end, as Anthropic does", () =>
    Effect.gen(function* () {
      const usage = { inputTokens: 30, outputTokens: 10, cachedInputTokens: 20 }
      const provider = yield* make({
        tokensPerMinute: 100,
        tokenCharge: "settled",
        script: () => ({ answer: "ok", usage, after: "1 second" })
      })
      const first = yield* Effect.forkChild(post(provider, asking(96), "/v1/messages"))
      yield* until(provider.calls, (calls) => calls.length === 1)
      assert.deepStrictEqual(yield* statuses(provider, 1, asking(96)), [429])
      yield* TestClock.adjust("1 second")
      const { headers } = yield* Fiber.join(first)
      assert.strictEqual(headers["anthropic-ratelimit-tokens-remaining"], "81")
      assert.strictEqual(headers["anthropic-ratelimit-tokens-reset"], "1970-01-01T00:00:12Z")
    })
  )

  it.effect("charges by a rule of one's own", () =>
    Effect.gen(function* () {
      const provider = yield* make({ tokensPerMinute: 100, tokenCharge: ({ prompt }) => prompt.length })
      assert.deepStrictEqual(yield* statuses(provider, 8), [200, 200, 200, 200, 200, 200, 200, 429])
    })
  )

  it.effect("refuses wrong limits", () =>
    Effect.gen(function* () {
      for (const limit of [0, -1, 1.5, Number.NaN]) {
        const exit = yield* Effect.exit(Effect.scoped(make({ requestsPerMinute: limit })))
        assert.isTrue(Option.isNone(Option.fromNullishOr(exit._tag === "Success" ? exit.value : undefined)))
        assert.match(String(exit), /requests per minute must be a whole number from 1/)
      }
    })
  )
})
