import * as Config from "effect/Config"
import { SourceError } from "effect/ConfigProvider"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Money from "../../Money.ts"
import { defaults } from "./budget.ts"

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

/** The options of a budget, from variables that begin with `HEADGATE_BUDGET_`. */
export const budget = Config.all({
  maxTokensPerRequest: limit("BUDGET_MAX_TOKENS_PER_REQUEST", count, defaults.maxTokensPerRequest),
  maxTokensPerMinute: limit("BUDGET_MAX_TOKENS_PER_MINUTE", count, defaults.maxTokensPerMinute),
  maxTokensPerHour: limit("BUDGET_MAX_TOKENS_PER_HOUR", count, defaults.maxTokensPerHour),
  maxTokensPerDay: limit("BUDGET_MAX_TOKENS_PER_DAY", count, defaults.maxTokensPerDay),
  maxCostPerRequest: limit("BUDGET_MAX_COST_PER_REQUEST", Money.FromString, money(defaults.maxCostPerRequest)),
  maxCostPerDay: limit("BUDGET_MAX_COST_PER_DAY", Money.FromString, money(defaults.maxCostPerDay)),
  alertThreshold: Config.Array(
    Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1)),
    "HEADGATE_BUDGET_ALERT_THRESHOLD"
  ).pipe(Config.withDefault([defaults.alertThreshold])),
  autoThrottle: Config.Boolean("HEADGATE_BUDGET_AUTO_THROTTLE").pipe(Config.withDefault(defaults.autoThrottle)),
  throttleDelay: setting("BUDGET_THROTTLE_DELAY", duration),
  timeZone: setting("BUDGET_TIME_ZONE", timeZone),
  reservationTtl: setting("BUDGET_RESERVATION_TTL", duration),
  onStoreError: setting("BUDGET_ON_STORE_ERROR", onStoreError),
  mode: setting("BUDGET_MODE", Schema.Literals(["enforce", "shadow"]))
})

/** The options of a rate limiter, from variables that begin with `HEADGATE_RATE_LIMITER_`. */
export const rateLimiter = Config.all({
  requestsPerMinute: limit("RATE_LIMITER_REQUESTS_PER_MINUTE", count),
  tokensPerMinute: limit("RATE_LIMITER_TOKENS_PER_MINUTE", count),
  inputTokensPerMinute: limit("RATE_LIMITER_INPUT_TOKENS_PER_MINUTE", count),
  outputTokensPerMinute: limit("RATE_LIMITER_OUTPUT_TOKENS_PER_MINUTE", count),
  requestsPerDay: limit("RATE_LIMITER_REQUESTS_PER_DAY", count),
  concurrency: limit("RATE_LIMITER_CONCURRENCY", count),
  burst: setting("RATE_LIMITER_BURST", count),
  onExceeded: setting("RATE_LIMITER_ON_EXCEEDED", Schema.Literals(["delay", "fail"])),
  maxWait: limit("RATE_LIMITER_MAX_WAIT", duration),
  maxProviderWait: setting("RATE_LIMITER_MAX_PROVIDER_WAIT", duration),
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

/** The options of a retry policy, from variables that begin with `HEADGATE_RETRY_`. */
export const retry = Config.all({
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
