import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Stream } from "effect"
import { FetchHttpClient, HttpClient, HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import { Budget, ModelGuard, Retry } from "headgate"
import { GuardedHttpClient } from "headgate/http"
import { LoopbackProvider } from "headgate/testing"
import { chat, message, messages, paced, paths, prices, setUp } from "./support.ts"

const usage = { inputTokens: 30, outputTokens: 5, cachedInputTokens: 20 }
const requests: ReadonlyArray<readonly [string, string, object]> = [
  ["OpenAI's chat completions", paths.chat, chat],
  ["OpenAI's responses", paths.responses, { model: "test-model", input: "Six by seven?", max_output_tokens: 50 }],
  ["Anthropic's messages", paths.messages, message],
  ["Gemini's generateContent", paths.gemini, { contents: [{ parts: [{ text: "Six by seven?" }] }] }]
]

describe("GuardedHttpClient", () => {
  it.effect.each(requests)("settles %s on what the reply says", ([_, path, body]) =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({ answers: { script: [{ answer: "It is 42.", usage }] } })
      const response = yield* post(body, path)
      assert.strictEqual(response.status, 200)
      assert.deepStrictEqual(yield* booked, { tokens: 35, cost: 40_000, held: 0 })
      assert.strictEqual((yield* provider.totals).tokens, 35)
    })
  )

  it.effect("settles embeddings, which have no output", () =>
    Effect.gen(function* () {
      const { booked, post } = yield* setUp()
      yield* post({ model: "test-model", input: ["one", "three"] }, paths.embeddings)
      assert.deepStrictEqual(yield* booked, { tokens: 3, cost: 3000, held: 0 })
    })
  )

  it.effect("leaves a body that can be read in every way, and more than once", () =>
    Effect.gen(function* () {
      const { post } = yield* setUp({ answers: { script: () => ({ answer: "It is 42." }) } })
      const response = yield* post(chat)
      const text = yield* response.text
      assert.deepStrictEqual(yield* response.json, JSON.parse(text))
      assert.strictEqual(new TextDecoder().decode(yield* response.arrayBuffer), text)
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(response.stream)), text)
      assert.strictEqual(yield* response.text, text)
      assert.strictEqual(response.headers["content-type"], "application/json")
      assert.match(response.url, /\/v1\/chat\/completions$/)
      const { choices } = yield* HttpClientResponse.filterStatusOk(response).pipe(
        Effect.flatMap(({ json }) => json),
        Effect.map((json) => json as { readonly choices: ReadonlyArray<unknown> })
      )
      assert.strictEqual(choices.length, 1)
    })
  )

  it.effect("works on Node's client as it does on fetch", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({ script: [{ answer: "ok", usage }] })
      const client = yield* Effect.flatMap(HttpClient.HttpClient, (client) => GuardedHttpClient.make(client))
      const response = yield* client.execute(
        HttpClientRequest.post(provider.url + paths.chat).pipe(HttpClientRequest.bodyJsonUnsafe(chat))
      )
      assert.match(yield* response.text, /"content":"ok"/)
      const { tokensUsedDay } = yield* Budget.Budget.use((budget) => budget.status())
      assert.strictEqual(tokensUsedDay, 35)
    }).pipe(Effect.provide([NodeHttpClient.layerNodeHttp, ModelGuard.layerMemory({ budget: Budget.defaults, prices })]))
  )

  const costly = { script: () => ({ answer: "ok", usage: { inputTokens: 60, outputTokens: 50 } }) } as const

  it.effect("refuses before it sends anything", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({ budget: { maxTokensPerMinute: 300 }, answers: costly })
      yield* post(chat)
      yield* post(chat)
      const error = yield* Effect.flip(post(chat))
      assert(error._tag === "BudgetExceeded")
      assert.strictEqual(error.remaining, 80)
      const tooLarge = yield* Effect.flip(post({ ...chat, max_tokens: 300 }))
      assert.strictEqual(tooLarge._tag, "RequestTooLarge")
      assert.strictEqual((yield* provider.totals).requests, 2)
      assert.strictEqual((yield* booked).held, 0)
    })
  )

  it.effect("draws on the subject's quotas, in which the model is filled in", () =>
    Effect.gen(function* () {
      const { post } = yield* setUp({
        budget: { per: { model: { maxTokensPerMinute: 450 }, user: { maxTokensPerMinute: 300 } } },
        answers: costly,
        subject: ({ headers }) => ({ user: headers["x-user"] ?? "nobody" })
      })
      yield* Effect.replicateEffect(post(chat), 2)
      const user = yield* Effect.flip(post(chat))
      assert(user._tag === "BudgetExceeded")
      assert.deepStrictEqual(user.subject, { user: "nobody" })
      const other = { headers: { "x-user": "other" } }
      yield* post(chat, paths.chat, other)
      const model = yield* Effect.flip(post(chat, paths.chat, other))
      assert(model._tag === "BudgetExceeded")
      assert.deepStrictEqual(model.subject, { model: "test-model" })
    })
  )

  it.effect("lets through what it does not know, or fails", () =>
    Effect.gen(function* () {
      const passing = yield* setUp()
      assert.strictEqual((yield* passing.post({ model: "m" }, "/v1/moderations")).status, 404)
      // A chat completion without messages is none, whatever its path.
      assert.strictEqual((yield* passing.post({ model: "unpriced" })).status, 200)
      assert.strictEqual((yield* passing.booked).tokens, 0)
      const failing = yield* setUp({ unrecognized: "fail" })
      const error = yield* Effect.flip(failing.post({ model: "m" }, "/v1/moderations"))
      assert.strictEqual(error._tag, "UnrecognizedRequest")
      assert.match(error.message, /^POST http.*\/v1\/moderations is of no API that is known$/)
      assert.strictEqual((yield* Effect.flip(failing.client.get(failing.provider.url)))._tag, "UnrecognizedRequest")
      assert.strictEqual((yield* failing.provider.totals).requests, 0)
    })
  )

  it.effect("finds the model of Azure's and Gemini's requests in their path", () =>
    Effect.gen(function* () {
      const { post } = yield* setUp({ unrecognized: "fail" })
      const known = yield* post({ messages }, "/openai/deployments/test-model/chat/completions?api-version=1")
      assert.strictEqual(known.status, 200)
      const unknown = yield* Effect.flip(post({ messages }, "/openai/deployments/other/chat/completions"))
      assert(unknown._tag === "UnpricedModel")
      assert.strictEqual(unknown.model, "other")
    })
  )

  it.effect("guards a call without a limit that it can read, as -1 by which some servers mean none", () =>
    Effect.gen(function* () {
      const { post, provider } = yield* setUp({ budget: { maxTokensPerRequest: 4000 } })
      // 4096 tokens of output, as of a call that says no limit.
      assert.strictEqual((yield* Effect.flip(post({ ...chat, max_tokens: -1 })))._tag, "RequestTooLarge")
      assert.strictEqual((yield* provider.totals).requests, 0)
    })
  )

  it.effect("estimates a file behind a link, and an image", () =>
    Effect.gen(function* () {
      const { post } = yield* setUp({ budget: { maxTokensPerRequest: 30_000 } })
      const linked = (type: string, url: string) => ({
        ...message,
        messages: [{ role: "user", content: [{ type, source: { type: "url", url } }] }]
      })
      const file = yield* Effect.flip(post(linked("document", "https://example.com/a.pdf"), paths.messages))
      assert(file._tag === "RequestTooLarge")
      assert.isAbove(file.requested, 32_768)
      assert.strictEqual((yield* post(linked("image", "https://example.com/a.png"), paths.messages)).status, 200)
    })
  )

  it.effect("estimates an image by its tokens, not by its bytes", () =>
    Effect.gen(function* () {
      const data = "A".repeat(400_000)
      const image = [{ type: "image_url", image_url: { url: `data:image/png;base64,${data}` } }]
      const { post } = yield* setUp({ budget: { maxTokensPerRequest: 5000 } })
      assert.strictEqual((yield* post({ ...chat, messages: [{ role: "user", content: image }] })).status, 200)
      const source = { type: "base64", media_type: "image/png", data }
      const content = [{ type: "image", source }]
      assert.strictEqual(
        (yield* post({ ...message, messages: [{ role: "user", content }] }, paths.messages)).status,
        200
      )
      const contents = [{ parts: [{ inlineData: { mimeType: "image/png", data } }] }]
      const generationConfig = { maxOutputTokens: 50 }
      assert.strictEqual((yield* post({ contents, generationConfig }, paths.gemini)).status, 200)
      // What looks like one, but is what a tool is called with, is text.
      const call = [{ type: "tool_use", id: "1", name: "t", input: content[0] }]
      const hidden = yield* Effect.flip(
        post({ ...message, messages: [{ role: "user", content: call }] }, paths.messages)
      )
      assert.strictEqual(hidden._tag, "RequestTooLarge")
      const audio = [{ type: "input_audio", input_audio: { data, format: "wav" } }]
      const long = yield* Effect.flip(post({ ...chat, messages: [{ role: "user", content: audio }] }))
      assert.strictEqual(long._tag, "RequestTooLarge")
    })
  )
})

