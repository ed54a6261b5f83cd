// The official clients find in the provider what they find at their vendors'.
import { createAnthropic } from "@ai-sdk/anthropic"
import { createOpenAI } from "@ai-sdk/openai"
import Anthropic from "@anthropic-ai/sdk"
import { assert, describe, it } from "@effect/vitest"
import { APICallError, dynamicTool, embedMany, generateText, jsonSchema, streamText } from "ai"
import { Effect } from "effect"
import { LoopbackProvider } from "headgate/testing"
import OpenAI from "openai"

const openai = (provider: LoopbackProvider.LoopbackProvider) =>
  new OpenAI({ apiKey: "none", baseURL: `${provider.url}/v1`, maxRetries: 0 })

const anthropic = (provider: LoopbackProvider.LoopbackProvider) =>
  new Anthropic({ apiKey: "none", baseURL: provider.url, maxRetries: 0 })

const messages = [{ role: "user" as const, content: "Six by seven?" }]
const chat = { model: "gpt-5-mini", messages, max_completion_tokens: 50 }
const message = { model: "claude-sonnet-5", messages, max_tokens: 50 }
const usage = { inputTokens: 30, outputTokens: 5, cachedInputTokens: 20, reasoningTokens: 2 }
const weather = { tool: "weather", input: { city: "Zürich", unit: "celsius" } }
const parameters = { type: "object", properties: { city: { type: "string" } } } as const

const promised = <A>(run: () => PromiseLike<A>) => Effect.promise(() => Promise.resolve(run()))

/** The error a client rejects with. */
const rejection = (run: () => PromiseLike<unknown>) =>
  promised(() =>
    run().then(
      () => assert.fail("answered"),
      (error: unknown) => error
    )
  )

const collect = <A>(stream: PromiseLike<AsyncIterable<A>>) =>
  promised(async () => {
    const elements: Array<A> = []
    for await (const element of await stream) elements.push(element)
    return elements
  })

