import { Effect, Fiber, Layer } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { Budget, ModelGuard } from "headgate"
import { GuardedHttpClient } from "headgate/http"
import { LoopbackProvider } from "headgate/testing"

export const prices = { "test-model": { input: "$1/M", output: "$2/M" } } as const

export const messages = [{ role: "user", content: "Six by seven?" }]
export const chat = { model: "test-model", messages, max_tokens: 50 }
export const streamed = { ...chat, stream: true, stream_options: { include_usage: true } }
export const message = { model: "test-model", messages, max_tokens: 50 }

export const paths = {
  chat: "/v1/chat/completions",
  responses: "/v1/responses",
  embeddings: "/v1/embeddings",
  messages: "/v1/messages",
  gemini: "/v1beta/models/test-model:generateContent",
  geminiStream: "/v1beta/models/test-model:streamGenerateContent?alt=sse"
}

export interface Settings extends Omit<ModelGuard.Options, "prices">, GuardedHttpClient.Options {
  readonly provider?: string | undefined
  readonly answers?: LoopbackProvider.Options | undefined
}

/** A provider, a guarded client of it, and what the budget has booked. */
export const setUp = Effect.fnUntraced(function* (settings: Settings = {}, other?: HttpClient.HttpClient) {
  const provider = yield* LoopbackProvider.make(settings.answers)
  const services = yield* Layer.build(
    Layer.merge(
      ModelGuard.layerMemory({ budget: Budget.defaults, retry: { jitter: "none" }, ...settings, prices }),
      FetchHttpClient.layer
    )
  )
  const bare = other ?? (yield* Effect.provide(HttpClient.HttpClient, services))
  const client = yield* Effect.provide(GuardedHttpClient.make(bare, settings), services)
  const post = (body: unknown, path = paths.chat, options?: HttpClientRequest.Options.NoUrl) =>
    client.execute(HttpClientRequest.post(provider.url + path, options).pipe(HttpClientRequest.bodyJsonUnsafe(body)))
  const booked = Effect.provide(
    Budget.Budget.use((budget) => budget.status()).pipe(
      Effect.map(({ costUsedDay, quotas, tokensUsedDay }) => ({
        tokens: tokensUsedDay,
        cost: costUsedDay,
        held: quotas.reduce((sum, { held }) => sum + held, 0)
      })),
      Effect.orDie
    ),
    services
  )
  return { provider, services, client, post, booked }
})

/** One turn of the event loop. */
const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

/** Waits until the provider has recorded nothing new for some turns of the event loop: whoever can go on has gone on. */
export const quiet = (provider: LoopbackProvider.LoopbackProvider, turns = 30): Effect.Effect<void> =>
  Effect.gen(function* () {
    let seen = ""
    for (let unchanged = 0; unchanged < turns; unchanged++) {
      yield* turn
      const now = JSON.stringify(yield* provider.totals)
      if (now !== seen) unchanged = 0
      seen = now
    }
  })

/** Runs an effect to its end, and lets time pass whenever only time can help. */
export const paced = <A, E, R>(
  provider: LoopbackProvider.LoopbackProvider,
  self: Effect.Effect<A, E, R>,
  step: "1 second" | "100 millis" = "1 second"
): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(self)
    while (fiber.pollUnsafe() === undefined) {
      yield* quiet(provider)
      if (fiber.pollUnsafe() === undefined) yield* TestClock.adjust(step)
    }
    return yield* Fiber.join(fiber)
  })
