import * as Duration from "effect/Duration"
import type { Unit } from "../../Quota.ts"
import { headersOf, retryAfterOf } from "./providerError.ts"
import { isOurs } from "./retryable.ts"
import { membersOf } from "./structuredFields.ts"
import { clockOf, decimalOf, resetText } from "./waits.ts"

/**
 * What a provider says is left of one of its limits.
 *
 * - `remaining`: what may still go in until it is full again, after `resetAfter`.
 * - `limit`: how much there is when it is full.
 * - `recovers`: whether what is missing comes back evenly until then, as in the buckets of OpenAI and Anthropic
 *   (`"gradually"`, for which `limit` must be known), or all at once (`"atReset"`, the default).
 *
 * @category models
 * @since 0.1.0
 */
export interface FeedbackLimit {
  readonly unit: Exclude<Unit, "cost" | "concurrency">
  readonly remaining: number
  readonly limit?: number | undefined
  readonly resetAfter: Duration.Input
  readonly recovers?: "gradually" | "atReset" | undefined
}

/**
 * What a provider says of its limits in a reply: what is left of each, and how long to stay away altogether.
 *
 * **Details**
 *
 * A rate limiter that is told of it lets no more through than that, beside its own limits, in this process:
 *
 * - Of what remains, all is taken off that was let through since the call that this answers, which the provider may not
 *   have counted yet. Where that call is not known, all that is under way.
 * - What comes back gradually does so at the rate that is certain, and all of it is there at the reset. What comes back at
 *   a reset is not used before; after it, a whole `limit` may be, until there is news.
 * - Later word takes the place of earlier word on the same unit, whether it is more or less. A reply that comes late, after
 *   one to a later call, is no news.
 * - `retryAfter` holds everything back until then. It is not shortened but by a later `retryAfter` of zero. One that is
 *   longer than `maxProviderWait` is not believed for longer than that: then one call asks again, while the others wait for
 *   it to end, or for half a minute. If it was told nothing new, all may go.
 *
 * **Example** (After a reply)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { RateLimiter } from "headgate"
 *
 * const program = Effect.gen(function*() {
 *   const limiter = yield* RateLimiter.RateLimiter
 *   const feedback = { limits: [{ unit: "requests", remaining: 0, resetAfter: "2 seconds" }] } as const
 *   yield* limiter.feedback(feedback, { model: "gpt-5.6" })
 *   return yield* limiter.acquire({}, { model: "gpt-5.6" })
 * }).pipe(
 *   Effect.catchTag("RateLimitExceeded", (error) => Effect.succeed(error.quota)),
 *   Effect.provide(RateLimiter.layerMemory({ onExceeded: "fail" }))
 * )
 *
 * await Effect.runPromise(program) // => "provider"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Feedback {
  readonly limits?: ReadonlyArray<FeedbackLimit> | undefined
  readonly retryAfter?: Duration.Input | undefined
}

/**
 * What a reply, or an error that carries one, says of the provider's limits: a `Response`, Effect's responses and errors,
 * vendors' SDK errors, `{ headers }`, the body of Gemini's errors. `undefined` when it says nothing.
 *
 * It reads `retry-after-ms`, `retry-after` and Gemini's `RetryInfo`; `x-ratelimit-*` (OpenAI and those that follow it),
 * `anthropic-ratelimit-*`, `ratelimit-remaining` and `ratelimit-reset` of old; `RateLimit` and `RateLimit-Policy` of the
 * IETF draft. Dates are by the clock of the reply's `date`. What cannot be read, or is past, asks for nothing: least of all
 * for a retry at once.
 */
export const feedbackOf = (reply: unknown, now: number): Feedback | undefined => {
  if (isOurs(reply)) return undefined
  const retryAfter = retryAfterOf(reply, now)
  const limits: Array<FeedbackLimit> = []
  for (const headers of headersOf(reply)) {
    limits.push(...prefixed(headers, clockOf(headers, now)), ...structured(headers))
    if (limits.length > 0) break
  }
  if (retryAfter === undefined && limits.length === 0) return undefined
  return {
    ...(limits.length === 0 ? undefined : { limits }),
    ...(retryAfter === undefined ? undefined : { retryAfter: span(retryAfter) })
  }
}

