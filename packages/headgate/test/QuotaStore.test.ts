import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Alerts, Budget, QuotaStore, RateLimiter, Window } from "headgate"
import { check, type Store } from "./internal/compare.ts"
import { account, command, plan, seedOf, tokens } from "./internal/support.ts"

const minute = { unit: "tokens", limit: 100, window: Window.sliding("1 minute"), name: "minute" } as const

const makeMemory = (): QuotaStore.Service => Effect.runSync(QuotaStore.makeMemory)

/** A store as the histories want it: at once, at a time that is given. */
const atOnce = (store: QuotaStore.Service, clock: Clock.Clock): Store => {
  const at = <A, E>(effect: Effect.Effect<A, E>, now: number): A => {
    const frozen: Clock.Clock = Object.assign(Object.create(clock), { currentTimeMillisUnsafe: () => now })
    return Effect.runSync(Effect.provideService(Effect.orDie(effect), Clock.Clock, frozen))
  }
  return {
    reserve: (command, now) => at(store.reserve(command), now),
    extend: (hold, more, step, now) => at(store.extend(hold, more, step), now),
    settle: (hold, actual, now) => at(store.settle(hold, actual), now),
    release: (hold, now) => at(store.release(hold), now),
    record: (accounts, usage, id, now) => at(store.record(accounts, usage, id), now),
    status: (accounts, now) => at(store.status(accounts), now),
    reset: (target, now) => at(store.reset(target), now)
  }
}

describe("QuotaStore.layerMemory", () => {
  const seed = seedOf("QuotaStore")

  it.effect(
    "agrees with the reference over random histories",
    () =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        for (let index = 0; index < 100; index++) {
          check(seed + index, () => atOnce(makeMemory(), clock))
        }
      }),
    30_000
  )

  it.effect("reads the time of the fiber's clock, which never takes it back", () =>
    Effect.gen(function* () {
      const store = yield* QuotaStore.QuotaStore
      const accounts = [account([minute])]
      yield* TestClock.setTime(3_600_000)
      yield* store.record(accounts, tokens(100), undefined)
      yield* TestClock.setTime(1_000)
      const refused = yield* store.reserve(command(accounts, tokens(1)))
      assert.deepInclude(refused, { _tag: "Refused", retryAfter: 61_000 })
      yield* TestClock.setTime(3_660_999)
      assert.deepInclude(yield* store.reserve(command(accounts, tokens(1))), { _tag: "Refused", retryAfter: 1 })
      yield* TestClock.setTime(3_661_000)
      assert.strictEqual((yield* store.reserve(command(accounts, tokens(1))))._tag, "Hold")
    }).pipe(Effect.provide(QuotaStore.layerMemory))
  )

  it.effect("decides in one step whatever the number of fibers", () =>
    Effect.gen(function* () {
      const store = yield* QuotaStore.QuotaStore
      const accounts = [account([minute]), { plan: plan([minute], { id: "user", dimension: "user" }), value: "42" }]
      const ask = Effect.andThen(Effect.yieldNow, store.reserve(command(accounts, tokens(7))))
      const answers = yield* Effect.all(
        Array.from({ length: 1_000 }, () => ask),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(answers.filter(({ _tag }) => _tag === "Hold").length, 14)
      const { quotas } = yield* store.status(accounts)
      assert.deepStrictEqual(
        quotas.map(({ held }) => held),
        [98, 98]
      )
    }).pipe(Effect.provide(QuotaStore.layerMemory))
  )

  it.effect("is one store for the services that are given it", () => {
    const limited = { quotas: [minute] }
    const services = Layer.mergeAll(Budget.layer(limited), RateLimiter.layer(limited)).pipe(
      Layer.provideMerge([QuotaStore.layerMemory, Alerts.layer])
    )
    return Effect.gen(function* () {
      const budget = yield* Budget.Budget
      const limiter = yield* RateLimiter.RateLimiter
      const twin = yield* Budget.make(limited)
      yield* budget.reserve({ tokens: 60 })
      assert.strictEqual((yield* twin.status()).quotas[0]?.held, 60)
      // The limiter's quotas are its own, though they are kept in the same store.
      assert.strictEqual((yield* limiter.status()).quotas[0]?.held, 0)
      const elsewhere = yield* Effect.provideService(
        Budget.make(limited),
        QuotaStore.QuotaStore,
        yield* QuotaStore.makeMemory
      )
      assert.strictEqual((yield* elsewhere.status()).quotas[0]?.held, 0)
    }).pipe(Effect.provide(services))
  })

  it.effect("reads a subject without remembering it", () =>
    Effect.gen(function* () {
      const store = yield* QuotaStore.QuotaStore
      const users = plan([minute], { dimension: "user" })
      const { quotas, throttledUntil } = yield* store.status([{ plan: users, value: "nobody" }])
      assert.strictEqual(throttledUntil, 0)
      assert.deepStrictEqual(quotas, [
        {
          name: "minute",
          unit: "tokens",
          limit: 100,
          used: 0,
          held: 0,
          remaining: 100,
          utilization: 0,
          resetAfter: 0,
          subject: { user: "nobody" }
        }
      ])
    }).pipe(Effect.provide(QuotaStore.layerMemory))
  )

  it.effect("resets one subject, or all of a plan", () =>
    Effect.gen(function* () {
      const store = yield* QuotaStore.QuotaStore
      const users = plan([minute], { dimension: "user" })
      const [a, b] = [
        { plan: users, value: "a" },
        { plan: users, value: "b" }
      ] as const
      const used = Effect.map(store.status([a, b]), ({ quotas }) => quotas.map(({ used }) => used))
      for (const user of [a, b]) yield* store.record([user], tokens(10), undefined)
      yield* store.reset({ accounts: [a] })
      assert.deepStrictEqual(yield* used, [0, 10])
      yield* store.reset({ plans: [users] })
      assert.deepStrictEqual(yield* used, [0, 0])
    }).pipe(Effect.provide(QuotaStore.layerMemory))
  )
})
