import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { Budget, Guard, guardStream, RateLimiter } from "headgate"
import { VirtualClock } from "headgate/testing"

const parts = Stream.fromIterable([10, 20]).pipe(
  Stream.rechunk(1),
  Stream.tap(() => Effect.sleep("1 second"))
)

const call = {
  estimate: { inputTokens: 100 },
  chunk: { outputTokens: 50 },
  delivered: (out: number) => ({ outputTokens: out }),
  actual: () => undefined
} satisfies Guard.StreamCall<number>

const counters = Effect.gen(function* () {
  const [budget] = (yield* (yield* Budget.Budget).status()).quotas
  const [limit] = (yield* (yield* RateLimiter.RateLimiter).status()).quotas
  return [budget?.used, budget?.held, limit?.used]
})

const run = <A, E>(program: Effect.Effect<A, E, Guard.Guard | Budget.Budget | RateLimiter.RateLimiter>) =>
  program.pipe(
    Effect.provide(
      Guard.layerMemory({ budget: { maxTokensPerMinute: 1000 }, rateLimiter: { tokensPerMinute: 1000 } }),
      { local: true }
    ),
    VirtualClock.run()
  )

describe("the place of a stream in the rate limiter", () => {
  it.effect("is for its estimate and a chunk", () =>
    run(
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(Stream.runDrain(guardStream(parts, call)))
        yield* Effect.sleep("500 millis")
        assert.deepStrictEqual(yield* counters, [0, 150, 150])
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(yield* counters, [130, 0, 130])
      })
    )
  )

  it.effect("is for the most it can take where that is said, while the budget holds what is paid for", () =>
    run(
      Effect.gen(function* () {
        const stream = Stream.runDrain(guardStream(parts, { ...call, atMost: { inputTokens: 100, outputTokens: 700 } }))
        const first = yield* Effect.forkChild(stream)
        yield* Effect.sleep("500 millis")
        assert.deepStrictEqual(yield* counters, [0, 150, 800])
        // There is no place for another until the first has told what it took.
        const second = yield* Effect.forkChild(stream)
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(yield* counters, [0, 300, 800])
        yield* Fiber.join(first)
        yield* Effect.sleep("500 millis")
        assert.deepStrictEqual(yield* counters, [130, 150, 930])
        yield* Fiber.join(second)
        assert.deepStrictEqual(yield* counters, [260, 0, 260])
      })
    )
  )

  it.effect("is never given where it can never fit, and then nothing is held", () =>
    run(
      Effect.gen(function* () {
        const large = { ...call, atMost: { outputTokens: 1001 } }
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(guardStream(parts, large))))._tag, "RequestTooLarge")
        const wrong = { ...call, atMost: { outputTokens: -1 } }
        const error = yield* Effect.flip(Stream.runDrain(guardStream(parts, wrong)))
        assert(error._tag === "InvalidUsage")
        assert.strictEqual(error.field, "outputTokens")
        assert.deepStrictEqual(yield* counters, [0, 0, 0])
      })
    )
  )
})
