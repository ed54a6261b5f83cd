import * as Duration from "effect/Duration"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import type { ModelGuardError } from "../../ModelGuard.ts"
import type { UnrecognizedRequest } from "../GuardedHttpClient.ts"

/** How this library refuses a request. */
export type Refusal = ModelGuardError | UnrecognizedRequest

const statuses: Readonly<Record<Refusal["_tag"], number | undefined>> = {
  BudgetExceeded: 429,
  BudgetThrottled: 429,
  RateLimitExceeded: 429,
  RequestTooLarge: 413,
  InvalidUsage: undefined,
  UnpricedModel: undefined,
  UnrecognizedRequest: undefined,
  StoreError: undefined
}

/** The reply that a server would have given for it. */
const replyOf = (request: HttpClientRequest.HttpClientRequest, status: number, refusal: Refusal) => {
  const wait = "retryAfter" in refusal ? Duration.toMillis(refusal.retryAfter) : Infinity
  const body = JSON.stringify({ error: { type: refusal._tag, message: refusal.message } })
  const headers = {
    "content-type": "application/json",
    ...(Number.isFinite(wait) ? { "retry-after": String(Math.ceil(wait / 1000)) } : undefined)
  }
  return HttpClientResponse.fromWeb(request, new Response(body, { status, headers }))
}

/** A refusal in the words of an HTTP client, with the refusal as its cause. */
export const toHttpError = (
  request: HttpClientRequest.HttpClientRequest,
  refusal: Refusal
): HttpClientError.HttpClientError => {
  const status = statuses[refusal._tag]
  const description = refusal.message
  const reason =
    status === undefined
      ? new HttpClientError.EncodeError({ request, cause: refusal, description })
      : new HttpClientError.StatusCodeError({
          request,
          response: replyOf(request, status, refusal),
          cause: refusal,
          description
        })
  return new HttpClientError.HttpClientError({ reason })
}
