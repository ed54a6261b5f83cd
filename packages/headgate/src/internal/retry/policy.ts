import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { Attempt, inAttempt, makeWarning } from "./attempt.ts"
import * as metrics from "../metrics.ts"
import { millisOf } from "../options/plans.ts"
import { retryAfterOf } from "../provider/providerError.ts"
import { makeBudget, type RetryBudget } from "./budget.ts"
import { isRetryable } from "../provider/retryable.ts"

/**
 * What is told when a retry has been decided.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryEvent<out E> {
  /** 1 for the first retry. */
  readonly attempt: number
  readonly error: E
  /** How long will be waited before the retry. */
  readonly delay: Duration.Duration
  /** Since the call began. */
  readonly elapsed: Duration.Duration
}

/**
 * How a delay is spread, with `d` the capped backoff: `"full"` 0 to `d`, `"equal"` half of `d` to `d`, `"decorrelated"`
 * from the initial backoff to three times the last delay, `"none"`; a number from 0 to 1 is ± that share. Never beyond
 * the cap.
 *
 * @category models
 * @since 0.1.0
 */
export type Jitter = "full" | "equal" | "decorrelated" | "none" | number

/**
 * The options of a retry policy.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<in E = unknown> {
  /** How many retries follow a call. Default 3. */
  readonly maxRetries?: number | undefined
  /** The first backoff. Default 1 second. */
  readonly initialBackoff?: Duration.Input | undefined
  /** The cap of the backoff. Default 30 seconds. */
  readonly maxBackoff?: Duration.Input | undefined
  /** What the backoff grows by, at least 1. Default 2. */
  readonly multiplier?: number | undefined
  /** Default `"full"`. */
  readonly jitter?: Jitter | undefined
  /** Which errors are worth a retry. Default `Retry.isRetryable`. */
  readonly while?: ((error: E) => boolean) | undefined
  /** Reads the wait that an error asks for: a floor for the delay. Default: `retryAfter`, or the headers of the reply. */
  readonly retryAfter?: ((error: E) => Duration.Input | undefined) | undefined
  /** A longer wait than this ends the retries with the error that asks for it. Default 60 seconds. */
  readonly maxRetryAfter?: Duration.Input | undefined
  /** How long a call may go on, the coming delay included. Default: no limit. */
  readonly maxElapsed?: Duration.Input | undefined
  /** Run when a retry has been decided, before its delay. */
  readonly onRetry?: ((event: RetryEvent<E>) => Effect.Effect<unknown>) | undefined
  /** The budget of retries that all calls of this policy share. Default: one of its own; `"none"` for none. */
  readonly budget?: RetryBudget | "none" | undefined
}

/**
 * The default options.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaults = {
  maxRetries: 3,
  initialBackoff: "1 second",
  maxBackoff: "30 seconds",
  multiplier: 2,
  jitter: "full",
  maxRetryAfter: "60 seconds"
} as const satisfies Options

/**
 * How an effect is retried by those who build upon a policy, as `Guard` does.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryOptions {
  /** Asked of a failure first: `true` ends the retries with it. */
  readonly unless?: (() => boolean) | undefined
  /** Whether attempts are marked, so that a retry within them is warned of. Default `true`; `false` if they are already. */
  readonly marks?: boolean | undefined
}

/** One call's way through its retries. */
export interface Course {
  readonly start: number
  /** What it has added to the retry budget in advance. */
  earned: number
  retries: number
  delay: number
}

/** Goes on after a delay, or stops: because the error is not worth a retry, or because a limit is reached. */
type Decision = number | "notRetryable" | "exhausted"

export interface Policy<E> {
  readonly begin: (now: number) => Course
  /** Told of a success without retries. */
  readonly earn: () => number
  /** Decides on a failure; `draw` is the random number from 0 to 1. */
  readonly decide: (course: Course, error: E, now: number, draw: () => number) => Decision
  readonly tap: ((event: RetryEvent<E>) => Effect.Effect<unknown>) | undefined
  /** Tells once that it runs within another. */
  readonly warning: Effect.Effect<void>
}

const jitters: { readonly [name: string]: (capped: number, draw: number, course: Course, initial: number) => number } =
  {
    full: (capped, draw) => capped * draw,
    equal: (capped, draw) => capped / 2 + (capped / 2) * draw,
    decorrelated: (_, draw, course, initial) => initial + draw * Math.max(0, (course.delay || initial) * 3 - initial),
    none: (capped) => capped
  }

