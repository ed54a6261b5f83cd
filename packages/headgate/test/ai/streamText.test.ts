import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Stream } from "effect"
import { AiError, LanguageModel } from "effect/ai"
import { GuardedLanguageModel } from "headgate/ai"
import { counters, deltas, estimate, finish, guarded, limits, provider, run, settled } from "./support.ts"

const prompt = "How deep is the sea?"
const stream = LanguageModel.streamText({ prompt })

const failure = (reason: AiError.AiErrorReason) => AiError.make({ module: "Test", method: "streamText", reason })
const cut = failure(
  new AiError.NetworkError({ reason: "TransportError", method: "POST", url: "https://model.example" })
)
const busy = failure(new AiError.RateLimitError({ retryAfter: Duration.seconds(7) }))

/** What the input is estimated as: what a stream without a usage settles beside its output. */
const input = estimate(0, prompt)

/** All parts that come, and how the stream ends. */
const collect = <P, E, R>(self: Stream.Stream<P, E, R>) =>
  Effect.gen(function* () {
    const parts: Array<P> = []
    const end = yield* Effect.result(Stream.runForEach(self, (part) => Effect.sync(() => parts.push(part))))
    return { parts, end }
  })

const types = (parts: ReadonlyArray<{ readonly type: string }>) => parts.map(({ type }) => type)

describe("a stream", () => {
  it.effect("settles what its last part says", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [...deltas("De", "ep."), finish({ input: 12, output: 8 })] })
      const { parts } = yield* Effect.provide(collect(stream), guarded(model))
      assert.deepStrictEqual(types(parts), ["text-start", "text-delta", "text-delta", "text-end", "finish"])
      assert.deepStrictEqual(yield* counters, settled(20))
    }).pipe(run())
  )

  it.effect("that is left at its last part settles what that says, as one does that fails after it", () =>
    Effect.gen(function* () {
      const parts = [...deltas("De", "ep."), finish({ input: 12, output: 8 })]
      const model = yield* provider({ parts }, { parts, fail: cut })
      const isLast = ({ type }: { readonly type: string }) => type === "finish"
      const long = LanguageModel.streamText({ prompt: prompt.repeat(250) })
      yield* Effect.provide(collect(Stream.takeUntil(long, isLast)), guarded(model))
      assert.deepStrictEqual(yield* counters, settled(20))
      const { end } = yield* Effect.provide(collect(long), guarded(model))
      assert.strictEqual(end._tag, "Failure")
      assert.deepStrictEqual(yield* counters, settled(40, 2))
    }).pipe(run())
  )

  it.effect("that says zero settles nothing (litellm #37992)", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [...deltas("Deep."), finish({ input: 0, output: 0 })] })
      yield* Effect.provide(collect(stream), guarded(model))
      assert.deepStrictEqual(yield* counters, settled(0))
    }).pipe(run())
  )

  const silent = [
    ["whose last part has no usage", [finish({})]],
    ["without a last part", []]
  ] as const
  it.effect.each(silent)("%s settles its input and what it delivered (litellm #14457)", ([_, end]) =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [...deltas("Hello", " you"), ...end] })
      yield* Effect.provide(collect(stream), guarded(model))
      assert.deepStrictEqual(yield* counters, settled((yield* input) + "Hello you".length))
    }).pipe(run())
  )

  it.effect("counts text, reasoning and what tools are called with, each once", () =>
    Effect.gen(function* () {
      const model = yield* provider({
        parts: [
          ...deltas("abc"),
          { type: "reasoning-start", id: "2" },
          { type: "reasoning-delta", id: "2", delta: "defg" },
          { type: "reasoning-end", id: "2" },
          { type: "tool-params-start", id: "3", name: "Tool" },
          { type: "tool-params-delta", id: "3", delta: `{"a":1}` },
          { type: "tool-params-end", id: "3" },
          { type: "tool-call", id: "3", name: "Tool", params: { a: 1 } },
          { type: "tool-call", id: "4", name: "Tool", params: { a: 12 } }
        ]
      })
      const deferred = { disableToolCallResolution: true, toolCallValidation: "deferred" } as const
      yield* Effect.provide(collect(LanguageModel.streamText({ prompt, ...deferred })), guarded(model))
      const output = `abcdefgTool{"a":1}Tool{"a":12}`.length
      assert.deepStrictEqual(yield* counters, settled((yield* input) + output))
    }).pipe(run())
  )

  it.effect("that is interrupted settles what was delivered", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: deltas("Hello", " you", "!"), every: "1 second" })
      const fiber = yield* Effect.forkChild(Effect.provide(collect(stream), guarded(model)), { startImmediately: true })
      yield* Effect.sleep("3500 millis")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* counters, settled((yield* input) + "Hello you".length))
    }).pipe(run())
  )

  it.effect("of which only the beginning is taken settles that", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: deltas("Hello", " you", "!"), every: "1 second" })
      yield* Effect.provide(collect(Stream.take(stream, 2)), guarded(model))
      assert.deepStrictEqual(yield* counters, settled((yield* input) + "Hello".length))
    }).pipe(run())
  )

  it.effect("that is cut settles what was delivered, and is not begun again", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: deltas("Hello"), fail: cut }, { parts: deltas("again") })
      const { end, parts } = yield* Effect.provide(collect(stream), guarded(model))
      assert(end._tag === "Failure")
      assert.strictEqual(end.failure, cut)
      assert.deepStrictEqual(types(parts), ["text-start", "text-delta", "text-end"])
      assert.strictEqual(model.calls.length, 1)
      assert.deepStrictEqual(yield* counters, settled((yield* input) + "Hello".length))
    }).pipe(run())
  )

  it.effect("that fails before its first part is begun again when the provider says", () =>
    Effect.gen(function* () {
      const model = yield* provider({ fail: busy }, { parts: [...deltas("Deep."), finish({ input: 12, output: 8 })] })
      const { end, parts } = yield* Effect.provide(collect(stream), guarded(model))
      assert.strictEqual(end._tag, "Success")
      assert.strictEqual(parts.length, 4)
      assert.deepStrictEqual(
        model.calls.map(({ at }) => at),
        [0, 7000]
      )
      assert.deepStrictEqual(yield* counters, settled(20, 2))
    }).pipe(run())
  )

  it.effect("for which no more can be held ends after what was paid for", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: deltas(...Array.from({ length: 20 }, () => "x".repeat(100))) })
      const { end, parts } = yield* Effect.provide(collect(stream), guarded(model, { maxOutputTokens: 4000 }))
      assert(end._tag === "Failure" && end.failure.reason._tag === "QuotaExhaustedError")
      assert.strictEqual(GuardedLanguageModel.refusalOf(end.failure)?._tag, "BudgetExceeded")
      const delivered = 100 * parts.filter(({ type }) => type === "text-delta").length
      assert.isAbove(delivered, 0)
      assert.isBelow(delivered, 2000)
      assert.deepStrictEqual(yield* counters, settled((yield* input) + delivered))
    }).pipe(run({ ...limits, budget: { maxTokensPerMinute: 1000 } }))
  )
})

