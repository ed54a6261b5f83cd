import { TokenBucket } from "./tokenBucket.ts"
import type { Billed, Left, Request } from "./wire.ts"

/** How the tokens of a request are counted against a limit of tokens. */
export type TokenCharge = "estimated" | "settled" | ((request: Request) => number)

/** The limits of a provider, each per minute. */
export interface Limits {
  readonly requestsPerMinute?: number | undefined
  readonly tokensPerMinute?: number | undefined
  readonly inputTokensPerMinute?: number | undefined
  readonly outputTokensPerMinute?: number | undefined
}

/** How many tokens a text makes, as providers guess it before they have counted. */
export const guessOf = (text: string): number => Math.ceil(text.length / 4)

interface Limited {
  readonly unit: Left["unit"]
  readonly bucket: TokenBucket
}

/** A place that was given: the charge on each limit, in their order. */
export type Charges = ReadonlyArray<number>

/** Why there was no place: `wait` is in milliseconds, and absent where no waiting helps. */
export interface Denied {
  readonly unit: Left["unit"]
  readonly limit: number
  readonly requested: number
  readonly wait: number | undefined
}

export class ProviderLimits {
  private readonly limited: ReadonlyArray<Limited>
  private readonly charge: TokenCharge

  constructor(limits: Limits, charge: TokenCharge, now: number) {
    const given = [
      ["requests", limits.requestsPerMinute],
      ["tokens", limits.tokensPerMinute],
      ["inputTokens", limits.inputTokensPerMinute],
      ["outputTokens", limits.outputTokensPerMinute]
    ] as const
    this.charge = charge
    this.limited = given.flatMap(([unit, limit]) => {
      if (limit === undefined) return []
      if (!(Number.isSafeInteger(limit) && limit > 0)) {
        throw new RangeError(`LoopbackProvider: ${unit} per minute must be a whole number from 1, got ${limit}`)
      }
      return [{ unit, bucket: new TokenBucket(limit, now) }]
    })
  }

  left(now: number): ReadonlyArray<Left> {
    return this.limited.map(({ bucket, unit }) => ({
      unit,
      limit: bucket.limit,
      remaining: bucket.remaining(now),
      resetMillis: bucket.waitFor(bucket.limit, now)
    }))
  }

  /** Takes a place on all limits, or on none. */
  take(request: Request, now: number): Charges | Denied {
    const charges = this.limited.map(({ unit }) => this.atStart(unit, request))
    const denials = this.limited.flatMap(({ bucket, unit }, index): ReadonlyArray<Denied> => {
      const requested = charges[index]!
      const wait = requested > bucket.limit ? undefined : bucket.waitFor(requested, now)
      return wait === 0 ? [] : [{ unit, limit: bucket.limit, requested, wait }]
    })
    // The one to name is that which keeps the request out for the longest.
    const [denied] = denials.toSorted((a, b) => (b.wait ?? Infinity) - (a.wait ?? Infinity))
    if (denied !== undefined) return denied
    this.limited.forEach(({ bucket }, index) => bucket.take(charges[index]!, now))
    return charges
  }

  /** Corrects the charges by what the call took, where that is the rule. */
  settle(charges: Charges, took: Billed, now: number): void {
    if (this.charge !== "settled") return
    const counted = took.inputTokens - (took.cachedInputTokens ?? 0)
    const actual = { tokens: counted + took.outputTokens, inputTokens: counted, outputTokens: took.outputTokens }
    this.limited.forEach(({ bucket, unit }, index) => {
      if (unit !== "requests") bucket.take(actual[unit] - charges[index]!, now)
    })
  }

  private atStart(unit: Left["unit"], request: Request): number {
    if (unit === "requests") return 1
    const input = guessOf(request.prompt)
    const output = request.maxTokens ?? 0
    if (unit === "inputTokens") return input
    if (unit === "outputTokens") return output
    if (typeof this.charge === "function") return this.charge(request)
    return this.charge === "estimated" ? Math.max(input, output) : input + output
  }
}
