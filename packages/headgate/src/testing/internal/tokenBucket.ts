const minute = 60_000

/** A bucket that is full at first, and fills up evenly within a minute. Kept in whole numbers: there is no rounding. */
export class TokenBucket {
  readonly limit: number
  /** What is in it, times the milliseconds of a minute. */
  private level: number
  private filledAt: number

  constructor(limit: number, now: number) {
    this.limit = limit
    this.level = limit * minute
    this.filledAt = now
  }

  private fill(now: number): void {
    this.level = Math.min(this.limit * minute, this.level + Math.max(0, now - this.filledAt) * this.limit)
    this.filledAt = Math.max(this.filledAt, now)
  }

  remaining(now: number): number {
    this.fill(now)
    return Math.max(0, Math.floor(this.level / minute))
  }

  /** The milliseconds until so much is in it. */
  waitFor(amount: number, now: number): number {
    this.fill(now)
    return Math.max(0, Math.ceil((amount * minute - this.level) / this.limit))
  }

  /** Takes what was asked about, or a correction: more than there is makes a debt, less than nothing gives back. */
  take(amount: number, now: number): void {
    this.fill(now)
    this.level = Math.min(this.limit * minute, this.level - amount * minute)
  }
}
