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
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Alerts from "./Alerts.ts"
import * as Budget from "./Budget.ts"
import type { InvalidUsage, StoreError } from "./Errors.ts"
import { begin, wayOf } from "./internal/guard/course.ts"
import { oneOf } from "./internal/options/plans.ts"
import { streamed, type StreamedCall } from "./internal/guard/streamed.ts"
import { afterwards, type Reading, tookOf } from "./internal/provider/took.ts"
import * as QuotaStore from "./QuotaStore.ts"
import * as RateLimiter from "./RateLimiter.ts"
import * as Retry from "./Retry.ts"
import type { Subject } from "./Subject.ts"
import type * as Usage from "./Usage.ts"
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
 * A streamed call to be guarded.
 *
 * - `estimate`: what one attempt takes before any output; without `chunk`, the most that it will take.
 * - `chunk`: how much output is held ahead. Whenever the output comes to what is held, another chunk is.
 * - `atMost`: what it asks the rate limiter for, as providers count what a request allows. Default: these two.
 * - `delivered`: the output in one element. Asked once for each.
 * - `actual`: what an element says the whole call took. The last answer wins.
 * - `actualOnError`, `subject`, `onUnknown`: as in `Call`.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamCall<in A = unknown, in E = unknown> extends StreamedCall<A, E> {}

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
    /** Runs a stream as a guarded call. */
    readonly guardStream: <A, E, R>(
      self: Stream.Stream<A, E, R>,
      call: StreamCall<A, E>
    ) => Stream.Stream<A, E | GuardError, R>
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
    const way = wayOf<GuardError>({ budget, limiter, retry }, spans)

    const guarded = <A, E, R>(self: Effect.Effect<A, E, R>, call: Call<A, E>): Effect.Effect<A, E | GuardError, R> =>
      Effect.uninterruptibleMask((restore) =>
        way.reserve(call.estimate, call, (reservation) => {
          const course = begin(reservation)
          const attempt = way.attempt(course, (permit, restore) =>
            Effect.onExit(restore(self), (exit) =>
              Effect.flatMapEager(tookOf(exit, reservation.estimate, call), (took) =>
                way.leave(course, permit, exit, took)
              )
            )
          )
          return Effect.onExit(restore(way.retried(course, attempt)), (exit) => way.finish(course, exit))
        })
      )

    return {
      guard: spans ? (self, call) => Effect.withSpan(guarded(self, call), "headgate.guard") : guarded,
      guardStream: spans
        ? (self, call) => Stream.withSpan(streamed(way, self, call), "headgate.guard")
        : (self, call) => streamed(way, self, call),
      preCheck: (estimate, subject = {}) =>
        Effect.andThen(
          budget.check(estimate, subject),
          limiter.withPermit(estimate, subject, (permit) => afterwards(limiter.settle(permit, permit.usage)))
        ),
      recordUsage: budget.record
    }
  })
}

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
 * Guards a streamed call: reserves its estimate and a chunk of output, waits for a place, holds another chunk whenever the
 * output comes to what is held, and settles what it took, however it ends.
 *
 * **Details**
 *
 * - A stream settles on the usage that it tells of; one that ends without telling, on the estimate and what it delivered.
 * - One that was interrupted, left by its consumer, or failed in its middle, settles on the estimate and what had arrived
 *   by then, or on the usage it had told of if that is more.
 * - One for which no more can be held passes on what has arrived up to the element that did not fit, which is booked in
 *   full, and then ends with `BudgetExceeded` (or `RequestTooLarge`, where a limit per request is reached).
 * - It is retried only while no element has arrived; every attempt takes a place of its own, as with `guard`.
 * - Its reservation is renewed until it ends, however slow its consumer is.
 *
 * **Gotchas**
 *
 * - Without `chunk` nothing is extended, so the estimate must be the most that the call can take; what was broken off then
 *   counts as the estimate, or with `onUnknown: "release"` as what was delivered.
 * - What arrives together counts together: an array of elements of which the consumer takes one has been delivered.
 *
 * **Example** (A guarded stream)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Budget, Guard, guardStream } from "headgate"
 *
 * interface Part {
 *   readonly text: string
 *   readonly usage?: { readonly inputTokens: number; readonly outputTokens: number }
 * }
 *
 * const parts: Stream.Stream<Part> = Stream.make(
 *   { text: "Hello" },
 *   { text: " world" },
 *   { text: "", usage: { inputTokens: 9, outputTokens: 2 } }
 * )
 *
 * const program = parts.pipe(
 *   guardStream({
 *     estimate: { inputTokens: 20 },
 *     chunk: { outputTokens: 256 },
 *     delivered: (part: Part) => ({ outputTokens: part.text.length }),
 *     actual: (part) => part.usage
 *   }),
 *   Stream.map((part) => part.text),
 *   Stream.mkString,
 *   Effect.andThen(Budget.Budget.use((budget) => budget.status())),
 *   Effect.map((status) => status.tokensUsedMinute),
 *   Effect.provide(Guard.layerMemory({ budget: Budget.defaults }))
 * )
 *
 * await Effect.runPromise(program) // => 11
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const guardStream: {
  <A, E>(
    call: StreamCall<A, E> & { readonly actualOnError: (error: E) => Usage.Input | undefined }
  ): <R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E | GuardError, R | Guard>
  <A>(call: StreamCall<A>): <E, R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E | GuardError, R | Guard>
  <A, E, R>(self: Stream.Stream<A, E, R>, call: StreamCall<A, E>): Stream.Stream<A, E | GuardError, R | Guard>
} = dual(
  2,
  <A, E, R>(self: Stream.Stream<A, E, R>, call: StreamCall<A, E>): Stream.Stream<A, E | GuardError, R | Guard> =>
    Stream.unwrap(Effect.map(Guard, (service) => service.guardStream(self, call)))
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
