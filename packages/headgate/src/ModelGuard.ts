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
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Alerts from "./Alerts.ts"
import type * as Budget from "./Budget.ts"
import type { InvalidUsage, UnpricedModel } from "./Errors.ts"
import * as Estimator from "./Estimator.ts"
import * as Guard from "./Guard.ts"
import * as metrics from "./internal/metrics.ts"
import { usageOf } from "./internal/providerError.ts"
import { toModelUsage } from "./internal/vendorUsage.ts"
import type { ModelUsage } from "./ModelUsage.ts"
import type * as Money from "./Money.ts"
import * as Price from "./Price.ts"
import type * as RateLimiter from "./RateLimiter.ts"
import type * as Retry from "./Retry.ts"
import type { Subject } from "./Subject.ts"
import type * as Usage from "./Usage.ts"

/**
 * A call of a model to be guarded.
 *
 * - `input`, `maxOutputTokens`, `outputs`: what the call is estimated from, see `Estimator.Request`.
 * - `provider`: whose price is meant where several offer the model, see `Price`.
 * - `usage`: what the reply says it took. `undefined` charges the estimate, a zero nothing.
 * - `usageOnError`: what a failed attempt took, if its error tells. What errors of Effect and of the vendors' SDKs tell is
 *   read without it.
 * - `subject`: whose quotas the call draws on. Its `model` is filled in.
 * - `onUnknown`: what an attempt counts as that was interrupted or timed out, see `Guard.Call`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call<in A = unknown, in E = unknown> extends Estimator.Request {
  readonly provider?: string | undefined
  readonly usage: (result: A) => ModelUsage | undefined
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

const toUsage = ({ cachedInputTokens, inputTokens, outputTokens }: ModelUsage, cost: Money.Money): Usage.Input => ({
  inputTokens,
  outputTokens,
  cachedInputTokens,
  cost
})

/**
 * Makes the service of the three services it puts in order.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<Service, never, Guard.Guard | Price.Price | Estimator.Estimator> = Effect.gen(
  function* () {
    const guard = yield* Guard.Guard
    const price = yield* Price.Price
    const estimator = yield* Estimator.Estimator

    /** The most that a call takes. All its input may be written to a cache, which can cost more than reading it. */
    const estimateOf = (call: Call<never, never>): Effect.Effect<Usage.Input, InvalidUsage | UnpricedModel> =>
      Effect.flatMap(estimator.estimate(call), (most) =>
        Effect.zipWith(
          price.cost(call.model, most, call),
          price.cost(call.model, { ...most, cacheWriteTokens: most.inputTokens }, call),
          (plain, written) => toUsage(most, plain > written ? plain : written)
        )
      ).pipe(Effect.tapError(refused))

    /** What an attempt took that ended so, priced; `undefined` where only the guard knows what to make of its end. */
    const tookOf = <A, E>(
      exit: Exit.Exit<A, E>,
      call: Call<A, E>,
      estimate: Usage.Input
    ): Effect.Effect<Usage.Input | undefined> =>
      Effect.catchCause(
        Effect.suspend(() => {
          const said = saidOf(exit, call)
          if (said === undefined || said === "estimate") return Effect.succeed(said && estimate)
          return Effect.flatMap(price.cost(call.model, said, call), (cost) =>
            Effect.as(estimator.observe(call, said), toUsage(said, cost))
          )
        }),
        (cause) =>
          Effect.as(Effect.logWarning("Charged the estimate instead of an invalid actual usage", cause), estimate)
      )

    return {
      run: (self, call) =>
        Effect.flatMap(estimateOf(call), (estimate) => {
          let took: Usage.Input | undefined
          return guard.guard(
            Effect.onExit(self, (exit) =>
              Effect.map(tookOf(exit, call, estimate), (usage) => {
                took = usage
              })
            ),
            {
              estimate,
              actual: () => took ?? estimate,
              actualOnError: () => took,
              subject: { model: call.model, ...call.subject },
              onUnknown: call.onUnknown
            }
          )
        })
    }
  }
)

const refused = ({ _tag }: InvalidUsage | UnpricedModel): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    metrics.calls.refused.updateUnsafe(1, fiber.context)
    if (_tag === "UnpricedModel") metrics.refusals.UnpricedModel.updateUnsafe(1, fiber.context)
    return Effect.void
  })

const saidOf = <A, E>(exit: Exit.Exit<A, E>, call: Call<A, E>): ModelUsage | "estimate" | undefined => {
  if (Exit.isSuccess(exit)) return call.usage(exit.value) ?? "estimate"
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isNone(error)) return undefined
  const said = call.usageOnError?.(error.value)
  if (said !== undefined) return said
  const found = usageOf(error.value)
  if (found === undefined || found === "invalid") return undefined
  // An error that says a part of it has no price.
  return toModelUsage(found) ?? (found.cost === undefined ? "estimate" : undefined)
}

/**
 * A model guard over services that are there already.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<ModelGuard, never, Guard.Guard | Price.Price | Estimator.Estimator> =
  Layer.effect(ModelGuard)(make)

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
 * In a pipe the type of the answer comes from `usage` where that is annotated, as with `guard`.
 *
 * **Example** (A guarded call of a model)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Budget, ModelGuard, ModelUsage, Money } from "headgate"
 *
 * // As a vendor's SDK answers.
 * const ask = (_prompt: string) =>
 *   Effect.succeed({ text: "About 3,700 m.", usage: { prompt_tokens: 12, completion_tokens: 8, total_tokens: 20 } })
 *
 * const prompt = "How deep is the sea?"
 *
 * const program = ask(prompt).pipe(
 *   ModelGuard.run({ model: "my-model", input: prompt, maxOutputTokens: 100, usage: ModelUsage.fromReply }),
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
