import { assert, describe, it } from "@effect/vitest"
import { Clock, ConfigProvider, Duration, Effect, Exit, Layer, Random } from "effect"
import {
  Alerts,
  AlertsLive,
  Budget,
  BudgetLive,
  type Guard,
  guard,
  GuardLive,
  Money,
  QuotaStore,
  RateLimiter,
  RateLimiterLive,
  Retry,
  RetryLive
} from "headgate"
import { VirtualClock } from "headgate/testing"

type Services = Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Retry.Retry | Alerts.Alerts

/** A program on the services of an environment, on a virtual clock. */
const within = <A, E>(env: Record<string, string>, program: Effect.Effect<A, E, Services>) =>
  VirtualClock.run(Effect.provide(program, GuardLive, { local: true })).pipe(
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
  )

/** Limits of the budget, by name. */
const limits = Effect.flatMap(Budget.Budget, (budget) =>
  Effect.map(budget.status(), ({ quotas }) => Object.fromEntries(quotas.map(({ limit, name }) => [name, limit])))
)

const reserve = (estimate: { tokens?: number; cost?: Money.Input }) =>
  Budget.Budget.use((budget) => budget.reserve(estimate))

const tag = <A, E extends { readonly _tag: string }, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(self), ({ _tag }) => _tag)

const dollars = (amount: number) => Number(Money.usd(amount))

const defaults = {
  maxTokensPerMinute: 500_000,
  maxTokensPerHour: 5_000_000,
  maxTokensPerDay: 50_000_000,
  maxCostPerDay: dollars(1000)
}

/** How often a call that always fails is tried, and when. */
const tries = Effect.gen(function* () {
  const { retry } = yield* Retry.Retry
  const times: Array<number> = []
  const call = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    times.push(now)
    return Effect.fail({ status: 503 })
  })
  yield* Effect.exit(retry(call))
  return times
}).pipe(Effect.provideService(Random.Random, { nextDoubleUnsafe: () => 0.5, nextIntUnsafe: () => 0 }))

const waitOf = (estimate: { tokens?: number; inputTokens?: number; outputTokens?: number }) =>
  RateLimiter.RateLimiter.use((limiter) =>
    Effect.map(Effect.andThen(limiter.acquire(estimate), limiter.acquire(estimate)), ({ waited }) =>
      Duration.toMillis(waited)
    )
  )

describe("an empty environment", () => {
  it.effect("has the defaults of the budget and of the retries, and no rate limits", () =>
    within(
      {},
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* limits, defaults)
        assert.strictEqual(yield* tag(reserve({ tokens: 100_001 })), "RequestTooLarge")
        assert.strictEqual(yield* tag(reserve({ cost: "$10.01" })), "RequestTooLarge")
        assert.deepStrictEqual((yield* (yield* RateLimiter.RateLimiter).status()).quotas, [])
        assert.deepStrictEqual(yield* tries, [0, 500, 1500, 3500])
      })
    )
  )
})

