import * as Data from "effect/Data"
import { InvalidUsage } from "../Errors.ts"

const stack = Error as ErrorConstructor & { stackTraceLimit?: number }

/** Makes an expected answer: an error without a stack trace, which would cost ten times the error itself. */
export const refusal = <E extends Error>(make: () => E): E => {
  const limit = stack.stackTraceLimit ?? 10
  stack.stackTraceLimit = 0
  const error = make()
  stack.stackTraceLimit = limit
  return error
}

const base: Function = Data.Error

/**
 * Makes an expected answer as its class would, but for the class's check of the fields, which are known to be right: the
 * schema takes three times as long as the rest. Every class of a tagged error extends the one that is run here.
 */
export const trusted = <E extends Error, F>(
  Class: (new (fields: F) => E) & { readonly prototype: E },
  fields: F & { readonly _tag: string }
): E => refusal(() => Reflect.construct(base, [fields], Class))

/** Text is cut, so that a huge value is not carried around by its error. */
const show = (value: unknown): number | string =>
  typeof value === "number" ? value : typeof value === "string" ? value.slice(0, 64) : typeof value

export const invalidUsage = (field: string, bound: string, value: unknown): InvalidUsage =>
  refusal(() => new InvalidUsage({ field, bound, value: show(value) }))
