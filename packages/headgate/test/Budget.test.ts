import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Exit, Fiber, PubSub } from "effect"
import { TestClock } from "effect/testing"
import { Alerts, Budget, Money, UsageRecord, Window } from "headgate"

/** A test with a budget of its own. */
const withBudget = (
  options: Budget.Options,
  test: (budget: Budget.Service) => Effect.Effect<void, unknown, Alerts.Alerts | Budget.Budget>
) => Effect.flatMap(Budget.Budget, test).pipe(Effect.provide(Budget.layerMemory(options)))

const counters = (budget: Budget.Service, subject?: { readonly [dimension: string]: string }) =>
  Effect.map(budget.status(subject), ({ quotas }) => quotas.map(({ held, used }) => [used, held]))

const record = (tokens: number, options?: Partial<ConstructorParameters<typeof UsageRecord>[0]>) =>
  new UsageRecord({
    timestamp: DateTime.makeUnsafe(0),
    tokens,
    cost: Money.zero,
    model: "gpt-5.6",
    requestId: "",
    ...options
  })

const total = { unit: "tokens", limit: 100, window: Window.lifetime, name: "total" } as const

describe("Budget", () => {
  it.effect("holds an estimate, and puts what was used in its place", () =>
    withBudget({ maxTokensPerMinute: 100, maxCostPerDay: "$1" }, (budget) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 60, cost: "$0.50" })
        assert.deepInclude(reservation.estimate, { requests: 1, tokens: 60, cost: Money.usd(0.5) })
        assert.deepStrictEqual(yield* counters(budget), [
          [0, 60],
          [0, 500_000_000]
        ])
        const { actual, overrun, returned } = yield* budget.settle(reservation, { tokens: 25, cost: "$0.60" })
        assert.deepStrictEqual([actual.tokens, returned.tokens, overrun.tokens], [25, 35, 0])
        assert.deepStrictEqual([returned.cost, overrun.cost], [0, Money.usd(0.1)])
        assert.deepStrictEqual(yield* counters(budget), [
          [25, 0],
          [600_000_000, 0]
        ])
      })
    )
  )

  it.effect("gives back what is released", () =>
    withBudget({ quotas: [total] }, (budget) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 100 })
        yield* budget.release(reservation)
        yield* budget.release(reservation)
        assert.deepStrictEqual(yield* counters(budget), [[0, 0]])
        const error = yield* Effect.flip(budget.settle(reservation, { tokens: 1 }))
        assert.deepInclude(error, { _tag: "InvalidUsage", field: "reservation" })
        assert.deepStrictEqual(yield* counters(budget), [[0, 0]])
      })
    )
  )

  it.effect("says what is exceeded, whose it is, and until when", () =>
    withBudget({ per: { user: { maxTokensPerMinute: 100 } } }, (budget) =>
      Effect.gen(function* () {
        const user = { user: "42" }
        yield* budget.settle(yield* budget.reserve({ tokens: 50 }, user), { tokens: 50 })
        yield* budget.reserve({ tokens: 30 }, user)
        const error = yield* Effect.flip(budget.reserve({ tokens: 21 }, user))
        assert.deepInclude(error, {
          _tag: "BudgetExceeded",
          quota: "maxTokensPerMinute",
          subject: user,
          unit: "tokens",
          limit: 100,
          used: 50,
          held: 30,
          requested: 21,
          remaining: 20
        })
        const retryAfter = error._tag === "BudgetExceeded" ? Duration.toMillis(error.retryAfter) : 0
        assert.strictEqual(retryAfter, 61_000)
        yield* TestClock.adjust(retryAfter - 1)
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 21 }, user)))._tag, "BudgetExceeded")
        yield* TestClock.adjust(1)
        yield* budget.reserve({ tokens: 21 }, user)
      })
    )
  )

  it.effect("refuses what can never fit without a retryAfter, and holds nothing", () =>
    withBudget({ quotas: [total], maxTokensPerRequest: 50 }, (budget) =>
      Effect.gen(function* () {
        const single = yield* Effect.flip(budget.reserve({ tokens: 51 }))
        assert.deepInclude(single, { _tag: "RequestTooLarge", quota: "maxTokensPerRequest", limit: 50, requested: 51 })
        assert.notProperty(single, "retryAfter")
        assert.deepStrictEqual(yield* counters(budget), [[0, 0]])
      })
    )
  )

  it.effect("asks without holding", () =>
    withBudget({ quotas: [total] }, (budget) =>
      Effect.gen(function* () {
        yield* budget.check({ tokens: 100 })
        assert.deepStrictEqual(yield* counters(budget), [[0, 0]])
        yield* budget.reserve({ tokens: 60 })
        const asked = yield* Effect.flip(budget.check({ tokens: 41 }))
        const refused = yield* Effect.flip(budget.reserve({ tokens: 41 }))
        assert.deepStrictEqual({ ...asked }, { ...refused })
        assert.strictEqual((yield* Effect.flip(budget.check({ tokens: 101 })))._tag, "RequestTooLarge")
        assert.deepStrictEqual(yield* counters(budget), [[0, 60]])
      })
    )
  )

  it.effect("extends a reservation, or leaves it as it was", () =>
    withBudget({ quotas: [total], maxTokensPerRequest: 90, reservationTtl: "10 seconds" }, (budget) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 50 }, {}, { onUnknown: "release" })
        const other = yield* budget.reserve({ tokens: 20 }, {}, { onUnknown: "release" })
        yield* TestClock.adjust("9 seconds")
        yield* budget.extend(reservation, { tokens: 30 })
        assert.deepStrictEqual(yield* counters(budget), [[0, 100]])
        assert.strictEqual((yield* Effect.flip(budget.extend(reservation, { tokens: 1 })))._tag, "BudgetExceeded")
        assert.strictEqual((yield* Effect.flip(budget.extend(reservation, { tokens: 11 })))._tag, "RequestTooLarge")
        // The other one's time is over; this one's began anew.
        yield* TestClock.adjust("9 seconds")
        assert.deepStrictEqual(yield* counters(budget), [[0, 80]])
        yield* budget.extend(reservation, { tokens: 10 })
        const { returned } = yield* budget.settle(reservation, { tokens: 85 })
        assert.strictEqual(returned.tokens, 5)
        assert.strictEqual((yield* Effect.flip(budget.extend(reservation, { tokens: 0 })))._tag, "InvalidUsage")
        yield* budget.release(other)
        assert.deepStrictEqual(yield* counters(budget), [[85, 0]])
      })
    )
  )

  it.effect("settles once", () =>
    withBudget({ quotas: [total] }, (budget) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 50 })
        const first = yield* budget.settle(reservation, { tokens: 30 })
        assert.deepStrictEqual(yield* budget.settle(reservation, { tokens: 30 }), first)
        assert.strictEqual((yield* Effect.flip(budget.settle(reservation, { tokens: 31 })))._tag, "InvalidUsage")
        assert.strictEqual((yield* Effect.flip(budget.release(reservation)))._tag, "InvalidUsage")
        assert.deepStrictEqual(yield* counters(budget), [[30, 0]])
      })
    )
  )

  it.effect("gives the same reservation for the same id, and takes no other for it", () =>
    withBudget({ quotas: [total], per: { user: { quotas: [total] } } }, (budget) =>
      Effect.gen(function* () {
        const first = yield* budget.reserve({ tokens: 50 }, {}, { id: "call-1" })
        const again = yield* budget.reserve({ tokens: 50 }, {}, { id: "call-1" })
        assert.strictEqual(again.id, first.id)
        for (const [tokens, subject] of [
          [51, {}],
          [50, { user: "42" }]
        ] as const) {
          const error = yield* Effect.flip(budget.reserve({ tokens }, subject, { id: "call-1" }))
          assert.deepInclude(error, { _tag: "InvalidUsage", field: "reservation" })
        }
        yield* budget.settle(first, { tokens: 40 })
        yield* budget.settle(again, { tokens: 40 })
        assert.deepStrictEqual(yield* counters(budget), [[40, 0]])
      })
    )
  )

  it.effect("charges or releases a reservation whose holder is gone", () =>
    withBudget({ quotas: [total], reservationTtl: "1 minute" }, (budget) =>
      Effect.gen(function* () {
        yield* budget.reserve({ tokens: 60 })
        yield* budget.reserve({ tokens: 40 }, {}, { onUnknown: "release" })
        yield* TestClock.adjust("59999 millis")
        assert.deepStrictEqual(yield* counters(budget), [[0, 100]])
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* counters(budget), [[60, 0]])
      })
    )
  )

  it.effect("takes a settlement after the expiry, once", () =>
    withBudget({ quotas: [total], reservationTtl: "1 minute" }, (budget) =>
      Effect.gen(function* () {
        const charged = yield* budget.reserve({ tokens: 60 })
        const released = yield* budget.reserve({ tokens: 40 }, {}, { onUnknown: "release" })
        yield* TestClock.adjust("1 hour")
        yield* budget.settle(charged, { tokens: 10 })
        yield* budget.settle(released, { tokens: 30 })
        yield* budget.settle(released, { tokens: 30 })
        assert.deepStrictEqual(yield* counters(budget), [[40, 0]])
      })
    )
  )

  it.effect("books what was never reserved, once per request id, past a limit too", () =>
    withBudget({ quotas: [total], per: { user: { quotas: [total] }, model: { quotas: [total] } } }, (budget) =>
      Effect.gen(function* () {
        const subject = { user: "42", model: "gpt-5.6" }
        const spent = record(80, { requestId: "r-1", userId: "42" })
        yield* budget.record(spent)
        yield* budget.record(spent)
        assert.deepStrictEqual(yield* counters(budget, subject), [
          [80, 0],
          [80, 0],
          [80, 0]
        ])
        const other = yield* Effect.flip(budget.record(record(81, { requestId: "r-1", userId: "42" })))
        assert.strictEqual(other._tag, "InvalidUsage")
        yield* budget.record(record(80))
        yield* budget.record(record(80))
        assert.deepStrictEqual(yield* counters(budget), [[240, 0]])
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 1 })))._tag, "BudgetExceeded")
      })
    )
  )

  it.effect("books an overrun in full, tells of it, and blocks what comes after", () =>
    withBudget({ quotas: [total] }, (budget) =>
      Effect.gen(function* () {
        const alerts = yield* Effect.flatMap(Alerts.Alerts, ({ subscribe }) => subscribe)
        const reservation = yield* budget.reserve({ tokens: 50 })
        const { overrun } = yield* budget.settle(reservation, { tokens: 250 })
        assert.strictEqual(overrun.tokens, 200)
        const [quota] = (yield* budget.status()).quotas
        assert.deepInclude(quota, { used: 250, remaining: 0, utilization: 2.5 })
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 1 })))._tag, "BudgetExceeded")
        const told = yield* PubSub.takeAll(alerts)
        assert.deepStrictEqual(
          told.map(({ _tag, current, threshold }) => [_tag, threshold, current]),
          [
            ["Overrun", 50, 250],
            ["ThresholdReached", 0.8, 2.5],
            ["LimitHit", 1, 2.51]
          ]
        )
      }).pipe(Effect.scoped)
    )
  )

  it.effect("resets everything, or what is a subject's own; what is held stays held", () =>
    withBudget({ quotas: [total], per: { user: { quotas: [total] } } }, (budget) =>
      Effect.gen(function* () {
        const [a, b] = [{ user: "a" }, { user: "b" }]
        yield* budget.record(record(30, { userId: "a" }))
        yield* budget.record(record(20, { userId: "b" }))
        yield* budget.reserve({ tokens: 10 }, a)
        yield* budget.reset(a)
        assert.deepStrictEqual(yield* counters(budget, a), [
          [50, 10],
          [0, 10]
        ])
        assert.deepStrictEqual(yield* counters(budget, b), [
          [50, 10],
          [20, 0]
        ])
        yield* budget.reset()
        assert.deepStrictEqual(yield* counters(budget, a), [
          [0, 10],
          [0, 10]
        ])
        assert.deepStrictEqual((yield* counters(budget, b))[1], [0, 0])
      })
    )
  )

  describe("withReservation", () => {
    const call = { tokens: 12 }
    const run = Budget.withReservation({ tokens: 50 }, (reply: { readonly tokens: number }) => reply)

    const outcomes: ReadonlyArray<
      readonly [name: string, effect: Effect.Effect<unknown, unknown, Budget.Budget>, used: number]
    > = [
      ["settles a success with what it took", run(Effect.succeed(call)), 12],
      ["settles a success beyond the estimate in full", run(Effect.succeed({ tokens: 70 })), 70],
      ["gives back a failure", run(Effect.fail("refused")), 0],
      ["charges a defect", run(Effect.die("broken")), 50],
      ["charges an interruption", run(Effect.interrupt), 50],
      ["charges the estimate for a usage that is wrong", run(Effect.succeed({ tokens: -1 })), 50]
    ]
    for (const [name, effect, used] of outcomes) {
      it.effect(name, () =>
        withBudget({ quotas: [total] }, (budget) =>
          Effect.gen(function* () {
            yield* Effect.exit(effect)
            assert.deepStrictEqual(yield* counters(budget), [[used, 0]])
          })
        )
      )
    }

    it.effect("gives back what may not have been taken when told to", () =>
      withBudget({ quotas: [total] }, (budget) =>
        Effect.gen(function* () {
          const release = Budget.withReservation({ tokens: 50 }, () => call, { onUnknown: "release" })
          yield* Effect.exit(release(Effect.die("broken")))
          const fiber = yield* Effect.forkChild(release(Effect.never), { startImmediately: true })
          assert.deepStrictEqual(yield* counters(budget), [[0, 50]])
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual(yield* counters(budget), [[0, 0]])
        })
      )
    )

    it.effect("does not run what it refuses", () =>
      withBudget({ quotas: [{ ...total, limit: 49 }] }, () =>
        Effect.gen(function* () {
          let calls = 0
          const exit = yield* Effect.exit(run(Effect.sync(() => ({ tokens: ++calls }))))
          assert.isTrue(Exit.isFailure(exit))
          assert.strictEqual(calls, 0)
        })
      )
    )
  })
})
