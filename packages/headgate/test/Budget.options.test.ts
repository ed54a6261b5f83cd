import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, DateTime, Duration, Effect, Layer, PubSub, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Alerts, Budget, Money, QuotaStore, StoreError, Window } from "headgate"

const withBudget = (
  options: Budget.Options,
  test: (budget: Budget.Service) => Effect.Effect<void, unknown, Alerts.Alerts | Budget.Budget>
) => Effect.flatMap(Budget.Budget, test).pipe(Effect.provide(Budget.layerMemory(options)))

const spend = (budget: Budget.Service, usage: { readonly tokens?: number; readonly cost?: Money.Input }) =>
  Effect.flatMap(budget.reserve(usage), (reservation) => budget.settle(reservation, usage))

const total = { unit: "tokens", limit: 100, window: Window.lifetime, name: "total" } as const

describe("Budget options", () => {
  const limits = [
    ["maxTokensPerMinute", 100, { tokens: 100 }, 61_000],
    ["maxTokensPerHour", 100, { tokens: 100 }, 3_660_000],
    ["maxTokensPerDay", 100, { tokens: 100 }, 86_400_000],
    ["maxCostPerDay", "$1", { cost: "$1" }, 86_400_000]
  ] as const
  for (const [name, limit, usage, reset] of limits) {
    it.effect(`${name} limits what is spent, and comes back`, () =>
      withBudget({ [name]: limit }, (budget) =>
        Effect.gen(function* () {
          yield* spend(budget, usage)
          const error = yield* Effect.flip(budget.reserve(usage))
          assert.deepInclude(error, { _tag: "BudgetExceeded", quota: name })
          assert.deepStrictEqual((yield* budget.status()).quotas[0]?.resetAfter, Duration.millis(reset))
          yield* TestClock.adjust(reset)
          yield* budget.reserve(usage)
        })
      )
    )
  }

  const perRequest = [
    ["maxTokensPerRequest", 100, { tokens: 100 }, { tokens: 101 }],
    ["maxCostPerRequest", "$1", { cost: "$1" }, { cost: "$1.000000001" }]
  ] as const
  for (const [name, limit, fits, large] of perRequest) {
    it.effect(`${name} limits a single call`, () =>
      withBudget({ [name]: limit }, (budget) =>
        Effect.gen(function* () {
          for (let turn = 0; turn < 10; turn++) yield* budget.reserve(fits)
          const error = yield* Effect.flip(budget.reserve(large))
          assert.deepInclude(error, { _tag: "RequestTooLarge", quota: name })
        })
      )
    )
  }

  it.effect("has the defaults of the Go package", () =>
    withBudget(Budget.defaults, (budget) =>
      Effect.gen(function* () {
        const { quotas } = yield* budget.status()
        assert.deepStrictEqual(
          quotas.map(({ limit, name }) => [name, limit]),
          [
            ["maxTokensPerMinute", 500_000],
            ["maxTokensPerHour", 5_000_000],
            ["maxTokensPerDay", 50_000_000],
            ["maxCostPerDay", Money.usd(1_000)]
          ]
        )
        yield* budget.check({ tokens: 100_000, cost: "$10" })
        assert.strictEqual((yield* Effect.flip(budget.check({ tokens: 100_001 })))._tag, "RequestTooLarge")
        assert.strictEqual((yield* Effect.flip(budget.check({ cost: "$10.01" })))._tag, "RequestTooLarge")
      })
    )
  )

  it.effect("limits nothing without a limit", () =>
    withBudget({}, (budget) =>
      Effect.gen(function* () {
        yield* spend(budget, { tokens: Number.MAX_SAFE_INTEGER, cost: "$9007199" })
        yield* budget.reset()
        assert.deepStrictEqual((yield* budget.status()).quotas, [])
      })
    )
  )

  it.effect("counts each value of a dimension for itself, and what is different for single ones", () =>
    withBudget(
      {
        per: { user: { quotas: [total], maxTokensPerRequest: 50 } },
        overrides: { user: { vip: { quotas: [{ ...total, limit: 1_000 }] }, banned: { maxTokensPerRequest: 0 } } }
      },
      (budget) =>
        Effect.gen(function* () {
          for (const user of ["a", "b"]) {
            yield* budget.reserve({ tokens: 50 }, { user })
            yield* budget.reserve({ tokens: 50 }, { user, agent: "not limited" })
            assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 1 }, { user })))._tag, "BudgetExceeded")
          }
          for (let turn = 0; turn < 20; turn++) yield* budget.reserve({ tokens: 50 }, { user: "vip" })
          assert.strictEqual(
            (yield* Effect.flip(budget.reserve({ tokens: 51 }, { user: "vip" })))._tag,
            "RequestTooLarge"
          )
          assert.strictEqual((yield* Effect.flip(budget.reserve({}, { user: "banned" })))._tag, "RequestTooLarge")
          // Whoever has no user has no such limit.
          yield* budget.reserve({ tokens: 1_000 })
        })
    )
  )

  it.effect("begins days at midnight of its time zone", () =>
    withBudget({ maxTokensPerDay: 100, timeZone: "Asia/Tokyo" }, (budget) =>
      Effect.gen(function* () {
        // 1970-01-01 09:00 in Tokyo.
        yield* spend(budget, { tokens: 100 })
        yield* TestClock.adjust("14 hours")
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 1 })))._tag, "BudgetExceeded")
        yield* TestClock.adjust("1 hour")
        yield* budget.reserve({ tokens: 100 })
      })
    )
  )

  it.effect("throttles after a refusal, for a while, and says until when", () =>
    withBudget({ maxTokensPerMinute: 100, autoThrottle: true, throttleDelay: "5 seconds" }, (budget) =>
      Effect.gen(function* () {
        yield* budget.reserve({ tokens: 60 }, {}, { onUnknown: "release" })
        assert.isFalse((yield* budget.status()).isThrottled)
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 41 })))._tag, "BudgetExceeded")
        // It would fit, but for the throttle.
        const error = yield* Effect.flip(budget.reserve({ tokens: 1 }))
        const until = DateTime.makeUnsafe(5_000)
        assert.deepInclude(error, { _tag: "BudgetThrottled", until, retryAfter: Duration.seconds(5) })
        assert.deepInclude(yield* budget.status(), { isThrottled: true, throttleUntil: until })
        yield* TestClock.adjust(4_999)
        assert.strictEqual((yield* Effect.flip(budget.check({ tokens: 1 })))._tag, "BudgetThrottled")
        yield* TestClock.adjust(1)
        yield* budget.reserve({ tokens: 1 })
        assert.isFalse((yield* budget.status()).isThrottled)
      })
    )
  )

  it.effect("ends a throttle by a reset, and does not throttle for what can never fit or never comes back", () =>
    withBudget({ maxTokensPerMinute: 100, quotas: [{ ...total, limit: 50 }], autoThrottle: true }, (budget) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 101 })))._tag, "RequestTooLarge")
        yield* spend(budget, { tokens: 50 })
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 50 })))._tag, "BudgetExceeded")
        assert.isFalse((yield* budget.status()).isThrottled)
        yield* budget.reset()
        yield* budget.reserve({ tokens: 50 })
      })
    )
  )

  it.effect("only watches in shadow mode: refuses nothing, counts and tells", () =>
    withBudget({ quotas: [total], maxTokensPerRequest: 90, mode: "shadow" }, (budget) =>
      Effect.gen(function* () {
        const alerts = yield* Effect.flatMap(Alerts.Alerts, ({ subscribe }) => subscribe)
        const reservation = yield* budget.reserve({ tokens: 80 })
        const over = yield* budget.reserve({ tokens: 80 })
        yield* budget.reserve({ tokens: 500 })
        yield* budget.check({ tokens: 500 })
        yield* budget.settle(reservation, { tokens: 80 })
        yield* budget.settle(over, { tokens: 70 })
        assert.deepInclude((yield* budget.status()).quotas[0], { used: 150, held: 500 })
        const told = (yield* PubSub.takeAll(alerts)).map(({ _tag }) => _tag)
        assert.deepStrictEqual(told, ["LimitHit", "ThresholdReached"])
      }).pipe(Effect.scoped)
    )
  )

  it.effect("alerts at the thresholds it is given, once each", () =>
    withBudget({ maxTokensPerMinute: 100, alertThreshold: [0.5, 0.9] }, (budget) =>
      Effect.gen(function* () {
        const alerts = yield* Effect.flatMap(Alerts.Alerts, ({ subscribe }) => subscribe)
        for (let call = 0; call < 10; call++) yield* spend(budget, { tokens: 10 })
        const told = (yield* PubSub.takeAll(alerts)).map((alert) => [alert._tag, alert.threshold, alert.current])
        assert.deepStrictEqual(told, [
          ["ThresholdReached", 0.5, 0.5],
          ["ThresholdReached", 0.9, 0.9]
        ])
      }).pipe(Effect.scoped)
    )
  )

  it.effect("has no NaN where a limit is 0, and denies everything", () =>
    withBudget(
      { maxTokensPerMinute: 0, maxTokensPerHour: 0, maxTokensPerDay: 0, maxCostPerDay: Money.zero },
      (budget) =>
        Effect.gen(function* () {
          for (const usage of [{}, { tokens: 0 }, { tokens: 1 }]) {
            assert.strictEqual((yield* Effect.flip(budget.reserve(usage)))._tag, "RequestTooLarge")
          }
          const { quotas, ...status } = yield* budget.status()
          assert.deepStrictEqual(status, {
            isThrottled: false,
            tokensUsedMinute: 0,
            tokensUsedHour: 0,
            tokensUsedDay: 0,
            costUsedDay: Money.zero,
            minuteUtilization: 0,
            hourUtilization: 0,
            dayUtilization: 0,
            costUtilization: 0
          })
          for (const quota of quotas) assert.deepInclude(quota, { used: 0, held: 0, remaining: 0, utilization: 0 })
        })
    )
  )

  it.effect("tells what is used by the names of its options", () =>
    withBudget(
      { maxTokensPerMinute: 100, maxTokensPerHour: 200, maxTokensPerDay: 400, maxCostPerDay: "$4" },
      (budget) =>
        Effect.gen(function* () {
          yield* spend(budget, { tokens: 50, cost: "$1" })
          assert.deepInclude(yield* budget.status(), {
            tokensUsedMinute: 50,
            tokensUsedHour: 50,
            tokensUsedDay: 50,
            costUsedDay: Money.usd(1),
            minuteUtilization: 0.5,
            hourUtilization: 0.25,
            dayUtilization: 0.125,
            costUtilization: 0.25
          })
        })
    )
  )

  describe("onStoreError", () => {
    const broken = new StoreError({ operation: "reserve", outcome: "notApplied", cause: "down" })
    const store = Layer.effect(QuotaStore.QuotaStore)(
      Effect.map(QuotaStore.makeMemory, (store) => ({ ...store, reserve: () => Effect.fail(broken) }))
    )
    const withBroken = (
      onStoreError: "fail" | "allow",
      test: (budget: Budget.Service) => Effect.Effect<void, unknown, Alerts.Alerts>
    ) =>
      Effect.flatMap(Budget.Budget, test).pipe(
        Effect.provide(
          Budget.layer({ quotas: [total], onStoreError }).pipe(Layer.provide(store), Layer.provideMerge(Alerts.layer))
        )
      )

    it.effect("fails a call when the store fails", () =>
      withBroken("fail", (budget) =>
        Effect.gen(function* () {
          assert.strictEqual(yield* Effect.flip(budget.reserve({ tokens: 1 })), broken)
        })
      )
    )

    it.effect("lets a call through and tells of it, and books what it took once", () =>
      withBroken("allow", (budget) =>
        Effect.gen(function* () {
          const alerts = yield* Effect.flatMap(Alerts.Alerts, ({ subscribe }) => subscribe)
          const reservation = yield* budget.reserve({ tokens: 1_000 })
          assert.deepStrictEqual(
            (yield* PubSub.takeAll(alerts)).map(({ _tag }) => _tag),
            ["StoreDegraded"]
          )
          // For a moment it is not asked, and told of it afterwards.
          const { returned } = yield* budget.settle(reservation, { tokens: 60 })
          assert.strictEqual(returned.tokens, 940)
          yield* TestClock.adjust("1 second")
          assert.strictEqual((yield* budget.status()).quotas[0]?.used, 60)
          yield* budget.settle(reservation, { tokens: 60 })
          assert.strictEqual((yield* budget.status()).quotas[0]?.used, 60)
        }).pipe(Effect.scoped)
      )
    )

    it.effect("books nothing for a call that was let through and given back", () =>
      withBroken("allow", (budget) =>
        Effect.gen(function* () {
          const reservation = yield* budget.reserve({ tokens: 10 })
          yield* budget.release(reservation)
          assert.strictEqual((yield* Effect.flip(budget.settle(reservation, { tokens: 10 })))._tag, "InvalidUsage")
          assert.strictEqual((yield* budget.status()).quotas[0]?.used, 0)
        })
      )
    )
  })

  describe("layerConfig", () => {
    const options = {
      maxTokensPerMinute: Config.Int("TOKENS"),
      maxCostPerDay: Config.schema(Money.FromString, "COST"),
      timeZone: Config.String("ZONE").pipe(Config.withDefault("UTC")),
      reservationTtl: Config.schema(Schema.DurationFromString, "TTL").pipe(Config.withDefault(Duration.minutes(1)))
    }
    const withConfig = (env: { readonly [name: string]: string }) =>
      Effect.flatMap(Budget.Budget, (budget) => budget.status()).pipe(
        Effect.provide(
          Budget.layerConfig(options).pipe(
            Layer.provide([QuotaStore.layerMemory, Alerts.layer]),
            Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord(env)))
          )
        )
      )

    it.effect("reads its options", () =>
      Effect.gen(function* () {
        const { quotas } = yield* withConfig({ TOKENS: "500", COST: "$2.50" })
        assert.deepStrictEqual(
          quotas.map(({ limit, name }) => [name, limit]),
          [
            ["maxTokensPerMinute", 500],
            ["maxCostPerDay", Money.usd(2.5)]
          ]
        )
      })
    )

    const wrong = [
      ["a missing value", { TOKENS: "500" }],
      ["a value of another type", { TOKENS: "many", COST: "$1" }],
      ["a value that is out of bounds", { TOKENS: "-1", COST: "$1" }],
      ["an unknown zone", { TOKENS: "1", COST: "$1", ZONE: "Mars/Olympus" }],
      ["an impossible time", { TOKENS: "1", COST: "$1", TTL: "0 millis" }]
    ] as const
    for (const [name, env] of wrong) {
      it.effect(`fails with a ConfigError for ${name}`, () =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(withConfig(env))
          assert.strictEqual(error._tag, "ConfigError")
        })
      )
    }
  })
})
