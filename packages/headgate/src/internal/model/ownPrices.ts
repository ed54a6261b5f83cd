import * as Money from "../../Money.ts"
import { isCount, wholeNumber } from "../input.ts"
import { type Rates, tier, type Tiers } from "./rates.ts"

/**
 * A price of tokens, per million (`"$3/M"`) or per thousand (`"$0.003/K"`).
 *
 * @category models
 * @since 0.1.0
 */
export type PerToken = `$${number}/${"M" | "K"}`

/**
 * What tokens cost. What has no price of its own costs as what it is a part of: what is read from the cache, written to
 * it, audio and images as `input`, reasoning, audio and images as `output`.
 *
 * @category models
 * @since 0.1.0
 */
export interface TokenPrices {
  readonly input: PerToken
  readonly output: PerToken
  readonly cachedInput?: PerToken | undefined
  readonly cacheWrite?: PerToken | undefined
  /** For what is to be kept for an hour. As `cacheWrite` unless given. */
  readonly cacheWrite1h?: PerToken | undefined
  readonly reasoning?: PerToken | undefined
  readonly inputAudio?: PerToken | undefined
  readonly outputAudio?: PerToken | undefined
  readonly inputImage?: PerToken | undefined
  readonly outputImage?: PerToken | undefined
}

/**
 * A price of your own.
 *
 * - `request`: what each call costs beside its tokens.
 * - `tiers`: what is different for calls with more input than `inputAbove`. It counts for all tokens of such a call.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModelPrice extends TokenPrices {
  readonly request?: Money.Input | undefined
  readonly tiers?: ReadonlyArray<{ readonly inputAbove: number } & Partial<TokenPrices>> | undefined
}

const perToken: ReadonlySet<string> = new Set<keyof TokenPrices>([
  "input",
  "output",
  "cachedInput",
  "cacheWrite",
  "cacheWrite1h",
  "reasoning",
  "inputAudio",
  "outputAudio",
  "inputImage",
  "outputImage"
])

const written = /^(\$[^/]*)\/([MK])$/

/** Prices outside of this are per token, where they were meant per million, or the other way round. */
const least = 1_000
const most = 2_000_000_000

/** `"$3/M"` in pico-dollars per token. */
const rateOf = (label: string, price: PerToken): number => {
  const [, dollars, unit] = written.exec(String(price).slice(0, 64)) ?? []
  const nanos = dollars === undefined ? undefined : Money.fromInput(dollars as Money.Input)
  const pico = nanos === undefined ? NaN : unit === "M" ? nanos / 1000 : nanos
  if (pico === 0 || (Number.isInteger(pico) && pico >= least && pico <= most)) return pico
  throw wrong(label, `"$0/M", or "$0.001/M" to "$2000/M" with at most 6 decimals ("/K" for 1,000 tokens)`, price)
}

const wrong = (label: string, bound: string, value: unknown) =>
  new RangeError(`Price.layer: ${label} must be ${bound}, got ${String(value).slice(0, 64)}`)

/** Reads a price, or throws a `RangeError` that names what is wrong with it. */
export const ownPrice = (model: string, { request = Money.zero, tiers = [], ...prices }: ModelPrice): Tiers => {
  const perRequest = Money.fromInput(request)
  if (perRequest === undefined) throw wrong(`${model}.request`, "money from $0 to $9007199", request)
  const base: Known = { ...ratesIn(model, prices), request: perRequest * 1000 }
  for (const name of ["input", "output"] as const) {
    if (base[name] === undefined) throw wrong(`${model}.${name}`, `given, "$0/M" for none`, undefined)
  }
  const higher = tiers.map(({ inputAbove, ...own }, index) => {
    const label = `${model}.tiers[${index}]`
    if (!isCount(inputAbove)) throw wrong(`${label}.inputAbove`, wholeNumber, inputAbove)
    return tier(inputAbove, { ...base, ...ratesIn(label, own) })
  })
  return [...higher.toSorted((a, b) => b.above - a.above), tier(-1, base)]
}

type Known = { readonly [Name in keyof Rates]?: number }

const ratesIn = (label: string, prices: Partial<TokenPrices>): Known =>
  Object.fromEntries(
    Object.entries(prices).flatMap(([name, price]) => {
      if (!perToken.has(name)) throw wrong(`${label}.${name}`, "a price that is known here", price)
      return price === undefined ? [] : [[name, rateOf(`${label}.${name}`, price)] as const]
    })
  )
