import type * as Clock from "effect/Clock"
import * as Data from "effect/Data"
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

/** How late a deadline may be noticed, in milliseconds. */
const grain = 10

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
 * are any.
 */
export const makeDeadlines: Effect.Effect<Deadlines> = Effect.map(Effect.context<never>(), (context) => {
  const fork = Effect.runForkWith(context)
  const waiting = new Set<Waiting>()
  let isLooking = false

  const look = (clock: Clock.Clock): Effect.Effect<void> =>
    Effect.flatMap(Effect.sleep(grain), () => {
      const now = clock.currentTimeNanosUnsafe()
      for (const one of waiting) if (one.until <= now) one.give()
      isLooking = waiting.size > 0
      return isLooking ? look(clock) : Effect.void
    })

  return {
    within: <A, E>(effect: Effect.Effect<A, E>, clock: Clock.Clock, millis: number) =>
      Effect.callback<A, E | NoAnswer>((resume) => {
        const one: Waiting = {
          until: clock.currentTimeNanosUnsafe() + BigInt(Math.round(millis * 1e6)),
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
        if (!isLooking) {
          isLooking = true
          fork(look(clock))
        }
      })
  }
})
