import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { makeDeadlines } from "../../src/redis/deadlines.ts"

describe("deadlines of callers with clocks of their own", () => {
  it.effect("are kept by the clock of each", () =>
    Effect.gen(function* () {
      const { within } = yield* makeDeadlines
      const clocks = yield* Effect.all([TestClock.make(), TestClock.make(), TestClock.make()])
      const [first, later, other] = clocks
      yield* later.setTime(Date.UTC(2026, 0, 1))
      const fibers = yield* Effect.forEach(clocks, (clock) =>
        Effect.forkChild(Effect.flip(within(Effect.never, clock, 50)))
      )
      yield* Effect.yieldNow
      const ended = () => fibers.map((fiber) => fiber.pollUnsafe() !== undefined)
      // Each clock alone ends its own, in whatever order they began and whatever time they tell.
      yield* other.adjust(49)
      assert.deepStrictEqual(ended(), [false, false, false])
      yield* other.adjust(11)
      assert.deepStrictEqual(ended(), [false, false, true])
      yield* later.adjust(60)
      assert.deepStrictEqual(ended(), [false, true, true])
      yield* first.adjust(60)
      assert.deepStrictEqual(ended(), [true, true, true])
      for (const fiber of fibers) assert.strictEqual((yield* Fiber.join(fiber)).message, "no answer within 50 ms")
    })
  )

  it.effect("are kept again after nobody has waited on a clock", () =>
    Effect.gen(function* () {
      const { within } = yield* makeDeadlines
      const clock = yield* TestClock.make()
      for (let round = 0; round < 3; round++) {
        const answer = yield* Deferred.make<string>()
        const answered = yield* Effect.forkChild(within(Deferred.await(answer), clock, 50))
        const late = yield* Effect.forkChild(Effect.flip(within(Effect.never, clock, 50)))
        yield* Effect.yieldNow
        yield* clock.adjust(20)
        yield* Deferred.succeed(answer, "here")
        assert.strictEqual(yield* Fiber.join(answered), "here")
        yield* clock.adjust(40)
        assert.strictEqual((yield* Fiber.join(late))._tag, "NoAnswer")
        yield* clock.adjust(100)
      }
    })
  )
})
