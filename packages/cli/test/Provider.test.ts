import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Result } from "effect"
import { Money } from "headgate"
import { VirtualClock } from "headgate/testing"
import * as Price from "../src/simulate/Price.ts"
import * as Provider from "../src/simulate/Provider.ts"
import type { TraceRequest } from "../src/simulate/Trace.ts"

const request = (index: number, tokens: Partial<Price.Tokens> = {}, model?: string): TraceRequest => ({
  index,
  at: 0,
  inputTokens: 100,
  outputTokens: 10,
  cachedInputTokens: 0,
  user: undefined,
  model,
  ...tokens
})

const calm: Provider.Options = { ...Provider.defaults, errorShare: 0 }

describe("the scripted provider", () => {
  it.effect("takes its time by the tokens it writes, and tells what the call took", () =>
    VirtualClock.run(
      Effect.gen(function* () {
        const provider = yield* Provider.make(calm, Price.defaults, 1)
        const { usage } = yield* provider.call(request(0, { outputTokens: 200 }))
        assert.strictEqual(yield* Clock.currentTimeMillis, 400 + 200 * 15)
        assert.deepStrictEqual(usage, {
          inputTokens: 100,
          outputTokens: 200,
          cachedInputTokens: 0,
          cost: Money.fromInputUnsafe("$0.00225")
        })
      })
    )
  )

  it.effect("refuses with 429 what its buckets do not hold, and is right about Retry-After", () =>
    VirtualClock.run(
      Effect.gen(function* () {
        const provider = yield* Provider.make({ ...calm, tokensPerMinute: 600 }, Price.defaults, 1)
        const call = (index: number) => Effect.result(provider.call(request(index)))
        const results = yield* Effect.all(
          Array.from({ length: 7 }, (_, index) => call(index)),
          { concurrency: "unbounded" }
        )
        const errors = results.filter(Result.isFailure).map(({ failure }) => failure)
        // 5 times 110 fit in 600; for the next 60 are missing, at 10 a second.
        assert.deepStrictEqual(
          errors.map(({ headers, status }) => [status, headers["retry-after"]]),
          [
            [429, "6"],
            [429, "6"]
          ]
        )
        yield* Effect.sleep(Duration.seconds(6))
        assert.isTrue(Result.isSuccess(yield* call(7)))
      })
    )
  )

  it.effect("lets through what is larger than its bucket, when that is full", () =>
    VirtualClock.run(
      Effect.gen(function* () {
        const provider = yield* Provider.make({ ...calm, tokensPerMinute: 50 }, Price.defaults, 1)
        assert.strictEqual((yield* provider.call(request(0))).answer, "answered")
        assert.strictEqual((yield* Effect.flip(provider.call(request(1)))).status, 429)
      })
    )
  )

  it.effect("fails its share of the attempts, the same ones each time", () =>
    VirtualClock.run(
      Effect.gen(function* () {
        const failures = Effect.gen(function* () {
          const provider = yield* Provider.make(
            { ...calm, errorShare: 0.1, requestsPerMinute: 1e9, tokensPerMinute: 1e9 },
            Price.defaults,
            1
          )
          return yield* Effect.forEach(
            Array.from({ length: 1_000 }, (_, index) => index),
            (index) =>
              Effect.match(provider.call(request(index)), { onFailure: ({ status }) => status, onSuccess: () => 200 })
          )
        })
        const statuses = yield* failures
        assert.closeTo(statuses.filter((status) => status >= 500).length, 100, 30)
        assert.deepStrictEqual(yield* failures, statuses)
      })
    )
  )
})

describe("the price", () => {
  it("rounds up once, and knows models and cached input", () => {
    const price: Price.Price = {
      input: Money.usd(1),
      output: Money.usd(2),
      models: { dear: { input: Money.usd(3), cachedInput: Money.usd(0.5), output: Money.usd(4) } }
    }
    const tokens = { inputTokens: 10, outputTokens: 1, cachedInputTokens: 4 }
    assert.strictEqual(Price.cost(price, undefined, tokens), 12_000)
    assert.strictEqual(Price.cost(price, "dear", tokens), 6 * 3_000 + 4 * 500 + 4_000)
    assert.strictEqual(Price.cost({ input: Money.usd(0.0001), output: Money.zero }, undefined, tokens), 1)
  })
})
