import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { InvalidUsage } from "../../Errors.ts"
import type { Said } from "./level.ts"
import type { Word } from "./pace.ts"
import { invalidUsage } from "../refusal.ts"
import type { Feedback, FeedbackLimit } from "../provider/signals.ts"

const units: ReadonlyArray<string> = ["requests", "tokens", "inputTokens", "outputTokens"]

const most = { limits: 16, millis: 315_360_000_000 }

/** The one place where a feedback from outside becomes a `Word`, or what is wrong with it. */
export const wordOf = (feedback: Feedback): Word | InvalidUsage => {
  if (typeof feedback !== "object" || feedback === null) return invalidUsage("feedback", "an object", feedback)
  const { limits = [], retryAfter } = feedback
  if (!Array.isArray(limits) || limits.length > most.limits) {
    return invalidUsage("limits", `a list of at most ${most.limits}`, Array.isArray(limits) ? limits.length : limits)
  }
  const millis = retryAfter === undefined ? undefined : millisOf("retryAfter", retryAfter)
  if (typeof millis === "object") return millis
  const said: Array<Said> = []
  for (const limit of limits) {
    const one = saidOf(limit)
    if ("_tag" in one) return one
    said.push(one)
  }
  return { limits: said, retryAfter: millis }
}

const saidOf = (input: FeedbackLimit): Said | InvalidUsage => {
  if (typeof input !== "object" || input === null) return invalidUsage("limits", "a list of objects", input)
  const { limit, recovers = "atReset", remaining, resetAfter, unit } = input
  if (!units.includes(unit)) return invalidUsage("unit", units.join(", "), unit)
  if (!isCount(remaining)) return invalidUsage("remaining", "a whole number from 0 to 2^53 - 1", remaining)
  if (limit !== undefined && !isCount(limit)) return invalidUsage("limit", "a whole number from 0 to 2^53 - 1", limit)
  if (recovers !== "gradually" && recovers !== "atReset") {
    return invalidUsage("recovers", `"gradually" or "atReset"`, recovers)
  }
  const millis = millisOf("resetAfter", resetAfter)
  return typeof millis === "object" ? millis : { unit, remaining, limit, recovers, resetAfter: millis }
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0

/** In whole milliseconds, rounded up. */
const millisOf = (field: string, input: Duration.Input): number | InvalidUsage => {
  const millis = Number.isNaN(input)
    ? NaN
    : Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })
  return millis >= 0 && millis <= most.millis
    ? Math.ceil(millis)
    : invalidUsage(field, "a duration of 0 to 3650 days", input)
}
