import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Alert } from "../Alert.ts"
import * as Errors from "../Errors.ts"
import type { Subject } from "../Subject.ts"
import { subjectOf } from "./alerts.ts"
import * as metrics from "./metrics.ts"
import { invalidUsage, trusted } from "./refusal.ts"
import type { Conflict, QuotaStatus, Refused } from "./verbs.ts"

/** The time of the fiber's clock, in milliseconds since the epoch. */
export const now = (fiber: Fiber.Fiber<unknown, unknown>): number => fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()

export type BudgetRefusal = Errors.BudgetExceeded | Errors.BudgetThrottled | Errors.RequestTooLarge

export const tooLargeRefusal = ({
  capacity: limit,
  quota: { name: quota, unit },
  requested
}: Refused): Errors.RequestTooLarge =>
  trusted(Errors.RequestTooLarge, { _tag: "RequestTooLarge", quota, unit, limit, requested })

const remainingOf = ({ capacity, held, used }: Refused): number => Math.max(0, capacity - used - held)

/** A store's refusal as a budget tells it. */
export const budgetRefusal = (refused: Refused): BudgetRefusal => {
  const { capacity: limit, held, quota, requested, used } = refused
  const retryAfter = Duration.millis(refused.retryAfter)
  switch (refused.reason) {
    case "tooLarge":
      return tooLargeRefusal(refused)
    case "throttled":
      return trusted(Errors.BudgetThrottled, {
        _tag: "BudgetThrottled",
        until: DateTime.makeUnsafe(refused.until),
        retryAfter
      })
    case "exceeded":
      return trusted(Errors.BudgetExceeded, {
        _tag: "BudgetExceeded",
        quota: quota.name,
        subject: subjectOf(refused.account),
        unit: quota.unit,
        limit,
        used,
        held,
        requested,
        remaining: remainingOf(refused),
        retryAfter
      })
  }
}

/** A store's refusal, given `age` milliseconds ago, as a rate limiter tells it. */
export const rateLimitRefusal = (refused: Refused, age = 0): Errors.RateLimitExceeded | Errors.RequestTooLarge =>
  refused.reason === "tooLarge"
    ? tooLargeRefusal(refused)
    : trusted(Errors.RateLimitExceeded, {
        _tag: "RateLimitExceeded",
        quota: refused.quota.name,
        subject: subjectOf(refused.account),
        limit: refused.capacity,
        remaining: remainingOf(refused),
        retryAfter: Duration.millis(Math.max(0, refused.retryAfter - age))
      })

/** What has passed by a clock that nobody sets, in milliseconds. */
export const monotonicMillis = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** A store's conflict: the caller took one hold or id for another. */
export const conflictError = (field: string, { bound, state }: Conflict): Errors.InvalidUsage =>
  invalidUsage(field, bound, state)

/** Tells and counts that a service goes on without its store. */
export const degradedOf =
  (service: string, publish: (alert: Alert) => Effect.Effect<void>) =>
  (error: Errors.StoreError, subject: Subject): Effect.Effect<void> =>
    Effect.withFiber((fiber) => {
      metrics.storeErrors.updateUnsafe(1, fiber.context)
      return publish({
        _tag: "StoreDegraded",
        message: `${service}: ${error.message}`,
        quota: service,
        subject,
        threshold: 0,
        current: 0,
        timestamp: DateTime.makeUnsafe(now(fiber))
      })
    })

/**
 * The counters of one quota, for one subject. `resetAfter` is how long it takes until nothing is used any more, if
 * nothing else happens.
 *
 * @category models
 * @since 0.1.0
 */
export interface TimedStatus extends Omit<QuotaStatus, "resetAfter"> {
  readonly resetAfter: Duration.Duration
}

export const timed = (quotas: ReadonlyArray<QuotaStatus>): ReadonlyArray<TimedStatus> =>
  quotas.map((quota) => ({ ...quota, resetAfter: Duration.millis(quota.resetAfter) }))
