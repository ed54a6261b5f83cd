/**
 * The stretch of time a quota's limit is for.
 *
 * | window | what it promises | it frees |
 * | --- | --- | --- |
 * | `sliding("1 minute")` | never more than the limit in **any** span of this length | slot by slot, 60 slots in memory, 20 in shared stores |
 * | `calendar("day")` | at most the limit per day, week or month of a time zone | at midnight there |
 * | `fixed("1 hour")` | at most the limit per hour, counted from the epoch | on the hour; twice the limit can pass around it |
 * | `bucket({ refill: "1 minute" })` | the limit per minute on average, `burst` at once | a little every moment |
 * | `lifetime` | at most the limit, ever | never |
 *
 * Constructors throw a `RangeError` that names the bound and the value.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Money from "./Money.ts"

const maxDays = 36_500

const Length = Schema.DurationFromString.check(
  Schema.makeFilter((length) => isLength(length), { expected: `a duration of 1 millisecond to ${maxDays} days` })
)

const isLength = (length: Duration.Duration): boolean => {
  const millis = Duration.toMillis(length)
  return millis >= 1 && millis <= maxDays * 86_400_000
}

const isTimeZone = (name: string): boolean => Option.isSome(DateTime.zoneMakeNamed(name))

/**
 * The schema of `Window`. In JSON durations are texts: `{ "_tag": "Sliding", "length": "1 minute" }`.
 *
 * **Example** (Reading a window)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Window } from "headgate"
 *
 * const window = Schema.decodeUnknownSync(Window.Window)({ _tag: "Fixed", length: "1 hour" })
 * Window.format(window) // => "per fixed 1h"
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Window = Schema.Union([
  Schema.TaggedStruct("Sliding", { length: Length }),
  Schema.TaggedStruct("Calendar", {
    period: Schema.Literals(["day", "week", "month"]),
    timeZone: Schema.String.check(Schema.makeFilter(isTimeZone, { expected: "an IANA time zone" })),
    weekStartsOn: Schema.Literals([0, 1, 2, 3, 4, 5, 6])
  }),
  Schema.TaggedStruct("Fixed", { length: Length }),
  Schema.TaggedStruct("Bucket", {
    refill: Length,
    burst: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })))
  }),
  Schema.TaggedStruct("Lifetime", {})
])

/**
 * @category models
 * @since 0.1.0
 */
export type Window = typeof Window.Type

const length = (name: string, input: Duration.Input, max = maxDays): Duration.Duration => {
  const duration = Option.getOrUndefined(Duration.fromInput(input))
  if (duration === undefined || !isLength(duration) || Duration.toDays(duration) > max) {
    throw new RangeError(`${name} must be a duration of 1 millisecond to ${max} days, got ${String(input)}`)
  }
  return duration
}

/**
 * Any span of this length. Time is cut into 60 slots in memory (20 in shared stores), and what was used in a slot counts
 * until the whole slot is older than the length: never more than the limit in any span.
 *
 * **Details**
 *
 * Where calls never cease, 60/61 of what an exact log would admit are admitted, 1.6 % less, and 20/21 in shared stores,
 * 4.8 % less. Who comes just this length after the last time waits up to a slot more. A slot is whole milliseconds: a
 * window of only some of them has fewer slots, and gives up more.
 *
 * **Example** (Tokens in any minute)
 *
 * ```ts
 * import { Quota, Window } from "headgate"
 *
 * const quota = Quota.make({ unit: "tokens", limit: 500_000, window: Window.sliding("1 minute") })
 * quota.name // => "tokens per 1m"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const sliding = (span: Duration.Input): Window => ({
  _tag: "Sliding",
  length: length("Window.sliding: length", span)
})

/**
 * A day, week or month of the calendar in a time zone (`"UTC"` unless given), across daylight saving and month ends.
 * A week starts on Monday unless `weekStartsOn` says otherwise (0 is Sunday).
 *
 * **Example** (A day in Los Angeles)
 *
 * ```ts
 * import { Window } from "headgate"
 *
 * const day = Window.calendar("day", { timeZone: "America/Los_Angeles" })
 * Window.format(day) // => "per day (America/Los_Angeles)"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const calendar = (
  period: "day" | "week" | "month",
  options?: {
    readonly timeZone?: string | undefined
    readonly weekStartsOn?: 0 | 1 | 2 | 3 | 4 | 5 | 6 | undefined
  }
): Window => {
  const timeZone = options?.timeZone ?? "UTC"
  const weekStartsOn = options?.weekStartsOn ?? 1
  if (!["day", "week", "month"].includes(period)) {
    throw new RangeError(`Window.calendar: period must be "day", "week" or "month", got ${period}`)
  }
  if (!isTimeZone(timeZone)) {
    throw new RangeError(`Window.calendar: timeZone must be an IANA time zone, got ${timeZone}`)
  }
  if (![0, 1, 2, 3, 4, 5, 6].includes(weekStartsOn)) {
    throw new RangeError(`Window.calendar: weekStartsOn must be 0 (Sunday) to 6, got ${weekStartsOn}`)
  }
  return { _tag: "Calendar", period, timeZone, weekStartsOn }
}

/**
 * Windows of this length one after another, counted from 1970-01-01T00:00:00Z.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fixed = (span: Duration.Input): Window => ({
  _tag: "Fixed",
  length: length("Window.fixed: length", span)
})

/**
 * A bucket that takes `burst` at once (the quota's limit unless given) and is refilled by the limit per `refill`, a
 * little every moment. `refill` is at most a day.
 *
 * **Example** (Anthropic's way to count)
 *
 * ```ts
 * import { Window } from "headgate"
 *
 * Window.format(Window.bucket({ refill: "1 minute", burst: 5 })) // => "per 1m bucket of 5"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const bucket = (options: {
  readonly refill: Duration.Input
  readonly burst?: number | Money.Input | undefined
}): Window => {
  const refill = length("Window.bucket: refill", options.refill, 1)
  if (options.burst === undefined) return { _tag: "Bucket", refill }
  const burst = Money.fromInput(options.burst as Money.Input)
  if (burst === undefined || burst < 1) {
    throw new RangeError(`Window.bucket: burst must be a whole number of at least 1, got ${options.burst}`)
  }
  return { _tag: "Bucket", refill, burst }
}

/**
 * Once and for all: what is used never comes back, except by a reset.
 *
 * @category constructors
 * @since 0.1.0
 */
export const lifetime: Window = { _tag: "Lifetime" }

/**
 * The window in words, as quota names have it.
 *
 * @category converting
 * @since 0.1.0
 */
export const format = (self: Window): string => {
  switch (self._tag) {
    case "Sliding":
      return `per ${Duration.format(self.length)}`
    case "Calendar":
      return `per ${self.period} (${self.timeZone})`
    case "Fixed":
      return `per fixed ${Duration.format(self.length)}`
    case "Bucket":
      return `per ${Duration.format(self.refill)} bucket${self.burst === undefined ? "" : ` of ${self.burst}`}`
    case "Lifetime":
      return "in total"
  }
}
