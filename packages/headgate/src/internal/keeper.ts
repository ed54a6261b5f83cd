import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Held } from "./held.ts"

interface Kept {
  readonly held: Held
  dueAt: number
}

/**
 * Renews reservations while their calls are under way, so that only those of dead processes expire. All have the same
 * time to live, so they stand in the order in which they are due; one fiber sleeps until the first is. It is started
 * when there is something to keep, and ends when it wakes and there is nothing any more.
 */
export class Keeper {
  private readonly kept = new Map<Held, Kept>()
  private readonly every: number
  private readonly renew: (held: Held) => Effect.Effect<unknown>
  private awakeOn: Clock.Clock | undefined
  private awake: Fiber.Fiber<unknown> | undefined

  constructor(ttl: Duration.Duration, renew: (held: Held) => Effect.Effect<unknown>) {
    this.every = Math.max(1, Math.floor(Duration.toMillis(ttl) / 2))
    this.renew = renew
  }

  /** Ends the fiber, without waiting for it: nobody may run it any more. */
  readonly stop = Effect.sync(() => this.awake?.interruptUnsafe())

  /** Keeps a reservation until `drop`. Gives what starts the fiber, if it must be. */
  keep(held: Held, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<unknown> | undefined {
    const clock = fiber.getRef(Clock.Clock)
    this.kept.set(held, { held, dueAt: clock.currentTimeMillisUnsafe() + this.every })
    // A fiber that sleeps on another clock, of a test say, may never wake on this one.
    if (this.awakeOn === clock) return undefined
    this.awakeOn = clock
    return Effect.map(Effect.forkDetach(this.watch(clock)), (awake) => {
      this.awake = awake
    })
  }

  drop(held: Held): void {
    this.kept.delete(held)
  }

  private watch(clock: Clock.Clock): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.awakeOn !== clock) return Effect.void
      const first = this.kept.values().next()
      if (first.done) {
        this.awakeOn = undefined
        return Effect.void
      }
      const wait = first.value.dueAt - clock.currentTimeMillisUnsafe()
      const next = wait > 0 ? Effect.sleep(wait) : this.renewNext(first.value, clock)
      return Effect.andThen(next, this.watch(clock))
    })
  }

  private renewNext(kept: Kept, clock: Clock.Clock): Effect.Effect<unknown> {
    this.kept.delete(kept.held)
    kept.dueAt = clock.currentTimeMillisUnsafe() + this.every
    this.kept.set(kept.held, kept)
    return this.renew(kept.held)
  }
}
