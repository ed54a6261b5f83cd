/**
 * The services configured by the environment. Layers provided together share one store and one `Alerts`.
 *
 * Every variable begins with `HEADGATE_`, then `BUDGET_`, `RATE_LIMITER_` or `RETRY_`, then the option in constant case:
 * `HEADGATE_BUDGET_MAX_COST_PER_DAY='$50'` (single quotes: a shell takes `$5` for a
 * parameter). Budgets and retries that are not set have the defaults of `Budget.defaults`
 * and `Retry.defaults`, rate limits that are not set limit nothing; `none` takes a limit away. A wrong value is a
 * `ConfigError`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import { SourceError } from "effect/ConfigProvider"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Alerts from "./Alerts.ts"
import * as Budget from "./Budget.ts"
import * as Guard from "./Guard.ts"
import * as Money from "./Money.ts"
import * as QuotaStore from "./QuotaStore.ts"
import * as RateLimiter from "./RateLimiter.ts"
import * as Retry from "./Retry.ts"

const count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))

const duration = Schema.DurationFromString.check(
  Schema.makeFilter((value) => Duration.toMillis(value) >= 1 && Duration.toDays(value) <= 3650, {
    expected: "a duration of 1 millisecond to 3650 days"
  })
)

const timeZone = Schema.String.check(
  Schema.makeFilter((name) => Option.isSome(DateTime.zoneMakeNamed(name)), { expected: "an IANA time zone" })
)

const between = (minimum: number, maximum: number) => Schema.Finite.check(Schema.isBetween({ minimum, maximum }))

/** A variable that may be absent. */
const setting = <T>(name: string, codec: Schema.ConstraintCodec<T, unknown>): Config.Config<T | undefined> =>
  Config.schema(codec, `HEADGATE_${name}`).pipe(Config.withDefault(undefined))

/** A limit, which may be absent or `none`. */
const limit = <T>(
  name: string,
  codec: Schema.ConstraintCodec<T, unknown>,
  fallback?: T
): Config.Config<T | undefined> =>
  Config.schema(Schema.Union([Schema.Literal("none"), codec]), `HEADGATE_${name}`).pipe(
    Config.map((value) => (value === "none" ? undefined : (value as T))),
    Config.withDefault(fallback)
  )

const onStoreError = Schema.Literals(["fail", "allow"])

const money = (text: Money.Input): Money.Money => Money.fromInputUnsafe(text)

const budget: Config.Config<Budget.Options> = Config.all({
  maxTokensPerRequest: limit("BUDGET_MAX_TOKENS_PER_REQUEST", count, Budget.defaults.maxTokensPerRequest),
  maxTokensPerMinute: limit("BUDGET_MAX_TOKENS_PER_MINUTE", count, Budget.defaults.maxTokensPerMinute),
  maxTokensPerHour: limit("BUDGET_MAX_TOKENS_PER_HOUR", count, Budget.defaults.maxTokensPerHour),
  maxTokensPerDay: limit("BUDGET_MAX_TOKENS_PER_DAY", count, Budget.defaults.maxTokensPerDay),
  maxCostPerRequest: limit("BUDGET_MAX_COST_PER_REQUEST", Money.FromString, money(Budget.defaults.maxCostPerRequest)),
  maxCostPerDay: limit("BUDGET_MAX_COST_PER_DAY", Money.FromString, money(Budget.defaults.maxCostPerDay)),
  alertThreshold: Config.Array(
    Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1)),
    "HEADGATE_BUDGET_ALERT_THRESHOLD"
  ).pipe(Config.withDefault([Budget.defaults.alertThreshold])),
  autoThrottle: Config.Boolean("HEADGATE_BUDGET_AUTO_THROTTLE").pipe(Config.withDefault(Budget.defaults.autoThrottle)),
  throttleDelay: setting("BUDGET_THROTTLE_DELAY", duration),
  timeZone: setting("BUDGET_TIME_ZONE", timeZone),
  reservationTtl: setting("BUDGET_RESERVATION_TTL", duration),
  onStoreError: setting("BUDGET_ON_STORE_ERROR", onStoreError),
  mode: setting("BUDGET_MODE", Schema.Literals(["enforce", "shadow"]))
})

