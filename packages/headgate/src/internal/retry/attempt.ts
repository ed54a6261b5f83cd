import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Permit } from "../limiter/permit.ts"

/**
 * The attempt that a fiber is in: whether a retry policy of this library is at work around it, and its place in the rate
 * limiter. What runs within a call but is no part of its attempt, as a tool's handler, is in none.
 */
export interface Attempt {
  readonly isRetried: boolean
  readonly permit: Permit | undefined
}

export const none: Attempt = { isRetried: false, permit: undefined }

export const Attempt = Context.Reference<Attempt>("headgate/Attempt", { defaultValue: () => none })

/** Runs an effect in an attempt. `Effect.provideService` does the same, and makes four functions more each time. */
export const inAttempt = <A, E, R>(self: Effect.Effect<A, E, R>, attempt: Attempt): Effect.Effect<A, E, R> =>
  Effect.updateContext(self, (context: Context.Context<R>) => Context.add(context, Attempt, attempt))

/** Tells of a policy within another, the first time that it happens to this one. */
export const makeWarning = (): Effect.Effect<void> => {
  let isKnown = false
  return Effect.withFiber((fiber) => {
    if (isKnown || !fiber.getRef(Attempt).isRetried) return Effect.void
    isKnown = true
    return Effect.logWarning(
      "A retry within a retry: their attempts multiply, and both wait. Keep one of them: a guarded call has its own."
    )
  })
}
