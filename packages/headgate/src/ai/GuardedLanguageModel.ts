/**
 * `LanguageModel` of `effect/ai`, guarded.
 *
 * @since 0.1.0
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Model from "effect/ai/Model"
import type * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Estimator from "../Estimator.ts"
import * as ModelGuard from "../ModelGuard.ts"
import { commonOf, type Options as Common, usageOfError } from "./calls.ts"
import { bytesOf, inputOf, modalitiesOf, type Question } from "./input.ts"
import { BrokenOff, failing, outputOf, toldBy, usageOf, usageOfPart } from "./parts.ts"
import { refused, toAiError } from "./refusals.ts"
import * as toolkits from "./toolkits.ts"

export { refusalOf } from "./refusals.ts"

/**
 * The options of a guarded language model.
 *
 * - `maxOutputTokens`: the most that an answer can have, as the provider is configured. Default: the estimator's.
 * - `fileSize`: what a file in a prompt counts as. Default: its bytes, which is far too much for most images; behind a
 *   link, 4096 tokens for an image and 32,768 for others.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Common {
  readonly maxOutputTokens?: number | undefined
  readonly fileSize?: ((file: Prompt.FilePart) => Estimator.Part) | undefined
}

interface Plain extends Omit<LanguageModel.GenerateTextOptions<{}>, "toolkit"> {
  readonly toolkit?: undefined
}

interface WithToolkit extends LanguageModel.GenerateTextOptions<toolkits.Tools> {
  readonly toolkit: LanguageModel.ToolkitInput<toolkits.Tools>
}

/** What an object is asked for with. */
interface Shape {
  readonly schema: Schema.Encoder<Record<string, unknown>>
  readonly objectName?: string | undefined
}

const guarded = Effect.fnUntraced(function* (model: LanguageModel.LanguageModel, options: Options) {
  const guard = yield* ModelGuard.ModelGuard
  const common = yield* commonOf(options)
  const resolving = yield* toolkits.make
  const { fileSize = bytesOf, maxOutputTokens } = options

  const callOf = (question: Question) =>
    Effect.map(common, (known) => ({
      ...known,
      input: inputOf(question, fileSize),
      modalities: modalitiesOf(question),
      maxOutputTokens
    }))

  const once = <A extends { readonly usage: Response.Usage }, R>(
    method: string,
    question: Question,
    self: Effect.Effect<A, AiError.AiError, R>
  ): Effect.Effect<A, AiError.AiError, R> =>
    Effect.flatMap(callOf(question), (call) =>
      guard.run(self, { ...call, usage: usageOf, usageOnError: usageOfError })
    ).pipe(refused("GuardedLanguageModel", method))

  const streamed = <P extends Response.AnyPart, R>(
    question: Question,
    self: Stream.Stream<P, AiError.AiError, R>
  ): Stream.Stream<P, AiError.AiError, R> =>
    Stream.unwrap(
      Effect.map(callOf(question), (call) =>
        guard.stream(failing(self), {
          ...call,
          delivered: outputOf(),
          usage: usageOfPart,
          usageOnError: (error) => (error instanceof BrokenOff ? error.usage : usageOfError(error))
        })
      )
    ).pipe(
      Stream.catch((error) => {
        if (AiError.isAiError(error)) return Stream.fail(error)
        if (error instanceof BrokenOff) return toldBy(error)
        return Stream.fromEffect(toAiError("GuardedLanguageModel", "streamText", error))
      })
    )

  const questionOf = ({ prompt, toolkit }: toolkits.Request): Question => ({
    prompt,
    tools: Object.values(toolkit.tools)
  })

  const ask: toolkits.Ask = {
    text: (request) => once("generateText", questionOf(request), model.generateText(request)),
    stream: (request) => streamed(questionOf(request), model.streamText(request))
  }

  const generateText = (options: Plain | WithToolkit) =>
    options.toolkit === undefined
      ? once("generateText", options, model.generateText(options))
      : toolkits.asking(ask)(resolving.generateText(options))

  const streamText = (options: Plain | WithToolkit) =>
    options.toolkit === undefined
      ? streamed(options, model.streamText(options))
      : toolkits.askingStream(ask)(resolving.streamText(options))

  const generateObject = (options: (Plain | WithToolkit) & Shape) => {
    if (options.toolkit === undefined) {
      const question = { prompt: options.prompt, schema: options.schema }
      return once("generateObject", question, model.generateObject(options))
    }
    const { objectName, schema, ...rest } = options
    return Effect.suspend(() => {
      let value: unknown
      const text = (request: toolkits.Request) =>
        Effect.tap(
          once(
            "generateObject",
            { ...questionOf(request), schema },
            model.generateObject({ ...request, schema, objectName })
          ),
          (reply) => Effect.sync(() => (value = reply.value))
        )
      return Effect.map(
        toolkits.asking({ ...ask, text })(resolving.generateText(rest)),
        ({ content }) => new LanguageModel.GenerateObjectResponse(value, content)
      )
    })
  }

  return LanguageModel.LanguageModel.of({
    ...model,
    generateText: generateText as LanguageModel.LanguageModel["generateText"],
    generateObject: generateObject as LanguageModel.LanguageModel["generateObject"],
    streamText: streamText as LanguageModel.LanguageModel["streamText"]
  })
})

