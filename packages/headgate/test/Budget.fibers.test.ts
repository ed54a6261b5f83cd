// Law 1 under load: many fibers on one budget never pass it, at any moment, and use all of it.
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Alerts, Budget, QuotaStore, Window } from "headgate"
import { Choices, seedOf } from "./internal/support.ts"

const limit = 100_000
const fibers = 10_000

describe("10,000 fibers on one budget", () => {
  const seed = seedOf("fibers")

  it.effect(
    "never pass it at any moment, and use at least 99.5 % of it",
    () =>
      Effect.gen(function* () {
        const budget = yield* Budget.Budget
        const choose = new Choices(seed)
        let admitted = 0
        let refused = 0
        const look = Effect.map(budget.status(), ({ quotas }) => {
          for (const quota of quotas) assert.isAtMost(quota.used + quota.held, quota.limit)
        })
        // Some come later than others, so that what is given back finds takers.
        const call = Effect.fnUntraced(function* (index: number) {
          for (let turn = Math.floor(index / 100); turn > 0; turn--) yield* Effect.yieldNow
          const estimate = choose.between(1, 2_000)
          const reservation = yield* Effect.option(budget.reserve({ tokens: estimate }))
          if (reservation._tag === "None") return refused++
          admitted++
          yield* look
          for (let turn = choose.between(0, 3); turn > 0; turn--) yield* Effect.yieldNow
          if (choose.chance(0.1)) yield* budget.release(reservation.value)
          else yield* budget.settle(reservation.value, { tokens: choose.between(1, estimate) })
          return yield* look
        })
        yield* Effect.all(
          Array.from({ length: fibers }, (_, index) => call(index)),
          { concurrency: "unbounded", discard: true }
        )
        const [total] = (yield* budget.status()).quotas
        assert.isAbove(admitted, 100)
        assert.isAbove(refused, 1_000)
        assert.strictEqual(total?.held, 0)
        assert.isAtMost(total?.used ?? Infinity, limit)
        assert.isAtLeast(total?.used ?? 0, 0.995 * limit)
      }).pipe(
        Effect.provide(
          Budget.layerMemory({
            quotas: [
              { unit: "tokens", limit, window: Window.lifetime },
              { unit: "concurrency", limit: fibers }
            ],
            maxTokensPerMinute: 2 * limit
          })
        )
      ),
    30_000
  )

  // litellm #18730, #34732, bifrost #3547: those that check first and record later pass a limit together.
  it.effect("never pass it together, when all ask before any is done", () =>
    Effect.gen(function* () {
      const budget = yield* Budget.Budget
      const all = Array.from({ length: fibers }, () => Effect.option(budget.reserve({ tokens: 640 })))
      const reserved = (yield* Effect.all(all, { concurrency: "unbounded" })).filter(({ _tag }) => _tag === "Some")
      assert.strictEqual(reserved.length, Math.floor(limit / 640))
    }).pipe(Effect.provide(Budget.layerMemory({ maxTokensPerMinute: limit })))
  )

  it.effect("leave nothing held when they are interrupted at any point", () =>
    Effect.gen(function* () {
      const budget = yield* Budget.Budget
      const choose = new Choices(seed)
      const call = Effect.gen(function* () {
        for (let turn = choose.between(0, 5); turn > 0; turn--) yield* Effect.yieldNow
        return { tokens: 1 }
      }).pipe(Budget.withReservation({ tokens: 1 }, (used) => used))
      for (let round = 0; round < 50; round++) {
        const running = Effect.all(
          Array.from({ length: 100 }, () => call),
          { concurrency: "unbounded" }
        )
        const cut = Effect.gen(function* () {
          for (let turn = choose.between(0, 12); turn > 0; turn--) yield* Effect.yieldNow
        })
        yield* Effect.raceFirst(running, cut)
        assert.strictEqual((yield* budget.status()).quotas[0]?.held, 0)
      }
    }).pipe(Effect.provide(Budget.layerMemory({ maxTokensPerMinute: limit })))
  )

  it.effect("share one store when their budgets do", () =>
    Effect.gen(function* () {
      const options = { maxTokensPerMinute: 100 }
      const [one, two] = [yield* Budget.make(options), yield* Budget.make(options)]
      const other = yield* Budget.make({ ...options, name: "other" })
      yield* one.reserve({ tokens: 60 })
      assert.strictEqual((yield* Effect.flip(two.reserve({ tokens: 41 })))._tag, "BudgetExceeded")
      yield* other.reserve({ tokens: 100 })
    }).pipe(Effect.provide([QuotaStore.layerMemory, Alerts.layer]))
  )
})
