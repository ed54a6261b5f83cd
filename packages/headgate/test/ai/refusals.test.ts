import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, ExecutionPlan, Layer, Schema, Stream } from "effect"
import { AiError, LanguageModel, Model } from "effect/ai"
import { BudgetExceeded, InvalidUsage, ModelGuard, Retry, StoreError, UnpricedModel } from "headgate"
import { GuardedLanguageModel } from "headgate/ai"
import {
  counters,
  deltas,
  finish,
  guarded,
  limits,
  name,
  type Provider,
  provider,
  run,
  settled,
  text
} from "./support.ts"

const { refusalOf } = GuardedLanguageModel

const prompt = "How deep is the sea?"

const took = { input: 500, output: 400 }
const answer = { parts: [text(`{"metres":3700}`), finish(took)] }
const streamed = { parts: [...deltas("Deep."), finish(took)] }

/** Every way to ask. */
const ways = {
  generateText: Effect.asVoid(LanguageModel.generateText({ prompt })),
  generateObject: Effect.asVoid(
    LanguageModel.generateObject({ prompt, schema: Schema.Struct({ metres: Schema.Finite }) })
  ),
  streamText: Stream.runDrain(LanguageModel.streamText({ prompt }))
}
const methods = Object.keys(ways) as ReadonlyArray<keyof typeof ways>

const answersOf = (method: keyof typeof ways) => (method === "streamText" ? streamed : answer)

/** Asks twice; the second time is refused. */
const twice = (method: keyof typeof ways, options?: GuardedLanguageModel.Options) =>
  Effect.gen(function* () {
    const model = yield* provider(answersOf(method))
    const layer = guarded(model, { maxOutputTokens: 400, ...options })
    yield* Effect.provide(ways[method], layer)
    const error = yield* Effect.flip(Effect.provide(ways[method], layer))
    assert.strictEqual(model.calls.length, 1)
    return error
  })

describe.each(methods)("a refusal of %s", (method) => {
  it.effect("by the budget is an exhausted quota that says when it resets", () =>
    Effect.gen(function* () {
      yield* Effect.sleep("30 seconds")
      const error = yield* twice(method)
      const { reason } = error
      assert(reason._tag === "QuotaExhaustedError")
      assert.isFalse(error.isRetryable)
      assert.deepStrictEqual([error.module, error.method], ["GuardedLanguageModel", method])
      const refusal = refusalOf(error)
      assert(refusal instanceof BudgetExceeded)
      assert.deepStrictEqual([refusal.quota, refusal.limit, refusal.used], ["maxTokensPerMinute", 1000, 900])
      const now = yield* Clock.currentTimeMillis
      assert.strictEqual(reason.resetAt?.epochMilliseconds, now + Duration.toMillis(refusal.retryAfter))
      yield* Effect.sleep(refusal.retryAfter)
      yield* Effect.provide(ways[method], guarded(yield* provider(answersOf(method)), { maxOutputTokens: 400 }))
    }).pipe(run({ budget: { maxTokensPerMinute: 1000 } }))
  )

  it.effect("by the rate limiter is a rate limit with its wait", () =>
    Effect.gen(function* () {
      const error = yield* twice(method)
      const { reason } = error
      assert(reason._tag === "RateLimitError")
      assert.isTrue(error.isRetryable)
      const refusal = refusalOf(error)
      assert(refusal?._tag === "RateLimitExceeded")
      assert.deepStrictEqual(reason.retryAfter, refusal.retryAfter)
      // Whoever waits as long is let through.
      yield* Effect.sleep(refusal.retryAfter)
      yield* Effect.provide(ways[method], guarded(yield* provider(answersOf(method))))
    }).pipe(run({ rateLimiter: { requestsPerMinute: 1, onExceeded: "fail" } }))
  )

  it.effect("for good is an exhausted quota that never resets", () =>
    Effect.gen(function* () {
      const model = yield* provider(answersOf(method))
      const error = yield* Effect.flip(Effect.provide(ways[method], guarded(model)))
      const { reason } = error
      assert(reason._tag === "QuotaExhaustedError")
      assert.isUndefined(reason.resetAt)
      assert.strictEqual(refusalOf(error)?._tag, "RequestTooLarge")
      const unpriced = yield* Effect.flip(Effect.provide(ways[method], guarded(model, { model: "unheard-of" })))
      assert.strictEqual(unpriced.reason._tag, "QuotaExhaustedError")
      assert.deepStrictEqual(refusalOf(unpriced), new UnpricedModel({ model: "unheard-of" }))
      assert.strictEqual(model.calls.length, 0)
    }).pipe(run({ budget: { maxTokensPerRequest: 20 } }))
  )

  it.effect("while throttled says until when", () =>
    Effect.gen(function* () {
      yield* twice(method)
      const model = yield* provider(answersOf(method))
      const error = yield* Effect.flip(Effect.provide(ways[method], guarded(model, { maxOutputTokens: 1 })))
      const refusal = refusalOf(error)
      assert(refusal?._tag === "BudgetThrottled")
      assert(error.reason._tag === "QuotaExhaustedError")
      assert.strictEqual(error.reason.resetAt?.epochMilliseconds, Duration.toMillis(refusal.retryAfter))
    }).pipe(run({ budget: { maxTokensPerMinute: 1000, autoThrottle: true, throttleDelay: "5 seconds" } }))
  )

  it.effect("of a wrong description is an invalid request", () =>
    Effect.gen(function* () {
      const model = yield* provider(answersOf(method))
      const error = yield* Effect.flip(Effect.provide(ways[method], guarded(model, { maxOutputTokens: NaN })))
      const { reason } = error
      assert(reason._tag === "InvalidRequestError")
      assert.strictEqual(reason.parameter, "maxOutputTokens")
      assert.isFalse(error.isRetryable)
      assert(refusalOf(error) instanceof InvalidUsage)
      assert.strictEqual(model.calls.length, 0)
    }).pipe(run())
  )

  it.effect("is not asked again by the policy of retries", () =>
    Effect.gen(function* () {
      const model = yield* provider(answersOf(method))
      const layer = guarded(model)
      const policy = Retry.schedule({ maxRetries: 3, jitter: "none" })
      yield* Effect.flip(Effect.retry(Effect.provide(ways[method], layer), policy))
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    }).pipe(run({ budget: { maxTokensPerRequest: 20 } }))
  )
})

