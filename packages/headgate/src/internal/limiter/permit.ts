import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Quota } from "../../Quota.ts"
import type { Subject } from "../../Subject.ts"
import type { Usage } from "../../Usage.ts"
import type { Kept } from "../keeper.ts"
import type { Entry, Pace } from "./pace.ts"
import type { Account, Hold } from "../verbs.ts"

/**
 * A place that was taken. `settle` says what the call really took, and that it is over.
 *
 * @category models
 * @since 0.1.0
 */
export interface Permit {
  readonly subject: Subject
  readonly usage: Usage
  /** How long it was waited for. */
  readonly waited: Duration.Duration
}

/** What a call asks of a rate limiter. */
export interface Request {
  readonly usage: Usage
  readonly subject: Subject
  readonly accounts: ReadonlyArray<Account>
  readonly paces: ReadonlyArray<Pace>
}

const isConcurrency = ({ unit }: Quota): boolean => unit === "concurrency"

/** A place with its hold; without one where nothing limits the call, or the store failed and the call was let through. */
export class Taken implements Permit, Kept<Taken> {
  readonly usage: Usage
  readonly subject: Subject
  readonly waited: Duration.Duration
  readonly hold: Hold | undefined
  readonly accounts: ReadonlyArray<Account>
  readonly entry: Entry
  dueAt: number | undefined = undefined
  previous: Taken | undefined = undefined
  next: Taken | undefined = undefined

  constructor(request: Request, entry: Entry, hold: Hold | undefined, waited: Duration.Duration) {
    this.usage = request.usage
    this.subject = request.subject
    this.accounts = request.accounts
    this.entry = entry
    this.hold = hold
    this.waited = waited
  }

  /** Whether it counts as a call under way, until somebody says that it is over. */
  get isUnderWay(): boolean {
    return this.hold !== undefined && this.accounts.some(({ plan }) => plan.quotas.some(isConcurrency))
  }

  toJSON(): Permit {
    const { subject, usage, waited } = this
    return { subject, usage, waited }
  }
}

/** Undoes the uninterruptible region that it was given in. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
