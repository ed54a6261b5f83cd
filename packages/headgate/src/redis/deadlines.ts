import type * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** The store has said nothing. */
export class NoAnswer extends Data.TaggedError("NoAnswer")<{ readonly millis: number }> {
  override get message(): string {
    return `no answer within ${Math.round(this.millis)} ms`
  }
}

interface Waiting {
  readonly until: bigint
  readonly give: () => void
}

/** How late a deadline may be noticed. */
export const grain = Duration.millis(10)

export interface Deadlines {
  /** Gives up on an effect after so many milliseconds, and leaves it to itself. The caller is not interrupted. */
  readonly within: <A, E>(
    effect: Effect.Effect<A, E>,
    clock: Clock.Clock,
    millis: number
  ) => Effect.Effect<A, E | NoAnswer>
}

/**
 * Deadlines of many short calls. Effect's own timeout forks two fibers and a timer for each, which takes longer than
 * everything else that is done for a call here; this looks at all of them every few milliseconds, and only while there
 * are any: at those of each clock by itself, since a test's clock beside the live one stands still, and tells another
 * time.
 */
export const makeDeadlines: Effect.Effect<Deadlines> = Effect.map(Effect.context<never>(), (context) => {
  const fork = Effect.runForkWith(context)
  const looked = new WeakMap<Clock.Clock, Set<Waiting>>()

  const look = (clock: Clock.Clock, waiting: Set<Waiting>): Effect.Effect<void> =>
    Effect.flatMap(clock.sleep(grain), () => {
      const now = clock.monotonicTimeNanosUnsafe()
      for (const one of waiting) if (one.until <= now) one.give()
      if (waiting.size > 0) return look(clock, waiting)
      looked.delete(clock)
      return Effect.void
    })

  const waitingOn = (clock: Clock.Clock): Set<Waiting> => {
    const known = looked.get(clock)
    if (known !== undefined) return known
    const waiting = new Set<Waiting>()
    looked.set(clock, waiting)
    fork(look(clock, waiting))
    return waiting
  }

  return {
    within: <A, E>(effect: Effect.Effect<A, E>, clock: Clock.Clock, millis: number) =>
      Effect.callback<A, E | NoAnswer>((resume) => {
        const waiting = waitingOn(clock)
        const one: Waiting = {
          until: clock.monotonicTimeNanosUnsafe() + BigInt(Math.round(millis * 1e6)),
          give: () => {
            waiting.delete(one)
            fiber.interruptUnsafe()
            resume(Exit.fail(new NoAnswer({ millis })))
          }
        }
        waiting.add(one)
        const fiber = fork(effect)
        fiber.addObserver((exit) => {
          if (waiting.delete(one)) resume(exit)
        })
      })
  }
})