/** Checks the options, and gives what makes a policy with a retry budget of its own. */
export const policyOf = <E>(options: Options<E>): (() => Policy<E>) => {
  const maxRetries = options.maxRetries ?? defaults.maxRetries
  if (!Number.isSafeInteger(maxRetries) || maxRetries < 0) {
    throw new RangeError(`Retry: maxRetries must be a whole number from 0, got ${maxRetries}`)
  }
  const initial = millisOf("Retry: initialBackoff", options.initialBackoff ?? defaults.initialBackoff)
  const cap = millisOf("Retry: maxBackoff", options.maxBackoff ?? defaults.maxBackoff)
  const multiplier = options.multiplier ?? defaults.multiplier
  if (!(multiplier >= 1 && Number.isFinite(multiplier))) {
    throw new RangeError(`Retry: multiplier must be at least 1, got ${multiplier}`)
  }
  const jitter = options.jitter ?? defaults.jitter
  if (typeof jitter === "number" ? !(jitter >= 0 && jitter <= 1) : !Object.hasOwn(jitters, jitter)) {
    throw new RangeError(`Retry: jitter must be "full", "equal", "decorrelated", "none" or from 0 to 1, got ${jitter}`)
  }
  const spread =
    typeof jitter === "number"
      ? (capped: number, draw: number) => capped * (1 - jitter + 2 * jitter * draw)
      : jitters[jitter]!
  const maxRetryAfter = millisOf("Retry: maxRetryAfter", options.maxRetryAfter ?? defaults.maxRetryAfter)
  const maxElapsed = options.maxElapsed === undefined ? Infinity : millisOf("Retry: maxElapsed", options.maxElapsed)
  const worthwhile: (error: E) => boolean = options.while ?? isRetryable
  const hintOf = (error: E, now: number): number => {
    if (options.retryAfter === undefined) return retryAfterOf(error, now) ?? 0
    const hint = options.retryAfter(error)
    return hint === undefined
      ? 0
      : Option.match(Duration.fromInput(hint), { onNone: () => 0, onSome: Duration.toMillis })
  }

  return () => {
    const budget = options.budget === "none" ? undefined : (options.budget ?? makeBudget())
    return {
      begin: (now) => ({ start: now, earned: 0, retries: 0, delay: 0 }),
      earn: () => budget?.deposit() ?? 0,
      decide: (course, error, now, draw) => {
        if (course.retries === 0) budget?.takeBack(course.earned)
        if (!worthwhile(error)) return "notRetryable"
        if (course.retries >= maxRetries) return "exhausted"
        const backoff = Math.min(cap, initial * Math.pow(multiplier, course.retries))
        const spreaded = Math.min(cap, spread(backoff, jitter === "none" ? 0 : draw(), course, initial))
        const hint = hintOf(error, now)
        if (hint > maxRetryAfter) return "exhausted"
        const delay = Math.ceil(Math.max(spreaded, hint))
        if (now - course.start + delay > maxElapsed) return "exhausted"
        if (budget !== undefined && !budget.withdraw()) return "exhausted"
        course.retries++
        course.delay = spreaded
        return delay
      },
      tap: options.onRetry,
      warning: makeWarning()
    }
  }
}

const draw = (fiber: Fiber.Fiber<unknown, unknown>) => () => fiber.getRef(Random.Random).nextDoubleUnsafe()

const tapped = <E>(
  policy: Policy<E>,
  fiber: Fiber.Fiber<unknown, unknown>,
  course: Course,
  error: E,
  delay: number,
  now: number
) => {
  metrics.retries.updateUnsafe(1, fiber.context)
  return policy.tap === undefined
    ? Effect.void
    : policy.tap({
        attempt: course.retries,
        error,
        delay: Duration.millis(delay),
        elapsed: Duration.millis(now - course.start)
      })
}

export const toSchedule = <E>(policy: Policy<E>): Schedule.Schedule<Duration.Duration, E> =>
  Schedule.fromStepWithMetadata(
    Effect.map(Effect.andThen(policy.warning, Clock.currentTimeMillis), (start) => {
      const course = policy.begin(start)
      // A schedule is not told of a success, so a call earns at its start and loses that at its first failure.
      course.earned = policy.earn()
      return ({ input, now }: Schedule.InputMetadata<E>) =>
        Effect.withFiber((fiber) => {
          const decision = policy.decide(course, input, now, draw(fiber))
          if (typeof decision === "string") return Cause.done(Duration.millis(course.delay))
          const delay = Duration.millis(decision)
          const step: [Duration.Duration, Duration.Duration] = [delay, delay]
          return Effect.as(tapped(policy, fiber, course, input, decision, now), step)
        })
    })
  )

/** Runs an effect under a policy; `give` makes the error to fail with of the last one, when a limit ended the retries. */
export const retryWith = <A, E, R, E2>(
  self: Effect.Effect<A, E, R>,
  policy: Policy<E>,
  give: (error: E, course: Course, now: number) => E2,
  { marks = true, unless }: RetryOptions = {}
): Effect.Effect<A, E | E2, R> =>
  Effect.withFiber((fiber) => {
    const around = fiber.getRef(Attempt)
    const clock = fiber.getRef(Clock.Clock)
    const course = policy.begin(clock.currentTimeMillisUnsafe())
    const onSuccess = (value: A): Effect.Effect<A> => {
      if (course.retries === 0) policy.earn()
      return Exit.succeed(value)
    }
    const onFailure = (cause: Cause.Cause<E>): Effect.Effect<A, E | E2, R> => {
      const error = Cause.findErrorOption(cause)
      if (Option.isNone(error) || Cause.hasInterrupts(cause) || Cause.hasDies(cause) || unless?.()) {
        return Exit.failCause(cause)
      }
      const now = clock.currentTimeMillisUnsafe()
      const decision = policy.decide(course, error.value, now, draw(fiber))
      if (decision === "notRetryable") return Exit.failCause(cause)
      if (decision === "exhausted") return Effect.fail(give(error.value, course, now))
      return tapped(policy, fiber, course, error.value, decision, now).pipe(
        Effect.andThen(Effect.sleep(decision)),
        Effect.andThen(attempt)
      )
    }
    const marked = marks ? inAttempt(self, { isRetried: true, permit: around.permit }) : self
    const attempt: Effect.Effect<A, E | E2, R> = Effect.matchCauseEffect(marked, { onSuccess, onFailure })
    return around.isRetried ? Effect.andThen(policy.warning, attempt) : attempt
  })
