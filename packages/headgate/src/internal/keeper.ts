import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/**
 * Renews reservations, or places of a rate limit, while their calls are under way, so that only those of dead processes expire. All have the same
 * time to live, so they stand in the order in which they are due; one fiber sleeps until the first is. It is started
 * when there is something to keep, and ends when it wakes and there is nothing any more.
 */
export class Keeper<A> {
  /** When each is due, the next one first. */
  private readonly dueAt = new Map<A, number>()
  private readonly every: number
  private readonly renew: (held: A) => Effect.Effect<unknown>
  private awakeOn: Clock.Clock | undefined
  private awake: Fiber.Fiber<unknown> | undefined

  constructor(ttl: Duration.Duration, renew: (held: A) => Effect.Effect<unknown>) {
    this.every = Math.max(1, Math.floor(Duration.toMillis(ttl) / 2))
    this.renew = renew
  }

  /** Ends the fiber, without waiting for it: nobody may run it any more. */
  readonly stop = Effect.sync(() => this.awake?.interruptUnsafe())

  /** Keeps one until `drop`. Gives what starts the fiber, if it must be. */
  keep(held: A, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<unknown> | undefined {
    const clock = fiber.getRef(Clock.Clock)
    this.dueAt.set(held, clock.currentTimeMillisUnsafe() + this.every)
    // A fiber that sleeps on another clock, of a test say, may never wake on this one.
    if (this.awakeOn === clock) return undefined
    this.awakeOn = clock
    return Effect.map(Effect.forkDetach(this.watch(clock)), (awake) => {
      this.awake = awake
    })
  }

  drop(held: A): void {
    this.dueAt.delete(held)
  }

  private watch(clock: Clock.Clock): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.awakeOn !== clock) return Effect.void
      const first = this.dueAt.entries().next()
      if (first.done) {
        this.awakeOn = undefined
        return Effect.void
      }
      const [held, dueAt] = first.value
      const now = clock.currentTimeMillisUnsafe()
      return Effect.andThen(dueAt > now ? Effect.sleep(dueAt - now) : this.renewAt(held, now), this.watch(clock))
    })
  }

  private renewAt(held: A, now: number): Effect.Effect<unknown> {
    this.dueAt.delete(held)
    this.dueAt.set(held, now + this.every)
    return this.renew(held)
  }
}