describe("GuardedHttpClient, when the provider fails", () => {
  it.effect("retries after the time it is told, and returns what comes of it", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({
        answers: {
          script: [{ fail: "rate_limit_exceeded", retryAfter: "20 seconds" }, { fail: "overloaded" }, { answer: "ok" }]
        }
      })
      const response = yield* paced(provider, post(message, paths.messages))
      assert.match(yield* response.text, /"text":"ok"/)
      const calls = yield* provider.calls
      assert.deepStrictEqual(
        calls.map(({ startedAt, status }) => [startedAt, status]),
        [
          [0, 429],
          [20_000, 529],
          [22_000, 200]
        ]
      )
      assert.deepStrictEqual(yield* booked, { tokens: 5, cost: 6000, held: 0 })
    })
  )

  it.effect("gives the last reply as it came when retries have not helped", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({ answers: { script: () => ({ fail: "unavailable" }) } })
      const response = yield* paced(provider, post(chat))
      assert.strictEqual(response.status, 503)
      assert.match(yield* response.text, /currently unable to handle the request/)
      assert.strictEqual((yield* provider.totals).requests, 4)
      assert.deepStrictEqual(yield* booked, { tokens: 0, cost: 0, held: 0 })
    })
  )

  it.effect("gives a reply that is not worth a retry at once, with its body, and charges nothing", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({ answers: { script: () => ({ fail: "invalid_request" }) } })
      for (const body of [chat, { ...chat, stream: true }]) {
        const response = yield* post(body)
        assert.strictEqual(response.status, 400)
        assert.deepStrictEqual(
          ((yield* response.json) as { error: { type: string } }).error.type,
          "invalid_request_error"
        )
      }
      assert.strictEqual((yield* provider.totals).requests, 2)
      assert.deepStrictEqual(yield* booked, { tokens: 0, cost: 0, held: 0 })
    })
  )

  it.effect("fails with the status where the client makes errors of it", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({
        script: [{ fail: "server_error" }, { fail: "insufficient_quota" }]
      })
      const bare = yield* HttpClient.HttpClient
      const client = yield* GuardedHttpClient.make(HttpClient.filterStatusOk(bare))
      const request = HttpClientRequest.post(provider.url + paths.chat).pipe(HttpClientRequest.bodyJsonUnsafe(chat))
      const error = yield* paced(provider, Effect.flip(client.execute(request)))
      assert(HttpClientError.isHttpClientError(error))
      assert.strictEqual(error.response?.status, 429)
      assert.match(yield* error.response!.text, /insufficient_quota/)
      assert.strictEqual((yield* provider.totals).requests, 2)
    }).pipe(Effect.provide([FetchHttpClient.layer, ModelGuard.layerMemory({ prices, retry: { jitter: "none" } })]))
  )

  it.effect("retries a connection that breaks, and charges what may have been billed", () =>
    Effect.gen(function* () {
      const { booked, post, provider } = yield* setUp({
        answers: { script: [{ answer: "lost", cutAfter: 0 }, { answer: "ok" }] }
      })
      const error = yield* Effect.flip(post(chat))
      // The reply had begun, and was billed: another would cost again.
      assert(HttpClientError.isHttpClientError(error))
      assert.strictEqual((yield* provider.totals).requests, 1)
      const { held, tokens } = yield* booked
      assert.strictEqual(held, 0)
      assert.isAtLeast(tokens, 50)
    })
  )

  it.effect("charges nothing for a request that never left", () =>
    Effect.gen(function* () {
      const { booked, client, provider } = yield* setUp()
      const gone = yield* Effect.scoped(LoopbackProvider.make())
      const request = HttpClientRequest.post(gone.url + paths.chat).pipe(HttpClientRequest.bodyJsonUnsafe(chat))
      const error = yield* paced(provider, Effect.flip(client.execute(request)))
      assert(HttpClientError.isHttpClientError(error))
      assert.strictEqual(error.reason._tag, "TransportError")
      assert.strictEqual(yield* Clock.currentTimeMillis, 7000)
      assert.deepStrictEqual(yield* booked, { tokens: 0, cost: 0, held: 0 })
    })
  )
})

