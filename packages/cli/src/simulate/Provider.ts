/**
 * The provider's side of the replay: it takes its time, keeps its own rate limits and fails now and then. It stands for
 * the peer that the policy is up against; nothing of the policy is in it.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import { ScriptedModel } from "headgate/testing"
import { cost, type Price } from "./Price.ts"
import type { TraceRequest } from "./Trace.ts"
import { uniform } from "./uniform.ts"

export interface Options {
  /** Until the first token. */
  readonly firstToken: Duration.Duration
  /** For each token of output, on top. */
  readonly perOutputToken: Duration.Duration
  /** A bucket of so many requests, refilled every moment. */
  readonly requestsPerMinute: number
  /** A bucket of so many input and output tokens, refilled every moment. */
  readonly tokensPerMinute: number
  /** The share of attempts that end with a status of 500 and above. */
  readonly errorShare: number
}

export const defaults: Options = {
  firstToken: Duration.millis(400),
  perOutputToken: Duration.millis(15),
  requestsPerMinute: 500,
  tokensPerMinute: 1_000_000,
  errorShare: 0.01
}

/** What a client library throws at a bad status: `Retry` reads `status` and `headers`. */
export class ProviderError extends Data.TaggedError("ProviderError")<{
  readonly status: number
  readonly headers: { readonly [name: string]: string }
}> {}

export type Provider = ScriptedModel.ScriptedModel<TraceRequest, "answered", ProviderError>

const statuses = [500, 502, 503, 529] as const
const refusalTime = Duration.millis(50)
const draw = { fails: 11, status: 12 } as const

export const make = (options: Options, price: Price, seed: number): Effect.Effect<Provider> => {
  const requests = bucket(options.requestsPerMinute)
  const tokens = bucket(options.tokensPerMinute)
  return ScriptedModel.make(({ request, attempt, now }) => {
    const needed = request.inputTokens + request.outputTokens
    const wait = Math.max(requests.missing(1, now), tokens.missing(needed, now))
    if (wait > 0) {
      const headers = { "retry-after": String(Math.ceil(wait / 1000)) }
      return { fail: new ProviderError({ status: 429, headers }), after: refusalTime }
    }
    requests.take(1)
    tokens.take(needed)
    if (uniform(seed, request.index, attempt, draw.fails) < options.errorShare) {
      const status = statuses[Math.floor(uniform(seed, request.index, attempt, draw.status) * statuses.length)] ?? 500
      return { fail: new ProviderError({ status, headers: {} }), after: options.firstToken }
    }
    const { cachedInputTokens, inputTokens, outputTokens } = request
    return {
      answer: "answered",
      after: Duration.sum(options.firstToken, Duration.times(options.perOutputToken, outputTokens)),
      usage: { inputTokens, outputTokens, cachedInputTokens, cost: cost(price, request.model, request) }
    }
  })
}

interface Bucket {
  /** Milliseconds until `amount` is there, 0 if it is. What is more than the bucket holds waits for a full one. */
  readonly missing: (amount: number, now: number) => number
  readonly take: (amount: number) => void
}

const bucket = (perMinute: number): Bucket => {
  let level = perMinute
  let updated = -Infinity
  return {
    missing: (amount, now) => {
      level = Math.min(perMinute, level + ((now - updated) / 60_000) * perMinute)
      updated = now
      return Math.max(0, ((Math.min(amount, perMinute) - level) / perMinute) * 60_000)
    },
    take: (amount) => {
      level -= amount
    }
  }
}