describe("a stream that tells of an error in a part", () => {
  const error = { type: "error", error: { type: "overloaded_error" } } as const

  it.effect("has failed: the part is passed on, and what was delivered counts", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [...deltas("Hello"), error] })
      const { end, parts } = yield* Effect.provide(collect(stream), guarded(model))
      assert.strictEqual(end._tag, "Success")
      assert.deepStrictEqual(types(parts), ["text-start", "text-delta", "text-end", "error"])
      assert.deepStrictEqual(yield* counters, settled((yield* input) + "Hello".length))
    }).pipe(run())
  )

  it.effect("before all else took nothing", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [error] })
      const { parts } = yield* Effect.provide(collect(stream), guarded(model))
      assert.deepStrictEqual(types(parts), ["error"])
      assert.deepStrictEqual(yield* counters, { ...settled(0), tokens: 0 })
    }).pipe(run())
  )

  it.effect("with a status that is worth it is begun again", () =>
    Effect.gen(function* () {
      const overloaded = { type: "error", error: { status: 529, error: { type: "overloaded_error" } } } as const
      const model = yield* provider(
        { parts: [overloaded] },
        { parts: [...deltas("!"), finish({ input: 12, output: 8 })] }
      )
      const { parts } = yield* Effect.provide(collect(stream), guarded(model))
      assert.deepStrictEqual(types(parts), ["text-start", "text-delta", "text-end", "finish"])
      assert.deepStrictEqual(yield* counters, settled(20, 2))
    }).pipe(run())
  )

  it.effect("passes on what comes after it: the usage of its last part, and how it failed", () =>
    Effect.gen(function* () {
      const model = yield* provider({
        parts: [...deltas("Hello"), error, finish({ input: 50, output: 30 }, "error")],
        fail: cut
      })
      const { end, parts } = yield* Effect.provide(collect(stream), guarded(model))
      assert.deepStrictEqual(types(parts), ["text-start", "text-delta", "text-end", "error", "finish"])
      assert(end._tag === "Failure")
      assert.strictEqual(end.failure, cut)
      assert.deepStrictEqual(yield* counters, settled(80))
    }).pipe(run())
  )
})
