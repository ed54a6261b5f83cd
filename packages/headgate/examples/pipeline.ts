// A pipeline over many documents: each call is paid for once, takes its place in the limits at each attempt, and is
// retried by one policy. What these do is set in the environment.
import { ConfigProvider, Effect, Layer, Stream } from "effect"
import { Budget, BudgetLive, policy, RateLimiter, RateLimiterLive, RetryLive } from "headgate"
import { LoopbackProvider } from "headgate/testing"
import OpenAI from "openai"

const summarize = (openai: OpenAI, text: string) =>
  Effect.tryPromise((signal) =>
    // The retries are below, and nowhere else.
    openai.responses.create(
      { model: "gpt-5-mini", input: `Sum up: ${text}`, max_output_tokens: 100 },
      { signal, maxRetries: 0 }
    )
  )

const pipeline = (openai: OpenAI, documents: ReadonlyArray<string>) =>
  Stream.fromIterable(documents).pipe(
    Stream.mapEffect(
      (text) => {
        const estimate = { tokens: text.length + 100 }
        return summarize(openai, text).pipe(
          RateLimiter.withLimit(estimate), // inside of the retries: each attempt waits for a place
          Effect.retry(policy), // as long as the provider asks, and only what is worth it
          Budget.withReservation(estimate, (reply) => ({ tokens: reply.usage?.total_tokens ?? estimate.tokens })),
          Effect.map((reply) => reply.output_text),
          Effect.catchTag("BudgetExceeded", (error) => Effect.succeed(`left out: ${error.quota}`))
        )
      },
      { concurrency: 4 }
    ),
    Stream.runCollect
  )

const program = Effect.gen(function* () {
  // In place of OpenAI: a provider on this machine, which has no answer to the first request.
  const provider = yield* LoopbackProvider.make({
    script: ({ index }) =>
      index === 0
        ? { fail: "unavailable", retryAfter: "50 millis" }
        : { answer: "In short.", usage: { inputTokens: 60, outputTokens: 40 } }
  })
  const openai = new OpenAI({ apiKey: "sk-loopback", baseURL: `${provider.url}/v1` })
  const summaries = yield* pipeline(openai, ["a long text", "one more", "another one", "the last of them"])
  return { summaries, requests: (yield* provider.totals).requests }
})

const env = ConfigProvider.fromEnv({
  env: {
    HEADGATE_BUDGET_MAX_TOKENS_PER_DAY: "400",
    HEADGATE_RATE_LIMITER_REQUESTS_PER_MINUTE: "60",
    HEADGATE_RETRY_MAX_RETRIES: "2"
  }
})
const live = Layer.mergeAll(BudgetLive, RateLimiterLive, RetryLive).pipe(
  Layer.provide(Layer.succeed(ConfigProvider.ConfigProvider)(env))
)

await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(live))) // => { summaries: ["In short.", "In short.", "In short.", "left out: maxTokensPerDay"], requests: 4 }
