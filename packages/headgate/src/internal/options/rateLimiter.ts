import type * as Duration from "effect/Duration"
import * as Quota from "../../Quota.ts"
import * as Window from "../../Window.ts"
import { limitOf, makeRules, named, type Rules } from "./plans.ts"

/**
 * Limits for everyone, for each value of a dimension, or for one value. An absent limit limits nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Most requests in any span of a minute; with `burst`, on average. */
  readonly requestsPerMinute?: number | undefined
  /** Most tokens in any span of a minute. */
  readonly tokensPerMinute?: number | undefined
  /** Most input tokens in any span of a minute. */
  readonly inputTokensPerMinute?: number | undefined
  /** Most output tokens in any span of a minute. */
  readonly outputTokensPerMinute?: number | undefined
  /** Most requests in any span of 24 hours. */
  readonly requestsPerDay?: number | undefined
  /** Most calls under way at once. */
  readonly concurrency?: number | undefined
  /** Makes `requestsPerMinute` a bucket that gives so many at once and is refilled a little every moment. */
  readonly burst?: number | undefined
  /** Any more quotas. */
  readonly quotas?: ReadonlyArray<Quota.Input> | undefined
}

/**
 * The options of a rate limiter.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Limits {
  /** Limits that each value of a dimension has for itself: `{ model: { tokensPerMinute: 30_000 } }`. */
  readonly per?: { readonly [dimension: string]: Limits } | undefined
  /** What is different for single values: `{ model: { "gpt-5.6": { tokensPerMinute: 90_000 } } }`. */
  readonly overrides?: { readonly [dimension: string]: { readonly [value: string]: Limits } } | undefined
  /** Tells rate limiters on one store apart. Default `"rateLimiter"`. */
  readonly name?: string | undefined
  /** What a call does that finds no place: wait for it, or fail with `RateLimitExceeded`. Default `"delay"`. */
  readonly onExceeded?: "delay" | "fail" | undefined
  /** The longest wait; what would take longer fails with `RateLimitExceeded`. Default: no longest. */
  readonly maxWait?: Duration.Input | undefined
  /**
   * The longest wait that the provider's word may ask for. What it holds back longer (its quota of the day is gone, say)
   * fails at once with `RateLimitExceeded` of the quota `"provider"`. A `retryAfter` is believed no longer than this: then
   * one call is let through, and if it comes back without another such word the rest may go. Default 5 minutes.
   */
  readonly maxProviderWait?: Duration.Input | undefined
  /**
   * How long a call counts as under way if nobody says that it is over. `guard`, `withLimit` and `withPermit` renew its
   * place in `concurrency` as long as it goes on; one taken by `acquire` is given up after this. Default 10 minutes.
   */
  readonly permitTtl?: Duration.Input | undefined
  /**
   * What a call meets when the store fails: its `StoreError`, or free passage and an alert. Default `"fail"`. With `"allow"`
   * what calls take is booked when the store answers, and one call a second asks a store that is out of reach.
   */
  readonly onStoreError?: "fail" | "allow" | undefined
}

const perMinute = {
  requestsPerMinute: "requests",
  tokensPerMinute: "tokens",
  inputTokensPerMinute: "inputTokens",
  outputTokensPerMinute: "outputTokens"
} as const

/** The quotas that the options ask for. Throws a `RangeError` on wrong ones. */
export const rulesOf = (options: Options, name: string): Rules =>
  makeRules<Limits>(options, (limits, label, dimension) => {
    const at = `RateLimiter.layer: ${label}`
    const quota = (name: Exclude<keyof Limits, "burst" | "quotas">, unit: Quota.Unit, window?: Window.Window) => {
      const limit = limits[name]
      return limit === undefined ? [] : [Quota.make({ name, unit, limit: limitOf(at + name, unit, limit), window })]
    }
    if (
      limits.burst !== undefined &&
      (limits.requestsPerMinute === undefined || limitOf(`${at}burst`, "requests", limits.burst) < 1)
    ) {
      throw new RangeError(`${at}burst must be at least 1 and given with requestsPerMinute, got ${limits.burst}`)
    }
    const minute = Window.sliding("1 minute")
    const requests = limits.burst === undefined ? minute : Window.bucket({ refill: "1 minute", burst: limits.burst })
    return {
      plan: {
        id: dimension === undefined ? name : `${name}:${dimension}`,
        dimension,
        quotas: named([
          ...(
            ["requestsPerMinute", "tokensPerMinute", "inputTokensPerMinute", "outputTokensPerMinute"] as const
          ).flatMap((name) => quota(name, perMinute[name], name === "requestsPerMinute" ? requests : minute)),
          ...quota("requestsPerDay", "requests", Window.sliding("1 day")),
          ...quota("concurrency", "concurrency"),
          ...(limits.quotas ?? []).map(Quota.make)
        ]),
        throttle: 0,
        alerts: "thresholds"
      },
      perRequest: []
    }
  })