/** Whole milliseconds, rounded up but for the noise of fractions. */
const span = (millis: number): Duration.Duration => Duration.millis(Math.ceil(millis - 1e-6))

const unitOf = (name: string): FeedbackLimit["unit"] | undefined => {
  if (/concurren/.test(name)) return undefined
  if (/request/.test(name)) return "requests"
  if (!/token/.test(name) || /cache/.test(name)) return undefined
  return /input|prompt/.test(name)
    ? "inputTokens"
    : /output|generated|completion/.test(name)
      ? "outputTokens"
      : "tokens"
}

const wholeOf = (value: string | number | undefined): number | undefined =>
  typeof value === "number" && value >= 0 ? Math.floor(value) : undefined

const countOf = (text: string | undefined): number | undefined => wholeOf(text && decimalOf(text))

const millisOf = (seconds: string | number | undefined): number | undefined =>
  typeof seconds === "number" && seconds >= 0 ? seconds * 1000 : undefined

/** A limit of zero is how some say that there is none. */
const limitOf = (
  unit: FeedbackLimit["unit"] | undefined,
  remaining: number | undefined,
  limit: number | undefined,
  resetMillis: number | undefined,
  isBucket = false
): ReadonlyArray<FeedbackLimit> => {
  if (unit === undefined || remaining === undefined || resetMillis === undefined || limit === 0) return []
  const resetAfter = span(resetMillis)
  if (limit === undefined) return [{ unit, remaining, resetAfter }]
  return [{ unit, remaining, limit, resetAfter, ...(isBucket ? { recovers: "gradually" } : undefined) }]
}

/** How OpenAI, Anthropic and those who follow them name what is a bucket; a window says which, or has no name. */
const isBucketName = (name: string): boolean => /^(\w+-)?(requests|tokens)$/.test(name)

const named = /^((?:x-|anthropic-)?ratelimit-)(?:(limit|remaining|reset)(?:-(.+))?|(.+)-(limit|remaining|reset))$/

/** `x-ratelimit-remaining-tokens`, `anthropic-ratelimit-tokens-remaining`, `ratelimit-remaining`, and their like. */
const prefixed = (headers: ReadonlyMap<string, string>, now: number): ReadonlyArray<FeedbackLimit> => {
  const found = new Map<string, { name: string; limit?: string; remaining?: string; reset?: string }>()
  for (const [header, value] of headers) {
    const [, prefix = "", before, after, whole, behind] = named.exec(header) ?? []
    const part = (before ?? behind) as "limit" | "remaining" | "reset" | undefined
    if (part === undefined) continue
    const name = after ?? whole ?? ""
    const key = prefix + name
    const parts = found.get(key) ?? { name }
    parts[part] = value
    found.set(key, parts)
  }
  return [...found.values()].flatMap(({ limit, name, remaining, reset }) =>
    limitOf(
      name === "" ? "requests" : unitOf(name),
      countOf(remaining),
      // An early draft has the policies behind the limit: `100, 100;w=60`.
      countOf(limit?.replace(/,.*$/, "")),
      reset === undefined ? undefined : resetText(reset, now),
      isBucketName(name)
    )
  )
}

/** `RateLimit: "minute";r=49;t=30` with `RateLimit-Policy: "minute";q=50;w=60`, or `limit=50, remaining=49, reset=30`. */
const structured = (headers: ReadonlyMap<string, string>): ReadonlyArray<FeedbackLimit> => {
  const members = membersOf(headers.get("ratelimit") ?? "") ?? []
  const policies = membersOf(headers.get("ratelimit-policy") ?? "") ?? []
  const keyed = (key: string) => members.find((member) => member.key === key)?.value
  return [
    ...limitOf("requests", wholeOf(keyed("remaining")), wholeOf(keyed("limit")), millisOf(keyed("reset"))),
    ...members.flatMap(({ key, parameters, value }) => {
      if (key !== undefined) return []
      const policy = policies.find((policy) => policy.key === undefined && policy.value === value)?.parameters
      return limitOf(
        unitOf(String(policy?.get("qu") ?? "requests")),
        wholeOf(parameters.get("r")),
        wholeOf(policy?.get("q")),
        millisOf(parameters.get("t")) ?? millisOf(policy?.get("w"))
      )
    })
  ]
}