describe("HEADGATE_BUDGET_", () => {
  it.effect.each([
    ["MAX_TOKENS_PER_MINUTE", "7", { maxTokensPerMinute: 7 }],
    ["MAX_TOKENS_PER_HOUR", "7", { maxTokensPerHour: 7 }],
    ["MAX_TOKENS_PER_DAY", "7", { maxTokensPerDay: 7 }],
    ["MAX_COST_PER_DAY", "$2.50", { maxCostPerDay: dollars(2.5) }],
    ["MAX_TOKENS_PER_MINUTE", "none", { maxTokensPerMinute: undefined }],
    ["MAX_TOKENS_PER_HOUR", "none", { maxTokensPerHour: undefined }],
    ["MAX_TOKENS_PER_DAY", "none", { maxTokensPerDay: undefined }],
    ["MAX_COST_PER_DAY", "none", { maxCostPerDay: undefined }]
  ] as const)("%s=%s", ([name, value, changed]) =>
    within(
      { [`HEADGATE_BUDGET_${name}`]: value },
      Effect.map(limits, (limits) => {
        const expected = Object.entries({ ...defaults, ...changed }).filter(([_, limit]) => limit !== undefined)
        assert.deepStrictEqual(limits, Object.fromEntries(expected))
      })
    )
  )

  it.effect("MAX_TOKENS_PER_REQUEST and MAX_COST_PER_REQUEST", () =>
    Effect.gen(function* () {
      const env = { HEADGATE_BUDGET_MAX_TOKENS_PER_REQUEST: "50", HEADGATE_BUDGET_MAX_COST_PER_REQUEST: "$0.10" }
      const both = Effect.all([
        tag(reserve({ tokens: 51 })),
        tag(reserve({ cost: "$0.11" })),
        Effect.as(reserve({ tokens: 50 }), "ok")
      ])
      assert.deepStrictEqual(yield* within(env, both), ["RequestTooLarge", "RequestTooLarge", "ok"])
      const none = { HEADGATE_BUDGET_MAX_TOKENS_PER_REQUEST: "none", HEADGATE_BUDGET_MAX_COST_PER_REQUEST: "none" }
      yield* within(none, Effect.andThen(reserve({ tokens: 400_000 }), reserve({ cost: "$900" })))
    })
  )

  it.effect.each([
    ["0.5", ["ThresholdReached 0.5"]],
    ["0.25,0.5", ["ThresholdReached 0.25", "ThresholdReached 0.5"]]
  ] as const)("ALERT_THRESHOLD=%s", ([value, expected]) =>
    within(
      { HEADGATE_BUDGET_ALERT_THRESHOLD: value, HEADGATE_BUDGET_MAX_TOKENS_PER_MINUTE: "100" },
      Effect.gen(function* () {
        const told: Array<string> = []
        const alerts = yield* Alerts.Alerts
        yield* alerts.handle((alert) => Effect.sync(() => told.push(`${alert._tag} ${alert.threshold}`)))
        yield* guard(Effect.void, { estimate: { tokens: 60 }, actual: () => ({ tokens: 60 }) })
        yield* alerts.drained
        assert.deepStrictEqual(told, [...expected])
      }).pipe(Effect.scoped)
    )
  )

  const exceeded = Effect.gen(function* () {
    yield* reserve({ tokens: 60 })
    const first = yield* tag(reserve({ tokens: 60 }))
    yield* Effect.sleep("2999 millis")
    return [first, yield* Effect.catch(Effect.as(reserve({ tokens: 1 }), "ok"), ({ _tag }) => Effect.succeed(_tag))]
  })
  const small = { HEADGATE_BUDGET_MAX_TOKENS_PER_MINUTE: "100" }

  it.effect("AUTO_THROTTLE and THROTTLE_DELAY", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* within(small, exceeded), ["BudgetExceeded", "ok"])
      const delay = { ...small, HEADGATE_BUDGET_THROTTLE_DELAY: "3 seconds" }
      assert.deepStrictEqual(yield* within(delay, exceeded), ["BudgetExceeded", "BudgetThrottled"])
      const off = { ...delay, HEADGATE_BUDGET_AUTO_THROTTLE: "false" }
      assert.deepStrictEqual(yield* within(off, exceeded), ["BudgetExceeded", "ok"])
    })
  )

  it.effect("TIME_ZONE", () =>
    within(
      { HEADGATE_BUDGET_TIME_ZONE: "Asia/Tokyo" },
      Effect.gen(function* () {
        const budget = yield* Budget.Budget
        yield* budget.settle(yield* reserve({ tokens: 1 }), { tokens: 1 })
        const day = (yield* budget.status()).quotas.find(({ name }) => name === "maxTokensPerDay")
        // 1970-01-01T00:00Z is nine o'clock there.
        assert.strictEqual(Duration.toHours(day?.resetAfter ?? Duration.zero), 15)
      })
    )
  )

  it.effect("RESERVATION_TTL", () =>
    within(
      { ...small, HEADGATE_BUDGET_RESERVATION_TTL: "30 seconds" },
      Effect.gen(function* () {
        const budget = yield* Budget.Budget
        yield* budget.reserve({ tokens: 100 }, {}, { onUnknown: "release" })
        yield* Effect.sleep("30 seconds")
        yield* reserve({ tokens: 100 })
      })
    )
  )

  it.effect("MODE=shadow", () =>
    within(
      { ...small, HEADGATE_BUDGET_MODE: "shadow" },
      Effect.andThen(reserve({ tokens: 100 }), reserve({ tokens: 100 }))
    )
  )
})

