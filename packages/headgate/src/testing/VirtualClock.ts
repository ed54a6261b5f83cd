/**
 * Time that passes only when everybody waits: hours of sleeping fibers are replayed in seconds, in order.
 *
 * **When to use**
 *
 * Use `run` to replay a whole program: it drives tasks and sleepers itself and reports a program that can never end. Use
 * `layer` where a host (a test runner, a server) drives the fibers and real asynchronous work takes part.
 *
 * **Details**
 *
 * The module brings its own `Clock` and its own `Scheduler`. All tasks stand in one queue. When the queue is empty the
 * clock jumps to the earliest sleeper, wakes it alone, and empties the queue again before the next one wakes, also
 * where several sleep until the same millisecond. So sleepers wake by time, then in the order in which they lay down.
 * The same program gives the same order each time. Time moves in whole milliseconds; a sleep is rounded up, never down.
 *
 * **Gotchas**
 *
 * Real asynchronous work (a promise, a timer, I/O) takes no virtual time: the clock does not wait for it and goes on to
 * the next sleeper, and where nobody sleeps `run` reports a `Deadlock`. Do such work before or after `run`. Under `layer`
 * it does settle, some virtual time later that differs from run to run.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import { Sleepers } from "./internal/sleepers.ts"
import { TaskQueue } from "./internal/taskQueue.ts"

/**
 * How virtual time begins, ends and is watched.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The time at which the clock starts. Default: 1970-01-01T00:00:00Z. */
  readonly start?: DateTime.DateTime.Input | undefined
  /**
   * The most virtual time to spend, from `start`. A sleeper beyond it never wakes, and `run` fails with `Deadlock`.
   * Stops a program whose main fiber hangs while a background fiber sleeps for ever in a loop. Default: no limit.
   */
  readonly limit?: Duration.Input | undefined
  /** Called with the new time, in milliseconds since 1970, whenever time moves. For a progress bar. */
  readonly onAdvance?: ((now: number) => void) | undefined
}

/**
 * The program waits for something that never comes: no task can run and nobody sleeps.
 *
 * `now` is the virtual time in milliseconds since 1970 at which it stood still, `count` the number of fibers that had
 * not ended (idle background fibers among them), `fibers` the first ten of these, the main fiber first, each with the
 * span it waits in where there is one.
 *
 * @category errors
 * @since 0.1.0
 */
export class Deadlock extends Schema.TaggedError<Deadlock>("headgate/testing/Deadlock")("Deadlock", {
  now: Schema.Number,
  count: Schema.Number,
  fibers: Schema.Array(Schema.Struct({ id: Schema.Number, span: Schema.optionalKey(Schema.String) }))
}) {
  override get message(): string {
    const names = this.fibers.map((fiber) =>
      fiber.span === undefined ? `#${fiber.id}` : `#${fiber.id} (${fiber.span})`
    )
    const more = this.count > names.length ? ` and ${this.count - names.length} more` : ""
    return (
      `at ${new Date(this.now).toISOString()} nothing can run and nobody sleeps, but these fibers still wait: ` +
      `${names.join(", ")}${more}. Each waits for a value nobody gives, or for a real promise or timer`
    )
  }
}

const nanosPerMilli = BigInt(1_000_000)

class Time implements Clock.Clock, Scheduler.Scheduler, Scheduler.SchedulerDispatcher {
  readonly executionMode = "sync"
  readonly sleepers = new Sleepers()
  readonly tasks = new TaskQueue()
  readonly alive = new Set<Fiber.Fiber<unknown, unknown>>()
  readonly onAdvance: ((now: number) => void) | undefined
  readonly start: number
  readonly end: number
  /** Told that there is something to do, for those who do not drive the clock themselves. */
  onWork: (() => void) | undefined
  private now: number
  private lastSeen: Fiber.Fiber<unknown, unknown> | undefined

