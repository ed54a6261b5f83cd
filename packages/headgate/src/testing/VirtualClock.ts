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
 * the next sleeper, and where nobody sleeps `run` reports a `Deadlock`. Do such work before or after `run`, or in
 * `outside`, which the clock waits for. Under `layer` it does settle, some virtual time later that differs from run to
 * run.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import { Time } from "./internal/time.ts"

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

const wakesPerTurn = 1024

const start = <A, E, R>(effect: Effect.Effect<A, E, R>, context: Context.Context<R>, time: Time): Fiber.Fiber<A, E> =>
  Effect.runForkWith(Context.add(context, Clock.Clock, time))(effect, { scheduler: time })

/** Interrupts the fiber and gives its finalizers all the virtual time they want, and real time for work outside. */
const abandon = (fiber: Fiber.Fiber<unknown, unknown>, time: Time): Effect.Effect<void> => {
  const rest: Effect.Effect<void> = Effect.suspend(() =>
    time.drive(fiber, Infinity) === "outside" ? Effect.andThen(time.news, rest) : Effect.void
  )
  return Effect.andThen(
    Effect.sync(() => fiber.interruptUnsafe()),
    rest
  )
}

const deadlockOf = (fiber: Fiber.Fiber<unknown, unknown>, time: Time): Deadlock => {
  const waiting = time.waiting(fiber)
  return new Deadlock({
    now: time.currentTimeMillisUnsafe(),
    count: waiting.length,
    fibers: waiting.slice(0, 10).map((fiber) => {
      const span = fiber.cache.span
      return span?._tag === "Span" ? { id: fiber.id, span: span.name } : { id: fiber.id }
    })
  })
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
      const time = new Time(options, context)
      const fiber = start(effect, context, time)
      const turns: Effect.Effect<A, E | Deadlock> = Effect.suspend(() => {
        const end = time.drive(fiber, wakesPerTurn)
        switch (end) {
          case "tired":
            return Effect.andThen(Effect.yieldNow, turns)
          case "outside":
            return Effect.andThen(time.news, turns)
          case "stuck": {
            const deadlock = deadlockOf(fiber, time)
            return Effect.andThen(abandon(fiber, time), Effect.fail(deadlock))
          }
          default:
            return end
        }
      })
      return Effect.onInterrupt(turns, () => abandon(fiber, time))
    })
)

/**
 * Does real asynchronous work inside of `run` or `layer`: on the clock and the scheduler around them, while virtual time
 * stands still. What is outside already is done as it is.
 *
 * **Example** (A store's answer takes no virtual time)
 *
 * ```ts
 * import { Clock, Effect } from "effect"
 * import { VirtualClock } from "headgate/testing"
 *
 * const program = Effect.gen(function*() {
 *   yield* Effect.sleep("2 hours")
 *   yield* VirtualClock.outside(Effect.promise(() => fetch("data:,hello")))
 *   return yield* Clock.currentTimeMillis
 * })
 *
 * await Effect.runPromise(VirtualClock.run(program)) // => 7_200_000
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const outside = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.contextWith((context: Context.Context<R>) => {
    const time = Context.get(context, Clock.Clock)
    return time instanceof Time ? time.outside(effect, context) : effect
  })

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
  const time = new Time(options, Context.empty())
  const fiber = start(effect, Context.empty(), time)
  const end = time.drive(fiber, Infinity)
  if (Exit.isExit(end)) return end
  const deadlock = deadlockOf(fiber, time)
  fiber.interruptUnsafe()
  time.drive(fiber, Infinity)
  return Exit.fail(deadlock)
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
    Effect.map(Effect.context<never>(), (context) => {
      const time = new Time(options, context)
      const dispatcher = Context.get(context, Scheduler.Scheduler).makeDispatcher()
      let scheduled = false
      const turn = (): void => {
        scheduled = false
        time.tasks.drain()
        if (time.pending > 0) return
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