describe("refusalOf", () => {
  const error = (metadata: AiError.ProviderMetadata) =>
    AiError.make({ module: "Test", method: "generateText", reason: new AiError.QuotaExhaustedError({ metadata }) })

  it.effect("reads it of an error that came over the wire", () =>
    Effect.gen(function* () {
      const json = Schema.fromJsonString(Schema.toCodecJson(AiError.AiError))
      const sent = yield* Schema.encodeEffect(json)(yield* twice("generateText"))
      const refusal = refusalOf(yield* Schema.decodeEffect(json)(sent))
      assert(refusal instanceof BudgetExceeded)
      assert.isAbove(Duration.toMillis(refusal.retryAfter), 0)
    }).pipe(run({ budget: { maxTokensPerMinute: 1000 } }))
  )

  it("finds none in what is not ours", () => {
    assert.isUndefined(refusalOf(error({})))
    assert.isUndefined(refusalOf(error({ headgate: null })))
    assert.isUndefined(refusalOf(error({ headgate: { _tag: "BudgetExceeded" } })))
    assert.isUndefined(refusalOf(error({ openai: { errorCode: "insufficient_quota" } })))
    assert.isUndefined(refusalOf(new Error("refused")))
    assert.isUndefined(refusalOf(undefined))
  })

  it.effect.each(methods)("tells of a store that failed during %s, which is not to be retried", (method) =>
    Effect.gen(function* () {
      const broken = new StoreError({ operation: "reserve", outcome: "unknown", cause: new Error("connection lost") })
      const guard = { run: () => Effect.fail(broken), stream: () => Stream.fail(broken), heard: () => Effect.void }
      const layer = guarded(yield* provider(answer)).pipe(Layer.provide(Layer.succeed(ModelGuard.ModelGuard)(guard)))
      const error = yield* Effect.flip(Effect.provide(ways[method], layer))
      assert.isFalse(error.isRetryable)
      const refusal = refusalOf(error)
      assert(refusal instanceof StoreError)
      assert.deepStrictEqual([refusal.operation, refusal.outcome], ["reserve", "unknown"])
    })
  )
})

describe("an ExecutionPlan", () => {
  /** The guard is around the plan: what is provided in a step is made anew for each attempt. */
  const planOf = (dear: Provider, cheap: Provider) => {
    const stepOf = ({ model }: Provider, model_: string, maxOutputTokens: number) =>
      GuardedLanguageModel.layer({ maxOutputTokens }).pipe(
        Layer.provideMerge(Model.make("test", model_, Layer.succeed(LanguageModel.LanguageModel)(model)))
      )
    return ExecutionPlan.make(
      { provide: stepOf(dear, name, 500) },
      {
        provide: stepOf(cheap, "cheap-model", 50),
        while: (error: AiError.AiError) => refusalOf(error)?._tag === "BudgetExceeded"
      }
    )
  }

  it.effect("goes on to a cheaper model when the budget refuses the dear one", () =>
    Effect.gen(function* () {
      const dear = yield* provider({ parts: [text("dear"), finish({ input: 60, output: 440 })] })
      const cheap = yield* provider({ parts: [text("cheap"), finish({ input: 60, output: 20 })] })
      const ask = LanguageModel.generateText({ prompt }).pipe(
        Effect.withExecutionPlan(planOf(dear, cheap)),
        Effect.map((reply) => reply.text)
      )
      assert.deepStrictEqual([yield* ask, yield* ask, yield* ask], ["dear", "cheap", "cheap"])
      assert.deepStrictEqual([dear.calls.length, cheap.calls.length], [1, 2])
      assert.deepStrictEqual(yield* counters, settled(500 + 80 + 80, 3))
    }).pipe(run({ ...limits, budget: { maxTokensPerMinute: 800 } }))
  )

  it.effect("leaves other failures of the dear model where they are", () =>
    Effect.gen(function* () {
      const reason = new AiError.AuthenticationError({ kind: "InvalidKey" })
      const dear = yield* provider({ fail: AiError.make({ module: "Test", method: "generateText", reason }) })
      const cheap = yield* provider({ parts: [text("cheap")] })
      const ask = Effect.withExecutionPlan(LanguageModel.generateText({ prompt }), planOf(dear, cheap))
      assert.strictEqual((yield* Effect.flip(ask)).reason._tag, "AuthenticationError")
      assert.strictEqual(cheap.calls.length, 0)
    }).pipe(run())
  )
})
