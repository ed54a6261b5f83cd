import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Fiber, Layer, Schema } from "effect"
import { AiError, LanguageModel, Model } from "effect/ai"
import { Budget, Money } from "headgate"
import { GuardedLanguageModel } from "headgate/ai"
import { counters, estimate, finish, guarded, limits, name, provider, run, settled, text } from "./support.ts"

const ask = LanguageModel.generateText({ prompt: "How deep is the sea?" })

const aiError = (reason: AiError.AiErrorReason) => AiError.make({ module: "Test", method: "generateText", reason })

const Depth = Schema.Struct({ metres: Schema.Finite })

describe("generateText", () => {
  it.effect("holds the most it may take, and settles what the reply says, at its price", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [text("Deep."), finish({ input: 12, output: 8 })], after: "2 seconds" })
      const layer = guarded(model)
      const fiber = yield* Effect.forkChild(Effect.provide(ask, layer), { startImmediately: true })
      yield* Effect.sleep("1 second")
      const most = yield* estimate(1000, "How deep is the sea?")
      assert.deepStrictEqual(yield* counters, { spent: 0, held: most, requests: 1, tokens: most, underWay: 1 })
      assert.strictEqual((yield* Fiber.join(fiber)).text, "Deep.")
      assert.deepStrictEqual(yield* counters, settled(20))
    }).pipe(run())
  )

  it.effect("counts what was read from the cache as what it is", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [text("Deep."), finish({ input: 100, output: 8, cached: 60 })] })
      yield* Effect.provide(ask, guarded(model))
      const status = yield* Budget.Budget.use((budget) => budget.status())
      assert.strictEqual(Money.format(status.costUsedDay), "$0.00018")
    }).pipe(run({ budget: { maxCostPerDay: "$1" } }))
  )

  const usages = [
    ["without a usage is charged its estimate", [text("?")], undefined],
    ["whose usage has no input is charged its estimate", [text("?"), finish({ output: 3 })], undefined],
    ["whose usage is empty is charged its estimate", [text("?"), finish({})], undefined],
    ["that says zero is charged nothing (litellm #37992)", [text("?"), finish({ input: 0, output: 0 })], 0]
  ] as const
  it.effect.each(usages)("an answer %s", ([_, parts, spent]) =>
    Effect.gen(function* () {
      yield* Effect.provide(ask, guarded(yield* provider({ parts })))
      assert.deepStrictEqual(yield* counters, settled(spent ?? (yield* estimate(1000, "How deep is the sea?"))))
    }).pipe(run())
  )

  it.effect("waits as long as the provider asks, and then asks again", () =>
    Effect.gen(function* () {
      const busy = aiError(new AiError.RateLimitError({ retryAfter: Duration.seconds(7) }))
      const model = yield* provider(
        { fail: busy },
        { fail: busy },
        { parts: [text("!"), finish({ input: 1, output: 1 })] }
      )
      yield* Effect.provide(ask, guarded(model))
      assert.deepStrictEqual(
        model.calls.map(({ at }) => at),
        [0, 7000, 14_000]
      )
      assert.deepStrictEqual(yield* counters, settled(2, 3))
    }).pipe(run())
  )

  it.effect("leaves a provider's own exhausted quota as it is, and asks no more (cognee #4679)", () =>
    Effect.gen(function* () {
      const broke = aiError(new AiError.QuotaExhaustedError({}))
      const model = yield* provider({ fail: broke })
      const error = yield* Effect.flip(Effect.provide(ask, guarded(model)))
      assert.strictEqual(error, broke)
      assert.isUndefined(GuardedLanguageModel.refusalOf(error))
      assert.strictEqual(model.calls.length, 1)
      assert.deepStrictEqual(yield* counters, { ...settled(0), tokens: 0 })
    }).pipe(run())
  )

  it.effect("that is interrupted counts as its estimate, or as nothing if so told", () =>
    Effect.gen(function* () {
      const silent = yield* provider({ after: "1 hour" })
      const most = yield* estimate(1000, "How deep is the sea?")
      yield* Effect.timeoutOption(Effect.provide(ask, guarded(silent)), "1 second")
      assert.deepStrictEqual(yield* counters, settled(most))
      yield* Effect.timeoutOption(Effect.provide(ask, guarded(silent, { onUnknown: "release" })), "1 second")
      assert.deepStrictEqual(yield* counters, settled(most, 2))
    }).pipe(run())
  )
})

