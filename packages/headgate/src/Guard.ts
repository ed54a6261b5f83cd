/**
 * The way of one call:
 *
 * ```text
 * estimate ─► reserve ─► ( wait ─► call )* ─► settle ─► alert
 *             Budget       RateLimiter, Retry   Budget    Alerts
 * ```
 *
 * The order matters. *Reserve* stands outside of the retries: one decision to spend per call. Inside, a call with three
 * retries would be decided on four times, and a budget that fills up in between would cut calls off in their middle,
 * after their first attempts were paid. *Wait* stands inside: every attempt takes a place of its own. Outside, a limit
 * of 60 requests a minute would let 60 calls through and up to 240 attempts with three retries.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Alerts from "./Alerts.ts"
import * as Budget from "./Budget.ts"
import type { InvalidUsage, StoreError } from "./Errors.ts"
import * as metrics from "./internal/metrics.ts"
import { oneOf } from "./internal/plans.ts"
import { afterwards, type Reading, tookOf } from "./internal/took.ts"
import * as QuotaStore from "./QuotaStore.ts"
import * as RateLimiter from "./RateLimiter.ts"
import * as Retry from "./Retry.ts"
import type { Subject } from "./Subject.ts"
import * as Usage from "./Usage.ts"
import type { UsageRecord } from "./UsageRecord.ts"

/**
 * A call to be guarded.
 *
 * - `estimate`: the most that one attempt will take.
 * - `actual`: what the reply says it took.
 * - `actualOnError`: what a failed attempt took, if its error tells.
 * - `subject`: whose quotas the call draws on.
 * - `onUnknown`: what an attempt counts as that was interrupted or timed out, and so may have been billed: its estimate
 *   (`"charge"`, the default) or nothing (`"release"`).
 *
 * @category models
 * @since 0.1.0
 */
export interface Call<in A = unknown, in E = unknown> extends Reading<A, E> {
  readonly estimate: Usage.Input
  readonly subject?: Subject | undefined
}

/**
 * How a guarded call can be refused.
 *
 * @category errors
 * @since 0.1.0
 */
export type GuardError = Budget.ReserveError | RateLimiter.AcquireError

/**
 * Guards calls with the application's budget, rate limiter and retry policy.
 *
 * @category services
 * @since 0.1.0
 */
export class Guard extends Context.Service<
  Guard,
  {
    /** Runs an effect as a guarded call. */
    readonly guard: <A, E, R>(self: Effect.Effect<A, E, R>, call: Call<A, E>) => Effect.Effect<A, E | GuardError, R>
    /** For those who call by hand: asks the budget, then takes a place in the rate limiter. Holds no budget. */
    readonly preCheck: (estimate: Usage.Input, subject?: Subject) => Effect.Effect<void, GuardError>
    /** For those who call by hand: books what a call took. */
    readonly recordUsage: (record: UsageRecord) => Effect.Effect<void, InvalidUsage | StoreError>
  }
>()("headgate/Guard") {}

/**
 * The service of `Guard`.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = (typeof Guard)["Service"]

/**
 * The options of a guard. What is absent limits nothing; the retry policy is `Retry.defaults` unless given.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly budget?: Budget.Options | undefined
  readonly rateLimiter?: RateLimiter.Options | undefined
  readonly retry?: Retry.Options | undefined
  /** Whether each guarded call has a span `headgate.guard`. Default `"spans"`. */
  readonly tracing?: "spans" | "none" | undefined
}

