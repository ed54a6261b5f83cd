/** One who sleeps until `at`; `order` breaks ties, `index` is its place in the heap, -1 once it has left. */
export interface Sleeper {
  readonly at: number
  readonly order: number
  readonly wake: () => void
  index: number
}

const isBefore = (a: Sleeper, b: Sleeper): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

/** A binary heap by (time, order of arrival). `add`, `pop` and `remove` take O(log n). */
export class Sleepers {
  private readonly heap: Array<Sleeper> = []
  private count = 0

  get nextAt(): number | undefined {
    return this.heap[0]?.at
  }

  add(at: number, wake: () => void): Sleeper {
    const sleeper: Sleeper = { at, order: this.count++, wake, index: this.heap.length }
    this.heap.push(sleeper)
    this.up(sleeper)
    return sleeper
  }

  pop(): Sleeper | undefined {
    const first = this.heap[0]
    if (first !== undefined) this.remove(first)
    return first
  }

  remove(sleeper: Sleeper): void {
    const hole = sleeper.index
    if (hole === -1) return
    sleeper.index = -1
    const last = this.heap.pop()
    if (last === undefined || last === sleeper) return
    this.place(last, hole)
    this.up(last)
    this.down(last)
  }

  private place(sleeper: Sleeper, index: number): void {
    this.heap[index] = sleeper
    sleeper.index = index
  }

  private up(sleeper: Sleeper): void {
    let index = sleeper.index
    while (index > 0) {
      const parentIndex = (index - 1) >>> 1
      const parent = this.heap[parentIndex]
      if (parent === undefined || !isBefore(sleeper, parent)) break
      this.place(parent, index)
      index = parentIndex
    }
    this.place(sleeper, index)
  }

  private down(sleeper: Sleeper): void {
    let index = sleeper.index
    while (true) {
      const left = this.heap[2 * index + 1]
      if (left === undefined) break
      const right = this.heap[2 * index + 2]
      const child = right !== undefined && isBefore(right, left) ? right : left
      if (!isBefore(child, sleeper)) break
      const childIndex = child.index
      this.place(child, index)
      index = childIndex
    }
    this.place(sleeper, index)
  }
}
