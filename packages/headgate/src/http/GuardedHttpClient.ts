/**
 * An HTTP client whose calls of models are guarded, whoever makes them: it knows the requests of OpenAI and those who
 * speak like it (chat completions, responses, embeddings), of Anthropic (messages) and of Gemini (`generateContent`).
 *
 * **When to use**
 *
 * Use it where calls go through Effect's `HttpClient`: by hand, or by a generated API client or an AI provider that takes
 * one. Model, estimate and usage are read from the requests and replies.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { modalitiesWhere } from "../internal/model/modelCall.ts"
import { oneOf } from "../internal/options/plans.ts"
import * as ModelGuard from "../ModelGuard.ts"
import * as ModelUsage from "../ModelUsage.ts"
import type { Subject } from "../Subject.ts"
import { type Medium, withoutMedia } from "./internal/media.ts"
import { type Recognized, recognize } from "./internal/recognized.ts"
import { type Refusal, toHttpError } from "./internal/refusals.ts"
import { failWithStatus, read } from "./internal/replies.ts"
import { elementsOf, reading, replyOf } from "./internal/streamed.ts"

export type { Medium } from "./internal/media.ts"

/**
 * *Never*: the request is of no API that is known, and the client was told to let no others through.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnrecognizedRequest extends Schema.TaggedError<UnrecognizedRequest>("headgate/http/UnrecognizedRequest")(
  "UnrecognizedRequest",
  { method: Schema.String, url: Schema.String }
) {
  override get message(): string {
    return `${this.method} ${this.url} is of no API that is known`
  }
}

/**
 * How requests are guarded.
 *
 * - `unrecognized`: what becomes of requests that are of no API that is known, among them those whose body is a stream:
 *   they go through unguarded (`"pass"`, the default), or fail with `UnrecognizedRequest` (`"fail"`).
 * - `subject`: whose quotas the calls draw on. Its `model` is filled in.
 * - `provider`: whose price is meant, see `Price`. Default: told by the host where it is a vendor's.
 * - `onUnknown`: what an attempt counts as that got no answer, see `Guard.Call`.
 * - `mediaTokens`: how many tokens an image, a recording or a file is estimated at. Default: 4096 for an image, and for
 *   the others a token for each byte, or 32,768 where there is only a link.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly unrecognized?: "pass" | "fail" | undefined
  readonly subject?: Subject | ((request: HttpClientRequest.HttpClientRequest) => Subject) | undefined
  readonly provider?: string | undefined
  readonly onUnknown?: "charge" | "release" | undefined
  readonly mediaTokens?: ((medium: Medium) => number) | undefined
}

type Response = HttpClientResponse.HttpClientResponse

/**
 * What a guarded client can fail with beside its own errors.
 *
 * @category errors
 * @since 0.1.0
 */
export type GuardedError = HttpClientError.HttpClientError | ModelGuard.ModelGuardError | UnrecognizedRequest

const mediumTokens = ({ bytes, kind }: Medium): number => (kind === "image" ? 4096 : bytes === 0 ? 32_768 : bytes)

