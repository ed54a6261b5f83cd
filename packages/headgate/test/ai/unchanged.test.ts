// What goes through the guard comes out of it as it would without one.
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Result, Schema, Stream } from "effect"
import { AiError, Chat, IdGenerator, LanguageModel, ResponseIdTracker, Telemetry, Tool, Toolkit } from "effect/ai"
import {
  type Answer,
  counters,
  deltas,
  finish,
  guarded,
  type Provider,
  provider,
  run,
  type Services,
  settled,
  text
} from "./support.ts"

const Depth = Tool.make("Depth", {
  parameters: Schema.Struct({ sea: Schema.String, at: Schema.optionalKey(Schema.DateTimeUtcFromString) }),
  success: Schema.Struct({ metres: Schema.FiniteFromString })
})
const Careful = Tool.make("Careful", {
  parameters: Schema.Struct({ sea: Schema.String }),
  success: Schema.String,
  failure: Schema.String,
  failureMode: "return"
})
const Asking = Tool.make("Asking", { parameters: Schema.Struct({}), success: Schema.String, needsApproval: true })
const Search = Tool.providerDefined({
  id: "test.search",
  customName: "Search",
  providerName: "search",
  parameters: Schema.Struct({ query: Schema.String }),
  success: Schema.Struct({ found: Schema.DateTimeUtcFromString })
})()
const Tools = Toolkit.make(Depth, Careful, Asking, Search)

const handlers = Tools.toLayer({
  Depth: ({ at, sea }) => Effect.succeed({ metres: sea.length + (at === undefined ? 0 : 1000) }),
  Careful: () => Effect.fail("too deep"),
  Asking: () => Effect.succeed("yes")
})

const call = (name: string, params: unknown, id: string) => ({ type: "tool-call", id, name, params }) as const
const metadata = { test: { trace: ["a", null, 1] } }
const failure = (reason: AiError.AiErrorReason) => AiError.make({ module: "Test", method: "generateText", reason })
const used = finish({ input: 30, output: 12, cached: 5 }, "tool-calls")

const parts: NonNullable<Answer["parts"]> = [
  { type: "response-metadata", id: "r1", modelId: "test-1", timestamp: "2026-01-02T03:04:05.000Z" },
  { type: "file", mediaType: "image/png", data: "AAEC", metadata },
  { type: "source", sourceType: "url", id: "s1", url: "https://sea.example/", title: "Seas" },
  { type: "source", sourceType: "document", id: "s2", mediaType: "text/plain", title: "Notes", fileName: "a.txt" },
  { ...call("Search", { query: "seas" }, "1"), providerExecuted: true },
  {
    type: "tool-result",
    id: "1",
    name: "Search",
    result: { found: "2026-01-02T03:04:05.000Z" },
    isFailure: false,
    providerExecuted: true
  },
  { ...call("Depth", { sea: "Black", at: "2026-01-02T03:04:05.000Z" }, "2"), metadata },
  call("Depth", { sea: "Red" }, "3"),
  call("Careful", { sea: "Red" }, "4"),
  call("Careful", { lake: "Red" }, "5"),
  call("Asking", {}, "6"),
  { ...used, metadata, response: { status: 200, headers: { "x-id": "1" } } }
]

const answers: Record<string, Answer & { readonly ends: "Success" | "Failure" }> = {
  "every part there is": {
    parts: [text("Deep."), { type: "reasoning", text: "Hm.", metadata }, ...parts],
    ends: "Success"
  },
  "wrong parameters": { parts: [call("Depth", { lake: 1 }, "1"), used], ends: "Failure" },
  "an answer that was cut off": {
    parts: [call("Depth", { sea: "Red" }, "1"), finish({ input: 1, output: 2 }, "length")],
    ends: "Success"
  },
  "a failure": { fail: failure(new AiError.AuthenticationError({ kind: "InvalidKey" })), ends: "Failure" }
}

interface Ended<A, E> {
  readonly result: Result.Result<A, E>
  readonly calls: unknown
}

/** Runs a program with the provider's own model and with a guarded one, each with a provider and ids of its own. */
const both = <A, E>(
  answers: ReadonlyArray<Answer>,
  program: (provider: Provider) => Effect.Effect<A, E, LanguageModel.LanguageModel>
): Effect.Effect<readonly [plain: Ended<A, E>, guarded: Ended<A, E>], never, Services> => {
  const one = (layerOf: (provider: Provider) => Layer.Layer<LanguageModel.LanguageModel, never, Services>) => {
    let ids = 0
    const generator = { generateId: () => Effect.sync(() => `id ${++ids}`) }
    return Effect.gen(function* () {
      const made = yield* provider(...answers)
      const result = yield* Effect.result(Effect.provide(program(made), layerOf(made), { local: true }))
      const calls = made.calls.map(({ at, prompt, responseFormat, toolChoice, tools }) => {
        return { at, prompt, responseFormat, toolChoice, tools: tools.map(({ name }) => name) }
      })
      return { result, calls }
    }).pipe(Effect.provideService(IdGenerator.IdGenerator, generator))
  }
  return Effect.all([
    one(({ model }) => Layer.succeed(LanguageModel.LanguageModel)(model)),
    one((made) => guarded(made))
  ])
}

