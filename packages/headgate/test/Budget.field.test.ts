// What went wrong elsewhere (shared notes, "The field"): each test is named after what it guards against.
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Fiber, PubSub } from "effect"
import { TestClock } from "effect/testing"
import { Alerts, Budget, Money, type Quota, type Subject, UsageRecord, Window } from "headgate"

const withBudget = (
  options: Budget.Options,
  test: (budget: Budget.Service) => Effect.Effect<void, unknown, Alerts.Alerts | Budget.Budget>
) => Effect.flatMap(Budget.Budget, test).pipe(Effect.provide(Budget.layerMemory(options)))

const used = (budget: Budget.Service, subject?: Subject.Subject) =>
  Effect.map(budget.status(subject), ({ quotas }) => quotas.map(({ used }) => used))

const held = (budget: Budget.Service) => Effect.map(budget.status(), ({ quotas }) => quotas.map(({ held }) => held))

const total: Quota.Input = { unit: "tokens", limit: 100, window: Window.lifetime, name: "total" }

describe("guards against what went wrong elsewhere", () => {
  it.effect("663 tokens on a limit of 100 a minute (litellm #18730)", () =>
    withBudget({ maxTokensPerMinute: 100 }, (budget) =>
      Effect.gen(function* () {
        const call = Effect.as(Effect.yieldNow, { tokens: 13 }).pipe(
          Budget.withReservation({ tokens: 13 }, (took) => took)
        )
        yield* Effect.all(
          Array.from({ length: 51 }, () => Effect.option(call)),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(yield* used(budget), [91])
      })
    )
  )

  it.effect("the first requests of an unknown user (litellm #40095)", () =>
    withBudget({ per: { user: { quotas: [total] } } }, (budget) =>
      Effect.gen(function* () {
        const first = Array.from({ length: 10 }, () => Effect.option(budget.reserve({ tokens: 30 }, { user: "new" })))
        const admitted = (yield* Effect.all(first, { concurrency: "unbounded" })).filter(({ _tag }) => _tag === "Some")
        assert.strictEqual(admitted.length, 3)
      })
    )
  )

  it.effect("$111 enforced where $55 was spent: reserved and actual both counted (litellm #40050, #35569)", () =>
    withBudget({ maxCostPerDay: "$100" }, (budget) =>
      Effect.gen(function* () {
        for (let call = 0; call < 55; call++) {
          const reservation = yield* budget.reserve({ cost: "$2" })
          yield* budget.settle(reservation, { cost: "$1" })
        }
        assert.deepStrictEqual(yield* used(budget), [Money.usd(55)])
        assert.deepStrictEqual(yield* held(budget), [0])
        yield* budget.check({ cost: "$45" })
      })
    )
  )

  it.effect("a cancelled call keeps its hold (litellm PR #30519)", () =>
    withBudget({ quotas: [total, { unit: "concurrency", limit: 1 }] }, (budget) =>
      Effect.gen(function* () {
        const call = Budget.withReservation({ tokens: 60 }, () => ({}), { onUnknown: "release" })(Effect.never)
        const fiber = yield* Effect.forkChild(call, { startImmediately: true })
        assert.deepStrictEqual(yield* held(budget), [60, 1])
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(yield* held(budget), [0, 0])
        assert.deepStrictEqual(yield* used(budget), [0, 0])
      })
    )
  )

  it.effect("a key that is dead until a restart, its concurrency leaked (litellm #20256, #27955)", () =>
    withBudget({ quotas: [{ unit: "concurrency", limit: 2 }], reservationTtl: "1 minute" }, (budget) =>
      Effect.gen(function* () {
        yield* budget.reserve({})
        yield* budget.reserve({})
        const error = yield* Effect.flip(budget.reserve({}))
        assert.deepInclude(error, { _tag: "BudgetExceeded", retryAfter: Duration.minutes(1) })
        yield* TestClock.adjust("1 minute")
        yield* budget.reserve({})
      })
    )
  )

  it.effect("forgiven debt: what a call took beyond its estimate vanishes (TensorZero, agentgateway)", () =>
    withBudget({ quotas: [{ ...total, window: Window.bucket({ refill: "1 minute" }) }] }, (budget) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 100 })
        yield* budget.settle(reservation, { tokens: 180 })
        assert.deepStrictEqual(yield* used(budget), [180])
        const error = yield* Effect.flip(budget.reserve({ tokens: 1 }))
        // 81 have to drain, at 100 a minute.
        assert.deepInclude(error, { _tag: "BudgetExceeded", retryAfter: Duration.millis(48_600) })
      })
    )
  )

  it.effect("a failed call keeps its whole estimate (TensorZero)", () =>
    withBudget({ quotas: [total] }, (budget) =>
      Effect.gen(function* () {
        yield* Effect.exit(Budget.withReservation({ tokens: 60 }, () => ({}))(Effect.fail("refused by the provider")))
        assert.deepStrictEqual(yield* used(budget), [0])
        assert.deepStrictEqual(yield* held(budget), [0])
      })
    )
  )

  it.effect("two windows of one unit on one subject are refused as duplicates (TensorZero)", () =>
    withBudget({ maxTokensPerMinute: 100, quotas: [total, total, { ...total, limit: 50 }] }, (budget) =>
      Effect.gen(function* () {
        const names = (yield* budget.status()).quotas.map(({ name }) => name)
        assert.deepStrictEqual(names, ["maxTokensPerMinute", "total", "total (2)", "total (3)"])
        yield* budget.reserve({ tokens: 30 })
        assert.deepStrictEqual(yield* held(budget), [30, 30, 30, 30])
      })
    )
  )

  it.effect("a denial or a probe empties the bucket (Portkey)", () =>
    withBudget({ quotas: [{ ...total, window: Window.bucket({ refill: "1 minute" }) }] }, (budget) =>
      Effect.gen(function* () {
        yield* budget.reserve({ tokens: 60 })
        for (let turn = 0; turn < 100; turn++) {
          yield* Effect.flip(budget.reserve({ tokens: 41 }))
          yield* budget.check({ tokens: 40 })
        }
        yield* budget.reserve({ tokens: 40 })
      })
    )
  )

  it.effect("an estimate above the limit is refused for ever with a Retry-After (litellm #28805)", () =>
    withBudget({ maxTokensPerMinute: 100 }, (budget) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(budget.reserve({ tokens: 101 }))
        assert.strictEqual(error._tag, "RequestTooLarge")
        assert.notProperty(error, "retryAfter")
      })
    )
  )

  it.effect("a limit of 0 skips enforcement (litellm)", () =>
    withBudget(
      { per: { user: { maxCostPerDay: "$5" } }, overrides: { user: { out: { maxCostPerDay: "$0" } } } },
      (budget) =>
        Effect.gen(function* () {
          assert.strictEqual(
            (yield* Effect.flip(budget.reserve({ cost: "$0" }, { user: "out" })))._tag,
            "RequestTooLarge"
          )
          yield* budget.reserve({ cost: "$5" }, { user: "in" })
        })
    )
  )

  it.effect("two checks with different edges: the whole limit is refused (litellm #27021)", () =>
    withBudget(
      { maxTokensPerRequest: 100, maxTokensPerMinute: 100, maxCostPerDay: "$1", maxCostPerRequest: "$1" },
      (budget) =>
        Effect.gen(function* () {
          yield* budget.check({ tokens: 100, cost: "$1" })
          yield* budget.reserve({ tokens: 100, cost: "$1" })
        })
    )
  )

  it.effect("an earlier limit keeps its part when a later one refuses (agentgateway)", () =>
    withBudget({ maxTokensPerMinute: 100, maxCostPerDay: "$1", per: { user: { quotas: [total] } } }, (budget) =>
      Effect.gen(function* () {
        yield* budget.reserve({ cost: "$1" })
        yield* Effect.flip(budget.reserve({ tokens: 50, cost: "$1" }, { user: "a" }))
        assert.deepStrictEqual(yield* held(budget), [0, Money.usd(1)])
        assert.deepStrictEqual(
          (yield* budget.status({ user: "a" })).quotas.map((quota) => quota.held),
          [0, Money.usd(1), 0]
        )
      })
    )
  )

  it.effect("cached tokens counted twice, or not as one wants (litellm #14849, #18728, aisix #733)", () =>
    withBudget(
      {
        quotas: [
          { unit: "inputTokens", limit: 1_000, window: Window.lifetime, name: "counted" },
          { unit: "inputTokens", limit: 1_000, window: Window.lifetime, name: "free", cachedInput: "free" },
          { unit: "tokens", limit: 1_000, window: Window.lifetime, name: "all", cachedInput: "free" }
        ]
      },
      (budget) =>
        Effect.gen(function* () {
          const usage = { inputTokens: 500, cachedInputTokens: 400, outputTokens: 50 }
          yield* budget.settle(yield* budget.reserve(usage), usage)
          assert.deepStrictEqual(yield* used(budget), [500, 100, 150])
        })
    )
  )

  it.effect("explicit zero usage treated as missing (litellm #37992)", () =>
    withBudget({ quotas: [total] }, (budget) =>
      Effect.gen(function* () {
        const reservation = yield* budget.reserve({ tokens: 60 })
        const { returned } = yield* budget.settle(reservation, { tokens: 0 })
        assert.strictEqual(returned.tokens, 60)
        assert.deepStrictEqual(yield* used(budget), [0])
      })
    )
  )

  it.effect("a window longer than asked for, or one that never resets (litellm #31292, #7129, #5651)", () =>
    withBudget({ quotas: [{ ...total, window: Window.fixed("7 days") }] }, (budget) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("6 days")
        yield* budget.settle(yield* budget.reserve({ tokens: 100 }), { tokens: 100 })
        yield* TestClock.adjust(Duration.millis(86_400_000 - 1))
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 100 })))._tag, "BudgetExceeded")
        yield* TestClock.adjust(1)
        yield* budget.settle(yield* budget.reserve({ tokens: 100 }), { tokens: 100 })
        yield* TestClock.adjust("7 days")
        yield* budget.reserve({ tokens: 100 })
      })
    )
  )

  it.effect("an alert per request, or told to the wrong one (litellm #3738, #3113, #27398)", () =>
    withBudget({ per: { user: { quotas: [total] }, team: { quotas: [{ ...total, limit: 1_000 }] } } }, (budget) =>
      Effect.gen(function* () {
        const alerts = yield* Effect.flatMap(Alerts.Alerts, ({ subscribe }) => subscribe)
        for (let call = 0; call < 100; call++) {
          for (const user of ["a", "b"]) {
            const reservation = yield* Effect.option(budget.reserve({ tokens: 5 }, { user, team: "t" }))
            if (reservation._tag === "Some") yield* budget.settle(reservation.value, { tokens: 5 })
          }
        }
        const told = (yield* PubSub.takeAll(alerts)).map(
          ({ _tag, subject }) => `${_tag} ${Object.values(subject).join()}`
        )
        assert.deepStrictEqual(told.toSorted(), [
          "LimitHit a",
          "LimitHit b",
          "ThresholdReached a",
          "ThresholdReached b"
        ])
      }).pipe(Effect.scoped)
    )
  )

  it.effect("an alert at what is only held: “used %” fires early (bifrost #5770)", () =>
    withBudget({ quotas: [total] }, (budget) =>
      Effect.gen(function* () {
        const alerts = yield* Effect.flatMap(Alerts.Alerts, ({ subscribe }) => subscribe)
        const reservation = yield* budget.reserve({ tokens: 95 })
        yield* budget.settle(reservation, { tokens: 10 })
        yield* budget.settle(yield* budget.reserve({ tokens: 70 }), { tokens: 70 })
        const told = yield* PubSub.takeAll(alerts)
        assert.deepStrictEqual(
          told.map(({ _tag, current }) => [_tag, current]),
          [["ThresholdReached", 0.8]]
        )
      }).pipe(Effect.scoped)
    )
  )

  it.effect("a free call blocked by a spent budget (litellm #14004)", () =>
    withBudget({ maxCostPerDay: "$1" }, (budget) =>
      Effect.gen(function* () {
        yield* budget.settle(yield* budget.reserve({ cost: "$1" }), { cost: "$2" })
        yield* budget.reserve({ tokens: 1_000 })
        assert.strictEqual((yield* Effect.flip(budget.reserve({ cost: "$0.01" })))._tag, "BudgetExceeded")
      })
    )
  )

  it.effect("a record that is reported again after a retry (the Go package)", () =>
    withBudget({ maxCostPerDay: "$1" }, (budget) =>
      Effect.gen(function* () {
        const timestamp = DateTime.makeUnsafe(0)
        const cost = Money.usd(0.000000001)
        const record = new UsageRecord({ timestamp, tokens: 1, cost, model: "m", requestId: "r" })
        yield* Effect.all([budget.record(record), budget.record(record)], { concurrency: 2 })
        assert.deepStrictEqual(yield* used(budget), [1])
      })
    )
  )

  it.effect("the overshoot is bounded by what is under way: actual less estimate of the open calls", () =>
    withBudget({ quotas: [total] }, (budget) =>
      Effect.gen(function* () {
        const open = yield* Effect.forEach([1, 2, 3, 4, 5], () => budget.reserve({ tokens: 20 }))
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 1 })))._tag, "BudgetExceeded")
        yield* Effect.forEach(open, (reservation) => budget.settle(reservation, { tokens: 25 }))
        assert.deepStrictEqual(yield* used(budget), [125])
      })
    )
  )
})
