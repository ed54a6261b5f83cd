import Anthropic from "@anthropic-ai/sdk"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, DateTime, Duration, Effect } from "effect"
import { AiError } from "effect/ai"
import { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import {
  BudgetExceeded,
  BudgetThrottled,
  InvalidUsage,
  RateLimitExceeded,
  RequestTooLarge,
  Retry,
  RetryExhausted,
  StoreError
} from "headgate"
import { VirtualClock } from "headgate/testing"
import OpenAI from "openai"

/** As the classes of the vendors' SDKs: status, headers as the web has them, the body's error and its code. */
class APIError extends Error {
  readonly status: number | undefined
  readonly headers: Headers | undefined
  readonly error: { readonly type?: string; readonly code?: string | null }
  readonly code: string | null | undefined
  constructor(status: number | undefined, headers: Record<string, string> = {}, error: APIError["error"] = {}) {
    super(`${status}`)
    this.status = status
    this.headers = status === undefined ? undefined : new Headers(headers)
    this.error = error
    this.code = error.code
  }
}
class APIConnectionError extends APIError {
  override readonly name = "APIConnectionError"
}

const request = HttpClientRequest.get("https://model.example/v1/responses")
const http = (status: number, headers: Record<string, string> = {}) => {
  const response = HttpClientResponse.fromWeb(request, new Response("", { status, headers }))
  return new HttpClientError.HttpClientError({ reason: new HttpClientError.StatusCodeError({ request, response }) })
}
const decodeFailure = new HttpClientError.HttpClientError({
  reason: new HttpClientError.DecodeError({
    request,
    response: HttpClientResponse.fromWeb(request, new Response("{", { status: 200 }))
  })
})
const transport = (cause?: unknown) =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })

const ai = (reason: AiError.AiErrorReason) => AiError.make({ module: "Model", method: "generateText", reason })

const fetchFailed = (code: string) =>
  new TypeError("fetch failed", { cause: Object.assign(new Error(`connect ${code}`), { code }) })

const zero = Duration.zero
const limited = { quota: "q", subject: {}, limit: 1, remaining: 0, retryAfter: zero }

const worthwhile: ReadonlyArray<readonly [string, unknown]> = [
  ["a marked error", Retry.retryable(new Error("loading"))],
  ["a marked error, whatever else it says", Retry.retryable(new APIError(400))],
  ["our RateLimitExceeded", new RateLimitExceeded(limited)],
  ["our BudgetThrottled", new BudgetThrottled({ until: DateTime.makeUnsafe(0), retryAfter: zero })],
  ["isRetryable: true", { isRetryable: true, status: 400 }],
  ["x-should-retry: true", new APIError(400, { "x-should-retry": "true" })],
  [
    "Vercel's x-should-retry: true",
    { isRetryable: false, statusCode: 400, responseHeaders: { "x-should-retry": "true" } }
  ],
  ["status 408", new APIError(408)],
  ["status 409", new APIError(409)],
  ["status 429", new APIError(429)],
  ["status 429 of a rate limit", new APIError(429, {}, { type: "rate_limit_error", code: "rate_limit_exceeded" })],
  ["status 500", { status: 500 }],
  ["status 529", { statusCode: 529 }],
  ["a response's status", { response: { status: 503 } }],
  ["a cause's status", new Error("wrapped", { cause: new APIError(503) })],
  ["Effect's TimeoutError", new Cause.TimeoutError()],
  ["a vendor's connection error", new APIConnectionError(undefined)],
  ["an SDK's connection error", new OpenAI.APIConnectionError({ cause: new Error("socket hang up") })],
  ["an SDK's timeout", new OpenAI.APIConnectionTimeoutError()],
  ["another SDK's timeout", new Anthropic.APIConnectionTimeoutError()],
  ["an error of a class that extends an SDK's", new (class Mine extends OpenAI.APIConnectionError {})({})],
  ["a signal's timeout", new DOMException("too late", "TimeoutError")],
  [
    "a timeout that the transport ended by an abort",
    new OpenAI.APIConnectionError({ cause: new DOMException("aborted", "AbortError") })
  ],
  ["fetch: ECONNRESET", fetchFailed("ECONNRESET")],
  ["fetch: ECONNREFUSED", fetchFailed("ECONNREFUSED")],
  ["fetch: UND_ERR_SOCKET", fetchFailed("UND_ERR_SOCKET")],
  ["HttpClientError 503", http(503)],
  ["HttpClientError of the transport", transport()],
  ["AiError RateLimitError", ai(new AiError.RateLimitError({}))],
  ["AiError InternalProviderError", ai(new AiError.InternalProviderError({ description: "500" }))],
  ["AiError NetworkError", ai(new AiError.NetworkError({ reason: "TransportError", method: "POST", url: "u" }))]
]

