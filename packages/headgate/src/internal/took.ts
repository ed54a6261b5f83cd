import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { InvalidUsage } from "../Errors.ts"
import type * as Usage from "../Usage.ts"
import { checkUsage } from "./input.ts"
import { chargeOf } from "./providerError.ts"

/** How to read what a call took. */
export interface Reading<in A, in E> {
  readonly actual: (result: A) => Usage.Input
  readonly actualOnError?: ((error: E) => Usage.Input | undefined) | undefined
  readonly onUnknown?: "charge" | "release" | undefined
}

/** What `usage` says. A usage that is wrong, or cannot be read, counts as the estimate: the call was made and is paid. */
const read = (usage: () => Usage.Input, estimate: Usage.Usage): Effect.Effect<Usage.Usage> =>
  Effect.catchCause(
    Effect.suspend(() => {
      const checked = checkUsage(usage(), 1)
      return checked instanceof InvalidUsage ? Exit.fail(checked) : Exit.succeed(checked)
    }),
    (cause) => Effect.as(Effect.logWarning("Charged the estimate instead of an invalid actual usage", cause), estimate)
  )

/** What a call took that ended so; `undefined` for nothing. */
export const tookOf = <A, E>(
  exit: Exit.Exit<A, E>,
  estimate: Usage.Usage,
  { actual, actualOnError, onUnknown }: Reading<A, E>
): Effect.Effect<Usage.Usage | undefined> => {
  if (Exit.isSuccess(exit)) return read(() => actual(exit.value), estimate)
  const unknown = onUnknown === "release" ? undefined : estimate
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isNone(error) || Cause.hasInterrupts(exit.cause)) return Effect.succeed(unknown)
  return Effect.flatMap(
    Effect.sync(() => actualOnError?.(error.value)),
    (said) => {
      if (said !== undefined) return read(() => said, estimate)
      const charge = chargeOf(error.value)
      if (typeof charge === "object") return read(() => charge, estimate)
      return Effect.succeed(charge === "billed" ? estimate : charge === "unknown" ? unknown : undefined)
    }
  )
}

/** A call is over: what goes wrong with its hold from here on is told, and never takes its result away. */
export const afterwards = (self: Effect.Effect<unknown, Error>): Effect.Effect<void> =>
  Effect.catch(Effect.asVoid(self), (error) => Effect.logWarning("A hold was left to its expiry", error))
