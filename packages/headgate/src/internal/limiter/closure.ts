/** How long the others wait for the answer of a call that is let through to ask again. */
const pause = 30_000

/**
 * That a provider asks everyone to stay away. It is taken at its word for so long as one has patience. From then on one
 * call is let through to ask again. The others wait until that one is over, which ends the closure unless it was told
 * another; or else for half a minute, when the next one goes.
 */
export class Closure {
  /** When the next call may go. */
  opensAt = -Infinity
  private until = -Infinity
  /** The last call that it was told in answer to, and how many had been let through by then. */
  private by = -1
  private since = 0
  /** The last call that was let through to ask again. */
  private probe: object | undefined

  private open(): void {
    this.until = this.opensAt = -Infinity
    this.probe = undefined
  }

  /** `order` is of the call that this answers, if that is known; so many `calls` were let through by now. */
  tell(retryAfter: number, order: number | undefined, calls: number, patience: number, now: number): void {
    const by = order ?? calls
    if (retryAfter === 0) {
      if (by >= this.by) this.open()
      return
    }
    // What the provider says to the one that asks again is newer than what it said before.
    if (this.probe !== undefined && order !== undefined && order >= this.since) this.open()
    this.until = Math.max(this.until, now + retryAfter)
    this.opensAt = Math.max(this.opensAt, now + Math.min(retryAfter, patience))
    this.by = Math.max(this.by, by)
    this.since = calls
    this.probe = undefined
  }

  /** How long it keeps calls away; 0 when it does not. */
  keepsAway(now: number): number {
    return this.opensAt <= now ? 0 : (this.probe === undefined ? this.until : this.opensAt) - now
  }

  /** A call goes in. */
  enter(call: object, at: number): void {
    if (this.until <= at || this.opensAt > at) return
    this.probe = call
    this.opensAt = at + pause
  }

  /** A call that went in did not go. */
  forget(call: object, at: number): void {
    if (this.probe !== call) return
    this.probe = undefined
    this.opensAt = at
  }

  /** A call is over. Whether that ends it. */
  end(order: number): boolean {
    if (this.probe === undefined || order < this.since) return false
    this.open()
    return true
  }
}
