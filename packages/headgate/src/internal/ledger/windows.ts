import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type * as Window from "../../Window.ts"

/**
 * How a window cuts time. What is used in a slot counts until `endOf(slot)`; `live` more slots than the current one
 * still count.
 */
export interface Slots {
  readonly live: number
  /** How long a slot is, where all are of one length. */
  readonly length?: number
  slotAt(now: number): number
  endOf(slot: number): number
}

/** Slots of one length: a fixed window has one live slot, a sliding one as many as it takes to cover its length. */
const even = (length: number, live: number): Slots => ({
  live,
  length,
  slotAt: (now) => Math.floor(now / length),
  endOf: (slot) => (slot + live + 1) * length
})

const lifetime: Slots = { live: 0, slotAt: () => 0, endOf: () => Infinity }

/** One slot per period of the calendar, named by its start, so that the length may vary with zone and month. */
const calendar = (window: Window.Window & { readonly _tag: "Calendar" }): Slots => {
  const zone = DateTime.zoneMakeNamedUnsafe(window.timeZone)
  const plural = `${window.period}s` as const
  let start = Infinity
  let end = -Infinity
  const seek = (now: number) => {
    const first = DateTime.startOf(DateTime.makeZonedUnsafe(now, { timeZone: zone }), window.period, {
      weekStartsOn: window.weekStartsOn
    })
    start = DateTime.toEpochMillis(first)
    // From noon, so that a midnight that the clock skips or repeats cannot land the sum on the wrong day.
    end = DateTime.toEpochMillis(
      DateTime.startOf(DateTime.add(DateTime.add(first, { hours: 12 }), { [plural]: 1 }), window.period, {
        weekStartsOn: window.weekStartsOn
      })
    )
  }
  return {
    live: 0,
    slotAt: (now) => {
      if (now < start || now >= end) seek(now)
      return start
    },
    endOf: (slot) => {
      if (slot !== start) seek(slot)
      return end
    }
  }
}

/** Into how many slots a sliding window is cut in memory. */
export const slidingSlots = 60

/** The same in shared stores, which carry them over a wire: so few, and all give up less than 6 % of a saturated window. */
export const sharedSlots = 20

const millisOf = (span: Duration.Duration): number => Math.ceil(Duration.toMillis(span))

/** A sliding window in slots of this length. */
export const slotsOfLength = (span: Duration.Duration, length: number): Slots =>
  even(length, Math.ceil(millisOf(span) / length))

export const slotsOf = (window: Exclude<Window.Window, { readonly _tag: "Bucket" }>, sliding: number): Slots => {
  switch (window._tag) {
    case "Sliding":
      return slotsOfLength(window.length, Math.ceil(millisOf(window.length) / sliding))
    case "Fixed":
      return even(millisOf(window.length), 0)
    case "Calendar":
      return calendar(window)
    case "Lifetime":
      return lifetime
  }
}

/** A bucket drains `limit` per `period` milliseconds, in whole units, without rounding errors up to 2^53. */
export interface Drain {
  readonly limit: number
  readonly period: number
}

/** What drains in the first `elapsed < period` milliseconds: `floor(elapsed * limit / period)`, within 2^53. */
const drainedWithin = ({ limit, period }: Drain, elapsed: number): number =>
  elapsed * Math.floor(limit / period) + Math.floor((elapsed * (limit % period)) / period)

/** What drains in `elapsed` milliseconds. */
export const drained = (drain: Drain, elapsed: number): number =>
  Math.floor(elapsed / drain.period) * drain.limit + drainedWithin(drain, elapsed % drain.period)

/** The first millisecond after which `amount` has drained. */
export const timeToDrain = (drain: Drain, amount: number): number => {
  if (amount <= 0) return 0
  const periods = Math.floor(amount / drain.limit)
  const rest = amount % drain.limit
  let elapsed = Math.ceil((rest / drain.limit) * drain.period)
  while (elapsed > 0 && drainedWithin(drain, elapsed - 1) >= rest) elapsed--
  while (elapsed < drain.period && drainedWithin(drain, elapsed) < rest) elapsed++
  return periods * drain.period + elapsed
}
