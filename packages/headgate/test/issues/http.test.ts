// What goes wrong between others and their providers, over real sockets.
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Logger, References, Stream } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { guard, ModelGuard, Retry } from "headgate"
import { GuardedHttpClient } from "headgate/http"
import { LoopbackProvider } from "headgate/testing"
import { chat, message, paced, paths, prices, quiet, setUp, streamed } from "../http/support.ts"

const words = "one two three four five six seven eight nine ten"

describe("a stream", () => {
  it.effect("that is aborted is settled on what was delivered, and not lost (litellm #14457)", () =>
    Effect.gen(function* () {
      const answers = { script: () => ({ answer: words, every: "1 second" }) as const }
      const { booked, post, provider } = yield* setUp({ answers })
      for (const [body, path] of [
        [streamed, paths.chat],
        [{ ...message, stream: true }, paths.messages]
      ] as const) {
        const before = yield* booked
        const response = yield* post(body, path)
        let came = ""
        const reading = yield* Effect.forkChild(
          Stream.runForEach(Stream.decodeText(response.stream), (text) => Effect.sync(() => (came += text)))
        )
        yield* TestClock.adjust("4 seconds")
        yield* Effect.repeat(quiet(provider), { until: () => came.includes("four") })
        yield* Fiber.interrupt(reading)
        yield* quiet(provider)
        const { held, tokens } = yield* booked
        assert.strictEqual(held, 0)
        assert.strictEqual((yield* provider.calls).at(-1)?.billed.outputTokens, 4)
        // The input by its estimate, 7 tokens around it and one for each of its bytes, and those of the words that came.
        const input = JSON.stringify(body).length + 7
        assert.strictEqual(tokens - before.tokens, input + "one two three four ".length)
      }
    })
  )

  it.effect("draws on the limits of tokens as any call does (litellm #41610)", () =>
    Effect.gen(function* () {
      const usage = { inputTokens: 10, outputTokens: 900 }
      const { post } = yield* setUp({
        budget: { maxTokensPerMinute: 1000 },
        answers: { script: () => ({ answer: "ok", usage }) }
      })
      yield* Effect.flatMap(post(streamed), (response) => response.text)
      assert.strictEqual((yield* Effect.flip(post(streamed)))._tag, "BudgetExceeded")
    })
  )
})

describe("a reply", () => {
  it.effect("without a usage block is charged its estimate, and is not free (litellm #14457)", () =>
    Effect.gen(function* () {
      const answers = { script: () => ({ answer: "ok", usageBlock: "missing" }) as const }
      const { booked, post } = yield* setUp({ answers })
      yield* post(chat)
      const { held, tokens } = yield* booked
      assert.strictEqual(held, 0)
      assert.isAbove(tokens, 50)
      yield* Effect.flatMap(post({ ...message, stream: true }, paths.messages), (response) => response.text)
      assert.isAbove((yield* booked).tokens, tokens)
    })
  )

  it.effect("with an explicit zero has taken nothing (litellm #37992)", () =>
    Effect.gen(function* () {
      const answers = { script: () => ({ answer: "ok", usage: { inputTokens: 0, outputTokens: 0 } }) }
      const { booked, post } = yield* setUp({ answers })
      yield* post(chat)
      yield* Effect.flatMap(post(streamed), (response) => response.text)
      yield* Effect.flatMap(post({ ...message, stream: true }, paths.messages), (response) => response.text)
      assert.deepStrictEqual(yield* booked, { tokens: 0, cost: 0, held: 0 })
    })
  )

  it.effect("of an unknown model does not come: it is refused before, and not free (litellm #25874)", () =>
    Effect.gen(function* () {
      const { post, provider } = yield* setUp()
      const error = yield* Effect.flip(post({ ...chat, model: "gpt-99-unheard-of" }))
      assert.strictEqual(error._tag, "UnpricedModel")
      assert.strictEqual((yield* provider.totals).requests, 0)
    })
  )
})

