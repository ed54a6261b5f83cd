import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Layer } from "effect"
import { AiError, EmbeddingModel, Model } from "effect/ai"
import { Budget } from "headgate"
import { GuardedEmbeddingModel, GuardedLanguageModel } from "headgate/ai"
import { counters, estimate, limits, name, run, settled } from "./support.ts"

type Answer = number | undefined | AiError.AiError

/** An embedding model that takes so many tokens, or fails so, in the order of its calls; the last one again and again. */
const provider = (...answers: ReadonlyArray<Answer>) =>
  Effect.gen(function* () {
    const calls: Array<{ readonly inputs: ReadonlyArray<string>; readonly at: number }> = []
    const model = yield* EmbeddingModel.make({
      embedMany: ({ inputs }) =>
        Effect.flatMap(
          Clock.currentTimeMillis,
          (at): Effect.Effect<EmbeddingModel.ProviderResponse, AiError.AiError> => {
            const answer = answers[Math.min(calls.length, answers.length - 1)]
            calls.push({ inputs, at })
            return AiError.isAiError(answer)
              ? Effect.fail(answer)
              : Effect.succeed({ results: inputs.map((input) => [input.length]), usage: { inputTokens: answer } })
          }
        )
    })
    return { model, calls }
  })

const guarded = (
  { model }: { readonly model: EmbeddingModel.EmbeddingModel },
  options?: GuardedEmbeddingModel.Options
) =>
  GuardedEmbeddingModel.layer(options).pipe(
    Layer.provideMerge(Model.make("test", name, Layer.succeed(EmbeddingModel.EmbeddingModel)(model)))
  )

const embedAll = (...inputs: ReadonlyArray<string>) =>
  EmbeddingModel.EmbeddingModel.use(({ embed }) =>
    Effect.forEach(inputs, (input) => Effect.map(embed(input), ({ vector }) => vector[0]), { concurrency: "unbounded" })
  )

const embedMany = (...inputs: ReadonlyArray<string>) =>
  EmbeddingModel.EmbeddingModel.use((model) => model.embedMany(inputs))

const busy = AiError.make({
  module: "Test",
  method: "embedMany",
  reason: new AiError.RateLimitError({ retryAfter: Duration.seconds(7) })
})

describe("embedMany", () => {
  it.effect("settles what the reply says", () =>
    Effect.gen(function* () {
      const model = yield* provider(9)
      const { embeddings, usage } = yield* Effect.provide(embedMany("a", "bb"), guarded(model))
      assert.deepStrictEqual(
        embeddings.map(({ vector }) => vector[0]),
        [1, 2]
      )
      assert.strictEqual(usage.inputTokens, 9)
      assert.deepStrictEqual(yield* counters, settled(9))
    }).pipe(run())
  )

  it.effect("of nothing makes no call", () =>
    Effect.gen(function* () {
      const model = yield* provider(9)
      assert.deepStrictEqual((yield* Effect.provide(embedMany(), guarded(model))).embeddings, [])
      assert.strictEqual(model.calls.length, 0)
      assert.deepStrictEqual(yield* counters, settled(0, 0))
    }).pipe(run())
  )

  it.effect("without a usage is charged its estimate, with a zero nothing", () =>
    Effect.gen(function* () {
      const model = yield* provider(undefined, 0)
      const most = yield* estimate(0, "a", "bb")
      yield* Effect.provide(embedMany("a", "bb"), guarded(model))
      assert.deepStrictEqual(yield* counters, settled(most))
      yield* Effect.provide(embedMany("a", "bb"), guarded(model))
      assert.deepStrictEqual(yield* counters, settled(most, 2))
    }).pipe(run())
  )

  it.effect("waits as long as the provider asks, and then asks again", () =>
    Effect.gen(function* () {
      const model = yield* provider(busy, 9)
      yield* Effect.provide(embedMany("a"), guarded(model))
      assert.deepStrictEqual(
        model.calls.map(({ at }) => at),
        [0, 7000]
      )
      assert.deepStrictEqual(yield* counters, settled(9, 2))
    }).pipe(run())
  )

  it.effect("that the budget refuses is an exhausted quota", () =>
    Effect.gen(function* () {
      const model = yield* provider(9)
      const error = yield* Effect.flip(Effect.provide(embedMany("a".repeat(100)), guarded(model)))
      assert.strictEqual(error.reason._tag, "QuotaExhaustedError")
      assert.strictEqual(GuardedLanguageModel.refusalOf(error)?._tag, "RequestTooLarge")
      assert.strictEqual(model.calls.length, 0)
    }).pipe(run({ budget: { maxTokensPerRequest: 50 } }))
  )
})