describe("GuardedHttpClient.layer", () => {
  /** Sends requests through the application's client, and gives how the last one ended. */
  const asking = (budget: Budget.Options, bodies: ReadonlyArray<object>) => {
    const services = ModelGuard.layerMemory({ budget, prices })
    const client = GuardedHttpClient.layer().pipe(Layer.provide(Layer.merge(FetchHttpClient.layer, services)))
    return Effect.gen(function* () {
      const usage = { inputTokens: 400, outputTokens: 400 }
      const provider = yield* LoopbackProvider.make({ script: () => ({ answer: "ok", usage }) })
      const exits = yield* Effect.forEach(bodies, (body) =>
        HttpClientRequest.post(provider.url + paths.chat).pipe(
          HttpClientRequest.bodyJsonUnsafe(body),
          HttpClient.execute,
          Effect.result
        )
      )
      return exits.at(-1)!
    }).pipe(Effect.provide(client))
  }

  it.effect("guards whatever uses the application's client", () =>
    Effect.gen(function* () {
      const result = yield* asking(Budget.defaults, [chat])
      assert(result._tag === "Success")
      assert.strictEqual(result.success.status, 200)
    })
  )

  it.effect.each<
    readonly [string, Budget.Options, ReadonlyArray<object>, string, number | undefined, string | undefined]
  >([
    ["BudgetExceeded", { maxTokensPerMinute: 900 }, [chat, chat], "StatusCodeError", 429, "61"],
    ["RequestTooLarge", { maxTokensPerRequest: 10 }, [chat], "StatusCodeError", 413, undefined],
    ["UnpricedModel", {}, [{ ...chat, model: "unknown" }], "EncodeError", undefined, undefined]
  ])("tells of %s in the words of an HTTP client", ([tag, budget, bodies, reason, status, retryAfter]) =>
    Effect.gen(function* () {
      const result = yield* asking(budget, bodies)
      assert(result._tag === "Failure")
      const error = result.failure
      assert.strictEqual(error.reason._tag, reason)
      assert.strictEqual((error.cause as { _tag: string })._tag, tag)
      assert.strictEqual(error.response?.status, status)
      assert.strictEqual(error.response?.headers["retry-after"], retryAfter)
      assert.isFalse(Retry.isRetryable(error))
    })
  )
})
