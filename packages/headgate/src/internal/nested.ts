import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/**
 * Whether a retry policy of this library is at work around a fiber. What runs within a call but is no part of its attempt,
 * as a tool's handler, is not within its retries.
 */
export const Retrying = Context.Reference<boolean>("headgate/Retrying", { defaultValue: () => false })

/** Tells of a policy within another, the first time that it happens to this one. */
export const makeWarning = (): Effect.Effect<void> => {
  let isKnown = false
  return Effect.withFiber((fiber) => {
    if (isKnown || !fiber.getRef(Retrying)) return Effect.void
    isKnown = true
    return Effect.logWarning(
      "A retry within a retry: their attempts multiply, and both wait. Keep one of them: a guarded call has its own."
    )
  })
}
