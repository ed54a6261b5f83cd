/**
 * `EmbeddingModel` of `effect/ai`, guarded.
 *
 * @since 0.1.0
 */
import * as EmbeddingModel from "effect/ai/EmbeddingModel"
import type * as Model from "effect/ai/Model"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Request from "effect/Request"
import * as RequestResolver from "effect/RequestResolver"
import * as Allowance from "../internal/budget/allowance.ts"
import * as ModelGuard from "../ModelGuard.ts"
import type * as ModelUsage from "../ModelUsage.ts"
import { type Common, commonOf, type Options, usageOfError } from "./calls.ts"
import { refused } from "./refusals.ts"

export type { Options } from "./calls.ts"

type Entry = Request.Entry<EmbeddingModel.EmbeddingRequest>

/** What was known when an embedding was asked for. The batch that it joins runs elsewhere. */
const Asked = Context.Reference<Common | undefined>("headgate/ai/Asked", { defaultValue: () => undefined })

const usageOf = ({ usage }: EmbeddingModel.EmbedManyResponse): ModelUsage.ModelUsage | undefined =>
  usage.inputTokens === undefined ? undefined : { inputTokens: usage.inputTokens, outputTokens: 0 }

const guarded = Effect.fnUntraced(function* (model: EmbeddingModel.EmbeddingModel, options: Options) {
  const guard = yield* ModelGuard.ModelGuard
  const common = yield* commonOf(options)

  const embedMany = (known: Common, input: ReadonlyArray<string>) =>
    guard
      .run(model.embedMany(input), { ...known, input, maxOutputTokens: 0, usage: usageOf, usageOnError: usageOfError })
      .pipe(refused("GuardedEmbeddingModel", "embedMany"))

  // The model's own resolver does not tell what a batch took, `embedMany` does.
  const resolver = RequestResolver.makeWith<EmbeddingModel.EmbeddingRequest>({
    ...model.resolver,
    preCheck: undefined,
    batchKey: (entry) => entry,
    runAll: (entries) => {
      const asked = Context.get(entries[0].context, Asked)
      return Effect.flatMap(asked === undefined ? common : Effect.succeed(asked), (known) =>
        Effect.map(
          embedMany(
            known,
            entries.map(({ request }) => request.input)
          ),
          ({ embeddings }) => entries.forEach((entry, index) => entry.completeUnsafe(Exit.succeed(embeddings[index]!)))
        )
      )
    }
  }).pipe(
    // What is drawn on different allowances, or for different subjects, is not asked for together.
    RequestResolver.grouped((entry: Entry) => [
      model.resolver.batchKey(entry),
      idOf(Context.get(entry.context, Allowance.Current)),
      JSON.stringify(Context.get(entry.context, Asked)?.subject)
    ]),
    RequestResolver.withSpan("EmbeddingModel.resolver")
  )

  return EmbeddingModel.EmbeddingModel.of({
    ...model,
    resolver,
    embed: (input) =>
      Effect.flatMap(common, (known) =>
        Effect.provideService(Effect.request(new EmbeddingModel.EmbeddingRequest({ input }), resolver), Asked, known)
      ).pipe(Effect.withSpan("EmbeddingModel.embed")),
    embedMany: (input) =>
      input.length === 0 ? model.embedMany(input) : Effect.flatMap(common, (known) => embedMany(known, input))
  })
})

/** Two allowances with as much left are still two. */
const idOf = (allowance: Allowance.Allowance | undefined) => allowance && Equal.byReferenceUnsafe(allowance)

/**
 * Guards an embedding model: each call of its provider is one of `ModelGuard`. See `layer`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  (
    model: EmbeddingModel.EmbeddingModel,
    options: Options & { readonly model: string }
  ): Effect.Effect<EmbeddingModel.EmbeddingModel, never, ModelGuard.ModelGuard>
  (
    model: EmbeddingModel.EmbeddingModel,
    options?: Options
  ): Effect.Effect<EmbeddingModel.EmbeddingModel, never, ModelGuard.ModelGuard | Model.ModelName>
} = (model: EmbeddingModel.EmbeddingModel, options: Options = {}) => guarded(model, options)

/**
 * Guards the embedding model of the context, whoever provides it.
 *
 * **Details**
 *
 * - `embed` still goes in batches. A batch is one call, and settles what the provider says that it took; embeddings that
 *   draw on different allowances or are for different subjects are not in one batch.
 * - A refusal fails with an `AiError`, as with `GuardedLanguageModel.layer`, whose `refusalOf` reads it.
 *
 * **Example** (A batch is one call)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EmbeddingModel } from "effect/ai"
 * import { Budget, Estimator, Guard, ModelGuard, Price } from "headgate"
 * import { GuardedEmbeddingModel } from "headgate/ai"
 *
 * // Any provider's layer will do.
 * const provider = Layer.effect(EmbeddingModel.EmbeddingModel)(
 *   EmbeddingModel.make({
 *     embedMany: ({ inputs }) => Effect.succeed({ results: inputs.map(() => [0, 1]), usage: { inputTokens: 2 * inputs.length } })
 *   })
 * )
 *
 * const model = GuardedEmbeddingModel.layer({ model: "my-embeddings" }).pipe(
 *   Layer.provide(provider),
 *   Layer.provide(ModelGuard.layer),
 *   Layer.provide([Price.layer({ "my-embeddings": { input: "$0.02/M", output: "$0/M" } }), Estimator.layer()]),
 *   Layer.provideMerge(Guard.layerMemory({ budget: { maxTokensPerMinute: 10_000 } }))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const { embed } = yield* EmbeddingModel.EmbeddingModel
 *   yield* Effect.all([embed("first"), embed("second"), embed("third")], { concurrency: "unbounded" })
 *   return (yield* (yield* Budget.Budget).status()).tokensUsedMinute
 * })
 *
 * await Effect.runPromise(Effect.provide(program, model)) // => 6
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: {
  (
    options: Options & { readonly model: string }
  ): Layer.Layer<EmbeddingModel.EmbeddingModel, never, EmbeddingModel.EmbeddingModel | ModelGuard.ModelGuard>
  (
    options?: Options
  ): Layer.Layer<
    EmbeddingModel.EmbeddingModel,
    never,
    EmbeddingModel.EmbeddingModel | ModelGuard.ModelGuard | Model.ModelName
  >
} = (options: Options = {}) =>
  Layer.effect(EmbeddingModel.EmbeddingModel)(
    Effect.flatMap(EmbeddingModel.EmbeddingModel, (model) => guarded(model, options))
  )
