/**
 * Calls with a toolkit. `effect/ai` asks the provider and then runs the tools' handlers within one effect. Only the
 * provider's part is guarded: its usage is known when it ends, a handler that asks a model does not wait for the place of
 * the call that it belongs to, and a retry runs no handler again. So there is a model whose provider is the guarded one,
 * asked to leave the tools' calls to others, and `effect/ai` resolves them there as it would have done here.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import * as Response from "effect/ai/Response"
import * as Telemetry from "effect/ai/Telemetry"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

export type Tools = Record<string, Tool.Any>

export type Reply = LanguageModel.GenerateTextResponse<Tools, "deferred">

export type StreamPart = Response.StreamPart<Tools, "deferred">

/** What is asked of the provider, with the tools' calls left alone. */
export interface Request extends LanguageModel.GenerateTextOptions<Tools> {
  readonly prompt: Prompt.Prompt
  readonly toolkit: Toolkit.WithHandler<Tools>
  readonly disableToolCallResolution: true
  /** As with handlers: they say what becomes of parameters that are wrong. */
  readonly toolCallValidation: "deferred"
}

/** How the provider is asked during one call. Since it runs no handler, it needs no service of one. */
export interface Ask {
  readonly text: (request: Request) => Effect.Effect<Reply, AiError.AiError, unknown>
  readonly stream: (request: Request) => Stream.Stream<StreamPart, AiError.AiError, unknown>
}

interface Turn {
  readonly ask: Ask
  failure: AiError.AiError | undefined
}

/** The call under way, which the model's provider finds in its context. */
const Turn = Context.Reference<Turn | undefined>("headgate/ai/Turn", { defaultValue: () => undefined })

export const asking =
  (ask: Ask) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => Effect.provideService(self, Turn, { ask, failure: undefined }))

export const askingStream =
  (ask: Ask) =>
  <A, E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
    Stream.suspend(() => Stream.provideService(self, Turn, { ask, failure: undefined }))

/** A model that resolves the tools' calls, and leaves to `asking` how its provider is asked. */
export const make: Effect.Effect<LanguageModel.LanguageModel> = Effect.gen(function* () {
  const built = yield* Effect.serviceOption(Telemetry.CurrentSpanTransformer)

  // This model tells the whole call to whoever transforms spans. The provider's part is not told beside it.
  const silence = (context: Context.Context<never>): Context.Context<never> =>
    Option.isSome(built) || Option.isSome(Context.getOption(context, Telemetry.CurrentSpanTransformer))
      ? Context.add(context, Telemetry.CurrentSpanTransformer, () => {})
      : context

  return yield* LanguageModel.make({
    generateText: (provided) =>
      Effect.flatMap(turnOf(provided), (turn) =>
        (turn.ask.text(requestOf(provided)) as Effect.Effect<Reply, AiError.AiError>).pipe(
          Effect.updateContext(silence),
          Effect.tap(({ content }) => checkNames(content, provided)),
          Effect.flatMap(({ content }) => encodeContent(content.map(plain))),
          Effect.catchTag("SchemaError", Effect.die),
          Effect.tapError((error) => Effect.sync(() => (turn.failure = error)))
        )
      ),
    streamText: (provided) =>
      Stream.unwrap(
        Effect.map(turnOf(provided), (turn) =>
          (turn.ask.stream(requestOf(provided)) as Stream.Stream<StreamPart, AiError.AiError>).pipe(
            Stream.updateContext(silence),
            Stream.mapArrayEffect((parts) =>
              Effect.andThen(checkNames(parts, provided), encodeParts(Arr.map(parts, plain)))
            ),
            Stream.catchTag("SchemaError", Stream.die),
            Stream.tapError((error) => Effect.sync(() => (turn.failure = error)))
          )
        )
      )
  })
})

/** The turn. The guarded model has repeated on its own what failed as incremental: it is not asked for it again. */
const turnOf = ({ incrementalFallback }: LanguageModel.ProviderOptions): Effect.Effect<Turn, AiError.AiError> =>
  Effect.flatMap(Turn, (turn) => {
    if (turn === undefined) return Effect.die(new Error("a call with a toolkit was made outside of its turn"))
    return incrementalFallback === true && turn.failure !== undefined ? Effect.fail(turn.failure) : Effect.succeed(turn)
  })

const requestOf = ({ prompt, toolChoice, tools }: LanguageModel.ProviderOptions): Request => ({
  prompt,
  toolkit: {
    tools: Object.fromEntries(tools.map((tool) => [tool.name, tool])),
    handle: () => Effect.die(new Error("a call of a tool was resolved that is not to be"))
  },
  toolChoice,
  disableToolCallResolution: true,
  toolCallValidation: "deferred"
})

/** Providers say this of a tool that nobody declared, unless asked to leave its call alone. */
const checkNames = (
  parts: ReadonlyArray<Response.AnyPart>,
  { toolCallValidation, tools }: LanguageModel.ProviderOptions
): Effect.Effect<void, AiError.AiError> => {
  const isUnknown = (part: Response.AnyPart) =>
    part.type === "tool-call" && !tools.some(({ name }) => name === part.name)
  const unknown = toolCallValidation === "deferred" ? undefined : parts.find(isUnknown)
  if (unknown?.type !== "tool-call") return Effect.void
  const reason = new AiError.ToolNotFoundError({
    toolName: unknown.name,
    availableTools: tools.map(({ name }) => name)
  })
  return Effect.fail(AiError.make({ module: "LanguageModel", method: "generateText", reason }))
}

/** Results are encoded already, by the schemas of their tools. */
const plain = <P extends Response.AnyPart>(part: P): P =>
  part.type === "tool-result" ? { ...part, result: part.encodedResult } : part

const encodeContent = Schema.encodeUnknownEffect(Schema.mutable(Schema.Array(Response.Part())))

const encodeParts = Schema.encodeUnknownEffect(Schema.NonEmptyArray(Response.StreamPart()))
