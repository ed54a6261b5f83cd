/**
 * What a call takes, or may take: requests, tokens and cost. An estimate and an actual are both a `Usage`.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Errors from "./Errors.ts"
import { checkUsage } from "./internal/input.ts"
import * as Money from "./Money.ts"

/**
 * What a call takes. All counts are whole, from 0 to 2^53 - 1; `cost` is in nano-dollars. `tokens` is never less than
 * `inputTokens + outputTokens`; `cachedInputTokens` are a part of `inputTokens`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Usage {
  readonly requests: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cachedInputTokens: number
  readonly tokens: number
  readonly cost: Money.Money
}

/**
 * The parts of a `Usage` that are known. `requests` is 1 unless given, `tokens` is `inputTokens + outputTokens`, the
 * others are 0.
 *
 * @category models
 * @since 0.1.0
 */
export interface Input {
  readonly requests?: number | undefined
  readonly inputTokens?: number | undefined
  readonly outputTokens?: number | undefined
  readonly cachedInputTokens?: number | undefined
  readonly tokens?: number | undefined
  readonly cost?: Money.Input | undefined
}

const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))

/**
 * The schema of `Usage`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Usage = Schema.Struct({
  requests: Count,
  inputTokens: Count,
  outputTokens: Count,
  cachedInputTokens: Count,
  tokens: Count,
  cost: Money.Money
})

/**
 * Nothing at all.
 *
 * @category constructors
 * @since 0.1.0
 */
export const zero: Usage = {
  requests: 0,
  inputTokens: 0,
  outputTokens: 0,
  cachedInputTokens: 0,
  tokens: 0,
  cost: Money.zero
}

/**
 * Completes a `Usage` from its known parts. Fails with `InvalidUsage`, which names the field, on NaN, negatives,
 * fractions, numbers above 2^53 - 1, and more cached than input tokens.
 *
 * **Example** (Completing)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Usage } from "headgate"
 *
 * const usage = Effect.runSync(Usage.make({ inputTokens: 1000, outputTokens: 200, cost: "$0.01" }))
 * usage.tokens // => 1200
 * usage.cost // => 10_000_000
 *
 * Effect.runSync(Effect.flip(Usage.make({ tokens: -1 }))).field // => "tokens"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (input: Input): Effect.Effect<Usage, Errors.InvalidUsage> => {
  const usage = checkUsage(input, 1)
  return usage instanceof Errors.InvalidUsage ? Exit.fail(usage) : Exit.succeed(usage)
}

/**
 * Adds two usages, field by field.
 *
 * **Example** (Adding attempts up)
 *
 * ```ts
 * import { Usage } from "headgate"
 *
 * const attempt = { ...Usage.zero, requests: 1, tokens: 10 }
 * Usage.sum(attempt, attempt).tokens // => 20
 * ```
 *
 * @category combining
 * @since 0.1.0
 */
export const sum = (self: Usage, that: Usage): Usage => ({
  requests: self.requests + that.requests,
  inputTokens: self.inputTokens + that.inputTokens,
  outputTokens: self.outputTokens + that.outputTokens,
  cachedInputTokens: self.cachedInputTokens + that.cachedInputTokens,
  tokens: self.tokens + that.tokens,
  cost: (self.cost + that.cost) as Money.Money
})

/**
 * What is in `self` beyond `that`, field by field, never below zero.
 *
 * **Example** (What was not used)
 *
 * ```ts
 * import { Usage } from "headgate"
 *
 * const held = { ...Usage.zero, requests: 1, tokens: 100 }
 * const used = { ...Usage.zero, requests: 1, tokens: 40 }
 * Usage.excess(held, used).tokens // => 60
 * ```
 *
 * @category combining
 * @since 0.1.0
 */
export const excess = (self: Usage, that: Usage): Usage =>
  isWithin(self, that)
    ? zero
    : {
        requests: Math.max(0, self.requests - that.requests),
        inputTokens: Math.max(0, self.inputTokens - that.inputTokens),
        outputTokens: Math.max(0, self.outputTokens - that.outputTokens),
        cachedInputTokens: Math.max(0, self.cachedInputTokens - that.cachedInputTokens),
        tokens: Math.max(0, self.tokens - that.tokens),
        cost: Math.max(0, self.cost - that.cost) as Money.Money
      }

const isWithin = (self: Usage, that: Usage): boolean =>
  self.requests <= that.requests &&
  self.inputTokens <= that.inputTokens &&
  self.outputTokens <= that.outputTokens &&
  self.cachedInputTokens <= that.cachedInputTokens &&
  self.tokens <= that.tokens &&
  self.cost <= that.cost
