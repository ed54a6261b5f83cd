import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Schema, Stream } from "effect"
import { AiError, LanguageModel, Prompt, Tool, Toolkit } from "effect/ai"
import { counters, finish, guarded, limits, provider, run, settled, text } from "./support.ts"

const Depth = Tool.make("Depth", {
  parameters: Schema.Struct({ sea: Schema.String, at: Schema.optionalKey(Schema.DateTimeUtcFromString) }),
  success: Schema.Struct({ metres: Schema.FiniteFromString }),
  failure: Schema.Struct({ reason: Schema.String })
})
const Careful = Tool.make("Careful", {
  parameters: Schema.Struct({ sea: Schema.String }),
  success: Schema.String,
  failure: Schema.String,
  failureMode: "return"
})
const Approved = Tool.make("Approved", {
  parameters: Schema.Struct({ sea: Schema.String }),
  success: Schema.String,
  needsApproval: true
})
const Sea = Toolkit.make(Depth, Careful, Approved)

const call = (name: string, params: unknown, id = "1") => ({ type: "tool-call", id, name, params }) as const
const depth = call("Depth", { sea: "Black" })
const used = (reason: "tool-calls" | "stop" = "tool-calls") => finish({ input: 30, output: 12 }, reason)

/** Handlers that count what they are called with. */
const handlers = (
  depth: (sea: string) => Effect.Effect<{ readonly metres: number }, { readonly reason: string }> = () =>
    Effect.succeed({ metres: 1253 })
) => {
  const asked: Array<string> = []
  const layer = Sea.toLayer({
    Depth: ({ sea }) =>
      Effect.andThen(
        Effect.sync(() => asked.push(sea)),
        depth(sea)
      ),
    Careful: ({ sea }) =>
      Effect.andThen(
        Effect.sync(() => asked.push(sea)),
        Effect.fail("too deep")
      ),
    Approved: ({ sea }) =>
      Effect.as(
        Effect.sync(() => asked.push(sea)),
        "approved"
      )
  })
  return { asked, layer }
}

const question = "How deep is the Black Sea?"
const ways = {
  generateText: (prompt: Prompt.RawInput) =>
    Effect.map(
      LanguageModel.generateText({ prompt, toolkit: Sea }),
      ({ content }) => content as ReadonlyArray<unknown>
    ),
  streamText: (prompt: Prompt.RawInput) =>
    Effect.map(
      Stream.runCollect(LanguageModel.streamText({ prompt, toolkit: Sea })),
      (parts) => parts as ReadonlyArray<unknown>
    )
}

const busy = AiError.make({
  module: "Test",
  method: "generateText",
  reason: new AiError.RateLimitError({ retryAfter: Duration.seconds(7) })
})

/** A conversation in which a call waits for its approval, which is given. */
const approval = Prompt.fromMessages([
  Prompt.userMessage({ content: [Prompt.textPart({ text: "Go." })] }),
  Prompt.assistantMessage({
    content: [
      Prompt.toolCallPart({ ...call("Approved", { sea: "Black" }), providerExecuted: false }),
      Prompt.toolApprovalRequestPart({ approvalId: "a", toolCallId: "1" })
    ]
  }),
  Prompt.toolMessage({ content: [Prompt.toolApprovalResponsePart({ approvalId: "a", approved: true })] })
])

describe.each(["generateText", "streamText"] as const)("a handler called by %s", (method) => {
  const ask = ways[method]

  it.effect("that fails does not take away what the provider said it took, nor does it ask again", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [depth, used()] })
      // An error that the policy of retries would repeat, were it the provider's.
      const { asked, layer } = handlers(() => Effect.fail({ reason: "no line", status: 503 }))
      const error = yield* Effect.flip(Effect.provide(ask(question), [guarded(model), layer]))
      assert.deepStrictEqual<unknown>(error, { reason: "no line", status: 503 })
      assert.deepStrictEqual([asked, model.calls.length], [["Black"], 1])
      assert.deepStrictEqual(yield* counters, settled(42))
    }).pipe(run())
  )

  it.effect("runs once, however often the provider has to be asked", () =>
    Effect.gen(function* () {
      const model = yield* provider({ fail: busy }, { fail: busy }, { parts: [depth, used()] })
      const { asked, layer } = handlers()
      yield* Effect.provide(ask(question), [guarded(model), layer])
      assert.deepStrictEqual(asked, ["Black"])
      assert.deepStrictEqual(
        model.calls.map(({ at }) => at),
        [0, 7000, 14_000]
      )
      assert.deepStrictEqual(yield* counters, settled(42, 3))
    }).pipe(run())
  )

  it.effect("that was approved runs once, though the provider is busy after it", () =>
    Effect.gen(function* () {
      const model = yield* provider({ fail: busy }, { parts: [used("stop")] })
      const { asked, layer } = handlers()
      yield* Effect.provide(ask(approval), [guarded(model), layer])
      assert.deepStrictEqual([asked, model.calls.length], [["Black"], 2])
      assert.deepStrictEqual(yield* counters, settled(42, 2))
    }).pipe(run())
  )

  it.effect("can itself ask the model, where one call at a time is let through", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [depth, used()] }, { parts: [text("1253"), used("stop")] })
      const context = yield* Layer.build(guarded(model))
      const lookUp = LanguageModel.generateText({ prompt: "Look it up." }).pipe(
        Effect.map((reply) => ({ metres: Number(reply.text) })),
        Effect.orDie,
        Effect.provideContext(context)
      )
      const { asked, layer } = handlers(() => lookUp)
      const parts = yield* Effect.provide(ask(question), layer).pipe(Effect.provideContext(context))
      assert.deepInclude(parts[method === "generateText" ? 2 : 1], { type: "tool-result", result: { metres: 1253 } })
      assert.deepStrictEqual([asked, model.calls.length], [["Black"], 2])
      assert.deepStrictEqual(yield* counters, settled(84, 2))
    }).pipe(Effect.scoped, run({ ...limits, rateLimiter: { ...limits.rateLimiter, concurrency: 1 } }))
  )
})

describe("generateObject with a toolkit", () => {
  it.effect("has the value, and the results of the tools that were called beside it", () =>
    Effect.gen(function* () {
      const model = yield* provider({ fail: busy }, { parts: [depth, text(`{"deep":true}`), used()] })
      const { asked, layer } = handlers()
      const schema = Schema.Struct({ deep: Schema.Boolean })
      const reply = yield* LanguageModel.generateObject({ prompt: question, toolkit: Sea, schema }).pipe(
        Effect.provide([guarded(model), layer])
      )
      assert.deepStrictEqual(reply.value, { deep: true })
      assert.deepStrictEqual(reply.toolResults[0]?.encodedResult, { metres: "1253" })
      assert.deepStrictEqual([asked, model.calls.length], [["Black"], 2])
      assert.deepStrictEqual(yield* counters, settled(42, 2))
    }).pipe(run())
  )
})
