// A store that is out of reach: what becomes of holds that it could not be told of, and of calls that go on without it.
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Logger, Ref } from "effect"
import { TestClock } from "effect/testing"
import { Alerts, Budget, QuotaStore, RateLimiter, StoreError, Window } from "headgate"
import { Later } from "../src/internal/later.ts"

const down = new StoreError({ operation: "settle", outcome: "unknown", cause: "down" })

/** A store in memory that can be taken out of reach, and counts what it is asked for. */
const breakable = Effect.gen(function* () {
  const memory = yield* QuotaStore.makeMemory
  const state = { isDown: false, asked: 0 }
  const ask = <A>(verb: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
    Effect.suspend(() => {
      state.asked++
      return state.isDown ? Effect.fail(down) : verb
    })
  const store: QuotaStore.Service = {
    ...memory,
    reserve: (command) => ask(memory.reserve(command)),
    settle: (hold, actual) => ask(memory.settle(hold, actual)),
    release: (hold) => ask(memory.release(hold)),
    record: (accounts, usage, id) => ask(memory.record(accounts, usage, id))
  }
  return { store, state }
})

const total = { unit: "tokens", limit: 1_000, window: Window.lifetime, name: "total", alertAt: [0.5] } as const

const withBudget = <A, E>(
  onStoreError: "fail" | "allow",
  test: (
    budget: Budget.Service,
    state: { isDown: boolean; asked: number },
    told: Ref.Ref<ReadonlyArray<string>>
  ) => Effect.Effect<A, E, Alerts.Alerts>
) =>
  Effect.gen(function* () {
    const { state, store } = yield* breakable
    const told = yield* Ref.make<ReadonlyArray<string>>([])
    const layer = Budget.layer({ quotas: [total], onStoreError, reservationTtl: "1 minute" }).pipe(
      Layer.provide(Layer.succeed(QuotaStore.QuotaStore, store)),
      Layer.provideMerge(Alerts.layer)
    )
    return yield* Effect.gen(function* () {
      const budget = yield* Budget.Budget
      const alerts = yield* Alerts.Alerts
      yield* alerts.handle(({ _tag }) => Ref.update(told, (tags) => [...tags, _tag]))
      return yield* test(budget, state, told)
    }).pipe(Effect.provide(layer))
  })

const counted = (budget: Budget.Service) =>
  Effect.map(budget.status(), ({ quotas: [quota] }) => [quota?.used, quota?.held])

describe("a store that is out of reach", () => {
  it.effect("is told later how a call ended, and tells what that brings", () =>
    withBudget("fail", (budget, state, told) =>
      Effect.gen(function* () {
        const spent = yield* budget.reserve({ tokens: 700 })
        const given = yield* budget.reserve({ tokens: 200 })
        state.isDown = true
        assert.strictEqual(yield* Effect.flip(budget.settle(spent, { tokens: 600 })), down)
        assert.strictEqual(yield* Effect.flip(budget.release(given)), down)
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* counted(budget), [0, 900])
        state.isDown = false
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* counted(budget), [600, 0])
        assert.deepStrictEqual(yield* Ref.get(told), ["ThresholdReached"])
        // Who asks again is answered as if nothing had happened.
        assert.strictEqual((yield* budget.settle(spent, { tokens: 600 })).returned.tokens, 100)
        assert.deepStrictEqual(yield* counted(budget), [600, 0])
      })
    )
  )

  it.effect("is told the last of what a call was ended with", () =>
    withBudget("fail", (budget, state) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 700 })
        state.isDown = true
        for (const tokens of [1, 2, 3]) yield* Effect.flip(budget.settle(reservation, { tokens }))
        state.isDown = false
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* counted(budget), [3, 0])
      })
    )
  )

  it.effect("is not told of a hold whose time has been over for as long as it lasted", () =>
    withBudget("fail", (budget, state) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 700 })
        state.isDown = true
        yield* Effect.flip(budget.settle(reservation, { tokens: 1 }))
        yield* TestClock.adjust("3 minutes")
        state.isDown = false
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* counted(budget), [700, 0])
      })
    )
  )

  it.effect("is asked once a second where calls go on without it, and told later what they took", () =>
    withBudget("allow", (budget, state, told) =>
      Effect.gen(function* () {
        const before = yield* budget.reserve({ tokens: 100 })
        state.isDown = true
        state.asked = 0
        for (let second = 0; second < 3; second++) {
          for (let call = 0; call < 10; call++) {
            const reservation = yield* budget.reserve({ tokens: 10 })
            yield* budget.settle(reservation, { tokens: 7 })
          }
          yield* TestClock.adjust("1 second")
        }
        yield* budget.settle(before, { tokens: 50 })
        yield* Effect.flatMap(Alerts.Alerts, ({ drained }) => drained)
        // One a second for the calls, and one a second for what is told later.
        assert.isAtMost(state.asked, 8)
        assert.strictEqual((yield* Ref.get(told)).filter((tag) => tag === "StoreDegraded").length, 31)
        assert.deepStrictEqual(yield* counted(budget), [0, 100])
        state.isDown = false
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* counted(budget), [30 * 7 + 50, 0])
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 800 })))._tag, "BudgetExceeded")
      })
    )
  )

  it.effect("is asked once a second for places, which are held to the provider's word all the same", () =>
    Effect.gen(function* () {
      const { state, store } = yield* breakable
      const layer = RateLimiter.layer({ requestsPerMinute: 1, onStoreError: "allow", onExceeded: "fail" }).pipe(
        Layer.provide(Layer.succeed(QuotaStore.QuotaStore, store)),
        Layer.provideMerge(Alerts.layer)
      )
      yield* Effect.gen(function* () {
        const limiter = yield* RateLimiter.RateLimiter
        const permit = yield* limiter.acquire()
        state.isDown = true
        state.asked = 0
        for (let call = 0; call < 10; call++)
          yield* Effect.flatMap(limiter.acquire(), (permit) => limiter.settle(permit, {}))
        yield* limiter.settle(permit, {})
        assert.isAtMost(state.asked, 2)
        yield* limiter.feedback({ retryAfter: "10 seconds" })
        assert.strictEqual((yield* Effect.flip(limiter.acquire()))._tag, "RateLimitExceeded")
        state.isDown = false
        yield* TestClock.adjust("11 seconds")
        assert.strictEqual((yield* Effect.flip(limiter.acquire()))._tag, "RateLimitExceeded")
      }).pipe(Effect.provide(layer))
    })
  )
})

