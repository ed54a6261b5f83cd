import { Book } from "../internal/ledger/accounts.ts"
import type { Counter } from "../internal/ledger/cell.ts"
import { keyOf } from "../internal/ledger/counterKey.ts"
import { sharedSlots } from "../internal/ledger/windows.ts"
import type { Plan } from "../internal/verbs.ts"

const units = ["concurrency", "requests", "inputTokens", "outputTokens", "", "tokens", "cost"]

/** What of a plan does not change. */
export interface Prepared {
  /** What tells its accounts from those of other plans. It has no colon, so that a value may follow behind one. */
  readonly name: string
  /** By what the store knows all it says, but for the periods of its calendars. */
  readonly digest: string
  readonly counters: ReadonlyArray<Counter>
  readonly calendars: ReadonlyArray<Counter["slots"]>
  readonly parts: ReadonlyArray<unknown>
}

const tagged = (counter: Counter, calendar: number, key: number): ReadonlyArray<unknown> => {
  const { alertAt, capacity, drain, quota, slots } = counter
  const free = quota.cachedInput === "free" && (quota.unit === "tokens" || quota.unit === "inputTokens")
  const head = [units.indexOf(quota.unit), free ? 1 : 0, capacity]
  if (drain !== undefined) return [...head, 4, drain.limit, drain.period, alertAt, key]
  switch (quota.window._tag) {
    case "Sliding":
    case "Fixed":
      return [...head, 1, slots.endOf(-slots.live), slots.live, alertAt, key]
    case "Calendar":
      return [...head, 2, calendar, 0, alertAt, key]
    default:
      return [...head, 3, 0, 0, alertAt, key]
  }
}

/** 53 bits of a text, the same in every process and version. */
export const digest = (text: string): number => {
  let high = 0xdeadbeef
  let low = 0x41c6ce57
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    high = Math.imul(high ^ code, 2654435761)
    low = Math.imul(low ^ code, 1597334677)
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909)
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909)
  return 4294967296 * (2097151 & low) + (high >>> 0)
}

const prepared = new WeakMap<Plan, Prepared>()

export const prepare = (plan: Plan): Prepared => {
  const known = prepared.get(plan)
  if (known !== undefined) return known
  const book = new Book(plan, sharedSlots, 0)
  const calendars: Array<Counter["slots"]> = []
  // A limit, a threshold or a throttle may change while counters go on. Other windows or units are other counters.
  const keys = plan.quotas.map((quota) => digest(keyOf(quota)))
  const quotas = book.counters.map((counter, index) => {
    if (counter.quota.window._tag === "Calendar") calendars.push(counter.slots)
    return tagged(counter, calendars.length, keys[index]!)
  })
  const name = plan.id.replaceAll("%", "%25").replaceAll(":", "%3A")
  const memory = Number.isFinite(book.turnsAt) ? Math.ceil(book.turnsAt) : -1
  const shape = digest(JSON.stringify([sharedSlots, ...keys]))
  const parts = [plan.throttle, plan.alerts === "all" ? 1 : 0, memory, quotas, name, shape]
  const made = { name, digest: String(digest(JSON.stringify(parts))), counters: book.counters, calendars, parts }
  prepared.set(plan, made)
  return made
}

/** The starts of the periods from the one at `now` on: two ends ahead, so that a new day needs no second call. */
const startsOf = ({ endOf, slotAt }: Counter["slots"], now: number, until: number): ReadonlyArray<number> => {
  const starts = [slotAt(now)]
  while (starts.length < 3 || starts.at(-1)! <= until) starts.push(endOf(starts.at(-1)!))
  return starts
}

/** A plan as the script reads it, with the periods of its calendar windows from `now` on until some later time. */
export const describe = (plan: Plan, now: number, until: number): string => {
  const { calendars, parts } = prepare(plan)
  return JSON.stringify([...parts, calendars.map((calendar) => startsOf(calendar, now, until))])
}
