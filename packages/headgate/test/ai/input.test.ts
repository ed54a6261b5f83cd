import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { LanguageModel, Prompt, Tool, Toolkit } from "effect/ai"
import { type Estimator, ModelGuard } from "headgate"
import type { GuardedLanguageModel } from "headgate/ai"
import { guarded, provider, text } from "./support.ts"

const Depth = Tool.make("Depth", { description: "Of a sea", parameters: Schema.Struct({ sea: Schema.String }) })
const Width = Tool.make("Width", { parameters: Schema.Struct({ sea: Schema.String }) })
const Sea = Toolkit.make(Depth, Width)
const handlers = Sea.toLayer({ Depth: () => Effect.void, Width: () => Effect.void })

const definition = (tool: Tool.Any) => JSON.stringify([tool.name, Tool.getDescription(tool), Tool.getJsonSchema(tool)])

/** What the guard is told that the model is given. */
const told = (
  ask: Effect.Effect<unknown, unknown, LanguageModel.LanguageModel>,
  options?: GuardedLanguageModel.Options
) =>
  Effect.gen(function* () {
    let input: Estimator.Input = []
    const guard = ModelGuard.ModelGuard.of({
      run: (self, call) =>
        Effect.andThen(
          Effect.sync(() => (input = call.input)),
          self
        ),
      stream: (self, call) =>
        Stream.onStart(
          self,
          Effect.sync(() => (input = call.input))
        ),
      heard: () => Effect.void
    })
    const layer = guarded(yield* provider({ parts: [text("{}")] }), options).pipe(
      Layer.provide(Layer.succeed(ModelGuard.ModelGuard)(guard))
    )
    // A stream is given no text part. That it fails of one does not matter here.
    yield* Effect.exit(Effect.provide(ask, layer))
    return input
  })

describe("the input of a call", () => {
  it.effect("is all text of its prompt", () =>
    Effect.gen(function* () {
      const prompt = Prompt.fromMessages([
        Prompt.systemMessage({ content: "Be brief." }),
        Prompt.userMessage({ content: [Prompt.textPart({ text: "How deep" }), Prompt.textPart({ text: "is it?" })] }),
        Prompt.assistantMessage({
          content: [
            Prompt.reasoningPart({ text: "Hm." }),
            Prompt.toolCallPart({ id: "1", name: "Depth", params: { sea: "Black" }, providerExecuted: false })
          ]
        }),
        Prompt.toolMessage({
          content: [
            Prompt.toolResultPart({
              id: "1",
              name: "Depth",
              isFailure: false,
              providerExecuted: false,
              result: { metres: 2212 }
            }),
            Prompt.toolResultPart({
              id: "2",
              name: "Depth",
              isFailure: false,
              providerExecuted: false,
              result: { metres: 2212 },
              modelOutput: [Prompt.textPart({ text: "2,212 metres" })]
            })
          ]
        })
      ])
      const all = [
        "Be brief.",
        "How deep",
        "is it?",
        "Hm.",
        `Depth{"sea":"Black"}`,
        `Depth{"metres":2212}`,
        "Depth",
        "2,212 metres"
      ]
      assert.deepStrictEqual(yield* told(LanguageModel.generateText({ prompt })), all)
      assert.deepStrictEqual(yield* told(Stream.runDrain(LanguageModel.streamText({ prompt }))), all)
    })
  )

  it.effect("has the definitions of the tools that are offered", () =>
    Effect.gen(function* () {
      const ask = (toolChoice: "auto" | { readonly oneOf: ReadonlyArray<"Depth" | "Width"> }) =>
        told(Effect.provide(LanguageModel.generateText({ prompt: "Hi", toolkit: Sea, toolChoice }), handlers))
      assert.deepStrictEqual(yield* ask("auto"), ["Hi", definition(Depth), definition(Width)])
      assert.deepStrictEqual(yield* ask({ oneOf: ["Width"] }), ["Hi", definition(Width)])
      assert.include(definition(Depth), "Of a sea")
    })
  )

  it.effect("has the schema of the object that is asked for", () =>
    Effect.gen(function* () {
      const schema = Schema.Struct({ metres: Schema.optionalKey(Schema.Finite) })
      const json = JSON.stringify(Tool.getJsonSchemaFromSchema(schema))
      assert.deepStrictEqual(yield* told(LanguageModel.generateObject({ prompt: "Hi", schema })), ["Hi", json])
      assert.deepStrictEqual(
        yield* told(Effect.provide(LanguageModel.generateObject({ prompt: "Hi", schema, toolkit: Sea }), handlers)),
        ["Hi", definition(Depth), definition(Width), json]
      )
    })
  )

  it.effect("counts files by their bytes, or as is said", () =>
    Effect.gen(function* () {
      const file = (data: string | Uint8Array | URL, mediaType = "image/png") => Prompt.filePart({ mediaType, data })
      const links = [
        file(new URL("https://sea.example/map.png")),
        file(new URL("https://sea.example/book.pdf"), "application/pdf"),
        file(new URL("data:image/png;base64,AAEC"))
      ]
      const files = [file(new Uint8Array(1000)), file("AAEC"), ...links]
      const ask = LanguageModel.generateText({ prompt: Prompt.fromMessages([Prompt.userMessage({ content: files })]) })
      assert.deepStrictEqual(yield* told(ask), [
        { bytes: 1000 },
        "AAEC",
        { tokens: 4096 },
        { tokens: 32_768 },
        "data:image/png;base64,AAEC"
      ])
      assert.deepStrictEqual(
        yield* told(ask, { fileSize: () => ({ tokens: 85 }) }),
        files.map(() => ({ tokens: 85 }))
      )
    })
  )
})
