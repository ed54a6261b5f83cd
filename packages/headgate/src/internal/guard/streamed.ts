import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { InvalidUsage } from "../../Errors.ts"
import type { Subject } from "../../Subject.ts"
import * as Usage from "../../Usage.ts"
import { begin, type Course, type Way } from "./course.ts"
import { checkUsage } from "../input.ts"
import type { Closing } from "../provider/lastWord.ts"
import { type Measures, Meter } from "../model/meter.ts"
import type { Permit, Restore } from "../limiter/permit.ts"
import { tookOf } from "../provider/took.ts"

/** A streamed call to be guarded. */
export interface StreamedCall<in A, in E> extends Measures<A> {
  readonly estimate: Usage.Input
  readonly chunk?: Usage.Input | undefined
  readonly atMost?: Usage.Input | undefined
  readonly actualOnError?: ((error: E) => Usage.Input | undefined) | undefined
  readonly subject?: Subject | undefined
  readonly onUnknown?: "charge" | "release" | undefined
}

type Elements<A> = readonly [A, ...Array<A>]

/** Runs a stream as a guarded call. */
export const streamed = <A, E, R, E2>(
  way: Way<E2>,
  self: Stream.Stream<A, E, R>,
  call: StreamedCall<A, E> & Closing<A>
): Stream.Stream<A, E | E2 | InvalidUsage, R> =>
  Stream.fromChannel(
    Channel.fromTransformBracket((_upstream, _scope, scope) =>
      Effect.suspend((): Effect.Effect<Pull.Pull<Elements<A>, E | E2, void, R>, InvalidUsage> => {
        const estimate = checkUsage(call.estimate, 1)
        if (estimate instanceof InvalidUsage) return Exit.fail(estimate)
        const chunk = call.chunk === undefined ? undefined : checkUsage(call.chunk, 0)
        if (chunk instanceof InvalidUsage) return Exit.fail(chunk)
        const atMost = call.atMost === undefined ? undefined : checkUsage(call.atMost, 1)
        if (atMost instanceof InvalidUsage) return Exit.fail(atMost)
        return Exit.succeed(run(way, self, call, estimate, atMost, new Meter(estimate, chunk, call), scope))
      })
    )
  )

/** One run of a guarded stream. What it begins is ended when the scope is closed, however that comes about. */
const run = <A, E, R, E2>(
  way: Way<E2>,
  self: Stream.Stream<A, E, R>,
  call: StreamedCall<A, E>,
  estimate: Usage.Usage,
  atMost: Usage.Usage | undefined,
  meter: Meter<A>,
  scope: Scope.Scope
): Pull.Pull<Elements<A>, E | E2, void, R> => {
  let course: Course
  let attempt: { readonly permit: Permit; readonly scope: Scope.Closeable } | undefined
  let source: Pull.Pull<Elements<A>, E, void, R> | undefined
  /** Whether the stream came to its own end. */
  let complete = false
  /** Why it ends before that, once the elements already paid for have been passed on. */
  let cut: Exit.Exit<never, E2> | undefined
  let over = false

  const took = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<Usage.Usage | undefined> => {
    // After its last word a stream has nothing to add, whether or not somebody waits for its end.
    if (complete || meter.isFinal) return Exit.succeed(meter.final)
    const { actualOnError, onUnknown } = call
    const reading = {
      actual: () => estimate,
      actualOnError: actualOnError as (error: unknown) => Usage.Input,
      onUnknown
    }
    if (!meter.begun) return tookOf(exit, estimate, reading)
    const charge = onUnknown !== "release"
    return cut !== undefined || Exit.isSuccess(exit)
      ? Exit.succeed(meter.partial(undefined, charge))
      : Effect.map(tookOf(exit, Usage.zero, reading), (said) => meter.partial(said, charge))
  }

  const leave = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (attempt === undefined) return Effect.void
      const { permit, scope } = attempt
      attempt = undefined
      return Effect.onExit(Scope.close(scope, exit), () =>
        Effect.flatMap(took(exit), (took) => way.leave(course, permit, exit, took))
      )
    })

  const end = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (over) return Effect.void
      over = true
      return Effect.onExit(leave(exit), () => Effect.andThen(meter.complain, way.finish(course, exit)))
    })

  /** An attempt that succeeds with the first elements, or with none. From then on it is not repeated. */
  const start = (permit: Permit, restore: Restore) =>
    Effect.suspend(() => {
      const inside = Scope.makeUnsafe()
      attempt = { permit, scope: inside }
      return Channel.toPullScoped(Stream.toChannel(self), inside).pipe(
        Effect.flatMap((pull) => {
          source = Effect.onError(pull, (cause) =>
            Effect.sync(() => {
              complete = Exit.isSuccess(Pull.doneExitFromCause(cause))
            })
          )
          return Pull.catchDone(source, () => Exit.succeed(undefined))
        }),
        restore,
        Effect.onError((cause) => leave(Exit.failCause(cause)))
      )
    })

  const open = Effect.acquireRelease(
    way.reserve(meter.total, call, (reservation) => Effect.succeed((course = begin(reservation, atMost)))),
    (_, exit) => end(exit)
  ).pipe(
    Scope.provide(scope),
    Effect.flatMap((course) => way.retried(course, way.attempt(course, start))),
    Effect.flatMap((elements) => (elements === undefined ? Cause.done() : Exit.succeed(elements)))
  )

  /** Counts elements and holds more for them as needed. The one that finds nothing more to hold is the last. */
  const pass = (elements: Elements<A>, from: number): Effect.Effect<Elements<A>> =>
    Effect.suspend(() => {
      for (let index = from; index < elements.length; index++) {
        const lacking = meter.count(elements[index]!)
        if (lacking === undefined) continue
        return Effect.matchEffect(way.extend(course, lacking), {
          onSuccess: () => {
            meter.extended(lacking)
            return pass(elements, index + 1)
          },
          onFailure: (error) => {
            cut = Exit.fail(error)
            for (const element of elements.slice(index + 1)) meter.listen(element)
            const paid: Elements<A> = [elements[0], ...elements.slice(1, index + 1)]
            return Effect.as(Effect.uninterruptible(end(cut)), paid)
          }
        })
      }
      return Exit.succeed(elements)
    })

  const next = (pull: Pull.Pull<Elements<A>, E | E2, void, R>) => Effect.flatMap(pull, (elements) => pass(elements, 0))
  return Effect.suspend(() => cut ?? next(source ?? open))
}
