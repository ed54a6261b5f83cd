// A provider through Effect's HttpClient: whatever is built on the client is guarded, without a word about tokens.
import { Effect, Layer, Schema } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import { Budget, ModelGuard, RequestTooLarge } from "headgate"
import { GuardedHttpClient } from "headgate/http"
import { LoopbackProvider } from "headgate/testing"

const Reply = Schema.Struct({
  choices: Schema.Array(Schema.Struct({ message: Schema.Struct({ content: Schema.String }) }))
})

const ask = (url: string, user: string, prompt: string) =>
  HttpClientRequest.post(`${url}/v1/chat/completions`).pipe(
    HttpClientRequest.setHeader("x-user", user),
    HttpClientRequest.bodyJsonUnsafe({
      model: "gpt-4o-mini",
      max_completion_tokens: 200,
      messages: [{ role: "user", content: prompt }]
    }),
    HttpClient.execute,
    Effect.flatMap(HttpClientResponse.filterStatusOk),
    Effect.flatMap(HttpClientResponse.schemaBodyJson(Reply)),
    Effect.map(({ choices }) => choices[0]?.message.content),
    // A refusal of ours looks like one of the provider's, 429 or 413, and is the cause.
    Effect.catchTag("HttpClientError", ({ cause, response }) =>
      Effect.succeed(cause instanceof RequestTooLarge ? `${cause.limit} ${cause.unit} at most` : `${response?.status}`)
    )
  )

const program = Effect.gen(function* () {
  // In place of OpenAI: a provider on this machine, which wants to be left alone for a moment at first.
  const { url } = yield* LoopbackProvider.make({
    script: [{ fail: "rate_limit_exceeded", retryAfter: "100 millis" }, { answer: "About 3,700 m." }]
  })
  const answers = [yield* ask(url, "ann", "How deep is the sea?"), yield* ask(url, "ann", "x".repeat(2000))]
  const { tokensUsedDay } = yield* Budget.Budget.use((budget) => budget.status())
  return { answers, tokens: tokensUsedDay }
})

const client = GuardedHttpClient.layer({ subject: ({ headers }) => ({ user: headers["x-user"] ?? "nobody" }) }).pipe(
  Layer.provide(FetchHttpClient.layer)
)
const guard = ModelGuard.layerMemory({
  budget: { maxCostPerDay: "$100", maxTokensPerDay: 1_000_000, per: { user: { maxTokensPerRequest: 1000 } } },
  rateLimiter: { requestsPerMinute: 60 }
})

const live = Layer.provideMerge(client, guard)
await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(live))) // => { answers: ["About 3,700 m.", "1000 tokens at most"], tokens: 8 }
