interface Bucket {
  readonly priority: number
  tasks: Array<() => void>
  next: number
}

/** Tasks by priority (lower runs first), then in the order in which they were added, also those added meanwhile. */
export class TaskQueue {
  private readonly buckets: Array<Bucket> = []
  private size = 0
  private draining = false

  get isEmpty(): boolean {
    return this.size === 0
  }

  add(task: () => void, priority: number): void {
    let index = 0
    while (index < this.buckets.length && (this.buckets[index]?.priority ?? 0) < priority) index++
    let bucket = this.buckets[index]
    if (bucket === undefined || bucket.priority !== priority) {
      bucket = { priority, tasks: [], next: 0 }
      this.buckets.splice(index, 0, bucket)
    }
    bucket.tasks.push(task)
    this.size++
  }

  drain(): void {
    // A task that flushes its dispatcher must not start a second loop inside this one: the order would break.
    if (this.draining) return
    this.draining = true
    while (this.size > 0) this.take()?.()
    this.draining = false
  }

  private take(): (() => void) | undefined {
    for (const bucket of this.buckets) {
      const task = bucket.tasks[bucket.next]
      if (task === undefined) continue
      this.size--
      bucket.next++
      if (bucket.next === bucket.tasks.length) {
        bucket.tasks = []
        bucket.next = 0
      } else if (bucket.next === 4096) {
        bucket.tasks = bucket.tasks.slice(bucket.next)
        bucket.next = 0
      }
      return task
    }
    return undefined
  }
}
