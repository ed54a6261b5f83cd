/**
 * Guarded calls of models: their estimate and their cost are found out for you.
 *
 * ```text
 * price, estimate ─► reserve ─► ( wait ─► call )* ─► settle ─► learn
 * Price, Estimator   Guard                                     Estimator
 * ```
 *
 * A model without a price, or a request that is none, fails before anything is held.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type * as Alerts from "./Alerts.ts"
import type * as Budget from "./Budget.ts"
import type { InvalidUsage, UnpricedModel } from "./Errors.ts"
import * as Estimator from "./Estimator.ts"
import * as Guard from "./Guard.ts"
import { atProvider, streamAtProvider } from "./internal/provider/atProvider.ts"
import type { Listening } from "./internal/model/heard.ts"
import { hearing } from "./internal/model/hearing.ts"
import * as metrics from "./internal/metrics.ts"
import { type Modality, pricedEnd, pricedMost, type Till } from "./internal/model/modelCall.ts"
import { planOf, pricedStream } from "./internal/model/modelStream.ts"
import type { ModelUsage } from "./ModelUsage.ts"
import * as Price from "./Price.ts"
import * as RateLimiter from "./RateLimiter.ts"
import type * as Retry from "./Retry.ts"
import type { Subject } from "./Subject.ts"
import type * as Usage from "./Usage.ts"

/**
 * A call of a model to be guarded.
 *
 * - `input`, `maxOutputTokens`, `outputs`: what the call is estimated from, see `Estimator.Request`.
 * - `provider`: whose price is meant where several offer the model, see `Price`, and whose word paces the call.
 * - `modalities`: what the call may read or write besides text, `"audio"` or `"image"`, which some models charge more for.
 *   Default: nothing.
 * - `usage`: what the reply says it took. `undefined` charges the estimate, a zero nothing. Default
 *   `ModelUsage.fromReply`, which knows the words of the vendors.
 * - `usageOnError`: what a failed attempt took, if its error tells. What errors of Effect and of the vendors' SDKs tell is
 *   read without it.
 * - `subject`: whose quotas the call draws on. Its `model` is filled in.
 * - `onUnknown`: what an attempt counts as that was interrupted or timed out, see `Guard.Call`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call<in A = unknown, in E = unknown> extends Common<E> {
  readonly usage?: ((result: A) => ModelUsage | undefined) | undefined
}

/**
 * A streamed call of a model to be guarded.
 *
 * - `delivered`: what an element brings of the answer, as text or in tokens. Asked once for each. Default: its text, where
 *   the vendors put it; of an element that is none of theirs all text.
 * - `usage`: what an element says the whole call took. It is given what an earlier one said. The last answer wins, and
 *   what is delivered after it is added. Default `ModelUsage.fromReply`.
 * - `chunk`: how many tokens of output are held ahead. Default 256.
 * - The others are as in `Call`.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamCall<in A = unknown, in E = unknown> extends Common<E>, Listening<A> {
  readonly chunk?: number | undefined
}

/** What is said of a call and of a streamed call. */
interface Common<in E> extends Estimator.Request {
  readonly provider?: string | undefined
  readonly modalities?: ReadonlyArray<Modality> | undefined
  readonly usageOnError?: ((error: E) => ModelUsage | undefined) | undefined
  readonly subject?: Subject | undefined
  readonly onUnknown?: "charge" | "release" | undefined
}

/**
 * How a guarded call of a model can be refused.
 *
 * @category errors
 * @since 0.1.0
 */
export type ModelGuardError = Guard.GuardError | UnpricedModel

/**
 * Guards calls of models.
 *
 * @category services
 * @since 0.1.0
 */
export class ModelGuard extends Context.Service<
  ModelGuard,
  {
    /** Runs an effect as a guarded call of a model. */
    readonly run: <A, E, R>(self: Effect.Effect<A, E, R>, call: Call<A, E>) => Effect.Effect<A, E | ModelGuardError, R>
    /** Runs a stream as a guarded call of a model. */
    readonly stream: <A, E, R>(
      self: Stream.Stream<A, E, R>,
      call: StreamCall<A, E>
    ) => Stream.Stream<A, E | ModelGuardError, R>
    /**
     * Tells the rate limiter what a reply says of the provider's limits by its headers, or by those of its `response`. `run`
     * does so by itself.
     */
    readonly heard: (reply: unknown, subject?: Subject) => Effect.Effect<void>
  }
>()("headgate/ModelGuard") {}

/**
 * The service of `ModelGuard`.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = (typeof ModelGuard)["Service"]

/**
 * The options of a model guard with all it consists of.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Guard.Options, Price.Options {
  /** Your own prices, by model. */
  readonly prices?: { readonly [model: string]: Price.ModelPrice } | undefined
  readonly estimator?: Estimator.Options | undefined
}