describe("openai", () => {
  it.effect("reads chat completions, and the headers of the limits", () =>
    Effect.gen(function* () {
      const script = [{ answer: "It is 42.", usage }]
      const provider = yield* LoopbackProvider.make({ script, requestsPerMinute: 10, tokensPerMinute: 1000 })
      const { data, request_id, response } = yield* promised(() =>
        openai(provider).chat.completions.create(chat).withResponse()
      )
      assert.strictEqual(data.choices[0]?.message.content, "It is 42.")
      assert.strictEqual(data.choices[0]?.finish_reason, "stop")
      assert.strictEqual(data.usage?.prompt_tokens, 30)
      assert.strictEqual(data.usage?.completion_tokens, 5)
      assert.strictEqual(data.usage?.prompt_tokens_details?.cached_tokens, 20)
      assert.strictEqual(data.usage?.completion_tokens_details?.reasoning_tokens, 2)
      assert.strictEqual(request_id, "req_1")
      assert.strictEqual(response.headers.get("x-ratelimit-remaining-requests"), "9")
      assert.strictEqual(response.headers.get("x-ratelimit-reset-requests"), "6s")
      assert.strictEqual(response.headers.get("x-ratelimit-remaining-tokens"), "950")
      assert.strictEqual(response.headers.get("date"), "Thu, 01 Jan 1970 00:00:00 GMT")
    })
  )

  it.effect("streams chat completions, with usage when it asks for it", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({ script: () => ({ answer: "It is 42.", usage }) })
      const plain = yield* collect(openai(provider).chat.completions.create({ ...chat, stream: true }))
      const text = plain.map(({ choices }) => choices[0]?.delta.content ?? "").join("")
      assert.strictEqual(text, "It is 42.")
      assert.isTrue(plain.every((chunk) => chunk.usage === undefined))
      const options = { stream: true, stream_options: { include_usage: true } } as const
      const counted = yield* collect(openai(provider).chat.completions.create({ ...chat, ...options }))
      assert.isTrue(counted.slice(0, -1).every((chunk) => chunk.usage === null))
      assert.deepStrictEqual(counted.at(-1)?.choices, [])
      assert.strictEqual(counted.at(-1)?.usage?.total_tokens, 35)
    })
  )

  it.effect("reads responses, whole and streamed", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({ script: () => ({ answer: "It is 42.", usage }) })
      const request = { model: "gpt-5-mini", input: "Six by seven?", max_output_tokens: 50 }
      const response = yield* promised(() => openai(provider).responses.create(request))
      assert.strictEqual(response.output_text, "It is 42.")
      assert.strictEqual(response.usage?.input_tokens_details.cached_tokens, 20)
      const streamed = yield* promised(() => openai(provider).responses.stream(request).finalResponse())
      assert.strictEqual(streamed.output_text, "It is 42.")
      assert.strictEqual(streamed.usage?.total_tokens, 35)
      const incomplete = yield* promised(() => openai(provider).responses.create({ ...request, input: "" }))
      assert.strictEqual(incomplete.status, "completed")
    })
  )

  it.effect("reads calls of tools in all formats", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({ script: () => ({ answer: weather }) })
      const client = openai(provider)
      const tools = [{ type: "function" as const, function: { name: "weather", parameters } }]
      const completion = yield* promised(() => client.chat.completions.create({ ...chat, tools }))
      const [call] = completion.choices[0]?.message.tool_calls ?? []
      assert(call?.type === "function")
      assert.deepStrictEqual(JSON.parse(call.function.arguments), weather.input)
      const streamed = yield* promised(() => client.chat.completions.stream({ ...chat, tools }).finalChatCompletion())
      const [again] = streamed.choices[0]?.message.tool_calls ?? []
      assert(again?.type === "function")
      assert.strictEqual(again.function.name, "weather")
      assert.deepStrictEqual(JSON.parse(again.function.arguments), weather.input)
      const request = { model: "gpt-5-mini", input: "How warm?" }
      for (const response of [
        yield* promised(() => client.responses.create(request)),
        yield* promised(() => client.responses.stream(request).finalResponse())
      ]) {
        const [item] = response.output
        assert(item?.type === "function_call")
        assert.deepStrictEqual(JSON.parse(item.arguments), weather.input)
      }
    })
  )

  it.effect("reads embeddings", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make()
      const request = { model: "text-embedding-3-small", input: ["one", "three"], dimensions: 4 }
      const { data, usage } = yield* promised(() => openai(provider).embeddings.create(request))
      const floats = yield* promised(() => openai(provider).embeddings.create({ ...request, encoding_format: "float" }))
      assert.deepStrictEqual(
        data.map(({ embedding }) => embedding.length),
        [4, 4]
      )
      const rounded = floats.data.map(({ embedding }) => embedding.map(Math.fround))
      assert.deepStrictEqual(
        data.map(({ embedding }) => [...embedding]),
        rounded
      )
      assert.strictEqual(usage.total_tokens, 3)
    })
  )

  it.effect("maps each error to its class, with its code and headers", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({
        script: [
          { fail: "rate_limit_exceeded", retryAfter: "1500 millis" },
          { fail: "insufficient_quota" },
          { fail: "overloaded" },
          { fail: "server_error" },
          { fail: "unavailable", headers: { "x-should-retry": "false" } },
          { fail: "invalid_request" },
          { fail: { status: 401, type: "invalid_request_error", code: "invalid_api_key" } }
        ]
      })
      const found: Array<unknown> = []
      for (const _ of Array(7).keys()) {
        const error = yield* rejection(() => openai(provider).chat.completions.create(chat))
        assert(error instanceof OpenAI.APIError)
        found.push([error.constructor.name, error.status, error.code])
        if (error instanceof OpenAI.RateLimitError && error.code === "rate_limit_exceeded") {
          assert.strictEqual(error.headers.get("retry-after-ms"), "1500")
          assert.strictEqual(error.headers.get("retry-after"), "2")
        }
      }
      assert.deepStrictEqual(found, [
        ["RateLimitError", 429, "rate_limit_exceeded"],
        ["RateLimitError", 429, "insufficient_quota"],
        ["InternalServerError", 503, null],
        ["InternalServerError", 500, null],
        ["InternalServerError", 503, null],
        ["BadRequestError", 400, null],
        ["AuthenticationError", 401, "invalid_api_key"]
      ])
      assert.strictEqual((yield* provider.totals).rateLimited, 2)
    })
  )

  it.effect("notices a stream that is cut, and one that ends in an error", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({
        script: [
          { answer: "one two three four", cutAfter: 2 },
          { answer: "one two three four", failAfter: 2 }
        ]
      })
      const read = () => openai(provider).chat.completions.stream(chat).finalChatCompletion()
      const cut = yield* rejection(read)
      assert.match(String(cut), /terminated|aborted|Connection error/i)
      const failed = yield* rejection(read)
      assert.match(String(failed), /overloaded/)
      assert.deepStrictEqual(
        (yield* provider.calls).map(({ billed, outcome, status }) => [outcome, status, billed.outputTokens]),
        [
          ["failed", 200, 2],
          ["failed", 200, 2]
        ]
      )
    })
  )
})