describe("generateObject", () => {
  const asked = LanguageModel.generateObject({ prompt: "How deep is the sea?", schema: Depth })

  it.effect("settles what the reply says, and counts the schema as input", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [text(`{"metres":3700}`), finish({ input: 30, output: 6 })], after: 1000 })
      const fiber = yield* Effect.forkChild(Effect.provide(asked, guarded(model)), { startImmediately: true })
      const plain = yield* estimate(1000, "How deep is the sea?")
      assert.isAbove(
        (yield* counters).held ?? 0,
        plain + JSON.stringify(Schema.toJsonSchemaDocument(Depth).schema).length
      )
      assert.deepStrictEqual((yield* Fiber.join(fiber)).value, { metres: 3700 })
      assert.deepStrictEqual(yield* counters, settled(36))
    }).pipe(run())
  )

  it.effect("that does not fit the schema was paid: it counts as its estimate, once", () =>
    Effect.gen(function* () {
      const model = yield* provider({ parts: [text("About 3,700."), finish({ input: 30, output: 6 })] })
      const error = yield* Effect.flip(Effect.provide(asked, guarded(model)))
      assert.strictEqual(error.reason._tag, "StructuredOutputError")
      assert.isTrue(error.isRetryable)
      assert.strictEqual(model.calls.length, 1)
      assert.isAbove((yield* counters).spent ?? 0, yield* estimate(1000, "How deep is the sea?"))
      assert.strictEqual((yield* counters).held, 0)
    }).pipe(run())
  )

  it.effect("that fails with its usage counts as that", () =>
    Effect.gen(function* () {
      const usage = { promptTokens: 30, completionTokens: 6, totalTokens: 36 }
      const model = yield* provider({
        fail: aiError(new AiError.InvalidOutputError({ description: "no JSON", usage }))
      })
      const error = yield* Effect.flip(Effect.provide(asked, guarded(model)))
      assert.strictEqual(error.reason._tag, "InvalidOutputError")
      assert.strictEqual(model.calls.length, 1)
      assert.deepStrictEqual(yield* counters, settled(36))
    }).pipe(run())
  )
})

describe("the layer", () => {
  const answer = { parts: [text("Deep."), finish({ input: 12, output: 8 })] }

  it.effect("puts itself before the provider's model, whose name and provider stay", () =>
    Effect.gen(function* () {
      const model = yield* provider(answer)
      const context = yield* Layer.build(guarded(model))
      assert.notStrictEqual(Context.get(context, LanguageModel.LanguageModel), model.model)
      assert.deepStrictEqual(
        [Context.get(context, Model.ProviderName), Context.get(context, Model.ModelName)],
        ["test", name]
      )
      yield* Effect.provide(ask, context)
      assert.deepStrictEqual(yield* counters, settled(20))
    }).pipe(Effect.scoped, run())
  )

  it.effect("takes a name of its own, with which nobody else needs to give one", () =>
    Effect.gen(function* () {
      const { model } = yield* provider(answer)
      const own = yield* GuardedLanguageModel.make(model, { model: name })
      yield* own.generateText({ prompt: "How deep is the sea?" })
      assert.deepStrictEqual(yield* counters, settled(20))
      const unpriced = yield* GuardedLanguageModel.make(model, { model: "another" })
      const error = yield* Effect.flip(unpriced.generateText({ prompt: "How deep is the sea?" }))
      assert.deepStrictEqual(GuardedLanguageModel.refusalOf(error)?._tag, "UnpricedModel")
    }).pipe(run())
  )

  it.effect("asks at each call whose quotas it draws on", () =>
    Effect.gen(function* () {
      const User = Context.Reference("test/User", { defaultValue: () => "nobody" })
      const subject = Effect.map(User, (user) => ({ user }))
      const layer = guarded(yield* provider(answer), { subject, maxOutputTokens: 20 })
      const of = (user: string) => Effect.provide(Effect.provideService(ask, User, user), layer)
      yield* of("a")
      const error = yield* Effect.flip(of("a"))
      const refusal = GuardedLanguageModel.refusalOf(error)
      assert(refusal?._tag === "BudgetExceeded")
      assert.deepStrictEqual(refusal.subject, { user: "a" })
      yield* of("b")
    }).pipe(run({ ...limits, budget: { per: { user: { maxTokensPerMinute: 60 } } } }))
  )

  it.effect("leaves all else of the model as it is", () =>
    Effect.gen(function* () {
      const supportsSystemMessagesInHistory = Effect.succeed(true)
      const { model } = yield* provider(answer)
      const own = yield* GuardedLanguageModel.make({ ...model, supportsSystemMessagesInHistory }, { model: name })
      assert.strictEqual(own.supportsSystemMessagesInHistory, supportsSystemMessagesInHistory)
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    }).pipe(run())
  )
})
