import * as Duration from "effect/Duration"
import type { Quota } from "../../Quota.ts"
import type { Usage } from "../../Usage.ts"
import { type Drain, drained, type Slots, slotsOf, timeToDrain } from "./windows.ts"

/** What passes for the window of concurrency, which has none: that its limit was hit is told once a minute. */
export const concurrencyWindow = 60_000

/** A quota, prepared for counting. */
export interface Counter {
  readonly quota: Quota
  /** What can be used and held at once. */
  readonly capacity: number
  /** Counts what is under way and nothing that is over. */
  readonly concurrency: boolean
  readonly amount: (usage: Usage) => number
  readonly slots: Slots
  readonly drain: Drain | undefined
  readonly alertAt: ReadonlyArray<number>
}

const amountOf = (quota: Quota): ((usage: Usage) => number) => {
  const free = quota.cachedInput === "free"
  switch (quota.unit) {
    case "requests":
      return (usage) => usage.requests
    case "tokens":
      return free ? (usage) => usage.tokens - usage.cachedInputTokens : (usage) => usage.tokens
    case "inputTokens":
      return free ? (usage) => usage.inputTokens - usage.cachedInputTokens : (usage) => usage.inputTokens
    case "outputTokens":
      return (usage) => usage.outputTokens
    case "cost":
      return (usage) => usage.cost
    case "concurrency":
      return () => 1
  }
}

/** What can be used and held at once: the limit, or the burst of a bucket. */
const capacityOf = ({ limit, window }: Quota): number =>
  window._tag === "Bucket" && limit > 0 ? (window.burst ?? limit) : limit

/** What a usage asks of a quota, if that is more than can ever be had. */
export const neverFits = (
  quota: Quota,
  usage: Usage
): { readonly capacity: number; readonly requested: number } | undefined => {
  const capacity = capacityOf(quota)
  const requested = amountOf(quota)(usage)
  return requested > capacity || capacity === 0 ? { capacity, requested } : undefined
}

/** Prepares a quota, with sliding windows in `slots` slots. */
export const makeCounter = (quota: Quota, slots: number): Counter => {
  const { window } = quota
  const bucket = window._tag === "Bucket"
  return {
    quota,
    capacity: capacityOf(quota),
    concurrency: quota.unit === "concurrency",
    amount: amountOf(quota),
    slots: slotsOf(bucket ? { _tag: "Lifetime" } : window, slots),
    drain:
      bucket && quota.limit > 0
        ? { limit: quota.limit, period: Math.ceil(Duration.toMillis(window.refill)) }
        : undefined,
    alertAt: quota.alertAt
  }
}

/**
 * The counters of one quota of one account. Only `used` and `held` say anything outside of this file.
 *
 * With slots, `recent` is what was used in `slot`, and `older` lists earlier slots that still count, as pairs of slot
 * and amount. With a bucket, `recent` is what went in since `slot`, a time at which it was empty or a whole number of
 * refills was taken off.
 */
export class Cell {
  used = 0
  held = 0
  slot = 0
  recent = 0
  older: Array<number> | undefined = undefined
  /** The amounts at which alerts have fired, as pairs of amount and time; a limit that was hit is less than nothing. */
  fired: Array<number> | undefined = undefined
}

/** Lets go of what no longer counts at `now`. */
export const advance = (counter: Counter, cell: Cell, now: number): void => {
  if (cell.used === 0 && cell.recent === 0) return
  if (counter.drain !== undefined) return drainTo(counter.drain, cell, now)
  const slot = counter.slots.slotAt(now)
  if (slot !== cell.slot) moveTo(counter.slots, cell, slot)
}

const moveTo = (slots: Slots, cell: Cell, slot: number): void => {
  const first = slot - slots.live
  const older = cell.older
  if (cell.slot < first) {
    cell.used = 0
    if (older !== undefined) older.length = 0
  } else {
    if (older !== undefined) dropBefore(cell, older, first)
    if (cell.recent > 0) {
      if (older === undefined) cell.older = [cell.slot, cell.recent]
      else older.push(cell.slot, cell.recent)
    }
  }
  cell.slot = slot
  cell.recent = 0
}

const dropBefore = (cell: Cell, older: Array<number>, first: number): void => {
  let gone = 0
  while (gone < older.length && older[gone]! < first) {
    cell.used -= older[gone + 1]!
    gone += 2
  }
  if (gone > 0) older.splice(0, gone)
}

const drainTo = (drain: Drain, cell: Cell, now: number): void => {
  const periods = Math.floor((now - cell.slot) / drain.period)
  if (periods > 0) {
    cell.slot += periods * drain.period
    cell.recent -= periods * drain.limit
  }
  cell.used = Math.max(0, cell.recent - drained(drain, now - cell.slot))
  if (cell.used === 0) cell.recent = 0
}

/** Counts `amount` as used at `now`, to which the cell was advanced. */
export const book = (counter: Counter, cell: Cell, amount: number, now: number): void => {
  if (amount === 0) return
  if (cell.used === 0 && cell.recent === 0) {
    cell.slot = counter.drain === undefined ? counter.slots.slotAt(now) : now
    if (cell.older !== undefined) cell.older.length = 0
  }
  cell.recent += amount
  cell.used += amount
}

