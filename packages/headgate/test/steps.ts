import { type Clock, Duration, Effect, type Fiber, type Scheduler } from "effect"

/**
 * A scheduler that lets a fiber do `stride` operations and then asks for the next ones, and a clock that moves only when nobody has
 * anything to do: whoever drives it can stop a program between any two of its steps.
 */
export class Steps implements Scheduler.Scheduler, Scheduler.SchedulerDispatcher, Clock.Clock {
  readonly executionMode = "sync"
  private tasks: Array<() => void> = []
  private sleepers: Array<{ readonly at: number; readonly wake: () => void }> = []
  now = 0
  private readonly stride: number

  constructor(stride: number) {
    this.stride = stride
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    // Coming back from a yield takes two.
    return fiber.currentOpCount >= this.stride + 2
  }
  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return this
  }
  scheduleTask(task: () => void): void {
    this.tasks.push(task)
  }
  flush(): void {
    while (this.tasks.length > 0) this.tasks.shift()!()
  }
  /** One step of somebody, or the next moment at which somebody wakes. False when all is still. */
  step(): boolean {
    const task = this.tasks.shift()
    if (task !== undefined) {
      task()
      return true
    }
    const sleeper = this.sleepers.toSorted((a, b) => a.at - b.at)[0]
    if (sleeper === undefined) return false
    this.sleepers = this.sleepers.filter((other) => other !== sleeper)
    this.now = Math.max(this.now, sleeper.at)
    sleeper.wake()
    return true
  }
  currentTimeMillisUnsafe = () => this.now
  currentTimeNanosUnsafe = () => BigInt(this.now) * BigInt(1_000_000)
  monotonicTimeNanosUnsafe = () => this.currentTimeNanosUnsafe()
  readonly currentTimeMillis = Effect.sync(this.currentTimeMillisUnsafe)
  readonly currentTimeNanos = Effect.sync(this.currentTimeNanosUnsafe)
  readonly monotonicTimeNanos = Effect.sync(this.currentTimeNanosUnsafe)
  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const sleeper = { at: this.now + Duration.toMillis(duration), wake: () => resume(Effect.void) }
      this.sleepers.push(sleeper)
      return Effect.sync(() => {
        this.sleepers = this.sleepers.filter((other) => other !== sleeper)
      })
    })
  }
}
