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

/** Text is cut, so that a huge value is not carried around by its error. */
const show = (value: unknown): number | string =>
  typeof value === "number" ? value : typeof value === "string" ? value.slice(0, 64) : typeof value

export const invalidUsage = (field: string, bound: string, value: unknown): InvalidUsage =>
  refusal(() => new InvalidUsage({ field, bound, value: show(value) }))
