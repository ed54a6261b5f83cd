/**
 * An hour of generated traffic for those who have no trace at hand. No recorded call is in it; what is taken from
 * published traffic are these facts:
 *
 * - chat users: the quantiles of context and generated tokens of the Azure LLM inference trace, conversation part
 *   (Microsoft, AzurePublicDataset, CC-BY-4.0; Patel et al., "Splitwise", ISCA 2024);
 * - agents: the quantiles of input and output length and the share of input found in the prefix cache of the Mooncake
 *   conversation trace (Qin et al., "Mooncake", FAST 2025; Apache-2.0);
 * - gaps between arrivals: Gamma distributed with a coefficient of variation above 1, as found for conversation
 *   services on Azure OpenAI (Wang et al., "BurstGPT", arXiv 2401.17644).
 *
 * Users, their names and their shares of the calls (Zipf's law among chat users) are made up.
 */
import type { Trace, TraceRequest } from "./Trace.ts"
import { uniform } from "./uniform.ts"

const calls = 3_600
const start = Date.UTC(2026, 0, 5, 9)
const span = 3_600_000

/** Pairs of share and value: so much of the traffic has at most this value. Between them, by the logarithm. */
type Quantiles = ReadonlyArray<readonly [share: number, value: number]>

interface Kind {
  readonly model: string
  readonly input: Quantiles
  readonly output: Quantiles
  /** The share of the input read from the prompt cache; default none. */
  readonly cached?: Quantiles
}

const chat: Kind = {
  model: "small",
  input: [
    [0, 2],
    [0.05, 181],
    [0.25, 396],
    [0.5, 1_020],
    [0.75, 1_189],
    [0.9, 2_734],
    [0.99, 4_142],
    [1, 14_050]
  ],
  output: [
    [0, 7],
    [0.05, 41],
    [0.25, 85],
    [0.5, 129],
    [0.75, 395],
    [0.95, 451],
    [0.99, 601],
    [1, 1_000]
  ]
}

const agent: Kind = {
  model: "large",
  input: [
    [0, 891],
    [0.25, 2_306],
    [0.5, 6_909],
    [0.75, 15_366],
    [0.9, 27_367],
    [0.99, 85_401],
    [1, 126_195]
  ],
  output: [
    [0, 1],
    [0.1, 24],
    [0.25, 156],
    [0.5, 350],
    [0.9, 597],
    [0.99, 1_120],
    [1, 2_000]
  ],
  cached: [
    [0, 0.01],
    [0.25, 0.07],
    [0.5, 0.36],
    [0.75, 0.71],
    [0.9, 0.95],
    [1, 1]
  ]
}

/** A user of rank n makes 1/n as many calls as one of rank 1. Agents call rarely, but with much in hand. */
const users: ReadonlyArray<{ readonly name: string; readonly kind: Kind; readonly rank: number }> = [
  ...["ada", "ben", "chi", "dov", "eva", "fay", "gus", "hal", "ida"].map((name, index) => ({
    name,
    kind: chat,
    rank: index + 1
  })),
  { name: "crawler", kind: agent, rank: 30 },
  { name: "reviewer", kind: agent, rank: 40 }
]

/** What each random number is for, so that each request has its own of each. */
const draw = { arrivalRadius: 1, arrivalAngle: 2, user: 3, input: 4, output: 5, cached: 6 } as const

export const make = (seed: number): Trace => {
  const random = (index: number, purpose: number): number => uniform(seed, index, purpose)
  const gaps = Array.from({ length: calls }, (_, index) => gap(index, random))
  const total = gaps.reduce((sum, gap) => sum + gap, 0)
  let elapsed = 0
  const requests = gaps.map((gap, index): TraceRequest => {
    elapsed += gap
    const { kind, name } = pickUser(random(index, draw.user))
    const inputTokens = Math.round(quantile(kind.input, random(index, draw.input)))
    return {
      index,
      at: start + Math.floor((elapsed / total) * (span - 1)),
      inputTokens,
      outputTokens: Math.round(quantile(kind.output, random(index, draw.output))),
      cachedInputTokens:
        kind.cached === undefined ? 0 : Math.floor(inputTokens * quantile(kind.cached, random(index, draw.cached))),
      user: name,
      model: kind.model
    }
  })
  return { source: `built-in traffic, seed ${seed}`, format: "generated", requests, skipped: [] }
}

/** The square of a normal number (Box and Muller) is Gamma distributed with shape 1/2: variation 1.4. */
const gap = (index: number, random: (index: number, purpose: number) => number): number => {
  const radius = -2 * Math.log(1 - random(index, draw.arrivalRadius))
  return radius * Math.cos(2 * Math.PI * random(index, draw.arrivalAngle)) ** 2
}

const quantile = (quantiles: Quantiles, share: number): number => {
  const above = Math.max(
    1,
    quantiles.findIndex(([bound]) => share <= bound)
  )
  const [lowShare, low] = quantiles[above - 1] ?? [0, 0]
  const [highShare, high] = quantiles[above] ?? [1, 1]
  return low * (high / low) ** ((share - lowShare) / (highShare - lowShare))
}

const weights = users.map(({ rank }) => 1 / rank)
const allWeights = weights.reduce((sum, weight) => sum + weight, 0)

const pickUser = (share: number): (typeof users)[number] => {
  let left = share * allWeights
  const index = weights.findIndex((weight) => (left -= weight) < 0)
  return users[index] ?? { name: "ada", kind: chat, rank: 1 }
}
