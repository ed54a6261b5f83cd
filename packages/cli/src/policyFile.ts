/** The shape of a policy file. Names and meaning are those of `Budget.Options`, `RateLimiter.Options`, `Retry.Options`. */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Money, Window } from "headgate"

const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))
const Positive = Schema.Finite.check(Schema.isGreaterThan(0))
const Span = Schema.DurationFromString
const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
const AlertShare = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))

const TimeZone = Schema.String.check(
  Schema.makeFilter((name: string) => Option.isSome(DateTime.zoneMakeNamed(name)), { expected: "an IANA time zone" })
)

const Dollars = Money.FromString

const quota = {
  window: Schema.optionalKey(Window.Window),
  name: Schema.optionalKey(Schema.NonEmptyString),
  alertAt: Schema.optionalKey(Schema.Union([AlertShare, Schema.Array(AlertShare)])),
  cachedInput: Schema.optionalKey(Schema.Literals(["counted", "free"]))
}

const Quotas = Schema.Array(
  Schema.Union([
    Schema.Struct({ unit: Schema.Literal("cost"), limit: Dollars, ...quota }),
    Schema.Struct({
      unit: Schema.Literals(["requests", "tokens", "inputTokens", "outputTokens", "concurrency"]),
      limit: Count,
      ...quota
    })
  ])
)

const OnStoreError = Schema.Literals(["fail", "allow"])

const budgetLimits = {
  maxTokensPerRequest: Schema.optionalKey(Count),
  maxTokensPerMinute: Schema.optionalKey(Count),
  maxTokensPerHour: Schema.optionalKey(Count),
  maxTokensPerDay: Schema.optionalKey(Count),
  maxCostPerRequest: Schema.optionalKey(Dollars),
  maxCostPerDay: Schema.optionalKey(Dollars),
  quotas: Schema.optionalKey(Quotas),
  alertThreshold: Schema.optionalKey(Schema.Union([AlertShare, Schema.Array(AlertShare)])),
  autoThrottle: Schema.optionalKey(Schema.Boolean),
  throttleDelay: Schema.optionalKey(Span)
}
const BudgetLimits = Schema.Struct(budgetLimits)

const Budget = Schema.Struct({
  ...budgetLimits,
  name: Schema.optionalKey(Schema.NonEmptyString),
  per: Schema.optionalKey(Schema.Record(Schema.String, BudgetLimits)),
  overrides: Schema.optionalKey(Schema.Record(Schema.String, Schema.Record(Schema.String, BudgetLimits))),
  timeZone: Schema.optionalKey(TimeZone),
  reservationTtl: Schema.optionalKey(Span),
  onStoreError: Schema.optionalKey(OnStoreError),
  mode: Schema.optionalKey(Schema.Literals(["enforce", "shadow"]))
})

const rateLimits = {
  requestsPerMinute: Schema.optionalKey(Count),
  tokensPerMinute: Schema.optionalKey(Count),
  inputTokensPerMinute: Schema.optionalKey(Count),
  outputTokensPerMinute: Schema.optionalKey(Count),
  requestsPerDay: Schema.optionalKey(Count),
  concurrency: Schema.optionalKey(Count),
  burst: Schema.optionalKey(Count),
  quotas: Schema.optionalKey(Quotas)
}
const RateLimits = Schema.Struct(rateLimits)

const RateLimiter = Schema.Struct({
  ...rateLimits,
  name: Schema.optionalKey(Schema.NonEmptyString),
  per: Schema.optionalKey(Schema.Record(Schema.String, RateLimits)),
  overrides: Schema.optionalKey(Schema.Record(Schema.String, Schema.Record(Schema.String, RateLimits))),
  onExceeded: Schema.optionalKey(Schema.Literals(["delay", "fail"])),
  maxWait: Schema.optionalKey(Span),
  maxProviderWait: Schema.optionalKey(Span),
  permitTtl: Schema.optionalKey(Span),
  onStoreError: Schema.optionalKey(OnStoreError)
})

const Retry = Schema.Struct({
  maxRetries: Schema.optionalKey(Count),
  initialBackoff: Schema.optionalKey(Span),
  maxBackoff: Schema.optionalKey(Span),
  multiplier: Schema.optionalKey(Positive),
  jitter: Schema.optionalKey(Schema.Union([Schema.Literals(["full", "equal", "decorrelated", "none"]), Share])),
  maxRetryAfter: Schema.optionalKey(Span),
  maxElapsed: Schema.optionalKey(Span),
  budget: Schema.optionalKey(Schema.Literal("none"))
})

/** The provider that the calls go to: see `Provider.Options`. */
const Provider = Schema.Struct({
  firstToken: Schema.optionalKey(Span),
  perOutputToken: Schema.optionalKey(Span),
  requestsPerMinute: Schema.optionalKey(Positive),
  tokensPerMinute: Schema.optionalKey(Positive),
  errorShare: Schema.optionalKey(Share)
})

/** Dollars per million tokens. */
const PerMillion = Money.FromString
const rates = { input: PerMillion, cachedInput: Schema.optionalKey(PerMillion), output: PerMillion }

const Price = Schema.Struct({
  ...rates,
  models: Schema.optionalKey(Schema.Record(Schema.String, Schema.Struct(rates)))
})

export const PolicyFile = Schema.Struct({
  /** For people; not read. */
  description: Schema.optionalKey(Schema.String),
  /** Default: the library's, `Budget.defaults`. */
  budget: Schema.optionalKey(Budget),
  /** Default: no limit. */
  rateLimiter: Schema.optionalKey(RateLimiter),
  /** Default: the library's, `Retry.defaults`. */
  retry: Schema.optionalKey(Retry),
  provider: Schema.optionalKey(Provider),
  price: Schema.optionalKey(Price)
})
