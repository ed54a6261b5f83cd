/** What calls cost: dollars per million tokens, by model. */
import { Money } from "headgate"

export interface Rates {
  readonly input: Money.Money
  /** Default: as `input`. */
  readonly cachedInput?: Money.Money | undefined
  readonly output: Money.Money
}

export interface Price extends Rates {
  /** Models that cost something else. */
  readonly models?: { readonly [model: string]: Rates } | undefined
}

export const defaults: Price = {
  input: Money.usd(2.5),
  cachedInput: Money.usd(0.25),
  output: Money.usd(10)
}

export interface Tokens {
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cachedInputTokens: number
}

const million = BigInt(1_000_000)

/** The cost of one call, rounded up once. */
export const cost = (price: Price, model: string | undefined, tokens: Tokens): Money.Money => {
  const rates = (model === undefined ? undefined : price.models?.[model]) ?? price
  const parts =
    BigInt(tokens.inputTokens - tokens.cachedInputTokens) * BigInt(rates.input) +
    BigInt(tokens.cachedInputTokens) * BigInt(rates.cachedInput ?? rates.input) +
    BigInt(tokens.outputTokens) * BigInt(rates.output)
  return Money.fromInputUnsafe(Number((parts + million - BigInt(1)) / million) as Money.Money)
}