const rateLimiter: Config.Config<RateLimiter.Options> = Config.all({
  requestsPerMinute: limit("RATE_LIMITER_REQUESTS_PER_MINUTE", count),
  tokensPerMinute: limit("RATE_LIMITER_TOKENS_PER_MINUTE", count),
  inputTokensPerMinute: limit("RATE_LIMITER_INPUT_TOKENS_PER_MINUTE", count),
  outputTokensPerMinute: limit("RATE_LIMITER_OUTPUT_TOKENS_PER_MINUTE", count),
  requestsPerDay: limit("RATE_LIMITER_REQUESTS_PER_DAY", count),
  concurrency: limit("RATE_LIMITER_CONCURRENCY", count),
  burst: setting("RATE_LIMITER_BURST", count),
  onExceeded: setting("RATE_LIMITER_ON_EXCEEDED", Schema.Literals(["delay", "fail"])),
  maxWait: limit("RATE_LIMITER_MAX_WAIT", duration),
  onStoreError: setting("RATE_LIMITER_ON_STORE_ERROR", onStoreError)
}).pipe(
  Config.mapEffect((options) => {
    if (options.burst === undefined || (options.burst > 0 && options.requestsPerMinute !== undefined)) {
      return Effect.succeed(options)
    }
    const message = "HEADGATE_RATE_LIMITER_BURST must be at least 1 and needs HEADGATE_RATE_LIMITER_REQUESTS_PER_MINUTE"
    return Effect.fail(new Config.ConfigError(new SourceError({ message })))
  })
)

const retry: Config.Config<Retry.Options> = Config.all({
  maxRetries: setting("RETRY_MAX_RETRIES", count),
  initialBackoff: setting("RETRY_INITIAL_BACKOFF", duration),
  maxBackoff: setting("RETRY_MAX_BACKOFF", duration),
  multiplier: setting("RETRY_MULTIPLIER", between(1, 1000)),
  jitter: setting(
    "RETRY_JITTER",
    Schema.Union([Schema.Literals(["full", "equal", "decorrelated", "none"]), between(0, 1)])
  ),
  maxRetryAfter: setting("RETRY_MAX_RETRY_AFTER", duration),
  maxElapsed: limit("RETRY_MAX_ELAPSED", duration)
})

/**
 * Alerts with their defaults.
 *
 * @category layers
 * @since 0.1.0
 */
export const AlertsLive: Layer.Layer<Alerts.Alerts> = Alerts.layer

/**
 * The budget of the environment, in this process's memory.
 *
 * **Example** (Provided to a program)
 *
 * ```ts
 * import { ConfigProvider, Effect } from "effect"
 * import { Budget, BudgetLive } from "headgate"
 *
 * const program = Budget.Budget.use((budget) => budget.reserve({ tokens: 200 })).pipe(
 *   Effect.as("reserved"),
 *   Effect.catchTag("RequestTooLarge", (error) => Effect.succeed(`${error.limit} tokens at most`)),
 *   Effect.provide(BudgetLive),
 *   Effect.provideService(
 *     ConfigProvider.ConfigProvider,
 *     ConfigProvider.fromEnv({ env: { HEADGATE_BUDGET_MAX_TOKENS_PER_REQUEST: "100" } })
 *   )
 * )
 *
 * await Effect.runPromise(program) // => "100 tokens at most"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const BudgetLive: Layer.Layer<Budget.Budget | Alerts.Alerts, Config.ConfigError> = Budget.layerConfig(
  budget
).pipe(Layer.provide(QuotaStore.layerMemory), Layer.provideMerge(AlertsLive))

/**
 * The rate limiter of the environment, in this process's memory.
 *
 * @category layers
 * @since 0.1.0
 */
export const RateLimiterLive: Layer.Layer<RateLimiter.RateLimiter | Alerts.Alerts, Config.ConfigError> =
  RateLimiter.layerConfig(rateLimiter).pipe(Layer.provide(QuotaStore.layerMemory), Layer.provideMerge(AlertsLive))

/**
 * The retry policy of the environment.
 *
 * @category layers
 * @since 0.1.0
 */
export const RetryLive: Layer.Layer<Retry.Retry, Config.ConfigError> = Retry.layerConfig(retry)

/**
 * The guard of the environment, with all it consists of.
 *
 * @category layers
 * @since 0.1.0
 */
export const GuardLive: Layer.Layer<
  Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Retry.Retry | Alerts.Alerts,
  Config.ConfigError
> = Guard.layerServices().pipe(Layer.provideMerge(Layer.mergeAll(BudgetLive, RateLimiterLive, RetryLive)))
