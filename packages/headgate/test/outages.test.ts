// A store that is out of reach: what becomes of holds that it could not be told of, and of calls that go on without it.
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Fiber, Layer, Logger, Metric, Ref } from "effect"
import { TestClock } from "effect/testing"
import { Alerts, Budget, Money, QuotaStore, RateLimiter, StoreError, UsageRecord, Window } from "headgate"
import { Later } from "../src/internal/later.ts"

const down = new StoreError({ operation: "settle", outcome: "unknown", cause: "down" })

interface State {
  isDown: boolean
  /** How long it takes to fail, in milliseconds. */
  delay: number
  asked: number
  /** Fails for whose account this is alone. */
  broken: string | undefined
}

/** A store in memory that can be taken out of reach, and counts what it is asked for. */
const breakable = Effect.gen(function* () {
  const memory = yield* QuotaStore.makeMemory
  const state: State = { isDown: false, delay: 0, asked: 0, broken: undefined }
  const ask = <A>(verb: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
    Effect.suspend(() => {
      state.asked++
      return state.isDown ? Effect.andThen(Effect.sleep(state.delay), down) : verb
    })
  const users = new WeakMap<QuotaStore.Hold, string>()
  const store: QuotaStore.Service = {
    ...memory,
    reserve: (command) =>
      ask(
        Effect.tap(memory.reserve(command), (answer) =>
          Effect.sync(() => {
            if (answer._tag === "Hold") users.set(answer, command.accounts.at(-1)!.value)
          })
        )
      ),
    extend: (hold, more, step) => ask(memory.extend(hold, more, step)),
    settle: (hold, actual) => ask(users.get(hold) === state.broken ? Effect.fail(down) : memory.settle(hold, actual)),
    release: (hold) => ask(memory.release(hold)),
    record: (accounts, usage, id) => ask(memory.record(accounts, usage, id))
  }
  return { store, state }
})

const total = { unit: "tokens", limit: 1_000, window: Window.lifetime, name: "total", alertAt: [0.5] } as const

const withBudget = <A, E>(
  options: Budget.Options,
  test: (
    budget: Budget.Service,
    state: State,
    told: Ref.Ref<ReadonlyArray<string>>
  ) => Effect.Effect<A, E, Alerts.Alerts>
) =>
  Effect.gen(function* () {
    const { state, store } = yield* breakable
    const told = yield* Ref.make<ReadonlyArray<string>>([])
    const layer = Budget.layer({ quotas: [total], reservationTtl: "1 minute", ...options }).pipe(
      Layer.provide(Layer.succeed(QuotaStore.QuotaStore, store)),
      Layer.provideMerge(Alerts.layer)
    )
    return yield* Effect.gen(function* () {
      const budget = yield* Budget.Budget
      const alerts = yield* Alerts.Alerts
      yield* alerts.handle(({ _tag }) => Ref.update(told, (tags) => [...tags, _tag]))
      return yield* test(budget, state, told)
    }).pipe(Effect.provide(layer, { local: true }))
  })

const counted = (budget: Budget.Service) =>
  Effect.map(budget.status(), ({ quotas: [quota] }) => [quota?.used, quota?.held])

/** Runs an effect that waits for a store to fail. */
const waited = <A, E, R>(self: Effect.Effect<A, E, R>, millis: number): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(self, { startImmediately: true })
    yield* TestClock.adjust(millis)
    return yield* Fiber.join(fiber)
  })

describe("a store that is out of reach", () => {
  it.effect("is told later how a call ended, and tells what that brings", () =>
    withBudget({}, (budget, state, told) =>
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

  it.effect("is told the last of what a call took, and nothing else of it once it knows", () =>
    withBudget({}, (budget, state) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 700 })
        state.isDown = true
        for (const tokens of [1, 2, 3]) yield* Effect.flip(budget.settle(reservation, { tokens }))
        state.isDown = false
        assert.strictEqual((yield* budget.settle(reservation, { tokens: 4 })).actual.tokens, 4)
        state.asked = 0
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([yield* counted(budget), state.asked], [[4, 0], 0])
      })
    )
  )

  it.effect("gives nothing back of which was said what it took", () =>
    withBudget({}, (budget, state) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 700 })
        state.isDown = true
        yield* Effect.flip(budget.settle(reservation, { tokens: 5 }))
        for (const isDown of [true, false]) {
          state.isDown = isDown
          assert.strictEqual((yield* Effect.flip(budget.release(reservation)))._tag, "InvalidUsage")
        }
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* counted(budget), [5, 0])
        // What was to be given back can still have taken something.
        const other = yield* budget.reserve({ tokens: 100 })
        state.isDown = true
        yield* Effect.flip(budget.release(other))
        yield* Effect.flip(budget.settle(other, { tokens: 6 }))
        state.isDown = false
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* counted(budget), [11, 0])
      })
    )
  )

  it.effect("is not told of a hold whose time has been over for as long as it lasted", () =>
    withBudget({}, (budget, state) =>
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

  it.effect("is told of a call whose caller has not waited for it to fail", () =>
    withBudget({}, (budget, state) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 700 })
        state.isDown = true
        state.delay = 1_000
        yield* waited(Effect.exit(Effect.timeout(budget.settle(reservation, { tokens: 5 }), 500)), 1_000)
        state.isDown = false
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(yield* counted(budget), [5, 0])
      })
    )
  )

  it.effect("is told by a caller that has ended, with what was that caller's", () =>
    withBudget({}, (budget, state) =>
      Effect.gen(function* () {
        const registry = new Map()
        state.isDown = true
        yield* Effect.gen(function* () {
          state.isDown = false
          const reservation = yield* budget.reserve({ tokens: 700 })
          state.isDown = true
          yield* Effect.flip(budget.settle(reservation, { tokens: 600 }))
        }).pipe(Effect.provideService(Metric.MetricRegistry, registry), Effect.forkChild, Effect.flatMap(Fiber.join))
        state.isDown = false
        yield* TestClock.adjust("2 seconds")
        const metrics = yield* Effect.provideService(Metric.snapshot, Metric.MetricRegistry, registry)
        const tokens = metrics.find(({ id }) => id === "headgate_tokens")
        assert.deepStrictEqual(tokens?.type === "Counter" && Number(tokens.state.count), 600)
      })
    )
  )
})