describe("a retry", () => {
  /** When the attempts began, and the status that the caller got. */
  const attemptsOf = Effect.fnUntraced(function* (
    script: LoopbackProvider.Script,
    retry: Retry.Options = {},
    path: string = paths.chat
  ) {
    const { post, provider } = yield* setUp({ retry: { jitter: "none", ...retry }, answers: { script } })
    const begin = yield* Clock.currentTimeMillis
    const { status } = yield* paced(provider, post(chat, path))
    const calls = yield* provider.calls
    const now = yield* Clock.currentTimeMillis
    return { status, starts: calls.map(({ startedAt }) => startedAt - begin), now: now - begin }
  })

  it.effect("does not follow insufficient_quota (cognee #4679, LightRAG #3736)", () =>
    Effect.gen(function* () {
      const { now, starts, status } = yield* attemptsOf(() => ({ fail: "insufficient_quota", retryAfter: "1 second" }))
      assert.deepStrictEqual({ now, starts, status }, { now: 0, starts: [0], status: 429 })
    })
  )

  it.effect("after Retry-After: 300 comes after 300 seconds, not after 0.5 to 8 (openai-node)", () =>
    Effect.gen(function* () {
      const script = [{ fail: "rate_limit_exceeded", headers: { "retry-after": "300" } }, { answer: "ok" }] as const
      const patient = yield* attemptsOf(script, { maxRetryAfter: "5 minutes" })
      assert.deepStrictEqual([patient.status, patient.starts], [200, [0, 300_000]])
      // Or the caller is told so at once.
      const default_ = yield* attemptsOf(script)
      assert.deepStrictEqual([default_.status, default_.starts], [429, [0]])
    })
  )

  it.effect("comes after the 107 seconds of the last answer, not after 9 (litellm #20722)", () =>
    Effect.gen(function* () {
      const script = [
        { fail: "rate_limit_exceeded", retryAfter: "9 seconds" },
        { fail: "rate_limit_exceeded", retryAfter: "107 seconds" },
        { answer: "ok" }
      ] as const
      const { starts } = yield* attemptsOf(script, { maxRetryAfter: "2 minutes" }, paths.messages)
      assert.deepStrictEqual(starts, [0, 9000, 116_000])
    })
  )

  it.effect("after a date that cannot be read comes after the backoff, not at once (Anthropic SDK)", () =>
    Effect.gen(function* () {
      const headers = { "retry-after": "Tue, 99 Foo 2026 25:61:00 GMT" }
      const { starts } = yield* attemptsOf([{ fail: "rate_limit_exceeded", headers }, { answer: "ok" }], {
        initialBackoff: "4 seconds"
      })
      assert.deepStrictEqual(starts, [0, 4000])
    })
  )

  it.effect("does not wait for 3.5 days (oh-my-pi #7003)", () =>
    Effect.gen(function* () {
      const headers = { "retry-after-ms": "302539000" }
      const { now, starts, status } = yield* attemptsOf(() => ({ fail: "rate_limit_exceeded", headers }))
      assert.deepStrictEqual({ now, starts, status }, { now: 0, starts: [0], status: 429 })
    })
  )

  it.effect("within a retry is told of once (code_puppy #317: 45 requests of one call)", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const logger = Logger.make(({ message }) => {
        told.push(String(message))
      })
      const provider = yield* LoopbackProvider.make({ script: () => ({ fail: "unavailable" }) })
      yield* Effect.gen(function* () {
        const client = yield* Effect.flatMap(HttpClient.HttpClient, (client) => GuardedHttpClient.make(client))
        const request = HttpClientRequest.post(provider.url + paths.chat).pipe(HttpClientRequest.bodyJsonUnsafe(chat))
        const ask = Effect.andThen(client.execute(request), (response) =>
          response.status === 200 ? Effect.void : Effect.fail({ status: response.status })
        )
        // A guarded call alone says nothing, and neither does one after another.
        yield* paced(provider, Effect.ignore(Effect.andThen(Effect.ignore(ask), ask)))
        assert.deepStrictEqual(told, [])
        yield* paced(provider, Effect.ignore(Retry.run(ask)))
        yield* paced(provider, Effect.ignore(guard(ask, { estimate: {}, actual: () => ({}) })))
      }).pipe(
        Effect.provide([
          FetchHttpClient.layer,
          ModelGuard.layerMemory({ prices, retry: { jitter: "none", maxRetries: 1, budget: "none" } }),
          Logger.layer([logger])
        ]),
        Effect.provideService(References.MinimumLogLevel, "Warn")
      )
      assert.strictEqual(told.length, 1)
      assert.match(told[0]!, /^A retry within a retry/)
    })
  )
})
