import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** What can be kept: when it is due to be renewed, and its neighbours in the order in which that is. */
export interface Kept<A> {
  dueAt: number | undefined
  previous: A | undefined
  next: A | undefined
}

/**
 * Renews reservations, or places of a rate limit, while their calls are under way, so that only those of dead processes
 * expire. All have the same time to live, so they stand in the order in which they are due; one fiber sleeps until the
 * first is. It is started when there is something to keep, and ends when it wakes and there is nothing any more.
 */
export class Keeper<A extends Kept<A>> {
  /** The one that is due next, and the one that is due last. */
  private first: A | undefined
  private last: A | undefined
  private readonly every: number
  private readonly renew: (held: A) => Effect.Effect<unknown>
  private awakeOn: Clock.Clock | undefined
  private awake: Fiber.Fiber<unknown> | undefined

  constructor(ttl: Duration.Duration, renew: (held: A) => Effect.Effect<unknown>) {
    // So that one which fails is tried twice more before its time is over.
    this.every = Math.max(1, Math.floor(Duration.toMillis(ttl) / 4))
    this.renew = renew
  }

  /** Ends the fiber, without waiting for it: nobody may run it any more. */
  readonly stop = Effect.sync(() => this.awake?.interruptUnsafe())

  /** Keeps one until `drop`. Gives what starts the fiber, if it must be. */
  keep(held: A, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<unknown> | undefined {
    const clock = fiber.getRef(Clock.Clock)
    this.append(held, clock.currentTimeMillisUnsafe())
    // A fiber that sleeps on another clock, of a test say, may never wake on this one.
    if (this.awakeOn === clock) return undefined
    this.awakeOn = clock
    return Effect.map(Effect.forkDetach(this.watch(clock)), (awake) => {
      this.awake = awake
    })
  }

  drop(held: A): void {
    if (held.dueAt === undefined) return
    if (held.previous === undefined) this.first = held.next
    else held.previous.next = held.next
    if (held.next === undefined) this.last = held.previous
    else held.next.previous = held.previous
    held.dueAt = held.previous = held.next = undefined
  }

  private append(held: A, now: number): void {
    held.dueAt = now + this.every
    held.previous = this.last
    if (this.last === undefined) this.first = held
    else this.last.next = held
    this.last = held
  }

  private watch(clock: Clock.Clock): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.awakeOn !== clock) return Effect.void
      const { first } = this
      if (first?.dueAt === undefined) {
        this.awakeOn = undefined
        return Effect.void
      }
      const now = clock.currentTimeMillisUnsafe()
      const wait = first.dueAt - now
      return Effect.andThen(wait > 0 ? Effect.sleep(wait) : this.renewAt(first, now), this.watch(clock))
    })
  }

  private renewAt(held: A, now: number): Effect.Effect<unknown> {
    this.drop(held)
    this.append(held, now)
    return this.renew(held)
  }
}