const hopeless: ReadonlyArray<readonly [string, unknown]> = [
  ["nothing", undefined],
  ["a text", "429"],
  ["an error that says nothing", new Error("429")],
  ["our BudgetExceeded", new BudgetExceeded({ ...limited, unit: "tokens", used: 1, held: 0, requested: 1 })],
  ["our RequestTooLarge", new RequestTooLarge({ quota: "q", unit: "tokens", limit: 1, requested: 2 })],
  ["our InvalidUsage", new InvalidUsage({ field: "tokens", bound: "a count", value: -1 })],
  ["our StoreError", new StoreError({ operation: "reserve", outcome: "unknown", cause: fetchFailed("ECONNRESET") })],
  ["our RetryExhausted", new RetryExhausted({ attempts: 4, elapsed: zero, cause: new APIError(503) })],
  [
    "our BudgetExceeded as the cause of another error",
    new Error("status 429", {
      cause: new BudgetExceeded({ ...limited, unit: "tokens", used: 1, held: 0, requested: 1 })
    })
  ],
  [
    "our RequestTooLarge as the cause of a status that is",
    new HttpClientError.HttpClientError({
      reason: new HttpClientError.StatusCodeError({
        request,
        response: HttpClientResponse.fromWeb(request, new Response("", { status: 429 })),
        cause: new RequestTooLarge({ quota: "q", unit: "tokens", limit: 1, requested: 2 })
      })
    })
  ],
  ["isRetryable: false", { isRetryable: false, status: 503 }],
  ["x-should-retry: false", new APIError(503, { "x-should-retry": "false" })],
  ["Vercel's x-should-retry: false", { isRetryable: true, responseHeaders: { "x-should-retry": "false" } }],
  [
    "isRetryable: false of who wrapped it",
    { isRetryable: false, cause: new APIError(503, { "x-should-retry": "true" }) }
  ],
  ["Vercel's insufficient_quota", { isRetryable: true, data: { error: { code: "insufficient_quota" } } }],
  ["status 400", new APIError(400)],
  ["status 401", new APIError(401)],
  ["status 404", http(404)],
  ["status 200 that cannot be decoded", decodeFailure],
  ["429 insufficient_quota", new APIError(429, {}, { code: "insufficient_quota" })],
  ["429 insufficient_quota by type", new APIError(429, {}, { type: "insufficient_quota" })],
  ["429 budget_exceeded", new APIError(429, {}, { type: "budget_exceeded" })],
  ["429 billing_hard_limit_reached", new APIError(429, {}, { code: "billing_hard_limit_reached" })],
  ["429 billing_not_active", { status: 429, error: { code: "billing_not_active" } }],
  ["429 of a kind of billing trouble nobody knows yet", { status: 429, error: { code: "billing_suspended" } }],
  ["an abort", new DOMException("aborted", "AbortError")],
  ["an SDK's abort", new OpenAI.APIUserAbortError()],
  ["another SDK's abort", new Anthropic.APIUserAbortError()],
  ["AiError QuotaExhaustedError", ai(new AiError.QuotaExhaustedError({}))],
  ["AiError AuthenticationError", ai(new AiError.AuthenticationError({ kind: "InvalidKey" }))],
  ["AiError ContentPolicyError", ai(new AiError.ContentPolicyError({ description: "no" }))],
  ["AiError InvalidRequestError", ai(new AiError.InvalidRequestError({}))],
  ["AiError InvalidResponseError", ai(new AiError.InvalidResponseError({ description: "json" }))],
  ["AiError InvalidOutputError, which was billed", ai(new AiError.InvalidOutputError({ description: "json" }))],
  [
    "AiError StructuredOutputError, which was billed",
    ai(new AiError.StructuredOutputError({ description: "json", responseText: "{" }))
  ],
  [
    "AiError ToolNotFoundError, which was billed",
    ai(new AiError.ToolNotFoundError({ toolName: "t", availableTools: [] }))
  ]
]