/** Takes back up to `amount` of what was booked at `then`, as far as it still counts at `now`. */
export const refund = (counter: Counter, cell: Cell, amount: number, then: number, now: number): void => {
  if (counter.drain !== undefined) {
    // What has drained since may have made room for others, and is not given back.
    const back = Math.min(cell.used, Math.max(0, amount - drained(counter.drain, now - then)))
    cell.recent -= back
    cell.used -= back
    return
  }
  const slot = counter.slots.slotAt(then)
  if (slot === cell.slot) {
    const back = Math.min(amount, cell.recent)
    cell.recent -= back
    cell.used -= back
    return
  }
  const { older = [] } = cell
  const at = older.findIndex((value, index) => index % 2 === 0 && value === slot)
  if (at < 0) return
  const back = Math.min(amount, older[at + 1]!)
  older[at + 1]! -= back
  cell.used -= back
  if (older[at + 1] === 0) older.splice(at, 2)
}

/** What an open hold takes of a counter. If nobody ends it, it is charged or released when it expires. */
export interface Pending {
  readonly amount: number
  readonly expiresAt: number
  readonly onExpiry: "charge" | "release"
}

/** The open holds of an account in the order in which they expire: all, or those that end in one way. */
export type PendingOf = (onExpiry?: "charge" | "release") => Iterable<Pending>

/** The first moment from `now` on at which `amount` fits if nothing else happens; `Infinity` if there is none. */
export const fitsAt = (counter: Counter, cell: Cell, amount: number, now: number, pending: PendingOf): number =>
  counter.drain === undefined
    ? slotsFitAt(counter, cell, amount, now, pending)
    : bucketFitsAt(counter.drain, counter, cell, amount, now, pending())

/** What comes free, and when, in order of time. */
type Freed = Iterator<readonly [at: number, amount: number]>

function* usedFreed({ slots }: Counter, { older = [], recent, slot }: Cell): Generator<readonly [number, number]> {
  for (let index = 0; index < older.length; index += 2) yield [slots.endOf(older[index]!), older[index + 1]!]
  if (recent > 0) yield [slots.endOf(slot), recent]
}

function* heldFreed(
  pending: Iterable<Pending>,
  freeAt: (expiresAt: number) => number
): Generator<readonly [number, number]> {
  for (const { amount, expiresAt } of pending) yield [freeAt(expiresAt), amount]
}

const slotsFitAt = (counter: Counter, cell: Cell, amount: number, now: number, pending: PendingOf): number => {
  let excess = cell.used + cell.held + amount - counter.capacity
  if (excess <= 0) return now
  const { concurrency, slots } = counter
  if (cell.held === 0) return usedFitsAt(counter, cell, excess)
  const atOnce = heldFreed(pending(concurrency ? undefined : "release"), (expiresAt) => expiresAt)
  const charged = (expiresAt: number) => slots.endOf(slots.slotAt(expiresAt))
  const freed: Array<Freed> = concurrency
    ? [atOnce]
    : [usedFreed(counter, cell), atOnce, heldFreed(pending("charge"), charged)]
  const heads = freed.map((stream) => stream.next())
  while (true) {
    let first = -1
    for (let index = 0; index < heads.length; index++) {
      const head = heads[index]!
      if (!head.done && (first < 0 || head.value[0] < heads[first]!.value[0])) first = index
    }
    if (first < 0) return Infinity
    const [at, amount] = heads[first]!.value
    excess -= amount
    if (excess <= 0) return at
    heads[first] = freed[first]!.next()
  }
}

/** As `slotsFitAt` where nothing is held: no hold can end in between. */
const usedFitsAt = ({ slots }: Counter, { older, recent, slot }: Cell, excess: number): number => {
  let left = excess
  if (older !== undefined) {
    for (let index = 0; index < older.length; index += 2) {
      left -= older[index + 1]!
      if (left <= 0) return slots.endOf(older[index]!)
    }
  }
  return recent >= left ? slots.endOf(slot) : Infinity
}

const bucketFitsAt = (
  drain: Drain,
  counter: Counter,
  cell: Cell,
  amount: number,
  now: number,
  pending: Iterable<Pending>
): number => {
  let anchor = cell.slot
  let level = cell.recent
  let held = cell.held
  let from = now
  const fits = (): number => {
    const room = counter.capacity - amount - held
    return room < 0 ? Infinity : Math.max(from, anchor + timeToDrain(drain, level - room))
  }
  for (const { amount, expiresAt, onExpiry } of pending) {
    const at = fits()
    if (at <= expiresAt) return at
    from = expiresAt
    held -= amount
    if (level <= drained(drain, expiresAt - anchor)) {
      anchor = expiresAt
      level = 0
    }
    if (onExpiry === "charge") level += amount
  }
  return fits()
}

/** The moment at which nothing is used any more, if nothing else happens. */
export const emptyAt = (counter: Counter, cell: Cell, now: number): number => {
  if (cell.used === 0) return now
  if (counter.drain !== undefined) return cell.slot + timeToDrain(counter.drain, cell.recent)
  const last = cell.recent > 0 || cell.older === undefined ? cell.slot : (cell.older.at(-2) ?? cell.slot)
  return counter.slots.endOf(last)
}