describe("@anthropic-ai/sdk", () => {
  const cached = { inputTokens: 30, outputTokens: 5, cachedInputTokens: 20, cacheWriteTokens: 4 }

  it.effect("reads messages, and the headers of the limits", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({
        script: [{ answer: "It is 42.", usage: cached }],
        requestsPerMinute: 10,
        inputTokensPerMinute: 1000,
        outputTokensPerMinute: 500,
        tokenCharge: "settled"
      })
      const { data, request_id, response } = yield* promised(() =>
        anthropic(provider).messages.create(message).withResponse()
      )
      assert.deepStrictEqual(
        data.content.map((block) => block.type === "text" && block.text),
        ["It is 42."]
      )
      assert.strictEqual(data.stop_reason, "end_turn")
      assert.strictEqual(data.usage.input_tokens, 6)
      assert.strictEqual(data.usage.cache_read_input_tokens, 20)
      assert.strictEqual(data.usage.cache_creation_input_tokens, 4)
      assert.strictEqual(data.usage.output_tokens, 5)
      assert.strictEqual(request_id, "req_1")
      const said = [...response.headers].filter(([name]) => name.startsWith("anthropic-ratelimit"))
      assert.deepStrictEqual(Object.fromEntries(said), {
        "anthropic-ratelimit-requests-limit": "10",
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:00:06Z",
        "anthropic-ratelimit-input-tokens-limit": "1000",
        "anthropic-ratelimit-input-tokens-remaining": "990",
        "anthropic-ratelimit-input-tokens-reset": "1970-01-01T00:00:01Z",
        "anthropic-ratelimit-output-tokens-limit": "500",
        "anthropic-ratelimit-output-tokens-remaining": "495",
        "anthropic-ratelimit-output-tokens-reset": "1970-01-01T00:00:01Z"
      })
    })
  )

  it.effect("streams messages and calls of tools, with usage in the first and in the last event", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({
        script: [{ answer: "It is 42.", usage: cached }, { answer: weather }, { answer: weather }]
      })
      const text = yield* promised(() => anthropic(provider).messages.stream(message).finalMessage())
      assert.deepStrictEqual(
        text.content.map((block) => block.type === "text" && block.text),
        ["It is 42."]
      )
      assert.strictEqual(text.usage.input_tokens, 6)
      assert.strictEqual(text.usage.output_tokens, 5)
      for (const { content, stop_reason } of [
        yield* promised(() => anthropic(provider).messages.stream(message).finalMessage()),
        yield* promised(() => anthropic(provider).messages.create(message))
      ]) {
        const [block] = content
        assert(block?.type === "tool_use")
        assert.deepStrictEqual(block.input, weather.input)
        assert.strictEqual(stop_reason, "tool_use")
      }
    })
  )

  it.effect("maps each error to its class, with its type and headers", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({
        script: [
          { fail: "rate_limit_exceeded", retryAfter: "1500 millis" },
          { fail: "overloaded" },
          { fail: "server_error" },
          { fail: "insufficient_quota" },
          { fail: "invalid_request" }
        ]
      })
      const found: Array<unknown> = []
      for (const _ of Array(5).keys()) {
        const error = yield* rejection(() => anthropic(provider).messages.create(message))
        assert(error instanceof Anthropic.APIError)
        found.push([error.constructor.name, error.status, error.type, error.headers?.get("retry-after") ?? null])
      }
      assert.deepStrictEqual(found, [
        ["RateLimitError", 429, "rate_limit_error", "2"],
        ["OverloadedError", 529, "overloaded_error", null],
        ["InternalServerError", 500, "api_error", null],
        ["PaymentRequiredError", 402, "billing_error", null],
        ["BadRequestError", 400, "invalid_request_error", null]
      ])
    })
  )

  it.effect("notices a stream that is cut, and one that ends in an error", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({
        script: [
          { answer: "one two three four", cutAfter: 3 },
          { answer: "one two three four", failAfter: 1 }
        ]
      })
      const read = () => anthropic(provider).messages.stream(message).finalMessage()
      assert.instanceOf(yield* rejection(read), Error)
      assert.match(String(yield* rejection(read)), /overloaded_error/)
    })
  )
})