describe.each(Object.entries(answers))("%s", (_, answer) => {
  it.effect("of generateText", () =>
    Effect.gen(function* () {
      const [plain, ours] = yield* both([answer], () =>
        Effect.provide(LanguageModel.generateText({ prompt: "How deep?", toolkit: Tools }), handlers)
      )
      assert.strictEqual(ours.result._tag, answer.ends)
      assert.deepStrictEqual(ours, plain)
    }).pipe(run())
  )

  it.effect("of a chat that goes on", () =>
    Effect.gen(function* () {
      const [plain, ours] = yield* both([answer, { parts: [text("Deep."), finish({ input: 1, output: 1 })] }], () =>
        Effect.gen(function* () {
          const chat = yield* Chat.fromPrompt("You know the seas.")
          const first = yield* Effect.result(chat.generateText({ prompt: "How deep?", toolkit: Tools }))
          const second = yield* chat.generateText({ prompt: [], toolkit: Tools, toolChoice: { oneOf: ["Depth"] } })
          return { first, second, history: yield* chat.exportJson }
        }).pipe(Effect.provide(handlers))
      )
      assert.deepStrictEqual(ours, plain)
    }).pipe(run())
  )

  it.effect("of a tool call that is left to the caller", () =>
    Effect.gen(function* () {
      for (const toolCallValidation of ["strict", "deferred"] as const) {
        const [plain, ours] = yield* both([answer], () =>
          LanguageModel.generateText({
            prompt: "How deep?",
            toolkit: Tools,
            disableToolCallResolution: true,
            toolCallValidation
          })
        )
        assert.deepStrictEqual(ours, plain)
      }
    }).pipe(run())
  )

  it.effect("of streamText", () =>
    Effect.gen(function* () {
      const streamed = {
        ...answer,
        parts: answer.parts?.filter(({ type }) => type !== "text" && type !== "reasoning") ?? []
      }
      const [plain, ours] = yield* both([{ ...streamed, parts: [...deltas("De", "ep."), ...streamed.parts] }], () =>
        Effect.gen(function* () {
          const chat = yield* Chat.fromPrompt("You know the seas.")
          const parts: Array<unknown> = []
          const end = yield* chat.streamText({ prompt: "How deep?", toolkit: Tools, concurrency: 1 }).pipe(
            Stream.runForEach((part) => Effect.sync(() => parts.push(part))),
            Effect.result
          )
          return { parts, end, history: yield* chat.exportJson }
        }).pipe(Effect.provide(handlers))
      )
      assert.deepStrictEqual(ours, plain)
    }).pipe(run())
  )
})

describe("with a toolkit", () => {
  it.effect("a span is told of once", () =>
    Effect.gen(function* () {
      const [plain, ours] = yield* both([answers["every part there is"]!], () =>
        Effect.gen(function* () {
          const told: Array<ReadonlyArray<string>> = []
          const note: Telemetry.SpanTransformer = ({ response }) => told.push(response.map(({ type }) => type))
          yield* LanguageModel.generateText({ prompt: "How deep?", toolkit: Tools }).pipe(
            Effect.provideService(Telemetry.CurrentSpanTransformer, note)
          )
          yield* Stream.runDrain(LanguageModel.streamText({ prompt: "How deep?", toolkit: Toolkit.empty })).pipe(
            Effect.provideService(Telemetry.CurrentSpanTransformer, note),
            Effect.ignore
          )
          return told
        }).pipe(Effect.provide(handlers))
      )
      assert(ours.result._tag === "Success")
      assert.strictEqual(ours.result.success.length, 2)
      assert.deepStrictEqual(ours, plain)
    }).pipe(run())
  )

  it.effect("what a provider does not know as incremental is asked for once more, as a whole", () =>
    Effect.gen(function* () {
      const first = { parts: [parts[0]!, text("Deep."), used] }
      const unknown = { fail: failure(new AiError.InvalidRequestError({ description: "no such response" })) }
      const [plain, ours] = yield* both([first, unknown], (provider) =>
        Effect.gen(function* () {
          const tracker = yield* ResponseIdTracker.make
          const chat = yield* Chat.fromPrompt("You know the seas.")
          const ask = (prompt: string) =>
            chat
              .generateText({ prompt, toolkit: Tools })
              .pipe(Effect.provideService(ResponseIdTracker.ResponseIdTracker, tracker))
          yield* ask("How deep?")
          const error = yield* Effect.flip(ask("And how wide?"))
          return { error, whole: provider.calls.map(({ incrementalFallback }) => incrementalFallback) }
        }).pipe(Effect.provide(handlers))
      )
      assert(ours.result._tag === "Success")
      assert.deepStrictEqual(ours.result.success.whole, [undefined, undefined, true])
      assert.deepStrictEqual(ours, plain)
    }).pipe(run())
  )

  it.effect("a tool that nobody declared is not found, as the providers say it", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [call("Width", {}, "1"), used] })
      const error = yield* LanguageModel.generateText({ prompt: "How wide?", toolkit: Tools }).pipe(
        Effect.provide([guarded(model), handlers]),
        Effect.flip
      )
      assert(AiError.isAiError(error) && error.reason._tag === "ToolNotFoundError")
      assert.deepStrictEqual(error.reason.availableTools, ["Depth", "Careful", "Asking", "Search"])
      assert.deepStrictEqual(yield* counters, settled(42))
    }).pipe(run())
  )
})
