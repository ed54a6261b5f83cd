// What the reference keeps, and how it counts: what is used at a moment, by the list of all that happened before.
import { Duration } from "effect"
import type { Quota, QuotaStore, Usage, Window } from "headgate"

/** What was spent on one quota of one account. In a bucket, what was given back is an event of its own. */
export interface Event {
  readonly at: number
  amount: number
}

export interface Log {
  readonly account: Account
  readonly quota: Quota.Quota
  events: Array<Event>
  /** When the alert of a threshold, or of the limit (1 above them), was told. */
  readonly told: Map<number, number>
}

export interface Account {
  readonly plan: QuotaStore.Plan
  readonly value: string
  readonly logs: ReadonlyArray<Log>
  throttledUntil: number
}

export interface Hold {
  readonly accounts: ReadonlyArray<Account>
  readonly command: QuotaStore.Reserve
  usage: Usage.Usage
  state: "held" | "booked" | "gone"
  /** Whether it counts as under way. */
  underWay: boolean
  expiresAt: number
  /** What it was extended by, by the number of the step. */
  readonly extended: Map<number, Usage.Usage>
  ended: Usage.Usage | "released" | undefined
  readonly booked: Map<Log, Event>
}

export type Alert = readonly [tag: string, quota: string, value: string, threshold: number, current: number, at: number]

export type Answer =
  | { readonly tag: "Hold"; readonly hold: Hold; readonly alerts: ReadonlyArray<Alert> }
  | { readonly tag: "Conflict" }
  | {
      readonly tag: "Booked"
      readonly reserved: Usage.Usage
      readonly repeated: boolean
      readonly alerts: ReadonlyArray<Alert>
    }
  | {
      readonly tag: "Refused"
      readonly reason: string
      readonly quota: string
      readonly value: string
      readonly numbers: ReadonlyArray<number>
      readonly retryAfter: number
      readonly until: number
      readonly alerts: ReadonlyArray<Alert>
    }

export const amountOf = ({ cachedInput, unit }: Quota.Quota, usage: Usage.Usage): number => {
  if (unit === "concurrency") return 1
  const free = cachedInput === "free" && (unit === "tokens" || unit === "inputTokens") ? usage.cachedInputTokens : 0
  return usage[unit] - free
}

export const capacityOf = ({ limit, window }: Quota.Quota): number =>
  window._tag === "Bucket" && limit > 0 ? (window.burst ?? limit) : limit

const formats = new Map<string, Intl.DateTimeFormat>()

/** The day, week or month a moment is in, by the clock on the wall there: two moments with one name share a limit. */
export const periodOf = (window: Window.Window & { readonly _tag: "Calendar" }, at: number): string => {
  const { period, timeZone, weekStartsOn } = window
  let format = formats.get(timeZone)
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-CA", { timeZone, year: "numeric", month: "2-digit", day: "2-digit" })
    formats.set(timeZone, format)
  }
  const date = format.format(at)
  if (period === "day") return date
  if (period === "month") return date.slice(0, 7)
  const civil = new Date(`${date}T00:00:00Z`)
  return String(civil.getTime() - ((civil.getUTCDay() - weekStartsOn + 7) % 7) * 86_400_000)
}

/** The first whole number above `from` that passes; what passes once passes ever after. */
export const firstAfter = (from: number, passes: (at: number) => boolean): number => {
  let step = 1
  while (!passes(from + step)) if ((step *= 2) > 2 ** 42) return Infinity
  let low = from + Math.floor(step / 2)
  let high = from + step
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (passes(middle)) high = middle
    else low = middle
  }
  return high
}

type Slotted = Exclude<Window.Window, { readonly _tag: "Bucket" }>

const ends = new WeakMap<Slotted, Map<number, number>>()

/** Until when what happened at a moment counts. Worked out once for each moment. */
export const countsUntil = (window: Slotted, at: number): number => {
  let known = ends.get(window)
  if (known === undefined) ends.set(window, (known = new Map()))
  const end = known.get(at) ?? endOf(window, at)
  known.set(at, end)
  return end
}

const endOf = (window: Slotted, at: number): number => {
  switch (window._tag) {
    case "Lifetime":
      return Infinity
    case "Fixed": {
      const length = Duration.toMillis(window.length)
      return at - (at % length) + length
    }
    case "Sliding": {
      // A slot counts until the whole of it is older than the length, seen from the start of a slot.
      const length = Duration.toMillis(window.length)
      const slot = Math.ceil(length / 60)
      const slotEnd = at - (at % slot) + slot
      return slotEnd + Math.ceil(length / slot) * slot
    }
    case "Calendar": {
      const name = periodOf(window, at)
      return firstAfter(at, (later) => periodOf(window, later) !== name)
    }
  }
}

/** What is used of a quota at a moment, by these events in their order. */
export const usedOf = ({ limit, window }: Quota.Quota, events: ReadonlyArray<Event>, now: number): number => {
  if (window._tag !== "Bucket") {
    return events.reduce((sum, { amount, at }) => (now < countsUntil(window, at) ? sum + amount : sum), 0)
  }
  const period = Duration.toMillis(window.refill)
  // In units of 1 / period, so that a millisecond drains a whole number of them.
  let level = 0
  let last = 0
  for (const { amount, at } of events) {
    level = Math.max(0, Math.max(0, level - limit * (at - last)) + amount * period)
    last = at
  }
  return Math.ceil(Math.max(0, level - limit * (now - last)) / period)
}