/** Makes what stands between a request and its being sent. */
const guarding = (options: Options = {}) => {
  const { mediaTokens = mediumTokens, onUnknown, provider, subject = {} } = options
  const unrecognized = oneOf("GuardedHttpClient: unrecognized", ["pass", "fail"], options.unrecognized ?? "pass")

  return Effect.gen(function* () {
    const guard = yield* ModelGuard.ModelGuard

    const callOf = (request: HttpClientRequest.HttpClientRequest, recognized: Recognized) => {
      const { media, text } = withoutMedia(recognized.body)
      const { maxOutputTokens, model, outputs } = recognized
      const kinds = [...recognized.modalities, ...media.map(({ kind }) => kind)]
      return {
        model,
        provider: provider ?? recognized.provider,
        input: [text, ...media.map((medium) => ({ tokens: mediaTokens(medium) }))],
        maxOutputTokens,
        outputs,
        modalities: modalitiesWhere((modality) => kinds.includes(modality)),
        subject: { model, ...(typeof subject === "function" ? subject(request) : subject) },
        onUnknown
      }
    }

    return <E, R>(
      execute: Effect.Effect<Response, E, R>,
      request: HttpClientRequest.HttpClientRequest
    ): Effect.Effect<Response, E | GuardedError, R> => {
      const recognized = recognize(request)
      if (recognized === undefined) {
        const { method, url } = request
        return unrecognized === "pass" ? execute : Effect.fail(new UnrecognizedRequest({ method, url }))
      }
      const call = callOf(request, recognized)
      /** The replies that are given to the caller as they came, by the errors that stand for them meanwhile. */
      const refused = new Map<unknown, Response>()
      const attempt = execute.pipe(
        Effect.catch((error): Effect.Effect<never, E | HttpClientError.HttpClientError> =>
          isStatusCodeError(error)
            ? failWithStatus(error.reason.response, error.reason.description)
            : Effect.fail(error)
        ),
        Effect.flatMap((response) =>
          response.status < 400
            ? Effect.succeed(response)
            : Effect.tapError(failWithStatus(response, undefined), (error) =>
                Effect.sync(() => refused.set(error, error.response ?? response))
              )
        )
      )
      // Of a reply that is no stream, and of errors, the guard does so itself.
      const heard = (response: Response) => guard.heard(response, call.subject)
      const guarded: Effect.Effect<Response, E | GuardedError, R> = recognized.stream
        ? replyOf(guard.stream(elementsOf(Effect.tap(attempt, heard), recognized.api), { ...call, ...reading }))
        : Effect.map(
            guard.run(Effect.flatMap(attempt, read), { ...call, usage: ({ json }) => ModelUsage.fromReply(json) }),
            ({ response }) => response
          )
      return Effect.catch(guarded, (error) => {
        const response = refused.get(error)
        return response === undefined ? Effect.fail(error) : Effect.succeed(response)
      })
    }
  })
}

interface StatusError extends HttpClientError.HttpClientError {
  readonly reason: HttpClientError.StatusCodeError
}

const isStatusCodeError = (error: unknown): error is StatusError =>
  HttpClientError.isHttpClientError(error) && error.reason._tag === "StatusCodeError"

const isRefusal = (error: GuardedError): error is Refusal => !HttpClientError.isHttpClientError(error)