describe("isRetryable", () => {
  it.each(worthwhile)("%s is worth a retry", (_, error) => assert.isTrue(Retry.isRetryable(error)))
  it.each(hopeless)("%s is not", (_, error) => assert.isFalse(Retry.isRetryable(error)))

  it("the mark leaves the error as it is", () => {
    const error = new APIError(400)
    const marked: APIError & Retry.Retryable = Retry.retryable(error)
    assert.strictEqual(marked, error)
    assert.deepStrictEqual(Object.keys(marked), Object.keys(new APIError(400)))
  })

  it("an error that holds itself is read to its end", () => {
    const error: { cause?: unknown } = {}
    error.cause = { response: error, reason: { cause: error } }
    assert.isFalse(Retry.isRetryable(error))
  })
})

const start = "2026-11-24T10:00:00Z"
const at = (millis: number) => new Date(Date.parse(start) + millis).toUTCString()

/** How long the first retry of a call is put off. With a draw of 0 the backoff is nothing, and what is left is the floor. */
const waitOf = (error: unknown, options: Retry.Options = {}) =>
  VirtualClock.run(
    Effect.gen(function* () {
      let attempts = 0
      const begin = yield* Clock.currentTimeMillis
      const call = Effect.suspend(() => (attempts++ === 0 ? Effect.fail(error) : Effect.void))
      const how = { initialBackoff: "1 millis", maxRetryAfter: "1 hour", while: () => true, ...options } as const
      const exit = yield* Effect.exit(Effect.retry(call, Retry.schedule(how)))
      return exit._tag === "Success" ? (yield* Clock.currentTimeMillis) - begin : "gave up"
    }),
    { start }
  )

const headers = (headers: Record<string, string>) => new APIError(429, headers)