describe("embed", () => {
  it.effect("goes in one batch, which is one call and settles what it took", () =>
    Effect.gen(function* () {
      const model = yield* provider(9)
      assert.deepStrictEqual(yield* Effect.provide(embedAll("a", "bb", "ccc"), guarded(model)), [1, 2, 3])
      assert.deepStrictEqual(
        model.calls.map(({ inputs }) => inputs),
        [["a", "bb", "ccc"]]
      )
      assert.deepStrictEqual(yield* counters, settled(9))
    }).pipe(run())
  )

  it.effect("of which the batch is refused fails, every one of them", () =>
    Effect.gen(function* () {
      const model = yield* provider(9)
      const layer = guarded(model)
      const one = Effect.flip(embedAll("a".repeat(30)))
      const errors = yield* Effect.provide(Effect.all([one, one], { concurrency: "unbounded" }), layer)
      for (const error of errors) assert.strictEqual(GuardedLanguageModel.refusalOf(error)?._tag, "RequestTooLarge")
      assert.strictEqual(model.calls.length, 0)
      yield* Effect.provide(embedAll("a".repeat(30)), layer)
    }).pipe(run({ budget: { maxTokensPerRequest: 50 } }))
  )

  it.effect("is asked again, as a whole, after the provider was busy", () =>
    Effect.gen(function* () {
      const model = yield* provider(busy, 9)
      assert.deepStrictEqual(yield* Effect.provide(embedAll("a", "bb"), guarded(model)), [1, 2])
      assert.deepStrictEqual(model.calls, [
        { inputs: ["a", "bb"], at: 0 },
        { inputs: ["a", "bb"], at: 7000 }
      ])
      assert.deepStrictEqual(yield* counters, settled(9, 2))
    }).pipe(run())
  )

  it.effect("draws on the allowance it was asked for under, also where two are as large", () =>
    Effect.gen(function* () {
      const model = yield* provider(9)
      const agent = (...inputs: ReadonlyArray<string>) =>
        Effect.andThen(
          embedAll(...inputs),
          Budget.Budget.use((budget) => Effect.flip(budget.reserve({ tokens: 1000 })))
        ).pipe(Budget.withAllowance({ tokens: 100 }))
      const left = yield* Effect.all([agent("a", "b"), agent("c")], { concurrency: "unbounded" }).pipe(
        Effect.provide(guarded(model))
      )
      assert.deepStrictEqual(
        model.calls.map(({ inputs }) => inputs),
        [["a", "b"], ["c"]]
      )
      assert.deepStrictEqual(
        left.map(({ _tag }) => _tag),
        ["RequestTooLarge", "RequestTooLarge"]
      )
      assert.deepStrictEqual(yield* counters, settled(18, 2))
    }).pipe(run())
  )

  it.effect("draws on the quotas of its subject", () =>
    Effect.gen(function* () {
      const User = Context.Reference("test/User", { defaultValue: () => "nobody" })
      const model = yield* provider(9)
      const layer = guarded(model, { subject: Effect.map(User, (user) => ({ user })) })
      const of = (user: string, input: string) => Effect.provideService(embedAll(input), User, user)
      yield* Effect.all([of("a", "1"), of("b", "2"), of("a", "3")], { concurrency: "unbounded" }).pipe(
        Effect.provide(layer)
      )
      assert.deepStrictEqual(
        model.calls.map(({ inputs }) => inputs),
        [["1", "3"], ["2"]]
      )
      const status = yield* Budget.Budget.use((budget) => budget.status({ user: "a" }))
      assert.strictEqual(status.tokensUsedMinute, 9)
    }).pipe(run({ ...limits, budget: { per: { user: { maxTokensPerMinute: 1000 } } } }))
  )

  it.effect("through the model's resolver is guarded too", () =>
    Effect.gen(function* () {
      const model = yield* provider(9)
      const { resolver } = yield* GuardedEmbeddingModel.make(model.model, { model: name })
      const ask = (input: string) => Effect.request(new EmbeddingModel.EmbeddingRequest({ input }), resolver)
      yield* Effect.all([ask("a"), ask("b")], { concurrency: "unbounded" })
      assert.strictEqual(model.calls.length, 1)
      assert.deepStrictEqual(yield* counters, settled(9))
    }).pipe(run())
  )
})