describe("HEADGATE_RATE_LIMITER_", () => {
  it.effect.each([
    ["REQUESTS_PER_MINUTE", "1", {}, 61_000],
    ["TOKENS_PER_MINUTE", "10", { tokens: 6 }, 61_000],
    ["INPUT_TOKENS_PER_MINUTE", "10", { inputTokens: 6 }, 61_000],
    ["OUTPUT_TOKENS_PER_MINUTE", "10", { outputTokens: 6 }, 61_000],
    ["REQUESTS_PER_DAY", "1", {}, 61 * 1_440_000],
    ["CONCURRENCY", "1", {}, 600_000],
    ["REQUESTS_PER_MINUTE", "none", {}, 0]
  ] as const)("%s=%s", ([name, value, estimate, expected]) =>
    within(
      { [`HEADGATE_RATE_LIMITER_${name}`]: value },
      Effect.map(waitOf(estimate), (waited) => assert.strictEqual(waited, expected))
    )
  )

  it.effect("BURST, ON_EXCEEDED and MAX_WAIT", () =>
    Effect.gen(function* () {
      const env = { HEADGATE_RATE_LIMITER_REQUESTS_PER_MINUTE: "60", HEADGATE_RATE_LIMITER_BURST: "1" }
      assert.strictEqual(yield* within(env, waitOf({})), 1000)
      const fail = { ...env, HEADGATE_RATE_LIMITER_ON_EXCEEDED: "fail" }
      assert.strictEqual(yield* within(fail, tag(waitOf({}))), "RateLimitExceeded")
      const wait = { ...env, HEADGATE_RATE_LIMITER_MAX_WAIT: "999 millis" }
      assert.strictEqual(yield* within(wait, tag(waitOf({}))), "RateLimitExceeded")
    })
  )
})

describe("HEADGATE_RETRY_", () => {
  const none = { HEADGATE_RETRY_JITTER: "none" }
  it.effect.each<readonly [Record<string, string>, ReadonlyArray<number>]>([
    [none, [0, 1000, 3000, 7000]],
    [{ HEADGATE_RETRY_JITTER: "equal" }, [0, 750, 2250, 5250]],
    [{ HEADGATE_RETRY_JITTER: "decorrelated" }, [0, 2000, 5500, 11_250]],
    [{ HEADGATE_RETRY_JITTER: "0.2" }, [0, 1000, 3000, 7000]],
    [{ ...none, HEADGATE_RETRY_MAX_RETRIES: "1" }, [0, 1000]],
    [{ ...none, HEADGATE_RETRY_INITIAL_BACKOFF: "2 seconds" }, [0, 2000, 6000, 14_000]],
    [{ ...none, HEADGATE_RETRY_MAX_BACKOFF: "1500 millis" }, [0, 1000, 2500, 4000]],
    [{ ...none, HEADGATE_RETRY_MULTIPLIER: "3" }, [0, 1000, 4000, 13_000]],
    [{ ...none, HEADGATE_RETRY_MAX_ELAPSED: "5 seconds" }, [0, 1000, 3000]],
    [{ ...none, HEADGATE_RETRY_MAX_ELAPSED: "none" }, [0, 1000, 3000, 7000]]
  ])("%j", ([env, expected]) => Effect.map(within(env, tries), (times) => assert.deepStrictEqual(times, expected)))

  it.effect("MAX_RETRY_AFTER", () =>
    Effect.gen(function* () {
      const call = Effect.flatMap(Clock.currentTimeMillis, (now) =>
        now > 0 ? Effect.void : Effect.fail({ status: 429, retryAfter: 90 })
      )
      const retried = Effect.flatMap(Retry.Retry, ({ retry }) => Effect.exit(retry(call)))
      assert.isTrue(Exit.isFailure(yield* within({}, retried)))
      assert.isTrue(Exit.isSuccess(yield* within({ HEADGATE_RETRY_MAX_RETRY_AFTER: "90 seconds" }, retried)))
    })
  )
})

