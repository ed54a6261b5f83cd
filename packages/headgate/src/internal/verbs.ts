import type * as Alert from "../Alert.ts"
import type { Quota } from "../Quota.ts"
import type * as Subject from "../Subject.ts"
import type { Usage } from "../Usage.ts"

/**
 * The quotas that one service has for one dimension, or for everyone. Each value of the dimension has its own counters.
 * A plan is made once, when a layer is built, and is data only.
 *
 * @category models
 * @since 0.1.0
 */
export interface Plan {
  /** Tells plans apart in a store: the service's name and the dimension. */
  readonly id: string
  /** Absent for quotas of everyone. */
  readonly dimension: string | undefined
  readonly quotas: ReadonlyArray<Quota>
  /** Milliseconds for which everything is refused after a refusal by a quota with a window; 0 for none. */
  readonly throttle: number
  /** Which alerts its quotas raise: all, or only those at thresholds, since waiting at a rate limit is no news. */
  readonly alerts: "all" | "thresholds"
}

/**
 * One plan's counters for one value of its dimension (`""` for everyone).
 *
 * @category models
 * @since 0.1.0
 */
export interface Account {
  readonly plan: Plan
  readonly value: string
}

/**
 * Asks to hold `usage` on all accounts, or on none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reserve {
  readonly accounts: ReadonlyArray<Account>
  readonly usage: Usage
  /** Milliseconds after which the hold ends by itself. */
  readonly ttl: number
  /** What then becomes of it. */
  readonly onExpiry: "charge" | "release"
  /** Whether the usage counts as spent at once (a rate limit's place) or when it is settled (a budget's hold). */
  readonly book: "now" | "onSettle"
  /** `"ask"` holds nothing; `"force"` holds even where it does not fit. */
  readonly mode: "enforce" | "ask" | "force"
  /** Whether the caller waits if it is refused, and is to be called when something is given back early: see `listen`. */
  readonly waits?: boolean | undefined
  /** Repeating an id with the same content gives the same hold; with another content, a `Conflict`. */
  readonly id: string | undefined
}

/**
 * A hold: what `reserve` gives and the other verbs take.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hold {
  readonly _tag: "Hold"
  readonly id: string
  readonly alerts: ReadonlyArray<Alert.Alert>
}

/**
 * A refusal. Nothing was held on any account.
 *
 * @category models
 * @since 0.1.0
 */
export interface Refused {
  readonly _tag: "Refused"
  /** `tooLarge` never fits; `exceeded` fits later; `throttled` is refused because of an earlier refusal. */
  readonly reason: "tooLarge" | "exceeded" | "throttled"
  readonly account: Account
  readonly quota: Quota
  /** What can be used and held at once: the quota's limit, or its bucket's burst. */
  readonly capacity: number
  readonly used: number
  readonly held: number
  readonly requested: number
  /**
   * Milliseconds until it is admitted if nothing else happens; `Infinity` if time alone does not help. While the clock is
   * behind a time that was seen before, at least until it has caught up, or a second where that takes longer.
   */
  readonly retryAfter: number
  /** When the throttle ends, in milliseconds since the epoch; 0 without one. */
  readonly until: number
  readonly alerts: ReadonlyArray<Alert.Alert>
}

/**
 * The id is known with another content, or its reservation ended in another way.
 *
 * @category models
 * @since 0.1.0
 */
export interface Conflict {
  readonly _tag: "Conflict"
  /** What must hold for the verb. */
  readonly bound: string
  /** What is the case. */
  readonly state: string
}

/**
 * A hold was ended, or usage was booked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Booked {
  readonly _tag: "Booked"
  /** What had been held. */
  readonly reserved: Usage
  /** Whether this was done before, and changed nothing now. */
  readonly repeated: boolean
  readonly alerts: ReadonlyArray<Alert.Alert>
}

/**
 * The counters of one quota of one account.
 *
 * @category models
 * @since 0.1.0
 */
export interface QuotaStatus {
  readonly name: string
  readonly unit: Quota["unit"]
  /** What can be used and held at once: the quota's limit, or its bucket's burst. */
  readonly limit: number
  readonly used: number
  readonly held: number
  readonly remaining: number
  /** `used / limit`; 0 where the limit is 0. */
  readonly utilization: number
  /** Milliseconds until nothing is used any more, if nothing else happens; `Infinity` for what never comes back. */
  readonly resetAfter: number
  readonly subject: Subject.Subject
}

/**
 * The counters of some accounts, and until when one of them is throttled (milliseconds since the epoch, 0 if none).
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly quotas: ReadonlyArray<QuotaStatus>
  readonly throttledUntil: number
}
