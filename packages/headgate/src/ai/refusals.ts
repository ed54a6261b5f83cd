import * as AiError from "effect/ai/AiError"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import {
  BudgetExceeded,
  BudgetThrottled,
  InvalidUsage,
  RateLimitExceeded,
  RequestTooLarge,
  StoreError,
  UnpricedModel
} from "../Errors.ts"
import type { ModelGuardError } from "../ModelGuard.ts"

/** Our own errors as JSON, which the metadata of an `AiError` can carry, to another process too. */
const Refusal = Schema.toCodecJson(
  Schema.Union([
    BudgetExceeded,
    BudgetThrottled,
    RateLimitExceeded,
    RequestTooLarge,
    InvalidUsage,
    StoreError,
    UnpricedModel
  ])
)

const encode = Schema.encodeUnknownOption(Refusal)
const decode = Schema.decodeUnknownOption(Refusal)

/** Where a reason keeps it. */
const key = "headgate"

/** Says a refusal in the words of `effect/ai`. */
export const toAiError = (
  module: string,
  method: string,
  refusal: ModelGuardError
): Effect.Effect<never, AiError.AiError> =>
  Effect.flatMap(DateTime.now, (now) => Effect.fail(AiError.make({ module, method, reason: reasonOf(refusal, now) })))

/** Says the refusals of a guarded call in the words of `effect/ai`. */
export const refused =
  (module: string, method: string) =>
  <A, R>(self: Effect.Effect<A, AiError.AiError | ModelGuardError, R>): Effect.Effect<A, AiError.AiError, R> =>
    Effect.catchIf(
      self,
      (error): error is ModelGuardError => !AiError.isAiError(error),
      (refusal) => toAiError(module, method, refusal)
    )

const reasonOf = (refusal: ModelGuardError, now: DateTime.Utc): AiError.AiErrorReason => {
  const description = refusal.message
  const metadata = Option.match(encode(refusal), {
    onNone: () => ({}),
    onSome: (encoded): AiError.ProviderMetadata => ({ [key]: encoded as Schema.MutableJson })
  })
  switch (refusal._tag) {
    case "RateLimitExceeded": {
      const { retryAfter } = refusal
      return new AiError.RateLimitError(Duration.isFinite(retryAfter) ? { metadata, retryAfter } : { metadata })
    }
    case "BudgetExceeded":
    case "BudgetThrottled": {
      const { retryAfter } = refusal
      return new AiError.QuotaExhaustedError(
        Duration.isFinite(retryAfter) ? { metadata, resetAt: DateTime.addDuration(now, retryAfter) } : { metadata }
      )
    }
    case "RequestTooLarge":
    case "UnpricedModel":
      return new AiError.QuotaExhaustedError({ metadata })
    case "InvalidUsage":
      return new AiError.InvalidRequestError({
        parameter: refusal.field,
        constraint: `must be ${refusal.bound}`,
        description,
        metadata
      })
    case "StoreError":
      return new AiError.UnknownError({ description, metadata })
  }
}

/**
 * The refusal that an error carries, if headgate refused the call. Errors of providers carry none.
 *
 * **Example** (Telling whose quota it was)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { AiError, LanguageModel } from "effect/ai"
 * import { GuardedLanguageModel } from "headgate/ai"
 *
 * const ask = LanguageModel.generateText({ prompt: "How deep is the sea?" }).pipe(
 *   Effect.map((reply) => reply.text),
 *   Effect.catchReason("AiError", "QuotaExhaustedError", (_, error) => {
 *     const refusal = GuardedLanguageModel.refusalOf(error)
 *     return refusal === undefined ? Effect.fail(error) : Effect.succeed(`No more today: ${refusal.message}`)
 *   })
 * )
 *
 * GuardedLanguageModel.refusalOf(new Error("offline")) // => undefined
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export const refusalOf = (error: unknown): ModelGuardError | undefined => {
  const reason = AiError.isAiError(error) ? error.reason : error
  if (!AiError.isAiErrorReason(reason) || !("metadata" in reason)) return undefined
  return Option.getOrUndefined(decode(reason.metadata[key]))
}
