import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import type { Options } from "../VirtualClock.ts"
import { Sleepers } from "./sleepers.ts"
import { TaskQueue } from "./taskQueue.ts"

const nanosPerMilli = BigInt(1_000_000)

/**
 * The clock and the scheduler of virtual time in one: all tasks stand in one queue, and the clock jumps to the earliest
 * sleeper when it is empty.
 */
export class Time implements Clock.Clock, Scheduler.Scheduler, Scheduler.SchedulerDispatcher {
  readonly executionMode = "sync"
  readonly sleepers = new Sleepers()
  readonly tasks = new TaskQueue()
  readonly alive = new Set<Fiber.Fiber<unknown, unknown>>()
  readonly onAdvance: ((now: number) => void) | undefined
  readonly start: number
  readonly end: number
  /** Told that there is something to do, for those who do not drive the clock themselves. */
  onWork: (() => void) | undefined
  /** How much work is under way outside of the virtual time, which stands still meanwhile. */
  pending = 0
  private now: number
  private lastSeen: Fiber.Fiber<unknown, unknown> | undefined
  /** The clock and the scheduler of whoever runs this. */
  private readonly host: Context.Context<never>

  constructor(options: Options | undefined, context: Context.Context<never>) {
    this.host = Context.make(Clock.Clock, Context.get(context, Clock.Clock)).pipe(
      Context.add(Scheduler.Scheduler, Context.get(context, Scheduler.Scheduler))
    )
    this.start = this.now = Math.ceil(DateTime.makeUnsafe(options?.start ?? 0).epochMilliseconds)
    this.end = options?.limit === undefined ? Infinity : this.start + Duration.toMillis(options.limit)
    this.onAdvance = options?.onAdvance
  }

  currentTimeMillisUnsafe(): number {
    return this.now
  }
  currentTimeNanosUnsafe(): bigint {
    return BigInt(this.now) * nanosPerMilli
  }
  monotonicTimeNanosUnsafe(): bigint {
    return BigInt(this.now - this.start) * nanosPerMilli
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    const millis = Math.ceil(Duration.toMillis(duration))
    if (millis <= 0) return Effect.yieldNow
    if (millis === Infinity) return Effect.never
    return Effect.callback<void>((resume) => {
      const sleeper = this.sleepers.add(this.now + millis, () => resume(Effect.void))
      this.onWork?.()
      return Effect.sync(() => this.sleepers.remove(sleeper))
    })
  }

  // A scheduler sees every fiber at every step: the only public place to learn which ones have not ended.
  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    if (fiber !== this.lastSeen) {
      this.lastSeen = fiber
      if (!this.alive.has(fiber)) {
        this.alive.add(fiber)
        fiber.addObserver(() => this.alive.delete(fiber))
      }
    }
    return fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield
  }
  // One queue for all fibers, not one each as in the default scheduler, so that there is one order.
  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return this
  }
  scheduleTask(task: () => void, priority: number): void {
    this.tasks.add(task, priority)
    this.onWork?.()
  }
  flush(): void {
    this.tasks.drain()
  }

  /** Jumps to the earliest sleeper and wakes it. False if nobody sleeps. */
  wakeNext(): boolean {
    const at = this.sleepers.nextAt
    if (at === undefined || at > this.end) return false
    if (at > this.now) {
      this.now = at
      this.onAdvance?.(at)
    }
    this.sleepers.pop()?.wake()
    return true
  }

  /** Does work in the host's time, while time stands still here. */
  outside<A, E, R>(effect: Effect.Effect<A, E, R>, context: Context.Context<R>): Effect.Effect<A, E> {
    return Effect.callback<A, E>((resume) => {
      this.pending++
      const fiber = Effect.runForkWith(Context.merge(context, this.host))(effect)
      fiber.addObserver((exit) => {
        this.pending--
        this.scheduleTask(() => resume(exit), 0)
      })
      return Fiber.interrupt(fiber)
    })
  }

  /** Until there is something to do again after work outside. */
  readonly news = Effect.callback<void>((resume) => {
    if (this.pending === 0 || !this.tasks.isEmpty) return resume(Effect.void)
    this.onWork = () => {
      this.onWork = undefined
      // Later: whoever tells this may be in the middle of the tasks.
      resume(Effect.yieldNow)
    }
    return Effect.sync(() => {
      this.onWork = undefined
    })
  })

  /** Wakes up to `wakes` sleepers, each after all tasks. Ends early when the fiber has ended or nobody sleeps. */
  drive<A, E>(fiber: Fiber.Fiber<A, E>, wakes: number): Exit.Exit<A, E> | "tired" | "stuck" | "outside" {
    for (let wake = 0; wake <= wakes; wake++) {
      this.tasks.drain()
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      if (this.pending > 0) return "outside"
      if (wake < wakes && !this.wakeNext()) return "stuck"
    }
    return "tired"
  }

  /** The fibers that have not ended, the main one first. */
  waiting(main: Fiber.Fiber<unknown, unknown>): ReadonlyArray<Fiber.Fiber<unknown, unknown>> {
    return [main, ...[...this.alive].filter((fiber) => fiber !== main)]
  }
}
