// What goes wrong between a service and its store: an answer that is lost, a renewal that fails, numbers at their end.
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Alerts, Budget, Quota, QuotaStore, RateLimiter, StoreError, Window } from "headgate"
import { prepare } from "../../src/redis/plans.ts"

const lost = new StoreError({ operation: "test", outcome: "unknown", cause: new Error("connection lost") })

/** A store in memory with some of its verbs changed. */
const storeWith = (change: (store: QuotaStore.Service) => Partial<QuotaStore.Service>) =>
  Layer.effect(QuotaStore.QuotaStore)(Effect.map(QuotaStore.makeMemory, (store) => ({ ...store, ...change(store) })))

const total = { unit: "tokens", limit: 100, window: Window.lifetime } as const

describe("a store that fails", () => {
  it.effect("for one renewal does not give up the place of a call under way", () => {
    let failures = 0
    const store = storeWith(({ extend }) => ({
      extend: (...args) => (failures++ === 0 ? Effect.fail(lost) : extend(...args))
    }))
    return Effect.gen(function* () {
      const first = yield* Effect.forkChild(RateLimiter.withLimit()(Effect.sleep("5 minutes")))
      yield* TestClock.adjust("3 minutes")
      assert.isAbove(failures, 1)
      const second = yield* Effect.flip(RateLimiter.withLimit()(Effect.void))
      assert.strictEqual(second._tag, "RateLimitExceeded")
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.join(first)
      yield* RateLimiter.withLimit()(Effect.void)
    }).pipe(
      Effect.provide(
        RateLimiter.layer({ concurrency: 1, permitTtl: "1 minute", onExceeded: "fail" }).pipe(
          Layer.provide(store),
          Layer.provide(Alerts.layer)
        )
      )
    )
  })

  it.effect("to answer that it has booked a call which was let through without it books that once", () => {
    let answers = 0
    const store = storeWith(({ record }) => ({
      reserve: () => Effect.fail(lost),
      record: (...args) =>
        Effect.flatMap(record(...args), (booked) => (answers++ === 0 ? Effect.fail(lost) : Effect.succeed(booked)))
    }))
    return Effect.gen(function* () {
      const budget = yield* Budget.Budget
      const reservation = yield* budget.reserve({ tokens: 10 })
      yield* budget.settle(reservation, { tokens: 10 })
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* budget.status()).quotas[0]?.used, 10)
      assert.strictEqual(answers, 2)
    }).pipe(
      Effect.provide(
        Budget.layer({ quotas: [total], onStoreError: "allow" }).pipe(Layer.provide(store), Layer.provide(Alerts.layer))
      )
    )
  })
})

describe("numbers", () => {
  it.effect("of a reservation and its extensions do not pass 2^53 - 1", () =>
    Effect.gen(function* () {
      const budget = yield* Budget.Budget
      const reservation = yield* budget.reserve({ tokens: Number.MAX_SAFE_INTEGER })
      const refused = yield* Effect.flip(budget.extend(reservation, { tokens: 1 }))
      assert(refused._tag === "InvalidUsage")
      assert.strictEqual(refused.field, "tokens")
      yield* budget.release(reservation)
    }).pipe(Effect.provide(Budget.layerMemory({ maxCostPerDay: "$1" })))
  )

  it.each([1000.3, 100_000 / 3])("that Redis is told as times are whole: a window of %d ms", (millis) => {
    const quota = Quota.make({ unit: "tokens", limit: 1, window: Window.sliding(millis) })
    const { parts } = prepare({ id: "p", dimension: undefined, quotas: [quota], throttle: 0, alerts: "all" })
    assert.isTrue(Number.isInteger(parts[2]), String(parts[2]))
  })
})
