import type * as Duration from "effect/Duration"
import type * as Money from "../../Money.ts"
import * as Quota from "../../Quota.ts"
import * as Window from "../../Window.ts"
import { limitOf, makeRules, millisOf, named, type PerRequest, type Rules, sharesOf } from "./plans.ts"

/**
 * Limits for everyone, for each value of a dimension, or for one value. An absent limit limits nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Most tokens that one call may ask for. A refusal is an error and a metric, but no alert. */
  readonly maxTokensPerRequest?: number | undefined
  /** Most tokens in any span of a minute. */
  readonly maxTokensPerMinute?: number | undefined
  /** Most tokens in any span of an hour. */
  readonly maxTokensPerHour?: number | undefined
  /** Most tokens in a day of `timeZone`. */
  readonly maxTokensPerDay?: number | undefined
  /** Most that one call may cost, `"$10"`. */
  readonly maxCostPerRequest?: Money.Input | undefined
  /** Most that a day of `timeZone` may cost, `"$1000"`. */
  readonly maxCostPerDay?: Money.Input | undefined
  /** Any more quotas. */
  readonly quotas?: ReadonlyArray<Quota.Input> | undefined
  /** Shares of each limit at which an alert is published, above 0 and up to 1. Default 0.8. */
  readonly alertThreshold?: number | ReadonlyArray<number> | undefined
  /** Whether everything is refused for `throttleDelay` after a refusal by a quota with a window. Default `false`. */
  readonly autoThrottle?: boolean | undefined
  /** Default 1 second. */
  readonly throttleDelay?: Duration.Input | undefined
}

/**
 * The options of a budget.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Limits {
  /** Limits that each value of a dimension has for itself: `{ user: { maxCostPerDay: "$5" } }`. */
  readonly per?: { readonly [dimension: string]: Limits } | undefined
  /** What is different for single values: `{ user: { "42": { maxCostPerDay: "$50" } } }`. */
  readonly overrides?: { readonly [dimension: string]: { readonly [value: string]: Limits } } | undefined
  /** Tells budgets on one store apart. Default `"budget"`. */
  readonly name?: string | undefined
  /** The IANA time zone of days. Default `"UTC"`. */
  readonly timeZone?: string | undefined
  /** How long a reservation is held if nobody ends it. Default 10 minutes. */
  readonly reservationTtl?: Duration.Input | undefined
  /**
   * What a call meets when the store fails: its `StoreError`, or free passage and an alert. Default `"fail"`. With `"allow"`
   * what calls take is booked when the store answers, and one call a second asks a store that is out of reach.
   */
  readonly onStoreError?: "fail" | "allow" | undefined
  /** `"shadow"` refuses nothing, and tells by alerts and metrics what it would refuse. Default `"enforce"`. */
  readonly mode?: "enforce" | "shadow" | undefined
}

export const defaults = {
  maxTokensPerRequest: 100_000,
  maxTokensPerMinute: 500_000,
  maxTokensPerHour: 5_000_000,
  maxTokensPerDay: 50_000_000,
  maxCostPerRequest: "$10",
  maxCostPerDay: "$1000",
  alertThreshold: 0.8,
  autoThrottle: true,
  throttleDelay: "1 second"
} as const satisfies Options

/** The quotas and per-request limits that the options ask for. Throws a `RangeError` on wrong ones. */
export const rulesOf = (options: Options, name: string): Rules => {
  const day = Window.calendar("day", { timeZone: options.timeZone })
  return makeRules<Limits>(options, (limits, label, dimension) => {
    const at = `Budget.layer: ${label}`
    const alertAt = sharesOf(
      `${at}alertThreshold`,
      limits.alertThreshold ?? options.alertThreshold ?? defaults.alertThreshold
    )
    const quota = (
      name: "maxTokensPerMinute" | "maxTokensPerHour" | "maxTokensPerDay" | "maxCostPerDay",
      window: Window.Window
    ) => {
      const limit = limits[name]
      const unit = name === "maxCostPerDay" ? "cost" : "tokens"
      return limit === undefined
        ? []
        : [Quota.make({ name, unit, limit: limitOf(at + name, unit, limit), window, alertAt })]
    }
    const perRequest = (name: "maxTokensPerRequest" | "maxCostPerRequest"): ReadonlyArray<PerRequest> => {
      const limit = limits[name]
      const unit = name === "maxCostPerRequest" ? "cost" : "tokens"
      return limit === undefined ? [] : [{ name, unit, limit: limitOf(at + name, unit, limit) }]
    }
    const throttle = millisOf(
      `${at}throttleDelay`,
      limits.throttleDelay ?? options.throttleDelay ?? defaults.throttleDelay
    )
    return {
      plan: {
        id: dimension === undefined ? name : `${name}:${dimension}`,
        dimension,
        quotas: named([
          ...quota("maxTokensPerMinute", Window.sliding("1 minute")),
          ...quota("maxTokensPerHour", Window.sliding("1 hour")),
          ...quota("maxTokensPerDay", day),
          ...quota("maxCostPerDay", day),
          ...(limits.quotas ?? []).map((input) => Quota.make({ ...input, alertAt: input.alertAt ?? alertAt }))
        ]),
        throttle: (limits.autoThrottle ?? options.autoThrottle ?? false) ? throttle : 0,
        alerts: "all"
      },
      perRequest: [...perRequest("maxTokensPerRequest"), ...perRequest("maxCostPerRequest")]
    }
  })
}