/** What a model guard puts in order. A `Guard.layer` gives its rate limiter too. */
type Requirements = Guard.Guard | RateLimiter.RateLimiter | Price.Price | Estimator.Estimator

/**
 * Makes the service of the services it puts in order.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<Service, never, Requirements> = Effect.gen(function* () {
  const guard = yield* Guard.Guard
  const price = yield* Price.Price
  const estimator = yield* Estimator.Estimator
  const heard = hearing((yield* RateLimiter.RateLimiter).feedback)

  const tillOf = (call: Common<never>): Till => ({
    cost: (usage) => price.cost(call.model, usage, call),
    observe: (usage) => estimator.observe(call, usage)
  })

  return {
    run: (self, call) => {
      const till = tillOf(call)
      return Effect.flatMap(
        Effect.flatMap(estimator.estimate(call), (most) => pricedMost(till, most, call.modalities)).pipe(
          Effect.tapError(refused)
        ),
        (estimate) => {
          let took: Usage.Input | undefined
          const subject = { model: call.model, ...call.subject }
          const guarded = guard.guard(
            Effect.onExit(self, (exit) =>
              Effect.flatMap(pricedEnd(till, exit, call, estimate), (usage) => {
                took = usage
                return Exit.isSuccess(exit) ? heard(exit.value, subject) : Effect.void
              })
            ),
            {
              estimate,
              actual: () => took ?? estimate,
              actualOnError: () => took,
              subject,
              onUnknown: call.onUnknown
            }
          )
          return atProvider(guarded, call.provider)
        }
      )
    },
    stream: (self, call) => {
      const till = tillOf(call)
      const plan = Effect.flatMap(estimator.estimate(call), (most) =>
        planOf(till, most, call.chunk ?? 256, call.modalities)
      )
      return Stream.unwrap(
        Effect.map(Effect.tapError(plan, refused), (plan) => {
          const { elements, ...reading } = pricedStream(self, call, till, plan, estimator.meter(call.model))
          const guarded = guard.guardStream(elements, {
            ...plan,
            ...reading,
            subject: { model: call.model, ...call.subject },
            onUnknown: call.onUnknown
          })
          return streamAtProvider(
            Stream.map(guarded, ({ element }) => element),
            call.provider
          )
        })
      )
    },
    heard
  }
})

const refused = ({ _tag }: InvalidUsage | UnpricedModel): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    metrics.calls.refused.updateUnsafe(1, fiber.context)
    if (_tag === "UnpricedModel") metrics.refusals.UnpricedModel.updateUnsafe(1, fiber.context)
    return Effect.void
  })

/**
 * A model guard over services that are there already, with whatever store they have.
 *
 * **Example** (What `layerMemory` consists of, over a store that is shared)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Alerts, Budget, Estimator, Guard, ModelGuard, Price } from "headgate"
 * import { SqliteClient, SqlQuotaStore } from "headgate/sql"
 * import { DatabaseSync } from "node:sqlite"
 *
 * const guards = Guard.layer({ budget: { maxCostPerDay: "$5" }, rateLimiter: { concurrency: 10 }, retry: {} })
 * const prices = Price.layer({ "my-model": { input: "$2/M", output: "$8/M" } })
 *
 * const live = ModelGuard.layer.pipe(
 *   Layer.provideMerge(Layer.mergeAll(guards, prices, Estimator.layer())),
 *   Layer.provide(SqlQuotaStore.layer()), // or RedisQuotaStore.layer() of "headgate/redis"
 *   Layer.provide(SqliteClient.layer(() => new DatabaseSync(":memory:"))), // or the path of a file
 *   Layer.provideMerge(Alerts.layer)
 * )
 *
 * const program = Effect.succeed({ usage: { prompt_tokens: 12, completion_tokens: 8 } }).pipe(
 *   ModelGuard.run({ model: "my-model", input: "How deep is the sea?", maxOutputTokens: 200 }),
 *   Effect.andThen(Budget.Budget.use((budget) => budget.status())),
 *   Effect.map((status) => status.costUsedDay)
 * )
 *
 * await Effect.runPromise(Effect.provide(program, live)) // => 88_000
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<ModelGuard, never, Requirements> = Layer.effect(ModelGuard)(make)

/**
 * A model guard with all it consists of, in this process's memory. Needs nothing and gives all services.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (
  options: Options
): Layer.Layer<
  | ModelGuard
  | Price.Price
  | Estimator.Estimator
  | Guard.Guard
  | Budget.Budget
  | RateLimiter.RateLimiter
  | Retry.Retry
  | Alerts.Alerts
> =>
  layer.pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        Guard.layerMemory(options),
        Price.layer(options.prices, options),
        Estimator.layer(options.estimator)
      )
    )
  )

/**
 * Runs an effect as a guarded call of a model: prices and estimates it, reserves that, waits for a place, calls, retries
 * what is worth it, and settles what the reply says it took, at its price.
 *
 * **Gotchas**
 *
 * - SDKs retry too. Tell them not to (`maxRetries: 0`), so that each attempt takes its place in the limits and is paid.
 * - Answers of SDKs come without headers, which say what is left of the provider's limits. Where your own limits are not
 *   below those, ask for the response too: `create(…).withResponse()`. Those of Vercel's `ai` have it, and so have errors.
 * - In a pipe the type of the answer comes from `usage` where that is annotated, as with `guard`.
 *
 * **Example** (A guarded call of a model)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Budget, ModelGuard, Money } from "headgate"
 *
 * // As a vendor's SDK answers.
 * const ask = (_prompt: string) =>
 *   Effect.succeed({ text: "About 3,700 m.", usage: { prompt_tokens: 12, completion_tokens: 8, total_tokens: 20 } })
 *
 * const prompt = "How deep is the sea?"
 *
 * const program = ask(prompt).pipe(
 *   ModelGuard.run({ model: "my-model", input: prompt, maxOutputTokens: 100 }),
 *   Effect.andThen(Budget.Budget.use((budget) => budget.status())),
 *   Effect.map((status) => Money.format(status.costUsedDay)),
 *   Effect.provide(
 *     ModelGuard.layerMemory({
 *       budget: Budget.defaults,
 *       prices: { "my-model": { input: "$3/M", output: "$15/M" } }
 *     })
 *   )
 * )
 *
 * await Effect.runPromise(program) // => "$0.000156"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const run: {
  <A, E>(
    call: Call<A, E> & { readonly usageOnError: (error: E) => ModelUsage | undefined }
  ): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ModelGuardError, R | ModelGuard>
  <A>(call: Call<A>): <E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ModelGuardError, R | ModelGuard>
  <A, E, R>(self: Effect.Effect<A, E, R>, call: Call<A, E>): Effect.Effect<A, E | ModelGuardError, R | ModelGuard>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, call: Call<A, E>): Effect.Effect<A, E | ModelGuardError, R | ModelGuard> =>
    Effect.flatMap(ModelGuard, (service) => service.run(self, call))
)

/**
 * Runs a stream as a guarded call of a model: reserves its input and a chunk of output at their price, holds another
 * chunk whenever that is used up, and settles what the stream says it took, however it ends. See `guardStream`.
 *
 * **Details**
 *
 * - A stream that breaks off settles its input and what it delivered, or what it said if that is more, unless it had told
 *   its usage for the last time in a vendor's words; one that ends without saying what it took, the same.
 * - Text is counted as the input is, see `Estimator.Options`, and never as more than `maxOutputTokens`.
 *
 * **Example** (A guarded stream of a model)
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Budget, ModelGuard, Money } from "headgate"
 *
 * interface Part {
 *   readonly text: string
 *   readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number }
 * }
 *
 * const parts: Stream.Stream<Part> = Stream.make(
 *   { text: "About " },
 *   { text: "3,700 m." },
 *   { text: "", usage: { prompt_tokens: 12, completion_tokens: 8 } }
 * )
 *
 * const program = parts.pipe(
 *   ModelGuard.stream({
 *     model: "my-model",
 *     input: "How deep is the sea?",
 *     maxOutputTokens: 100,
 *     delivered: (part: Part) => part.text
 *   }),
 *   Stream.runDrain,
 *   Effect.andThen(Budget.Budget.use((budget) => budget.status())),
 *   Effect.map((status) => Money.format(status.costUsedDay)),
 *   Effect.provide(
 *     ModelGuard.layerMemory({ budget: Budget.defaults, prices: { "my-model": { input: "$3/M", output: "$15/M" } } })
 *   )
 * )
 *
 * await Effect.runPromise(program) // => "$0.000156"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const stream: {
  <A, E>(
    call: StreamCall<A, E> & { readonly usageOnError: (error: E) => ModelUsage | undefined }
  ): <R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E | ModelGuardError, R | ModelGuard>
  <A>(
    call: StreamCall<A>
  ): <E, R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E | ModelGuardError, R | ModelGuard>
  <A, E, R>(self: Stream.Stream<A, E, R>, call: StreamCall<A, E>): Stream.Stream<A, E | ModelGuardError, R | ModelGuard>
} = dual(
  2,
  <A, E, R>(
    self: Stream.Stream<A, E, R>,
    call: StreamCall<A, E>
  ): Stream.Stream<A, E | ModelGuardError, R | ModelGuard> =>
    Stream.unwrap(Effect.map(ModelGuard, (service) => service.stream(self, call)))
)