/** What is known of a call under way. */
interface Progress {
  attempts: number
  /** Whether the last attempt got as far as the provider. */
  called: boolean
  waited: number
  /** What the attempts so far took. */
  spent: Usage.Usage | undefined
  /** The part of it that the reservation does not cover, because the next attempt needs all of it. */
  uncovered: Usage.Usage | undefined
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

const add = (sum: Usage.Usage | undefined, usage: Usage.Usage): Usage.Usage =>
  sum === undefined ? usage : Usage.sum(sum, usage)

/**
 * Makes the service of the three services it puts in order.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: {
  readonly tracing?: "spans" | "none" | undefined
}): Effect.Effect<Service, never, Budget.Budget | RateLimiter.RateLimiter | Retry.Retry> => {
  const spans = oneOf("Guard.layer: tracing", ["spans", "none"], options?.tracing ?? "spans") === "spans"

  return Effect.gen(function* () {
    const budget = yield* Budget.Budget
    const limiter = yield* RateLimiter.RateLimiter
    const retry = yield* Retry.Retry

    const attempt = <A, E, R>(
      self: Effect.Effect<A, E, R>,
      call: Call<A, E>,
      reservation: Budget.Reservation,
      progress: Progress
    ): Effect.Effect<A, E | GuardError, R> => {
      const { estimate, subject } = reservation
      const use = (permit: RateLimiter.Permit, restore: Restore) => {
        progress.attempts++
        progress.called = true
        progress.waited += Duration.toMillis(permit.waited)
        return Effect.onExit(restore(self), (exit) =>
          Effect.flatMap(tookOf(exit, estimate, call), (took) => {
            if (took !== undefined) {
              progress.spent = add(progress.spent, took)
              if (Exit.isFailure(exit)) progress.uncovered = add(progress.uncovered, took)
            }
            return afterwards(limiter.settle(permit, took ?? { requests: estimate.requests }))
          })
        )
      }
      const placed = limiter.withPermit(estimate, subject, use)
      return Effect.suspend(() => {
        const more = progress.uncovered
        progress.called = false
        if (more === undefined) return placed
        progress.uncovered = undefined
        return Effect.andThen(budget.extend(reservation, more), placed)
      })
    }

    const finish = (
      exit: Exit.Exit<unknown, unknown>,
      reservation: Budget.Reservation,
      progress: Progress
    ): Effect.Effect<void> =>
      Effect.withFiber((fiber) => {
        const { attempts, spent, waited } = progress
        const outcome = Exit.isSuccess(exit)
          ? "answered"
          : attempts === 0 && !Exit.hasInterrupts(exit)
            ? "refused"
            : Exit.hasInterrupts(exit)
              ? "interrupted"
              : "failed"
        metrics.calls[outcome].updateUnsafe(1, fiber.context)
        if (attempts > 0) metrics.attempts.updateUnsafe(attempts, fiber.context)
        if (spent !== undefined && spent.tokens > 0) {
          metrics.estimateRatio.updateUnsafe(reservation.estimate.tokens / spent.tokens, fiber.context)
        }
        const ended = afterwards(spent === undefined ? budget.release(reservation) : budget.settle(reservation, spent))
        return spans
          ? Effect.andThen(
              ended,
              Effect.annotateCurrentSpan({
                "headgate.estimate.tokens": reservation.estimate.tokens,
                "headgate.estimate.cost": reservation.estimate.cost,
                "headgate.actual.tokens": spent?.tokens ?? 0,
                "headgate.actual.cost": spent?.cost ?? 0,
                "headgate.attempts": attempts,
                "headgate.waited": waited
              })
            )
          : ended
      })

    const guarded = <A, E, R>(self: Effect.Effect<A, E, R>, call: Call<A, E>): Effect.Effect<A, E | GuardError, R> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(
          Effect.onError(
            budget.reserve(call.estimate, call.subject, { onUnknown: call.onUnknown, lease: "renewed" }),
            () => refused
          ),
          (reservation): Effect.Effect<A, E | GuardError, R> => {
            const progress: Progress = { attempts: 0, called: false, waited: 0, spent: undefined, uncovered: undefined }
            return Effect.onExit(
              // Our own limits have said what they do with a call that does not fit: it is not for the retries to ask again.
              restore(retry.retry(attempt(self, call, reservation, progress), { unless: () => !progress.called })),
              (exit) => finish(exit, reservation, progress)
            )
          }
        )
      )

    return {
      guard: spans ? (self, call) => Effect.withSpan(guarded(self, call), "headgate.guard") : guarded,
      preCheck: (estimate, subject = {}) =>
        Effect.andThen(
          budget.check(estimate, subject),
          limiter.withPermit(estimate, subject, (permit) => afterwards(limiter.settle(permit, permit.usage)))
        ),
      recordUsage: budget.record
    }
  })
}

const refused: Effect.Effect<void> = Effect.withFiber((fiber) => {
  metrics.calls.refused.updateUnsafe(1, fiber.context)
  return Effect.void
})

/**
 * A guard over services that are there already.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerServices = (options?: {
  readonly tracing?: "spans" | "none" | undefined
}): Layer.Layer<Guard, never, Budget.Budget | RateLimiter.RateLimiter | Retry.Retry> =>
  Layer.effect(Guard)(make(options))

/**
 * A guard with its own budget, rate limiter and retry policy, which it gives too, over a store and alerts that others
 * may share.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options
): Layer.Layer<
  Guard | Budget.Budget | RateLimiter.RateLimiter | Retry.Retry,
  never,
  QuotaStore.QuotaStore | Alerts.Alerts
> =>
  layerServices(options).pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        Budget.layer(options.budget ?? {}),
        RateLimiter.layer(options.rateLimiter ?? {}),
        Retry.layer(options.retry)
      )
    )
  )

/**
 * As `layer`, in this process's memory. Needs nothing and gives all services.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (
  options: Options
): Layer.Layer<Guard | Budget.Budget | RateLimiter.RateLimiter | Retry.Retry | Alerts.Alerts> =>
  layer(options).pipe(Layer.provide(QuotaStore.layerMemory), Layer.provideMerge(Alerts.layer))

/**
 * Guards a call: reserves its estimate, waits for a place, calls, retries what is worth it, and settles what it took,
 * however it ends.
 *
 * **Details**
 *
 * - A refusal by the provider (any error with an HTTP status) and an error of your own give the reservation back.
 * - An error that carries usage settles with it; usage of failed attempts adds up, and before the next attempt the
 *   reservation is extended by it: every attempt pays its own way.
 * - An attempt that was interrupted, timed out or cut off may have been billed: see `onUnknown`.
 * - A reply that was billed but could not be decoded counts as the estimate.
 *
 * **Gotchas**
 *
 * In a pipe the type of the answer comes from `actual` where that is annotated. `guard(effect, call)` takes it from the
 * effect.
 *
 * **Example** (A guarded call)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Budget, Guard, guard } from "headgate"
 *
 * const ask = (prompt: string) => Effect.succeed({ text: `echo: ${prompt}`, inputTokens: 5, outputTokens: 7 })
 *
 * const program = ask("hello").pipe(
 *   guard({
 *     estimate: { inputTokens: 10, outputTokens: 100, cost: "$0.002" },
 *     actual: ({ inputTokens, outputTokens }) => ({ inputTokens, outputTokens, cost: "$0.0003" }),
 *     subject: { user: "42" }
 *   }),
 *   Effect.andThen(Budget.Budget.use((budget) => budget.status())),
 *   Effect.map((status) => status.tokensUsedMinute),
 *   Effect.provide(Guard.layerMemory({ budget: Budget.defaults, rateLimiter: { requestsPerMinute: 60 } }))
 * )
 *
 * await Effect.runPromise(program) // => 12
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const guard: {
  <A, E>(
    call: Call<A, E> & { readonly actualOnError: (error: E) => Usage.Input | undefined }
  ): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | GuardError, R | Guard>
  <A>(call: Call<A>): <E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | GuardError, R | Guard>
  <A, E, R>(self: Effect.Effect<A, E, R>, call: Call<A, E>): Effect.Effect<A, E | GuardError, R | Guard>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, call: Call<A, E>): Effect.Effect<A, E | GuardError, R | Guard> =>
  Effect.flatMap(Guard, (service) => service.guard(self, call))
)

/**
 * Asks the budget, then takes a place in the rate limiter, for those who call by hand. Holds no budget, so concurrent
 * calls can pass together: `guard` does not let them.
 *
 * @category combinators
 * @since 0.1.0
 */
export const preCheck = (estimate: Usage.Input, subject?: Subject): Effect.Effect<void, GuardError, Guard> =>
  Effect.flatMap(Guard, (service) => service.preCheck(estimate, subject))

/**
 * Books what a call took, for those who call by hand.
 *
 * @category combinators
 * @since 0.1.0
 */
export const recordUsage = (record: UsageRecord): Effect.Effect<void, InvalidUsage | StoreError, Guard> =>
  Effect.flatMap(Guard, (service) => service.recordUsage(record))