describe("calls that go on without their store", () => {
  const allow = { onStoreError: "allow" } as const

  it.effect("do not each wait for it to fail, and what they took is booked when it answers", () =>
    withBudget(allow, (budget, state, told) =>
      Effect.gen(function* () {
        const before = yield* budget.reserve({ tokens: 100 })
        yield* TestClock.adjust("1 second")
        Object.assign(state, { isDown: true, delay: 500, asked: 0 })
        yield* waited(budget.reserve({ tokens: 10 }), 500)
        for (let call = 0; call < 30; call++) {
          const reservation = yield* budget.reserve({ tokens: 10 })
          yield* budget.extend(reservation, { tokens: 1 })
          assert.strictEqual((yield* budget.settle(reservation, { tokens: 7 })).returned.tokens, 4)
        }
        assert.strictEqual((yield* budget.settle(before, { tokens: 50 })).returned.tokens, 50)
        yield* Effect.flatMap(Alerts.Alerts, ({ drained }) => drained)
        // Of each that was let through, and of the one that was held.
        assert.strictEqual((yield* Ref.get(told)).filter((tag) => tag === "StoreDegraded").length, 32)
        assert.isAtMost(state.asked, 2)
        // One at a time asks whether it is there again.
        yield* TestClock.adjust("1 second")
        state.asked = 0
        const fibers = yield* Effect.forEach(Array.from({ length: 5 }), () =>
          Effect.forkChild(budget.check({ tokens: 1 }), { startImmediately: true })
        )
        yield* TestClock.adjust("499 millis")
        assert.isAtMost(state.asked, 2)
        yield* TestClock.adjust("10 millis")
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(yield* counted(budget), [0, 100])
        state.isDown = false
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(yield* counted(budget), [30 * 7 + 50, 0])
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 800 })))._tag, "BudgetExceeded")
      })
    )
  )

  it.effect("go on one by one where it fails at once, or is there for others", () =>
    withBudget({ ...allow, per: { user: { quotas: [total] } } }, (budget, state) =>
      Effect.gen(function* () {
        const bad = yield* budget.reserve({ tokens: 500 }, { user: "bad" })
        state.broken = "bad"
        // Nobody has been answered just now: that it fails at once is all that is known.
        yield* TestClock.adjust("1 second")
        yield* budget.settle(bad, { tokens: 400 })
        let refused = 0
        for (let call = 0; call < 100; call++) {
          yield* TestClock.adjust("97 millis")
          refused += yield* Effect.match(budget.reserve({ tokens: 50 }, { user: "good" }), {
            onFailure: () => 1,
            onSuccess: () => 0
          })
        }
        assert.strictEqual(refused, 90)
        yield* TestClock.adjust("1 second")
        state.isDown = true
        yield* budget.reserve({ tokens: 1 }, { user: "good" })
        state.isDown = false
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 600 })))._tag, "BudgetExceeded")
      })
    )
  )

  it.effect("do not go on because one of before it was back fails late", () =>
    withBudget(allow, (budget, state) =>
      Effect.gen(function* () {
        Object.assign(state, { isDown: true, delay: 5_000 })
        const late = yield* Effect.forkChild(budget.check({ tokens: 1 }), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        state.isDown = false
        yield* budget.reserve({ tokens: 1_000 })
        yield* TestClock.adjust("4 seconds")
        yield* Fiber.join(late)
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 1 })))._tag, "BudgetExceeded")
      })
    )
  )

  it.effect("end as they were promised to", () =>
    withBudget(allow, (budget, state) =>
      Effect.gen(function* () {
        const held = yield* budget.reserve({ tokens: 100 })
        Object.assign(state, { isDown: true })
        const unheld = yield* budget.reserve({ tokens: 100 })
        const given = yield* budget.reserve({ tokens: 100 })
        yield* budget.settle(held, { tokens: 50 })
        yield* budget.settle(unheld, { tokens: 60 })
        yield* budget.release(given)
        for (const isDown of [true, false]) {
          state.isDown = isDown
          for (const wrong of [
            budget.release(held),
            budget.release(unheld),
            budget.settle(held, { tokens: 51 }),
            budget.settle(unheld, { tokens: 61 }),
            budget.settle(given, { tokens: 1 })
          ]) {
            assert.strictEqual(
              (yield* Effect.flip(wrong as Effect.Effect<unknown, { _tag: string }>))._tag,
              "InvalidUsage"
            )
          }
          yield* budget.settle(held, { tokens: 50 })
          yield* budget.settle(unheld, { tokens: 60 })
        }
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(yield* counted(budget), [110, 0])
      })
    )
  )

  it.effect("are booked however long it is away, and give their allowance back at once", () =>
    withBudget(allow, (budget, state) =>
      Effect.gen(function* () {
        state.isDown = true
        const call = Effect.flatMap(budget.reserve({ tokens: 100 }), (reservation) =>
          budget.settle(reservation, { tokens: 7 })
        )
        yield* Budget.withAllowance(Effect.repeat(call, { times: 9 }), { tokens: 165 })
        yield* TestClock.adjust("1 hour")
        state.isDown = false
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* counted(budget), [70, 0])
      })
    )
  )

  it.effect("are recorded by hand as soon as it is there", () =>
    withBudget(allow, (budget, state) =>
      Effect.gen(function* () {
        Object.assign(state, { isDown: true, delay: 500 })
        yield* waited(budget.reserve({ tokens: 10 }), 500)
        state.isDown = false
        yield* budget.record(
          new UsageRecord({
            timestamp: DateTime.makeUnsafe(0),
            tokens: 20,
            cost: Money.zero,
            model: "m",
            requestId: ""
          })
        )
        assert.deepStrictEqual(yield* counted(budget), [20, 0])
      })
    )
  )

  it.effect("are held to the provider's word all the same, and to the limit once it answers", () =>
    Effect.gen(function* () {
      const { state, store } = yield* breakable
      const layer = RateLimiter.layer({ requestsPerMinute: 1, onStoreError: "allow", onExceeded: "fail" }).pipe(
        Layer.provide(Layer.succeed(QuotaStore.QuotaStore, store)),
        Layer.provideMerge(Alerts.layer)
      )
      yield* Effect.gen(function* () {
        const limiter = yield* RateLimiter.RateLimiter
        const permit = yield* limiter.acquire()
        yield* TestClock.adjust("1 second")
        Object.assign(state, { isDown: true, delay: 500, asked: 0 })
        yield* waited(limiter.acquire(), 500)
        for (let call = 0; call < 10; call++) {
          yield* Effect.flatMap(limiter.acquire(), (permit) => limiter.settle(permit, {}))
        }
        yield* limiter.settle(permit, {})
        assert.strictEqual((yield* Effect.flip(limiter.release(permit)))._tag, "InvalidUsage")
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
  const later = Later.make(Duration.seconds(1))

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
        yield* queue.add({}, "released", tell, 60_000)
      }
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual([told.length, atOnce], [0, 1])
      assert.isAtMost(tries, 62)
      isDown = false
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([told.length, new Set(told).size, atOnce], [1_000, 1_000, 1])
    })
  )

  it.effect("does not stop at what fails in another way, breaks or is interrupted", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const queue = yield* later
      for (const wrong of [Effect.fail("no store's error"), Effect.die("broken"), Effect.interrupt]) {
        yield* queue.add({}, "released", wrong, 60_000)
      }
      const tell = Effect.sync(() => told.push("told"))
      yield* queue.add({}, "released", tell, 60_000)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(told, ["told"])
      // It begins again when there is more.
      yield* queue.add({}, "released", tell, 60_000)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(told, ["told", "told"])
    })
  )

  it.effect("is bounded, keeps the last of one hold, and says so of what is left to its expiry", () => {
    const logged: Array<unknown> = []
    return Effect.gen(function* () {
      const queue = yield* later
      const told: Array<string> = []
      const hold = {}
      let isDown = true
      const tell = Effect.suspend(() => (isDown ? down : Effect.void))
      yield* queue.add(hold, "released", tell, 60_000)
      for (let number = 0; number < 10_009; number++) yield* queue.add({}, "released", tell, 10_000)
      assert.strictEqual(logged.length, 10)
      const last = Effect.sync(() => told.push("last"))
      yield* queue.add(hold, "released", last, 60_000)
      assert.strictEqual(logged.length, 10)
      yield* TestClock.adjust("20 seconds")
      isDown = false
      yield* TestClock.adjust("1 second")
      assert.isAbove(logged.length, 9_000)
      assert.deepStrictEqual(told, ["last"])
    }).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => void logged.push(message))])))
  })
})
