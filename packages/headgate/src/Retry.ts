/**
 * Retries: again, and when? The policy is a `Schedule`, decided by one step function in this order: backoff, cap, jitter,
 * the wait the provider asks for, the reasons to stop, the tap.
 *
 * A retry budget stops retries when too many calls fail: each retry costs, each clean success gives back a little. When
 * a provider is down, retrying each call three times quadruples its load; with the budget the load grows by a few per
 * cent. The numbers are those of the AWS SDKs' retry quota as of 2026 (500 tokens, 14 per retry, 1 per success).
 *
 * Backoff and jitter are those of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { RetryExhausted } from "./Errors.ts"
import { makeConfigured } from "./internal/options/configured.ts"
import * as environment from "./internal/options/environment.ts"
import { refusal } from "./internal/refusal.ts"
import {
  type Course,
  type Options,
  policyOf,
  retryWith,
  type RetryOptions,
  toSchedule
} from "./internal/retry/policy.ts"

export { makeBudget, type RetryBudget } from "./internal/retry/budget.ts"
export { isRetryable, type Retryable, retryable, RetryableTypeId } from "./internal/provider/retryable.ts"
export { defaults, type Jitter, type Options, type RetryEvent, type RetryOptions } from "./internal/retry/policy.ts"

/**
 * A retry policy as a `Schedule`, for `Effect.retry`. The error a schedule sees is `unknown` unless the options or a
 * type argument say more. Throws a `RangeError` on wrong options.
 *
 * **Example** (Retrying a call)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Retry } from "headgate"
 *
 * let attempts = 0
 * const call = Effect.suspend(() => ++attempts < 3 ? Effect.fail({ status: 503 }) : Effect.succeed("answered"))
 *
 * const program = Effect.retry(call, Retry.schedule({ initialBackoff: "1 millis" }))
 *
 * await Effect.runPromise(program) // => "answered"
 * attempts // => 3
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const schedule = <E = unknown>(options: Options<E> = {}): Schedule.Schedule<Duration.Duration, E> =>
  toSchedule(policyOf(options)())

/**
 * The retry policy of the application. What it does is decided by a layer.
 *
 * @category services
 * @since 0.1.0
 */
export class Retry extends Context.Service<
  Retry,
  {
    /** The policy as a schedule. */
    readonly schedule: Schedule.Schedule<Duration.Duration, unknown>
    /** Runs an effect under the policy, and fails with its last error. */
    readonly retry: <A, E, R>(self: Effect.Effect<A, E, R>, options?: RetryOptions) => Effect.Effect<A, E, R>
    /** Runs an effect under the policy. Where a limit ended the retries, the last error is in a `RetryExhausted`. */
    readonly run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RetryExhausted<E>, R>
  }
>()("headgate/Retry") {}

/**
 * The service of `Retry`.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = (typeof Retry)["Service"]

/**
 * Makes the service. Throws a `RangeError` that names the option, its bound and its value.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<Service> => {
  const makePolicy = policyOf(options)
  return Effect.sync(() => {
    const policy = makePolicy()
    return {
      schedule: toSchedule(policy),
      retry: (self, options) => retryWith(self, policy, (error) => error, options),
      run: (self) => retryWith(self, policy, exhausted)
    }
  })
}

const exhausted = <E>(cause: E, course: Course, now: number): RetryExhausted<E> =>
  refusal(
    () =>
      new RetryExhausted<E>({
        attempts: course.retries + 1,
        elapsed: Duration.millis(now - course.start),
        cause
      })
  )

/**
 * A retry policy with these options; all calls share one retry budget.
 *
 * **Example** (The layer decides)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { policy, Retry } from "headgate"
 *
 * const call: Effect.Effect<string, { readonly status: number }> = Effect.fail({ status: 503 })
 *
 * const program = call.pipe(
 *   Effect.retry(policy),
 *   Effect.catch((error) => Effect.succeed(`gave up: ${error.status}`)),
 *   Effect.provide(Retry.layer({ maxRetries: 2, initialBackoff: "1 millis" }))
 * )
 *
 * await Effect.runPromise(program) // => "gave up: 503"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Retry> => Layer.effect(Retry)(make(options))

/**
 * The options of the environment, which `RetryLive` is made of: variables that begin with `HEADGATE_RETRY_`.
 *
 * @category configuration
 * @since 0.1.0
 */
export const config: Config.Config<Options> = environment.retry

/**
 * As `layer`, with options from configuration. A wrong value is a `ConfigError`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Retry, Config.ConfigError> =>
  Layer.effect(Retry)(makeConfigured(options, make))

/**
 * The application's retry policy as a schedule that asks for `Retry`: `Effect.retry(policy)`.
 *
 * A schedule is not told of a success, so a call gives to the retry budget when it begins, and that is taken back at its
 * first failure. `Retry.run` gives when the call has succeeded.
 *
 * @category combinators
 * @since 0.1.0
 */
export const policy: Schedule.Schedule<Duration.Duration, unknown, never, Retry> = Schedule.fromStep(
  Effect.flatMap(Retry, (retry) => Schedule.toStep(retry.schedule))
)

/**
 * Runs an effect under the application's retry policy. An error that is not worth a retry passes through; where a limit
 * ended the retries, it fails with `RetryExhausted`, whose `cause` is the last error.
 *
 * **Example** (Giving up)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Retry } from "headgate"
 *
 * const program = Retry.run(Effect.fail({ status: 503 })).pipe(
 *   Effect.catchTag("RetryExhausted", (error) => Effect.succeed(error.attempts)),
 *   Effect.provide(Retry.layer({ maxRetries: 2, initialBackoff: "1 millis" }))
 * )
 *
 * await Effect.runPromise(program) // => 3
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const run = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | RetryExhausted<E>, R | Retry> =>
  Effect.flatMap(Retry, (retry) => retry.run(self))
