import type { ModelUsage } from "../../ModelUsage.ts"
import type * as Money from "../../Money.ts"

/** Pico-dollars, whole: a price of $1 per million tokens is 1,000,000 of them per token. */
type Pico = number

/** What one token, or one request, costs. */
export interface Rates {
  readonly input: Pico
  readonly cachedInput: Pico
  readonly cacheWrite: Pico
  readonly cacheWrite1h: Pico
  readonly inputAudio: Pico
  readonly cachedAudio: Pico
  readonly inputImage: Pico
  readonly cachedImage: Pico
  readonly output: Pico
  readonly reasoning: Pico
  readonly outputAudio: Pico
  readonly outputImage: Pico
  readonly request: Pico
}

/** The rates of all calls with more input than `above`: a tier counts for every token of such a call. */
export interface Tier {
  readonly above: number
  /** In the order of `counts`. */
  readonly rates: ReadonlyArray<Pico>
}

/** The highest tier first; the last is above -1. */
export type Tiers = ReadonlyArray<Tier>

export const free: Tiers = [tier(-1, { input: 0, output: 0 })]

/** What has no rate of its own costs as what it is a part of. */
export function tier(above: number, known: { readonly [Name in keyof Rates]?: Pico | undefined }): Tier {
  const { input = 0, output = 0, request = 0 } = known
  const { cachedInput = input, cacheWrite = input, inputAudio = input, inputImage = input } = known
  const { cacheWrite1h = cacheWrite, reasoning = output, outputAudio = output, outputImage = output } = known
  const cached = (rate: Pico) => (rate === input ? cachedInput : rate)
  const rates = [
    input,
    cachedInput,
    cacheWrite,
    cacheWrite1h,
    known.cachedAudio ?? cached(inputAudio),
    inputAudio,
    known.cachedImage ?? cached(inputImage),
    inputImage,
    output,
    reasoning,
    outputAudio,
    outputImage,
    request
  ]
  return { above, rates }
}

/**
 * What a usage consists of, each token once. Of what was cached, nobody says whether it was text, audio or image: it
 * was text, as far as that goes, which never charges less.
 */
const counts = (usage: ModelUsage): ReadonlyArray<number> => {
  const { cacheWrite1hTokens = 0, cacheWriteTokens = 0, cachedInputTokens = 0, inputTokens, outputTokens } = usage
  const { inputAudioTokens = 0, inputImageTokens = 0, outputAudioTokens = 0, outputImageTokens = 0 } = usage
  const plain = inputTokens - cachedInputTokens - cacheWriteTokens - inputAudioTokens - inputImageTokens
  const twice = Math.max(0, -plain)
  const cachedImage = Math.min(twice, cachedInputTokens, inputImageTokens)
  const cachedAudio = Math.min(twice - cachedImage, cachedInputTokens - cachedImage, inputAudioTokens)
  // What is left of it was written to the cache, and is charged for that.
  const written = twice - cachedImage - cachedAudio
  const writtenAudio = Math.min(written, inputAudioTokens - cachedAudio)
  const reasoningTokens = Math.min(usage.reasoningTokens ?? 0, outputTokens - outputAudioTokens - outputImageTokens)
  return [
    Math.max(0, plain),
    cachedInputTokens - cachedImage - cachedAudio,
    cacheWriteTokens - cacheWrite1hTokens,
    cacheWrite1hTokens,
    cachedAudio,
    inputAudioTokens - cachedAudio - writtenAudio,
    cachedImage,
    inputImageTokens - cachedImage - (written - writtenAudio),
    outputTokens - reasoningTokens - outputAudioTokens - outputImageTokens,
    reasoningTokens,
    outputAudioTokens,
    outputImageTokens,
    1
  ]
}

/** The exact cost of a call, rounded up once to a nano-dollar. Beyond what a `Money` can be it is the largest. */
export const costOf = (tiers: Tiers, usage: ModelUsage): Money.Money => {
  const { rates } = tiers.find(({ above }) => usage.inputTokens > above) ?? tiers[tiers.length - 1]!
  const amounts = counts(usage)
  let sum = 0
  for (let index = 0; index < rates.length; index++) sum += amounts[index]! * rates[index]!
  // No product and no sum below 2^53 was rounded.
  if (sum <= Number.MAX_SAFE_INTEGER) {
    const rest = sum % 1000
    return ((sum - rest) / 1000 + (rest > 0 ? 1 : 0)) as Money.Money
  }
  const exact = rates.reduce((sum, rate, index) => sum + BigInt(amounts[index]!) * BigInt(rate), BigInt(0))
  const nanos = (exact + BigInt(999)) / BigInt(1000)
  return (nanos > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(nanos)) as Money.Money
}
