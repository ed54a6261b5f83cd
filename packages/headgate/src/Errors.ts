/**
 * What can go wrong, as tagged errors. *Not now* carries `retryAfter`; *never* does not; a broken store says so.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { wordsOf } from "./internal/words.ts"
import * as Money from "./Money.ts"
import { Unit } from "./Quota.ts"
import * as Subject from "./Subject.ts"

const amount = (unit: Unit, value: number): string =>
  unit === "cost" ? Money.format(value as Money.Money) : `${value} ${unit}`

const wait = (retryAfter: Duration.Duration): string =>
  Duration.isFinite(retryAfter) ? `retry after ${Duration.format(retryAfter)}` : "no later time will do"

/**
 * *Not now*: a budget has less left than the call may take. Nothing was held.
 *
 * `retryAfter` is exact when nothing else happens: refused before it, admitted at it. It is `Infinity` when only a
 * settlement or a reset can make room. After the store's clock was set back its time stands still until that has caught
 * up: then whoever comes back after `retryAfter` does so once a second at most.
 *
 * **Example** (Catching it)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Budget } from "headgate"
 *
 * const program = Effect.gen(function*() {
 *   const budget = yield* Budget.Budget
 *   return yield* budget.reserve({ tokens: 70 }, {}).pipe(
 *     Effect.andThen(budget.reserve({ tokens: 70 }, {})),
 *     Effect.as("admitted"),
 *     Effect.catchTag("BudgetExceeded", (error) => Effect.succeed(`${error.quota}: ${error.remaining} left`))
 *   )
 * }).pipe(Effect.provide(Budget.layerMemory({ maxTokensPerMinute: 100 })))
 *
 * await Effect.runPromise(program) // => "maxTokensPerMinute: 30 left"
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class BudgetExceeded extends Schema.TaggedError<BudgetExceeded>("headgate/BudgetExceeded")("BudgetExceeded", {
  quota: Schema.String,
  subject: Subject.Subject,
  unit: Unit,
  limit: Schema.Finite,
  used: Schema.Finite,
  held: Schema.Finite,
  requested: Schema.Finite,
  remaining: Schema.Finite,
  retryAfter: Schema.Duration
}) {
  override get message(): string {
    return (
      `${this.quota} of ${Subject.format(this.subject)}: ${amount(this.unit, this.requested)} requested, ` +
      `${amount(this.unit, this.remaining)} of ${amount(this.unit, this.limit)} left, ${wait(this.retryAfter)}`
    )
  }
}

/**
 * *Not now*: a budget was exceeded a moment ago and refuses everything until `until` (`autoThrottle`).
 *
 * @category errors
 * @since 0.1.0
 */
export class BudgetThrottled extends Schema.TaggedError<BudgetThrottled>("headgate/BudgetThrottled")(
  "BudgetThrottled",
  {
    until: Schema.DateTimeUtc,
    retryAfter: Schema.Duration
  }
) {
  override get message(): string {
    return `throttled, ${wait(this.retryAfter)}`
  }
}

/**
 * *Not now*: a rate limit has no place, and the limiter was told not to wait, or not this long. Nothing was taken.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimitExceeded extends Schema.TaggedError<RateLimitExceeded>("headgate/RateLimitExceeded")(
  "RateLimitExceeded",
  {
    quota: Schema.String,
    subject: Subject.Subject,
    limit: Schema.Finite,
    remaining: Schema.Finite,
    retryAfter: Schema.Duration
  }
) {
  override get message(): string {
    return `${this.quota} of ${Subject.format(this.subject)}: ${this.remaining} of ${this.limit} left, ${wait(this.retryAfter)}`
  }
}

/**
 * *Never*: the call asks for more than the whole limit, so waiting does not help.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestTooLarge extends Schema.TaggedError<RequestTooLarge>("headgate/RequestTooLarge")(
  "RequestTooLarge",
  {
    quota: Schema.String,
    unit: Unit,
    limit: Schema.Finite,
    requested: Schema.Finite
  }
) {
  override get message(): string {
    return `${this.quota}: ${amount(this.unit, this.requested)} requested, the limit is ${amount(this.unit, this.limit)}`
  }
}

/**
 * *Never*: the call was described wrongly. Names the field, what it must be, and what it was; no state was changed.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidUsage extends Schema.TaggedError<InvalidUsage>("headgate/InvalidUsage")("InvalidUsage", {
  field: Schema.String,
  bound: Schema.String,
  // @effect-diagnostics-next-line schemaNumber:off
  value: Schema.Union([Schema.Number, Schema.String])
}) {
  override get message(): string {
    return `${this.field} must be ${this.bound}, got ${this.value}`
  }
}

/**
 * *Never*: nobody knows what the model costs, so the call was not made. Give `Price.layer` a price for it, or say with
 * `unpriced` what such models cost.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnpricedModel extends Schema.TaggedError<UnpricedModel>("headgate/UnpricedModel")("UnpricedModel", {
  model: Schema.String,
  provider: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return `no price is known for the model ${this.model}${this.provider === undefined ? "" : ` of ${this.provider}`}`
  }
}

/**
 * *Broken*: the store did not answer as it should. `operation` is a verb of `QuotaStore`, such as `reserve`; `outcome` says
 * whether it may have happened all the same; the message has the words of `cause`, without names and passwords of users.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreError extends Schema.TaggedError<StoreError>("headgate/StoreError")("StoreError", {
  operation: Schema.String,
  outcome: Schema.Literals(["notApplied", "unknown"]),
  cause: Schema.Defect()
}) {
  override get message(): string {
    const words = wordsOf(this.cause)
    const outcome = this.outcome === "unknown" ? "the outcome is unknown" : "not applied"
    return `${this.operation}: ${outcome}${words === "" ? "" : `, ${words}`}`
  }
}

/**
 * *Not now, and tried often enough*: `Retry.run` gave up. `cause` is the last error.
 *
 * @category errors
 * @since 0.1.0
 */
export class RetryExhausted<E = unknown> extends Schema.TaggedError<RetryExhausted<unknown>>("headgate/RetryExhausted")(
  "RetryExhausted",
  {
    attempts: Schema.Finite,
    elapsed: Schema.Duration,
    cause: Schema.Unknown
  }
) {
  declare readonly cause: E
  override get message(): string {
    return `gave up after ${this.attempts} attempts in ${Duration.format(this.elapsed)}`
  }
}