describe("what is told later", () => {
  const later = Effect.map(Effect.scope, (scope) => new Later(scope, Duration.seconds(1)))

  it.effect("is told by one after another, each once", () =>
    Effect.gen(function* () {
      const told: Array<number> = []
      let [underWay, atOnce, tries, isDown] = [0, 0, 0, true]
      const queue = yield* later
      for (let number = 0; number < 1_000; number++) {
        const tell = Effect.gen(function* () {
          tries++
          atOnce = Math.max(atOnce, ++underWay)
          yield* Effect.yieldNow
          underWay--
          if (isDown) return yield* down
          told.push(number)
        })
        yield* queue.add({}, tell, 60_000)
      }
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual([told.length, atOnce], [0, 1])
      assert.isAtMost(tries, 31)
      isDown = false
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([told.length, new Set(told).size, atOnce], [1_000, 1_000, 1])
    })
  )

  it.effect("does not stop at what fails in another way, or breaks", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const queue = yield* later
      yield* queue.add({}, Effect.fail("no store's error"), 60_000)
      yield* queue.add({}, Effect.die("broken"), 60_000)
      yield* queue.add(
        {},
        Effect.sync(() => told.push("told")),
        60_000
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(told, ["told"])
      // It begins again when there is more.
      yield* queue.add(
        {},
        Effect.sync(() => told.push("more")),
        60_000
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(told, ["told", "more"])
    })
  )

  it.effect("is bounded, and says so of what is left to its expiry", () => {
    const logged: Array<unknown> = []
    return Effect.gen(function* () {
      const queue = yield* later
      for (let number = 0; number < 10_010; number++) yield* queue.add({}, down, 60_000)
      assert.isAtLeast(logged.length, 9)
      const before = logged.length
      yield* TestClock.adjust("3 minutes")
      assert.isAbove(logged.length, before)
    }).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => void logged.push(message))])))
  })
})