describe("Retry-After", () => {
  it.effect.each<readonly [string, unknown, number]>([
    ["in seconds", headers({ "retry-after": "107" }), 107_000],
    ["in fractions of a second", headers({ "retry-after": "0.25" }), 250],
    ["as an HTTP date", headers({ "retry-after": at(90_000) }), 90_000],
    ["in milliseconds", headers({ "retry-after-ms": "1500" }), 1500],
    ["in milliseconds before seconds", headers({ "retry-after-ms": "1500", "retry-after": "2" }), 1500],
    ["in an HttpClientError", http(429, { "Retry-After": "12" }), 12_000],
    ["in an HttpClientError, as a date", http(503, { "Retry-After": at(5000) }), 5000],
    ["in headers as a record", { response: { status: 429, headers: { "Retry-After": "3" } } }, 3000],
    ["as a Duration", { retryAfter: Duration.seconds(11) }, 11_000],
    ["as a text like a Duration", { retryAfter: "2 minutes" }, 120_000],
    ["as a number of seconds", { retryAfter: 1.5 }, 1500],
    ["in an AiError", ai(new AiError.RateLimitError({ retryAfter: Duration.seconds(21) })), 21_000],
    [
      "in the reply behind an AiError",
      ai(
        new AiError.RateLimitError({
          http: { response: { status: 429, headers: { "retry-after": at(30_000) } } }
        })
      ),
      30_000
    ]
  ])("%s is waited for", ([_, error, expected]) =>
    Effect.map(waitOf(error), (wait) => assert.strictEqual(wait, expected))
  )

  it.effect.each<readonly [string, unknown]>([
    ["in the past", headers({ "retry-after": at(-60_000) })],
    ["negative", headers({ "retry-after": "-5" })],
    ["negative milliseconds", headers({ "retry-after-ms": "-5" })],
    ["empty", headers({ "retry-after": "" })],
    ["no number and no date", headers({ "retry-after": "soon" })],
    ["almost a date", headers({ "retry-after": "some day of 2099" })],
    ["an odd number", headers({ "retry-after": "1e3" })],
    ["NaN", { retryAfter: Number.NaN }],
    ["of an odd type", { retryAfter: { seconds: 3 } }]
  ])("%s asks for nothing", ([_, error]) =>
    Effect.map(waitOf(error, { jitter: "none" }), (wait) => assert.strictEqual(wait, 1))
  )

  it.effect("that cannot be used leaves the other one", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* waitOf(headers({ "retry-after-ms": "many", "retry-after": "7" })), 7000)
      assert.strictEqual(yield* waitOf(headers({ "retry-after-ms": "-1", "retry-after": "7" })), 7000)
      assert.strictEqual(yield* waitOf({ retryAfter: -1, headers: { "retry-after": "7" } }), 7000)
    })
  )

  it.effect("is a floor: a longer backoff stays", () =>
    Effect.gen(function* () {
      const options = { initialBackoff: "10 seconds", jitter: "none" } as const
      assert.strictEqual(yield* waitOf(headers({ "retry-after": "3" }), options), 10_000)
      assert.strictEqual(yield* waitOf(headers({ "retry-after": "13" }), options), 13_000)
    })
  )

  it.effect("is never undercut by jitter, and may pass the cap of the backoff", () =>
    Effect.gen(function* () {
      for (const jitter of ["full", "equal", "decorrelated", 1] as const) {
        const wait = yield* waitOf(headers({ "retry-after": "45" }), { jitter, maxBackoff: "30 seconds" })
        assert.strictEqual(wait, 45_000)
      }
    })
  )

  it.effect("that is longer than maxRetryAfter ends the retries with the error that asks for it", () =>
    Effect.gen(function* () {
      const error = headers({ "retry-after": "61" })
      assert.strictEqual(yield* waitOf(error, { maxRetryAfter: "61 seconds" }), 61_000)
      assert.strictEqual(yield* waitOf(error, { maxRetryAfter: "60 seconds" }), "gave up")
      const retry = yield* Retry.make()
      assert.strictEqual(yield* Effect.flip(retry.retry(Effect.fail(error))), error)
      const exhausted = yield* Effect.flip(retry.run(Effect.fail(error)))
      assert(exhausted instanceof RetryExhausted)
      assert.strictEqual(exhausted.attempts, 1)
      assert.strictEqual(exhausted.cause.headers?.get("retry-after"), "61")
    })
  )

  it.effect("can be read in one's own way, which may say nothing", () =>
    Effect.gen(function* () {
      const retryAfter = (error: unknown) => (error === "late" ? "9 seconds" : undefined)
      assert.strictEqual(yield* waitOf("late", { retryAfter }), 9000)
      assert.strictEqual(yield* waitOf(headers({ "retry-after": "3" }), { retryAfter, jitter: "none" }), 1)
      assert.strictEqual(yield* waitOf("x", { retryAfter: () => Number.NaN, jitter: "none" }), 1)
      assert.strictEqual(yield* waitOf("x", { retryAfter: () => -5, jitter: "none" }), 1)
    })
  )
})