describe("ai", () => {
  const models = (provider: LoopbackProvider.LoopbackProvider) => {
    const openai = createOpenAI({ apiKey: "none", baseURL: `${provider.url}/v1` })
    const anthropic = createAnthropic({ apiKey: "none", baseURL: `${provider.url}/v1` })
    return [openai.chat("gpt-5-mini"), openai.responses("gpt-5-mini"), anthropic("claude-sonnet-5")]
  }
  const call = { prompt: "Six by seven?", maxRetries: 0, maxOutputTokens: 50 }

  it.effect("generates and streams in all formats", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({ script: () => ({ answer: "It is 42.", usage }) })
      for (const model of models(provider)) {
        const { text, usage } = yield* promised(() => generateText({ ...call, model }))
        assert.strictEqual(text, "It is 42.")
        assert.strictEqual(usage.inputTokens, 30)
        assert.strictEqual(usage.outputTokens, 5)
        assert.strictEqual(usage.inputTokenDetails.cacheReadTokens, 20)
        const streamed = streamText({ ...call, model })
        assert.strictEqual(yield* promised(() => streamed.text), "It is 42.")
        assert.strictEqual((yield* promised(() => streamed.usage)).totalTokens, 35)
      }
      assert.strictEqual((yield* provider.totals).tokens, 6 * 35)
    })
  )

  it.effect("calls tools in all formats", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({ script: () => ({ answer: weather }) })
      const tools = {
        weather: dynamicTool({ inputSchema: jsonSchema(parameters), execute: () => Promise.resolve("warm") })
      }
      for (const model of models(provider)) {
        const { toolCalls } = yield* promised(() => generateText({ ...call, model, tools }))
        assert.deepStrictEqual(toolCalls[0]?.input, weather.input)
        const streamed = yield* promised(() => streamText({ ...call, model, tools }).toolCalls)
        assert.deepStrictEqual(streamed[0]?.input, weather.input)
      }
    })
  )

  it.effect("embeds", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make()
      const model = createOpenAI({ apiKey: "none", baseURL: `${provider.url}/v1` }).embedding("text-embedding-3-small")
      const { embeddings, usage } = yield* promised(() => embedMany({ model, values: ["one", "three"] }))
      assert.strictEqual(embeddings.length, 2)
      assert.strictEqual(usage.tokens, 3)
    })
  )

  it.effect("finds the headers of an error", () =>
    Effect.gen(function* () {
      const provider = yield* LoopbackProvider.make({
        script: () => ({ fail: "rate_limit_exceeded", retryAfter: "7 seconds" })
      })
      for (const model of models(provider)) {
        const error = yield* rejection(() => generateText({ ...call, model }))
        assert(APICallError.isInstance(error))
        assert.strictEqual(error.statusCode, 429)
        assert.isTrue(error.isRetryable)
        assert.strictEqual(error.responseHeaders?.["retry-after"], "7")
      }
    })
  )
})