/**
 * Guards the calls of models that go through a client.
 *
 * **Details**
 *
 * - A reply with a status from 400 on is a failed attempt. It is retried as the retry policy says: 408, 409, 429 and from
 *   500 on, not before the reply's `retry-after` has passed, and not for a permanent 429 such as `insufficient_quota`.
 *   The last reply is given to the caller as it came, unless the client itself makes an error of it (`filterStatus`).
 * - What replies say of the provider's limits paces the rate limiter.
 * - The body of a reply that does not stream is read at once, and can be read any number of times.
 * - The body of a stream passes through byte for byte. More is held for it as it comes, and it is settled on the usage
 *   that its last part tells; one that is cut before that, on what was delivered. Where no more can be held, it ends with
 *   an error whose cause is the refusal.
 *
 * **Gotchas**
 *
 * - OpenAI tells the usage of a streamed chat completion only if the request has `stream_options: { include_usage: true }`.
 *   Without it the call is settled on the estimate of its input and what was delivered.
 * - Retries belong in one place: leave out `HttpClient.retryTransient`, and set the retries of what is built on the client
 *   to none.
 * - Guard a call once: here, or with the layers of `headgate/ai` above. Both would hold it and charge it.
 * - What the provider keeps and the request only names is not seen, and counts nothing in the estimate: a file by its id,
 *   `previous_response_id`, `cachedContent`.
 *
 * **Example** (A guarded client)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
 * import { Budget, ModelGuard, Money } from "headgate"
 * import { GuardedHttpClient } from "headgate/http"
 * import { LoopbackProvider } from "headgate/testing"
 *
 * const program = Effect.gen(function*() {
 *   const { url } = yield* LoopbackProvider.make({ script: () => ({ answer: "About 3,700 m." }) })
 *   const client = yield* GuardedHttpClient.make(yield* HttpClient.HttpClient, { subject: { user: "42" } })
 *   const response = yield* HttpClientRequest.post(`${url}/v1/responses`).pipe(
 *     HttpClientRequest.bodyJsonUnsafe({ model: "my-model", input: "How deep is the sea?", max_output_tokens: 100 }),
 *     client.execute
 *   )
 *   const { costUsedDay } = yield* Budget.Budget.use((budget) => budget.status())
 *   return [response.status, Money.format(costUsedDay)]
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide([
 *     FetchHttpClient.layer,
 *     ModelGuard.layerMemory({
 *       budget: { maxCostPerDay: "$5" },
 *       prices: { "my-model": { input: "$3/M", output: "$15/M" } }
 *     })
 *   ])
 * )
 *
 * await Effect.runPromise(program) // => [200, "$0.00006"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  (
    options?: Options
  ): <E, R>(
    client: HttpClient.HttpClient.With<E, R>
  ) => Effect.Effect<HttpClient.HttpClient.With<E | GuardedError, R>, never, ModelGuard.ModelGuard>
  <E, R>(
    client: HttpClient.HttpClient.With<E, R>,
    options?: Options
  ): Effect.Effect<HttpClient.HttpClient.With<E | GuardedError, R>, never, ModelGuard.ModelGuard>
} = dual(
  (args) => HttpClient.isHttpClient(args[0]),
  <E, R>(client: HttpClient.HttpClient.With<E, R>, options?: Options) =>
    Effect.map(guarding(options), (guarded) => HttpClient.transform(client, guarded))
)

/**
 * Guards the application's `HttpClient`, for whatever is built on it.
 *
 * **Details**
 *
 * An `HttpClient` can only fail with `HttpClientError`. A refusal becomes one, and is its `cause`:
 *
 * | refusal | reason |
 * | --- | --- |
 * | `BudgetExceeded`, `BudgetThrottled`, `RateLimitExceeded` | `StatusCodeError` 429, with `retry-after` if a later time will do |
 * | `RequestTooLarge` | `StatusCodeError` 413 |
 * | `UnpricedModel`, `InvalidUsage`, `StoreError`, `UnrecognizedRequest` | `EncodeError`: the request was not sent |
 *
 * **Gotchas**
 *
 * A retry policy above that looks at the status alone, as `HttpClient.retryTransient` does, asks again after such a 429.
 * Those of this library look at the cause, and do not.
 *
 * **Example** (The application's client)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
 * import { ModelGuard } from "headgate"
 * import { GuardedHttpClient } from "headgate/http"
 *
 * const Client = GuardedHttpClient.layer().pipe(
 *   Layer.provide([FetchHttpClient.layer, ModelGuard.layerMemory({ budget: { maxTokensPerRequest: 1000 } })])
 * )
 *
 * const program = HttpClientRequest.post("https://api.openai.com/v1/responses").pipe(
 *   HttpClientRequest.bodyJsonUnsafe({ model: "gpt-5-mini", input: "How deep is the sea?", max_output_tokens: 9000 }),
 *   HttpClient.execute,
 *   Effect.catchTag("HttpClientError", (error) => Effect.succeed(error.response?.status)),
 *   Effect.provide(Client)
 * )
 *
 * await Effect.runPromise(program) // => 413
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options?: Options
): Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | ModelGuard.ModelGuard> =>
  Layer.effect(HttpClient.HttpClient)(
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      const guarded = yield* guarding(options)
      return HttpClient.transform(client, (execute, request) =>
        Effect.mapError(guarded(execute, request), (error) => (isRefusal(error) ? toHttpError(request, error) : error))
      )
    })
  )
