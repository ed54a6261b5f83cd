// A provider that does as it is told, behind the service that all providers of effect/ai implement.
import { Clock, type Duration, Effect, Layer, Stream } from "effect"
import { type AiError, LanguageModel, Model, type Response } from "effect/ai"
import { type Alerts, Budget, Estimator, Guard, ModelGuard, Price, RateLimiter } from "headgate"
import { GuardedLanguageModel } from "headgate/ai"
import { VirtualClock } from "headgate/testing"

export const name = "test-model"

/** A micro-dollar per token of input, 10 per token of output. */
export const prices: Record<string, Price.ModelPrice> = {
  [name]: { input: "$1/M", output: "$10/M" },
  "cheap-model": { input: "$0.10/M", output: "$1/M" }
}

export const limits = {
  budget: { maxTokensPerMinute: 100_000 },
  rateLimiter: { requestsPerMinute: 100, tokensPerMinute: 100_000, concurrency: 10 },
  retry: { jitter: "none" }
} as const satisfies Guard.Options

export interface Answer {
  readonly parts?: ReadonlyArray<Response.PartEncoded | Response.StreamPartEncoded>
  readonly fail?: AiError.AiError
  readonly after?: Duration.Input
  /** Between the parts of a stream. */
  readonly every?: Duration.Input
}

export interface Provider {
  readonly model: LanguageModel.LanguageModel
  /** What it was asked, and when. */
  readonly calls: Array<LanguageModel.ProviderOptions & { readonly at: number }>
}

/** A provider that gives these answers in order, the last one again and again. */
export const provider = (...answers: ReadonlyArray<Answer>): Effect.Effect<Provider> =>
  Effect.gen(function* () {
    const calls: Provider["calls"] = []
    const begin = (options: LanguageModel.ProviderOptions) =>
      Effect.gen(function* () {
        const answer = answers[Math.min(calls.length, answers.length - 1)]!
        calls.push({ ...options, at: yield* Clock.currentTimeMillis })
        yield* Effect.sleep(answer.after ?? 0)
        return answer
      })
    const model = yield* LanguageModel.make({
      generateText: (options) =>
        Effect.flatMap(begin(options), ({ fail, parts = [] }) =>
          fail === undefined ? Effect.succeed([...parts] as Array<Response.PartEncoded>) : Effect.fail(fail)
        ),
      streamText: (options) =>
        Stream.unwrap(
          Effect.map(begin(options), ({ every, fail, parts = [] }) => {
            const given = Stream.fromIterable(parts as ReadonlyArray<Response.StreamPartEncoded>).pipe(
              Stream.rechunk(1),
              Stream.tap(() => (every === undefined ? Effect.void : Effect.sleep(every)))
            )
            return fail === undefined ? given : Stream.concat(given, Stream.fail(fail))
          })
        )
    })
    return { model, calls }
  })

export const text = (text: string): Response.TextPartEncoded => ({ type: "text", text })

export const deltas = (...texts: ReadonlyArray<string>): ReadonlyArray<Response.StreamPartEncoded> => [
  { type: "text-start", id: "1" },
  ...texts.map((delta) => ({ type: "text-delta", id: "1", delta }) as const),
  { type: "text-end", id: "1" }
]

interface Counts {
  readonly input?: number | undefined
  readonly output?: number | undefined
  readonly cached?: number | undefined
}

export const finish = ({ cached, input, output }: Counts, reason: Response.FinishReason = "stop") =>
  ({
    type: "finish",
    reason,
    usage: {
      inputTokens: { uncached: undefined, total: input, cacheRead: cached, cacheWrite: undefined },
      outputTokens: { total: output, text: undefined, reasoning: undefined }
    }
  }) satisfies Response.FinishPartEncoded

export type Services = ModelGuard.ModelGuard | Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Alerts.Alerts

/** Runs a program with all that guards a model, on a clock of its own. Prices are loaded before, in real time. */
export const run =
  (options: Guard.Options = limits) =>
  <A, E>(program: Effect.Effect<A, E, Services>): Effect.Effect<A, E | VirtualClock.Deadlock> =>
    Effect.flatMap(Effect.andThen(Price.preload, Price.make(prices)), (price) => {
      const parts = Layer.mergeAll(Guard.layerMemory(options), Layer.succeed(Price.Price)(price), Estimator.layer())
      const layer = ModelGuard.layer.pipe(Layer.provideMerge(parts))
      return VirtualClock.run(Effect.provide(program, layer, { local: true }))
    })

export const guarded = (
  { model }: Provider,
  options?: GuardedLanguageModel.Options
): Layer.Layer<LanguageModel.LanguageModel | Model.ModelName | Model.ProviderName, never, ModelGuard.ModelGuard> =>
  GuardedLanguageModel.layer({ maxOutputTokens: 1000, ...options }).pipe(
    Layer.provideMerge(Model.make("test", name, Layer.succeed(LanguageModel.LanguageModel)(model)))
  )

/** What is used and held: tokens of the budget; requests and tokens of the limiter, calls under way. */
export const counters = Effect.gen(function* () {
  const budget = (yield* (yield* Budget.Budget).status()).quotas[0]
  const { quotas } = yield* (yield* RateLimiter.RateLimiter).status()
  const of = (name: string) => quotas.find((quota) => quota.name === name)
  return {
    spent: budget?.used,
    held: budget?.held,
    requests: of("requestsPerMinute")?.used,
    tokens: of("tokensPerMinute")?.used,
    underWay: of("concurrency")?.held
  }
})

export const settled = (spent: number, requests = 1) => ({ spent, held: 0, requests, tokens: spent, underWay: 0 })

/** What a call of these parts of text is estimated as. */
export const estimate = (output: number, ...parts: ReadonlyArray<string>): Effect.Effect<number> =>
  Effect.provide(
    Estimator.Estimator.use(({ estimate }) => estimate({ model: name, input: parts, maxOutputTokens: output })).pipe(
      Effect.map(({ inputTokens, outputTokens }) => inputTokens + outputTokens),
      Effect.orDie
    ),
    Estimator.layer()
  )
