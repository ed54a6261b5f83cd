import * as Duration from "effect/Duration"
import { Book } from "../internal/accounts.ts"
import type { Counter } from "../internal/cell.ts"
import type { Account, Plan } from "../internal/verbs.ts"
import type { Window } from "../Window.ts"

/** Into how many slots shared stores cut a sliding window. */
const slots = 12

const units = ["concurrency", "requests", "inputTokens", "outputTokens", "", "tokens", "cost"]

/** A plan as the script reads it. Static, so it is written once; only the periods of calendar windows change. */
export interface Prepared {
  readonly text: string
  /** The number of its quotas, what it says in short, and the field that tells when all of its accounts were reset. */
  readonly head: readonly [quotas: number, digest: string, field: string]
  /** What tells its accounts from those of other plans: its id and what it counts, but not how much of it. */
  readonly name: string
  readonly counters: ReadonlyArray<Counter>
  readonly calendars: ReadonlyArray<Counter["slots"]>
  /** Those of calendar windows while the store's time is in `from` to `to`, as a text. */
  periods: { readonly from: number; readonly to: number; readonly covered: number; readonly text: string }
}

const tagged = (counter: Counter, calendar: number): ReadonlyArray<unknown> => {
  const { alertAt, capacity, drain, quota, slots } = counter
  const free = quota.cachedInput === "free" && (quota.unit === "tokens" || quota.unit === "inputTokens")
  const head = [units.indexOf(quota.unit), free ? 1 : 0, capacity]
  if (drain !== undefined) return [...head, 4, drain.limit, drain.period, alertAt]
  switch (quota.window._tag) {
    case "Sliding":
    case "Fixed":
      return [...head, 1, slots.endOf(-slots.live), slots.live, alertAt]
    case "Calendar":
      return [...head, 2, calendar, 0, alertAt]
    default:
      return [...head, 3, 0, 0, alertAt]
  }
}

/** 53 bits of a text, the same in every process and version. */
export const digest = (text: string): string => {
  let high = 0xdeadbeef
  let low = 0x41c6ce57
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    high = Math.imul(high ^ code, 2654435761)
    low = Math.imul(low ^ code, 1597334677)
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909)
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909)
  return (4294967296 * (2097151 & low) + (high >>> 0)).toString(36)
}

/** What of a window tells counters apart. The burst of a bucket is a limit. */
const windowName = (window: Window): string => {
  switch (window._tag) {
    case "Sliding":
    case "Fixed":
      return `${window._tag} ${Duration.toMillis(window.length)}`
    case "Calendar":
      return `${window.period} ${window.timeZone} ${window.weekStartsOn}`
    case "Bucket":
      return `Bucket ${Duration.toMillis(window.refill)}`
    case "Lifetime":
      return "Lifetime"
  }
}

const prepared = new WeakMap<Plan, Prepared>()

export const prepare = (plan: Plan): Prepared => {
  const known = prepared.get(plan)
  if (known !== undefined) return known
  const book = new Book(plan, slots, 0)
  const calendars: Array<Counter["slots"]> = []
  const quotas = book.counters.map((counter) => {
    if (counter.quota.window._tag === "Calendar") calendars.push(counter.slots)
    return tagged(counter, calendars.length)
  })
  // A limit, a threshold or a throttle may change while counters go on. Other windows or units are other counters.
  const shape = plan.quotas.map(({ cachedInput, name, unit, window }) => [name, unit, cachedInput, windowName(window)])
  const name = `${plan.id}:${digest(JSON.stringify([plan.id, plan.dimension ?? "", shape]))}`
  const memory = Number.isFinite(book.turnsAt) ? book.turnsAt : -1
  const text = JSON.stringify([plan.throttle, plan.alerts === "all" ? 1 : 0, memory, quotas])
  const made: Prepared = {
    text,
    head: [quotas.length, digest(text), `reset:${name}`],
    name,
    counters: book.counters,
    calendars,
    periods: { from: Infinity, to: -Infinity, covered: 0, text: "[]" }
  }
  prepared.set(plan, made)
  return made
}

/** The starts of the periods from the one at `now` on: two ends ahead, so that a new day needs no second call. */
const startsOf = ({ endOf, slotAt }: Counter["slots"], now: number, until: number): ReadonlyArray<number> => {
  const starts = [slotAt(now)]
  while (starts.length < 3 || starts.at(-1)! <= until) starts.push(endOf(starts.at(-1)!))
  return starts
}

/** The periods of a plan's calendar windows around the store's time, and on until some later time. */
const periodsOf = (plan: Prepared, now: number, until: number): string => {
  const { calendars, periods } = plan
  if (calendars.length === 0 || (periods.from <= now && now < periods.to && until < periods.covered))
    return periods.text
  const starts = calendars.map((calendar) => startsOf(calendar, now, until))
  plan.periods = {
    from: Math.max(...starts.map((starts) => starts[0]!)),
    to: Math.min(...starts.map((starts) => starts[1]!)),
    covered: Math.min(...starts.map((starts) => starts.at(-1)!)),
    text: JSON.stringify(starts)
  }
  return plan.periods.text
}

export const periods = (accounts: ReadonlyArray<Account>, now: number, until: number): string => {
  const texts = accounts.map(({ plan }) => periodsOf(prepare(plan), now, until))
  return texts.every((text) => text === "[]") ? "[]" : `[${texts.join()}]`
}

export const describe = (plans: ReadonlyArray<Plan>): string => `[${plans.map((plan) => prepare(plan).text).join()}]`
