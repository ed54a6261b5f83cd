import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { Subject } from "../../Subject.ts"
import * as Usage from "../../Usage.ts"
import { now } from "../answers.ts"
import { inAttempt } from "../retry/attempt.ts"
import type { Reservation } from "../budget/held.ts"
import * as metrics from "../metrics.ts"
import type { Permit, Restore } from "../limiter/permit.ts"
import { type Feedback, feedbackOf } from "../provider/signals.ts"
import { afterwards } from "../provider/took.ts"

/** The services that a guarded call goes through, as far as it needs them. `E` is how they refuse. */
export interface Services<E> {
  readonly budget: {
    readonly reserve: (
      estimate: Usage.Input,
      subject: Subject | undefined,
      options: { readonly onUnknown: "charge" | "release" | undefined; readonly lease: "renewed" }
    ) => Effect.Effect<Reservation, E>
    readonly extend: (reservation: Reservation, more: Usage.Input) => Effect.Effect<void, E>
    readonly settle: (reservation: Reservation, actual: Usage.Input) => Effect.Effect<unknown, Error>
    readonly release: (reservation: Reservation) => Effect.Effect<unknown, Error>
  }
  readonly limiter: {
    readonly withPermit: <A, E2, R>(
      usage: Usage.Input,
      subject: Subject,
      use: (permit: Permit, restore: Restore) => Effect.Effect<A, E2, R>
    ) => Effect.Effect<A, E2 | E, R>
    readonly settle: (permit: Permit, actual: Usage.Input) => Effect.Effect<void, Error>
    readonly feedback: (feedback: Feedback, subject: Subject, permit: Permit) => Effect.Effect<void, Error>
  }
  readonly retry: {
    readonly retry: <A, E2, R>(
      self: Effect.Effect<A, E2, R>,
      options: { readonly unless: () => boolean; readonly marks: false }
    ) => Effect.Effect<A, E2, R>
  }
}

/** What is known of a call under way. */
export interface Course {
  readonly reservation: Reservation
  /** What an attempt takes a place for. */
  readonly place: Usage.Usage
  /** What was held for one attempt: the reservation's estimate and, for a stream, what was held for more output. */
  estimate: Usage.Usage
  attempts: number
  /** Whether the last attempt got as far as the provider. */
  called: boolean
  waited: number
  /** What the attempts so far took. */
  spent: Usage.Usage | undefined
  /** The part of it that the reservation does not cover, because the next attempt needs all of it. */
  uncovered: Usage.Usage | undefined
}

export const begin = (reservation: Reservation, place = reservation.estimate): Course => ({
  reservation,
  place,
  estimate: reservation.estimate,
  attempts: 0,
  called: false,
  waited: 0,
  spent: undefined,
  uncovered: undefined
})

const add = (sum: Usage.Usage | undefined, usage: Usage.Usage): Usage.Usage =>
  sum === undefined ? usage : Usage.sum(sum, usage)

