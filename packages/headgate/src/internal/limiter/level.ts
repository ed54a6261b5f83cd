import * as Duration from "effect/Duration"
import * as Quota from "../../Quota.ts"
import type { Usage } from "../../Usage.ts"
import * as Window from "../../Window.ts"
import { advance, book, Cell, type Counter, emptyAt, fitsAt, makeCounter, refund } from "../ledger/cell.ts"

/** What a provider says of one of its limits, checked: whole numbers, times in milliseconds. */
export interface Said {
  readonly unit: Exclude<Quota.Unit, "cost" | "concurrency">
  readonly remaining: number
  readonly limit: number | undefined
  readonly resetAfter: number
  readonly recovers: "gradually" | "atReset"
}

/** How much of one of a provider's limits may be let through: what it said was left, less what was let through since. */
export interface Level {
  readonly quota: Quota.Quota
  /** How much there is when nothing is used. */
  readonly capacity: number
  readonly used: number
  /** The level at `now`: this one, the one that comes after it, or none. */
  readonly at: (now: number) => Level | undefined
  readonly amountOf: (usage: Usage) => number
  /** When a usage may be let through if nothing else is. One that is more than all there is waits for all of it. */
  readonly opensAt: (usage: Usage, now: number) => number
  /** When nothing is used any more, if nothing else is let through. */
  readonly resetsAt: (now: number) => number
  readonly book: (usage: Usage, now: number) => void
  /** Takes back what was booked at `then`. */
  readonly refund: (usage: Usage, then: number, now: number) => void
}

const minute = 60_000
const day = 86_400_000

const nobody = () => []

/** The level that a provider's word makes, after the one before it; none where nothing is known any more. */
export const levelOf = (said: Said, before: ReadonlyArray<Level>, now: number): Level | undefined => {
  const { limit, recovers, remaining, resetAfter, unit } = said
  if (recovers === "gradually" && limit !== undefined && limit > 0 && resetAfter <= day) {
    const missing = Math.max(0, limit - remaining)
    const known = before.find(
      (level) => level instanceof Bucket && level.quota.unit === unit && level.capacity === limit
    )
    const rate = known instanceof Bucket && known.rate.missing > missing ? known.rate : { missing, resetAfter }
    return rate.resetAfter === 0 ? undefined : new Bucket(unit, limit, missing, now + resetAfter, rate, now)
  }
  if (resetAfter === 0) return undefined
  const resetAt = now + resetAfter
  // The first replies after a reset should tell of it. A minute is long enough to wait for them.
  const next = limit === undefined ? undefined : new Whole(unit, limit, limit, resetAt + Math.max(resetAfter, minute))
  return new Whole(unit, remaining, limit, resetAt, next)
}

/** What may be used until the reset, and no more. */
class Whole implements Level {
  readonly quota: Quota.Quota
  readonly capacity: number
  used = 0
  /** How much there is after a reset, if that is known. */
  private readonly limit: number
  private readonly until: number
  private readonly next: Level | undefined
  private readonly counter: Counter

  constructor(unit: Said["unit"], capacity: number, limit: number | undefined, until: number, next?: Level) {
    this.quota = Quota.make({ name: "provider", unit, limit: capacity, window: Window.lifetime })
    this.counter = makeCounter(this.quota, 1)
    this.capacity = capacity
    this.limit = limit ?? Infinity
    this.until = until
    this.next = next
  }

  at(now: number): Level | undefined {
    return now < this.until ? this : this.next?.at(now)
  }

  amountOf(usage: Usage): number {
    return this.counter.amount(usage)
  }

  opensAt(usage: Usage, now: number): number {
    const amount = Math.min(this.amountOf(usage), this.limit)
    return this.capacity > 0 && (amount === 0 || this.used + amount <= this.capacity) ? now : this.until
  }

  resetsAt(): number {
    return this.until
  }

  book(usage: Usage): void {
    this.used += this.amountOf(usage)
  }

  refund(usage: Usage): void {
    this.used -= this.amountOf(usage)
  }
}

/** From how much that was missing, and when it was to be full again, a bucket's rate is known. */
interface Rate {
  readonly missing: number
  readonly resetAfter: number
}

/**
 * A bucket as the provider's, which is refilled evenly and is full at its reset. It is refilled a little more slowly here:
 * of the last unit that is missing, a part may be there already. The more is missing, the better the rate is known.
 */
class Bucket implements Level {
  readonly quota: Quota.Quota
  readonly capacity: number
  readonly rate: Rate
  private readonly counter: Counter
  private readonly cell = new Cell()
  private readonly missing: number
  private readonly saidAt: number
  private readonly resetAt: number
  private isReset = false

  constructor(unit: Said["unit"], limit: number, missing: number, resetAt: number, rate: Rate, now: number) {
    const window = Window.bucket({ refill: Duration.millis(rate.resetAfter), burst: limit })
    this.quota = Quota.make({ name: "provider", unit, limit: Math.max(1, rate.missing - 1), window })
    this.counter = makeCounter(this.quota, 1)
    this.capacity = limit
    this.rate = rate
    this.missing = missing
    this.saidAt = now
    this.resetAt = resetAt
    book(this.counter, this.cell, missing, now)
  }

  get used(): number {
    return this.cell.used
  }

  /** When nobody has said anything for ten minutes, it is forgotten. */
  at(now: number): Level | undefined {
    if (now >= this.resetAt + 10 * minute) return undefined
    if (!this.isReset && now >= this.resetAt) {
      this.isReset = true
      this.reset(this.cell)
    }
    advance(this.counter, this.cell, now)
    return this
  }

  /** At the reset all of what was missing is there. */
  private reset(cell: Cell): void {
    advance(this.counter, cell, this.resetAt)
    refund(this.counter, cell, this.missing, this.saidAt, this.resetAt)
    // What has come back of the next unit was a part of that.
    cell.slot = this.resetAt
    cell.recent = cell.used
  }

  amountOf(usage: Usage): number {
    return this.counter.amount(usage)
  }

  opensAt(usage: Usage, now: number): number {
    const amount = Math.min(this.amountOf(usage), this.capacity)
    if (amount === 0) return now
    return Math.min(
      this.whenReset(now, (cell, from) => fitsAt(this.counter, cell, amount, from, nobody)),
      this.resetAt + 10 * minute
    )
  }

  resetsAt(now: number): number {
    return this.whenReset(now, (cell, from) => emptyAt(this.counter, cell, from))
  }

  /** The first time that is told of the cell as it is, or else of the cell as it will be after the reset. */
  private whenReset(now: number, timeOf: (cell: Cell, from: number) => number): number {
    const time = timeOf(this.cell, now)
    if (this.isReset || time <= this.resetAt) return time
    const later = Object.assign(new Cell(), this.cell)
    this.reset(later)
    return timeOf(later, this.resetAt)
  }

  book(usage: Usage, now: number): void {
    book(this.counter, this.cell, this.amountOf(usage), now)
  }

  refund(usage: Usage, then: number, now: number): void {
    refund(this.counter, this.cell, this.amountOf(usage), then, now)
  }
}