  constructor(options: Options | undefined) {
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

  /** Wakes up to `wakes` sleepers, each after all tasks. Ends early when the fiber has ended or nobody sleeps. */
  drive<A, E>(fiber: Fiber.Fiber<A, E>, wakes: number): Exit.Exit<A, E> | "tired" | "stuck" {
    for (let wake = 0; wake <= wakes; wake++) {
      this.tasks.drain()
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      if (wake < wakes && !this.wakeNext()) return "stuck"
    }
    return "tired"
  }

  deadlock(main: Fiber.Fiber<unknown, unknown>): Deadlock {
    const waiting = [main]
    for (const fiber of this.alive) if (fiber !== main) waiting.push(fiber)
    return new Deadlock({
      now: this.now,
      count: waiting.length,
      fibers: waiting.slice(0, 10).map((fiber) => {
        const span = fiber.cache.span
        return span?._tag === "Span" ? { id: fiber.id, span: span.name } : { id: fiber.id }
      })
    })
  }
}

const wakesPerTurn = 1024

const start = <A, E, R>(effect: Effect.Effect<A, E, R>, context: Context.Context<R>, time: Time): Fiber.Fiber<A, E> =>
  Effect.runForkWith(Context.add(context, Clock.Clock, time))(effect, { scheduler: time })

/** Interrupts the fiber and gives its finalizers all the virtual time they want. */
const abandon = (fiber: Fiber.Fiber<unknown, unknown>, time: Time): void => {
  fiber.interruptUnsafe()
  time.drive(fiber, Infinity)
}

const giveUp = (fiber: Fiber.Fiber<unknown, unknown>, time: Time): Exit.Exit<never, Deadlock> => {
  const deadlock = time.deadlock(fiber)
  abandon(fiber, time)
  return Exit.fail(deadlock)
}

/**
 * Runs an effect and everything it forks on a virtual clock, and gives its result.
 *
 * Services and references are those of the surrounding fiber, except `Clock` and `Scheduler`. Every 1,024 wakes the
 * surrounding scheduler gets a turn, for signals, progress and interruption from outside. Fibers still running when the
 * effect ends are left where they are. Fails with `Deadlock` if the effect can never end; it is interrupted first, so
 * that its finalizers run.
 *
 * **Example** (Sleeping for hours)
 *
 * ```ts
 * import { Clock, Effect } from "effect"
 * import { VirtualClock } from "headgate/testing"
 *
 * const program = Effect.gen(function*() {
 *   yield* Effect.all([Effect.sleep("2 hours"), Effect.sleep("3 hours")], { concurrency: "unbounded" })
 *   return yield* Clock.currentTimeMillis
 * })
 *
 * await Effect.runPromise(VirtualClock.run(program)) // => 10_800_000
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const run: {
  (options?: Options): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Deadlock, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, options?: Options): Effect.Effect<A, E | Deadlock, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(effect: Effect.Effect<A, E, R>, options?: Options): Effect.Effect<A, E | Deadlock, R> =>
    Effect.contextWith((context: Context.Context<R>) => {
      const time = new Time(options)
      const fiber = start(effect, context, time)
      const turns: Effect.Effect<A, E | Deadlock> = Effect.suspend(() => {
        const end = time.drive(fiber, wakesPerTurn)
        return end === "tired" ? Effect.andThen(Effect.yieldNow, turns) : end === "stuck" ? giveUp(fiber, time) : end
      })
      return Effect.onInterrupt(turns, () => Effect.sync(() => abandon(fiber, time)))
    })
)

/**
 * `run` for an effect that needs no services, in one synchronous go without an Effect around it.
 *
 * **Example** (Reading the exit)
 *
 * ```ts
 * import { Effect, Exit } from "effect"
 * import { VirtualClock } from "headgate/testing"
 *
 * VirtualClock.runSync(Effect.as(Effect.sleep("1 day"), "rested")) // => Exit.succeed("rested")
 * Exit.isFailure(VirtualClock.runSync(Effect.never)) // => true
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const runSync = <A, E>(effect: Effect.Effect<A, E>, options?: Options): Exit.Exit<A, E | Deadlock> => {
  const time = new Time(options)
  const fiber = start(effect, Context.empty(), time)
  const end = time.drive(fiber, Infinity)
  return Exit.isExit(end) ? end : giveUp(fiber, time)
}

/**
 * The virtual clock and its scheduler for fibers that a host drives. After each turn of the host's own scheduler one
 * sleeper wakes, so settled promises are seen in between. Slower than `run`, and it cannot tell a deadlock from a
 * promise that has not settled yet: such a program waits, as it would on the real clock.
 *
 * **Example** (Sleeping for a week)
 *
 * ```ts
 * import { Clock, Effect } from "effect"
 * import { VirtualClock } from "headgate/testing"
 *
 * const program = Effect.andThen(Effect.sleep("1 week"), Clock.currentTimeMillis)
 *
 * await Effect.runPromise(Effect.provide(program, VirtualClock.layer())) // => 604_800_000
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<never> =>
  Layer.effectContext(
    Effect.map(Effect.service(Scheduler.Scheduler), (host) => {
      const time = new Time(options)
      const dispatcher = host.makeDispatcher()
      let scheduled = false
      const turn = (): void => {
        scheduled = false
        time.tasks.drain()
        if (time.wakeNext()) time.tasks.drain()
        if (time.sleepers.nextAt !== undefined) time.onWork?.()
      }
      time.onWork = () => {
        if (scheduled) return
        scheduled = true
        dispatcher.scheduleTask(turn, 0)
      }
      return Context.empty().pipe(Context.add(Clock.Clock, time), Context.add(Scheduler.Scheduler, time))
    })
  )