/** The steps of one guarded call, which `guard` and `guardStream` both go through: reserve, (wait, call)*, settle. */
export interface Way<E> {
  /** To be run in an uninterruptible region, and followed by `finish` however the call ends. */
  readonly reserve: <A, E2, R>(
    estimate: Usage.Input,
    call: { readonly subject?: Subject | undefined; readonly onUnknown?: "charge" | "release" | undefined },
    use: (reservation: Reservation) => Effect.Effect<A, E2, R>
  ) => Effect.Effect<A, E | E2, R>
  /** Runs attempts under the retry policy, unless one was refused before it got to the provider. */
  readonly retried: <A, E2, R>(course: Course, attempt: Effect.Effect<A, E2, R>) => Effect.Effect<A, E2, R>
  /** An attempt: holds anew what the last one took, takes a place, and runs `use`, which must `leave` it. */
  readonly attempt: <A, E2, R>(
    course: Course,
    use: (permit: Permit, restore: Restore) => Effect.Effect<A, E2, R>
  ) => Effect.Effect<A, E2 | E, R>
  /** An attempt is over. */
  readonly leave: (
    course: Course,
    permit: Permit,
    exit: Exit.Exit<unknown, unknown>,
    took: Usage.Usage | undefined
  ) => Effect.Effect<void>
  /** Holds more for the attempt under way. */
  readonly extend: (course: Course, more: Usage.Usage) => Effect.Effect<void, E>
  /** The call is over. */
  readonly finish: (course: Course, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>
}

const refused: Effect.Effect<void> = Effect.withFiber((fiber) => {
  metrics.calls.refused.updateUnsafe(1, fiber.context)
  return Effect.void
})

const outcomeOf = (exit: Exit.Exit<unknown, unknown>, attempts: number) => {
  if (Exit.isSuccess(exit)) return "answered"
  if (Exit.hasInterrupts(exit)) return "interrupted"
  return attempts === 0 ? "refused" : "failed"
}

export const wayOf = <E>({ budget, limiter, retry }: Services<E>, spans: boolean): Way<E> => {
  /** What an error says of the provider's limits is for the limiter to know. */
  const heard = (permit: Permit, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
    Effect.withFiber((fiber) => {
      const error = Cause.findErrorOption(cause)
      const feedback = Option.isSome(error) ? feedbackOf(error.value, now(fiber)) : undefined
      return feedback === undefined ? Effect.void : Effect.ignore(limiter.feedback(feedback, permit.subject, permit))
    })

  return {
    reserve: (estimate, { onUnknown, subject }, use) =>
      Effect.matchCauseEffect(budget.reserve(estimate, subject, { onUnknown, lease: "renewed" }), {
        onFailure: (cause) => Effect.andThen(refused, Exit.failCause(cause)),
        onSuccess: use
      }),
    // Our own limits have said what they do with a call that does not fit: it is not for the retries to ask again.
    retried: (course, attempt) => retry.retry(attempt, { unless: () => !course.called, marks: false }),
    attempt: (course, use) => {
      const placed = limiter.withPermit(course.place, course.reservation.subject, (permit, restore) => {
        course.attempts++
        course.called = true
        course.waited += Duration.toMillis(permit.waited)
        return inAttempt(use(permit, restore), { isRetried: true, permit })
      })
      return Effect.suspend(() => {
        const more = course.uncovered
        course.called = false
        if (more === undefined) return placed
        course.uncovered = undefined
        return Effect.andThen(budget.extend(course.reservation, more), placed)
      })
    },
    leave: (course, permit, exit, took) => {
      if (took !== undefined) {
        course.spent = add(course.spent, took)
        if (Exit.isFailure(exit)) course.uncovered = add(course.uncovered, took)
      }
      const settled = afterwards(limiter.settle(permit, took ?? { requests: course.reservation.estimate.requests }))
      return Exit.isSuccess(exit) ? settled : Effect.andThen(heard(permit, exit.cause), settled)
    },
    extend: (course, more) =>
      Effect.map(budget.extend(course.reservation, more), () => {
        course.estimate = Usage.sum(course.estimate, more)
      }),
    finish: (course, exit) =>
      Effect.withFiber((fiber) => {
        const { attempts, estimate, reservation, spent, waited } = course
        const { context } = fiber
        const registry = metrics.registryOf(context)
        metrics.calls[outcomeOf(exit, attempts)].updateUnsafe(1, context, registry)
        if (attempts > 0) metrics.attempts.updateUnsafe(attempts, context, registry)
        if (spent !== undefined && spent.tokens > 0) {
          metrics.estimateRatio.updateUnsafe(estimate.tokens / spent.tokens, context, registry)
        }
        const ended = afterwards(spent === undefined ? budget.release(reservation) : budget.settle(reservation, spent))
        return spans
          ? Effect.andThen(
              ended,
              Effect.annotateCurrentSpan({
                "headgate.estimate.tokens": estimate.tokens,
                "headgate.estimate.cost": estimate.cost,
                "headgate.actual.tokens": spent?.tokens ?? 0,
                "headgate.actual.cost": spent?.cost ?? 0,
                "headgate.attempts": attempts,
                "headgate.waited": waited
              })
            )
          : ended
      })
  }
}
