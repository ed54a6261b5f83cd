import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Semaphore from "effect/Semaphore"
import type { Subject } from "../../Subject.ts"
import type { Usage } from "../../Usage.ts"
import type { Draw } from "./allowance.ts"
import type { Kept } from "../keeper.ts"
import type { Hold } from "../verbs.ts"

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
  /** The step of the extension that is asked for, or else of the next one. */
  step = 0
  /** The extension of this step, where it was sent and nobody has heard what became of it. */
  unanswered: Usage | undefined = undefined
  private turns: Semaphore.Semaphore | undefined = undefined
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

  /** One extension after another: a store takes a step that comes after a later one for a repetition. */
  inTurn<A, E, R>(extension: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return (this.turns ??= Semaphore.makeUnsafe(1)).withPermit(extension)
  }

  /** The step of an extension: that of the last one, if it is the same and was not answered. */
  sent(more: Usage): number {
    // Perhaps it is held, and stays so. It can never be asked for again: the store would take it for done.
    if (this.unanswered !== undefined && !Equal.equals(this.unanswered, more)) this.answered()
    this.unanswered = more
    return this.step
  }

  /** Its caller knows what became of an extension: the next one is another. */
  answered(): void {
    if (this.unanswered !== undefined) this.step++
    this.unanswered = undefined
  }

  toJSON(): Reservation {
    const { estimate, id, subject, ttl } = this
    return { id, subject, estimate, ttl }
  }

  get id(): string {
    return this.hold?.id ?? "not held"
  }
}
