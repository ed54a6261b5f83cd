import type * as Duration from "effect/Duration"
import type { Subject } from "../Subject.ts"
import type { Usage } from "../Usage.ts"
import type { Draw } from "./allowance.ts"
import type { Kept } from "./keeper.ts"
import type { Hold } from "./verbs.ts"

/**
 * An estimate that is held. It is ended by `settle` or `release`, or by itself after `reservationTtl`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reservation {
  readonly id: string
  readonly subject: Subject
  readonly estimate: Usage
  /** How long it is held if nobody ends or extends it. */
  readonly ttl: Duration.Duration
}

/** A reservation with what it holds: in the store, unless that failed, and on allowances. */
export class Held implements Reservation, Kept<Held> {
  readonly estimate: Usage
  readonly subject: Subject
  readonly hold: Hold | undefined
  readonly draws: ReadonlyArray<Draw>
  readonly ttl: Duration.Duration
  /** What extensions hold on allowances. */
  extraDraws: ReadonlyArray<Draw> = []
  /** The estimate and its extensions. */
  total: Usage
  /** Extensions asked for so far. */
  steps = 0
  dueAt: number | undefined = undefined
  previous: Held | undefined = undefined
  next: Held | undefined = undefined
  /** What it is recorded by, if it ends without a hold. */
  recordId: string | undefined = undefined
  /** How it ended, if that is not known to a store. */
  ended: Usage | "released" | undefined = undefined

  constructor(
    estimate: Usage,
    subject: Subject,
    hold: Hold | undefined,
    draws: ReadonlyArray<Draw>,
    ttl: Duration.Duration
  ) {
    this.estimate = this.total = estimate
    this.subject = subject
    this.hold = hold
    this.draws = draws
    this.ttl = ttl
  }

  get allDraws(): ReadonlyArray<Draw> {
    return this.extraDraws.length === 0 ? this.draws : [...this.draws, ...this.extraDraws]
  }

  toJSON(): Reservation {
    const { estimate, id, subject, ttl } = this
    return { id, subject, estimate, ttl }
  }

  get id(): string {
    return this.hold?.id ?? "not held"
  }
}
