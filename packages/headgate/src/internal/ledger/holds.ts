import type { Entry } from "./accounts.ts"

/** Holds of one time to live: they expire in the order in which they were made or extended. */
interface Queue {
  readonly ttl: number
  first: Entry | undefined
  last: Entry | undefined
}

/** All open holds, by when they expire. There is one queue per time to live, so there are few. */
export class Holds {
  private readonly queues: Array<Queue> = []

  add(entry: Entry): void {
    const queue = this.queueOf(entry.ttl)
    entry.previous = queue.last
    if (queue.last === undefined) queue.first = entry
    else queue.last.next = entry
    queue.last = entry
    entry.queued = true
    for (const claim of entry.claims) claim.link()
  }

  remove(entry: Entry): void {
    const queue = this.queueOf(entry.ttl)
    if (entry.previous === undefined) queue.first = entry.next
    else entry.previous.next = entry.next
    if (entry.next === undefined) queue.last = entry.previous
    else entry.next.previous = entry.previous
    entry.previous = entry.next = undefined
    entry.queued = false
    for (const claim of entry.claims) claim.unlink()
  }

  private queueOf(ttl: number): Queue {
    for (const queue of this.queues) if (queue.ttl === ttl) return queue
    const queue = { ttl, first: undefined, last: undefined }
    this.queues.push(queue)
    return queue
  }

  /** The one that expires first, if it is due at `now`. */
  due(now: number): Entry | undefined {
    let due: Entry | undefined
    for (const { first } of this.queues) {
      if (first !== undefined && first.expiresAt <= now && (due === undefined || first.expiresAt < due.expiresAt)) {
        due = first
      }
    }
    return due
  }

  *[Symbol.iterator](): Generator<Entry> {
    for (const queue of this.queues) {
      for (let entry = queue.first; entry !== undefined; entry = entry.next) yield entry
    }
  }
}
