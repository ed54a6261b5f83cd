/**
 * What is worth telling someone: a threshold reached, a limit hit, a throttle, an overrun, a store in trouble.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Unit } from "./Quota.ts"
import * as Subject from "./Subject.ts"

const fields = {
  message: Schema.String,
  quota: Schema.String,
  subject: Subject.Subject,
  threshold: Schema.Finite,
  current: Schema.Finite,
  timestamp: Schema.DateTimeUtcFromString
}

const limited = { ...fields, unit: Unit, limit: Schema.Finite }

/**
 * `used` reached a share of the limit. Once per threshold, quota, subject and window; armed again when usage has fallen
 * back below the threshold and the window in which it fired is over. `threshold` is the share, `current` the share used.
 *
 * @category models
 * @since 0.1.0
 */
export const ThresholdReached = Schema.TaggedStruct("ThresholdReached", limited)

/**
 * A call was refused by a quota. Once per quota, subject and window. `threshold` is 1, `current` the share that the call
 * would have brought it to.
 *
 * @category models
 * @since 0.1.0
 */
export const LimitHit = Schema.TaggedStruct("LimitHit", limited)

/**
 * A subject is refused everything for a while (`autoThrottle`). Once per throttle. `threshold` is 1, `current` as for
 * `LimitHit`.
 *
 * @category models
 * @since 0.1.0
 */
export const Throttled = Schema.TaggedStruct("Throttled", limited)

/**
 * A call took more than was reserved for it. `threshold` is what was reserved, `current` what it took, in the unit.
 *
 * @category models
 * @since 0.1.0
 */
export const Overrun = Schema.TaggedStruct("Overrun", limited)

/**
 * The store failed and the call was let through (`onStoreError: "allow"`), or the store lost what it knew. `quota` names
 * the service, `threshold` and `current` are 0.
 *
 * @category models
 * @since 0.1.0
 */
export const StoreDegraded = Schema.TaggedStruct("StoreDegraded", fields)

/**
 * The schema of all alerts.
 *
 * **Example** (Writing one as JSON)
 *
 * ```ts
 * import { DateTime, Schema } from "effect"
 * import { Alert } from "headgate"
 *
 * const alert: Alert.Alert = {
 *   _tag: "StoreDegraded",
 *   message: "the store did not answer",
 *   quota: "budget",
 *   subject: {},
 *   threshold: 0,
 *   current: 0,
 *   timestamp: DateTime.makeUnsafe("2026-11-24T10:00:00Z")
 * }
 * Schema.encodeSync(Alert.Alert)(alert).timestamp // => "2026-11-24T10:00:00.000Z"
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Alert = Schema.Union([ThresholdReached, LimitHit, Throttled, Overrun, StoreDegraded])

/**
 * @category models
 * @since 0.1.0
 */
export type Alert = typeof Alert.Type
