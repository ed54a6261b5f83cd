/**
 * The services configured by the environment. Layers provided together share one store and one `Alerts`.
 *
 * Every variable begins with `HEADGATE_`, then `BUDGET_`, `RATE_LIMITER_` or `RETRY_`, then the option in constant case:
 * `HEADGATE_BUDGET_MAX_COST_PER_DAY="$50"`. Budgets and retries that are not set have the defaults of `Budget.defaults`
 * and `Retry.defaults`, rate limits that are not set limit nothing; `none` takes a limit away. A wrong value is a
 * `ConfigError`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Alerts from "./Alerts.ts"
import * as Budget from "./Budget.ts"
import * as Guard from "./Guard.ts"
import * as Money from "./Money.ts"
import * as QuotaStore from "./QuotaStore.ts"
import * as RateLimiter from "./RateLimiter.ts"
import * as Retry from "./Retry.ts"

const count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))

/** A variable that may be absent, or `none`. */
const optional = <T>(
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
  maxTokensPerRequest: optional("BUDGET_MAX_TOKENS_PER_REQUEST", count, Budget.defaults.maxTokensPerRequest),
  maxTokensPerMinute: optional("BUDGET_MAX_TOKENS_PER_MINUTE", count, Budget.defaults.maxTokensPerMinute),
  maxTokensPerHour: optional("BUDGET_MAX_TOKENS_PER_HOUR", count, Budget.defaults.maxTokensPerHour),
  maxTokensPerDay: optional("BUDGET_MAX_TOKENS_PER_DAY", count, Budget.defaults.maxTokensPerDay),
  maxCostPerRequest: optional(
    "BUDGET_MAX_COST_PER_REQUEST",
    Money.FromString,
    money(Budget.defaults.maxCostPerRequest)
  ),
  maxCostPerDay: optional("BUDGET_MAX_COST_PER_DAY", Money.FromString, money(Budget.defaults.maxCostPerDay)),
  alertThreshold: Config.Array(Schema.Finite, "HEADGATE_BUDGET_ALERT_THRESHOLD").pipe(
    Config.withDefault([Budget.defaults.alertThreshold])
  ),
  autoThrottle: Config.Boolean("HEADGATE_BUDGET_AUTO_THROTTLE").pipe(Config.withDefault(Budget.defaults.autoThrottle)),
  throttleDelay: optional("BUDGET_THROTTLE_DELAY", Schema.DurationFromString),
  timeZone: optional("BUDGET_TIME_ZONE", Schema.NonEmptyString),
  reservationTtl: optional("BUDGET_RESERVATION_TTL", Schema.DurationFromString),
  onStoreError: optional("BUDGET_ON_STORE_ERROR", onStoreError),
  mode: optional("BUDGET_MODE", Schema.Literals(["enforce", "shadow"]))
})

const rateLimiter: Config.Config<RateLimiter.Options> = Config.all({
  requestsPerMinute: optional("RATE_LIMITER_REQUESTS_PER_MINUTE", count),
  tokensPerMinute: optional("RATE_LIMITER_TOKENS_PER_MINUTE", count),
  inputTokensPerMinute: optional("RATE_LIMITER_INPUT_TOKENS_PER_MINUTE", count),
  outputTokensPerMinute: optional("RATE_LIMITER_OUTPUT_TOKENS_PER_MINUTE", count),
  requestsPerDay: optional("RATE_LIMITER_REQUESTS_PER_DAY", count),
  concurrency: optional("RATE_LIMITER_CONCURRENCY", count),
  burst: optional("RATE_LIMITER_BURST", count),
  onExceeded: optional("RATE_LIMITER_ON_EXCEEDED", Schema.Literals(["delay", "fail"])),
  maxWait: optional("RATE_LIMITER_MAX_WAIT", Schema.DurationFromString),
  onStoreError: optional("RATE_LIMITER_ON_STORE_ERROR", onStoreError)
})

const retry: Config.Config<Retry.Options> = Config.all({
  maxRetries: optional("RETRY_MAX_RETRIES", count),
  initialBackoff: optional("RETRY_INITIAL_BACKOFF", Schema.DurationFromString),
  maxBackoff: optional("RETRY_MAX_BACKOFF", Schema.DurationFromString),
  multiplier: optional("RETRY_MULTIPLIER", Schema.Finite),
  jitter: optional<Retry.Jitter>(
    "RETRY_JITTER",
    Schema.Union([Schema.Literals(["full", "equal", "decorrelated"]), Schema.Finite])
  ),
  maxRetryAfter: optional("RETRY_MAX_RETRY_AFTER", Schema.DurationFromString),
  maxElapsed: optional("RETRY_MAX_ELAPSED", Schema.DurationFromString)
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