/**
 * Guards a language model: each call of its provider is one of `ModelGuard`. See `layer`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  (
    model: LanguageModel.LanguageModel,
    options: Options & { readonly model: string }
  ): Effect.Effect<LanguageModel.LanguageModel, never, ModelGuard.ModelGuard>
  (
    model: LanguageModel.LanguageModel,
    options?: Options
  ): Effect.Effect<LanguageModel.LanguageModel, never, ModelGuard.ModelGuard | Model.ModelName>
} = (model: LanguageModel.LanguageModel, options: Options = {}) => guarded(model, options)

/**
 * Guards the language model of the context, whoever provides it. `Chat` and toolkits go through it as they are.
 *
 * **Details**
 *
 * - Each call of the provider is one call of `ModelGuard`: estimated from its prompt, tools and schema, reserved, retried
 *   where that is worth it, and settled by the usage of the reply; one without a usage counts as its estimate.
 * - The tools' handlers run outside of the guarded call. A retry runs none of them again, and one that asks a model does
 *   not wait for the call it belongs to.
 * - A stream settles on the usage in its last part, or on what it delivered. It is not begun again once a part has passed.
 *   An `error` part counts as its failure.
 * - An answer that does not fit its schema was paid: it counts as its usage, if the error tells, or as its estimate.
 * - Refusals are `AiError`s, as the types of `LanguageModel` want it. `refusalOf` gives the error behind them.
 *
 * | refusal | reason of the `AiError` |
 * | --- | --- |
 * | `BudgetExceeded`, `BudgetThrottled` | `QuotaExhaustedError` with `resetAt` |
 * | `RequestTooLarge`, `UnpricedModel` | `QuotaExhaustedError` |
 * | `RateLimitExceeded` | `RateLimitError` with `retryAfter` |
 * | `InvalidUsage` | `InvalidRequestError` |
 * | `StoreError` | `UnknownError` |
 *
 * **Gotchas**
 *
 * - Provide `ModelGuard` once around the program. An `ExecutionPlan` makes the layers of its steps anew for each attempt.
 * - Guard a call once: here, or in the `HttpClient` beneath it. Both would hold it and charge it.
 * - A provider says in the headers of its replies what is left of its limits. Models hand these on with errors only: where
 *   your own limits are not below those, guard the `HttpClient` instead, with `GuardedHttpClient` of `headgate/http`.
 * - The message of a `QuotaExhaustedError` speaks of an account at the provider, also where it is our budget.
 * - With a toolkit there are two spans `LanguageModel.…`, one around the other: of the call, and of its provider's part.
 *
 * **Example** (A guarded model)
 *
 * ```ts
 * import { Effect, Layer, Stream } from "effect"
 * import { LanguageModel, Model } from "effect/ai"
 * import { Budget, ModelGuard, Money } from "headgate"
 * import { GuardedLanguageModel } from "headgate/ai"
 *
 * // Any provider's model will do.
 * const provider = Model.make(
 *   "test",
 *   "my-model",
 *   Layer.effect(LanguageModel.LanguageModel)(
 *     LanguageModel.make({
 *       generateText: () =>
 *         Effect.succeed([
 *           { type: "text", text: "About 3,700 m." },
 *           { type: "finish", reason: "stop", usage: { inputTokens: { total: 12 }, outputTokens: { total: 8 } } }
 *         ]),
 *       streamText: () => Stream.empty
 *     })
 *   )
 * )
 *
 * const guard = ModelGuard.layerMemory({
 *   budget: Budget.defaults,
 *   prices: { "my-model": { input: "$3/M", output: "$15/M" } }
 * })
 *
 * const model = GuardedLanguageModel.layer({ maxOutputTokens: 500 }).pipe(Layer.provideMerge(provider), Layer.provideMerge(guard))
 *
 * const program = Effect.gen(function*() {
 *   const { text } = yield* LanguageModel.generateText({ prompt: "How deep is the sea?" })
 *   const { costUsedDay } = yield* (yield* Budget.Budget).status()
 *   return `${text} That was ${Money.format(costUsedDay)}.`
 * })
 *
 * await Effect.runPromise(Effect.provide(program, model)) // => "About 3,700 m. That was $0.000156."
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: {
  (
    options: Options & { readonly model: string }
  ): Layer.Layer<LanguageModel.LanguageModel, never, LanguageModel.LanguageModel | ModelGuard.ModelGuard>
  (
    options?: Options
  ): Layer.Layer<
    LanguageModel.LanguageModel,
    never,
    LanguageModel.LanguageModel | ModelGuard.ModelGuard | Model.ModelName
  >
} = (options: Options = {}) =>
  Layer.effect(LanguageModel.LanguageModel)(
    Effect.flatMap(LanguageModel.LanguageModel, (model) => guarded(model, options))
  )
