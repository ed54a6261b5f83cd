import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { InvalidUsage, StoreError } from "../../Errors.ts"
import type * as Usage from "../../Usage.ts"
import { checkUsage } from "../input.ts"
import { chargeOf } from "./providerError.ts"

/** How to read what a call took. */
export interface Reading<in A, in E> {
  readonly actual: (result: A) => Usage.Input
  readonly actualOnError?: ((error: E) => Usage.Input | undefined) | undefined
  readonly onUnknown?: "charge" | "release" | undefined
}

/**
 * What a call took that ended so; `undefined` for nothing. A usage that is wrong, or cannot be read, counts as the
 * estimate: the call was made and is paid. It is read when this is called.
 */
export const tookOf = <A, E>(
  exit: Exit.Exit<A, E>,
  estimate: Usage.Usage,
  reading: Reading<A, E>
): Effect.Effect<Usage.Usage | undefined> => {
  const read = Result.try(() => {
    const said = sayOf(exit, estimate, reading)
    return said === undefined || said === estimate
      ? (said as Usage.Usage | undefined)
      : checkUsage(said, estimate.requests)
  })
  return Result.isSuccess(read) && !(read.success instanceof InvalidUsage)
    ? Exit.succeed(read.success)
    : Effect.as(Effect.logWarning("Charged the estimate instead of an invalid actual usage", wrongIn(read)), estimate)
}

const wrongIn = (read: Result.Result<unknown, unknown>): Cause.Cause<unknown> =>
  Result.isSuccess(read) ? Cause.fail(read.success) : Cause.die(read.failure)

const sayOf = <A, E>(
  exit: Exit.Exit<A, E>,
  estimate: Usage.Usage,
  { actual, actualOnError, onUnknown }: Reading<A, E>
): Usage.Input | undefined => {
  if (Exit.isSuccess(exit)) return actual(exit.value)
  const unknown = onUnknown === "release" ? undefined : estimate
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isNone(error) || Cause.hasInterrupts(exit.cause)) return unknown
  const said = actualOnError?.(error.value)
  if (said !== undefined) return said
  const charge = chargeOf(error.value)
  if (typeof charge === "object") return charge
  return charge === "billed" ? estimate : charge === "unknown" ? unknown : undefined
}

/** A call is over: what goes wrong with its hold from here on is told, and never takes its result away. */
export const afterwards = (self: Effect.Effect<unknown, Error>): Effect.Effect<void> =>
  Effect.catch(self as Effect.Effect<void, Error>, (error) =>
    Effect.logWarning(
      error instanceof StoreError
        ? "The store could not be told how a call ended, and is told later"
        : "A hold was left to its expiry",
      error
    )
  )
