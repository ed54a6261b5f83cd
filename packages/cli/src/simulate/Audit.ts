/**
 * The proof that the laws held, from a log of what was really taken and when, by plain sums over the whole log. It knows
 * nothing of slots, holds or refusals: it would find a limit passed whatever the reason.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type { Quota, Usage } from "headgate"

/** Something taken: admitted at `at`, finished at `end`, both in milliseconds since 1970. */
export interface Entry {
  readonly at: number
  readonly end: number
  readonly amount: number
}

/** The fullest span of a quota's window: how much was taken in it and when it ended. `share` is of the limit. */
export interface Worst {
  readonly amount: number
  readonly at: number
  readonly share: number
}

/** Finds the fullest span. `entries` are in the order of `at`. */
export const worst = (quota: Quota.Quota, entries: ReadonlyArray<Entry>): Worst => {
  const { window } = quota
  const spans =
    quota.unit === "concurrency"
      ? atOnce(entries)
      : window._tag === "Sliding"
        ? sliding(entries, Duration.toMillis(window.length))
        : window._tag === "Bucket"
          ? leaking(entries, quota.limit / Duration.toMillis(window.refill))
          : periods(entries, periodOf(window))
  let most = { amount: 0, at: entries[0]?.at ?? 0 }
  for (const span of spans) if (span.amount > most.amount) most = span
  return { ...most, share: most.amount === 0 ? 0 : most.amount / capacity(quota) }
}

/** The most that there can be at once: the limit, or what the bucket holds. */
export const capacity = ({ limit, window }: Quota.Quota): number =>
  window._tag === "Bucket" && limit > 0 ? (window.burst ?? limit) : limit

/** How much of a quota a usage is. */
export const amountOf = ({ cachedInput, unit }: Quota.Quota, usage: Usage.Usage): number =>
  unit === "concurrency"
    ? 1
    : cachedInput === "free" && (unit === "tokens" || unit === "inputTokens")
      ? usage[unit] - usage.cachedInputTokens
      : usage[unit]

interface Span {
  readonly at: number
  readonly amount: number
}

/** The sum over (at - length, at] for each entry: the sum over any other span is one of these or less. */
function* sliding(entries: ReadonlyArray<Entry>, length: number): Generator<Span> {
  let oldest = 0
  let amount = 0
  for (const entry of entries) {
    amount += entry.amount
    for (let first = entries[oldest]; first !== undefined && first.at <= entry.at - length; first = entries[++oldest]) {
      amount -= first.amount
    }
    yield { at: entry.at, amount }
  }
}

/** What is above the average rate: a bucket of this size, emptied at that rate, would have been needed. */
function* leaking(entries: ReadonlyArray<Entry>, perMilli: number): Generator<Span> {
  let level = 0
  let last = entries[0]?.at ?? 0
  for (const entry of entries) {
    level = Math.max(0, level - (entry.at - last) * perMilli) + entry.amount
    last = entry.at
    // A millisecond holds a fraction of a unit: what is above a whole one is rounding, not a unit taken.
    yield { at: entry.at, amount: Math.floor(level + 1e-6) }
  }
}

function* periods(entries: ReadonlyArray<Entry>, periodOf: (at: number) => number): Generator<Span> {
  let period = NaN
  let amount = 0
  for (const entry of entries) {
    const current = periodOf(entry.at)
    amount = current === period ? amount + entry.amount : entry.amount
    period = current
    yield { at: entry.at, amount }
  }
}

const periodOf = (window: Quota.Quota["window"]): ((at: number) => number) => {
  if (window._tag === "Fixed") return (at) => Math.floor(at / Duration.toMillis(window.length))
  if (window._tag !== "Calendar") return () => 0
  const zone = DateTime.zoneMakeNamedUnsafe(window.timeZone)
  return (at) =>
    DateTime.makeZonedUnsafe(at, { timeZone: zone }).pipe(
      DateTime.startOf(window.period, { weekStartsOn: window.weekStartsOn }),
      DateTime.toEpochMillis
    )
}

/** How many run at once; who ends at a moment has left before another begins at it. */
function* atOnce(entries: ReadonlyArray<Entry>): Generator<Span> {
  const moments = entries
    .filter(({ at, end }) => end > at)
    .flatMap(({ amount, at, end }) => [
      { at, amount },
      { at: end, amount: -amount }
    ])
  moments.sort((a, b) => a.at - b.at || a.amount - b.amount)
  let amount = 0
  for (const moment of moments) {
    amount += moment.amount
    yield { at: moment.at, amount }
  }
}