describe("a wrong environment", () => {
  it.effect.each([
    ["BUDGET_MAX_TOKENS_PER_MINUTE", "many"],
    ["BUDGET_MAX_TOKENS_PER_REQUEST", "-1"],
    ["BUDGET_MAX_TOKENS_PER_DAY", "1.5"],
    ["BUDGET_MAX_TOKENS_PER_HOUR", "9007199254740993"],
    ["BUDGET_MAX_COST_PER_DAY", "50 euros"],
    ["BUDGET_MAX_COST_PER_REQUEST", "$-1"],
    ["BUDGET_ALERT_THRESHOLD", "1.5"],
    ["BUDGET_ALERT_THRESHOLD", "high"],
    ["BUDGET_AUTO_THROTTLE", "perhaps"],
    ["BUDGET_THROTTLE_DELAY", "soon"],
    ["BUDGET_TIME_ZONE", "Mars/Olympus"],
    ["BUDGET_RESERVATION_TTL", "-1 seconds"],
    ["BUDGET_ON_STORE_ERROR", "panic"],
    ["BUDGET_MODE", "dry"],
    ["RATE_LIMITER_REQUESTS_PER_MINUTE", "NaN"],
    ["RATE_LIMITER_BURST", "5"],
    ["RATE_LIMITER_ON_EXCEEDED", "wait"],
    ["RATE_LIMITER_MAX_WAIT", "0 seconds"],
    ["RATE_LIMITER_ON_STORE_ERROR", "FAIL"],
    ["RETRY_MAX_RETRIES", "-1"],
    ["RETRY_INITIAL_BACKOFF", "quick"],
    ["RETRY_MULTIPLIER", "0.5"],
    ["RETRY_JITTER", "2"],
    ["RETRY_JITTER", "some"],
    ["RETRY_MAX_RETRY_AFTER", "Infinity"]
  ] as const)("HEADGATE_%s=%s is a ConfigError that names the variable", ([name, value]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(within({ [`HEADGATE_${name}`]: value }, Effect.void))
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(error.message, `HEADGATE_${name}`)
    })
  )
})

describe("layers provided together", () => {
  it.effect("share one store and one Alerts", () =>
    Effect.gen(function* () {
      const alerts = yield* Alerts.Alerts
      const told: Array<string> = []
      yield* alerts.handle(({ _tag, quota }) => Effect.sync(() => told.push(`${_tag} ${quota}`)))
      // A second limiter of the same name on that store sees what the first one let through.
      const other = yield* RateLimiter.make({ requestsPerMinute: 1 })
      assert.isTrue(yield* (yield* RateLimiter.RateLimiter).tryAcquire())
      assert.isFalse(yield* other.tryAcquire())
      const budget = yield* Budget.make({ ...Budget.defaults, maxTokensPerMinute: 100 })
      yield* reserve({ tokens: 100 })
      assert.strictEqual(yield* tag(budget.reserve({ tokens: 1 })), "BudgetExceeded")
      yield* alerts.drained
      assert.deepStrictEqual(told, ["LimitHit maxTokensPerMinute", "Throttled maxTokensPerMinute"])
    }).pipe(
      Effect.provide(Layer.mergeAll(BudgetLive, RateLimiterLive, RetryLive, AlertsLive, QuotaStore.layerMemory)),
      Effect.provideService(
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({
          env: { HEADGATE_RATE_LIMITER_REQUESTS_PER_MINUTE: "1", HEADGATE_BUDGET_MAX_TOKENS_PER_MINUTE: "100" }
        })
      )
    )
  )
})
