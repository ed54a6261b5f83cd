import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Money from "../../Money.ts"
import { free, type Rates, tier, type Tiers } from "./rates.ts"

type Value =
  | number
  | { readonly base: number; readonly tiers: ReadonlyArray<{ readonly start: number; readonly price: number }> }

type Prices = { readonly [key: string]: Value | undefined }

interface ConditionalPrices {
  readonly constraint?:
    | { readonly type: "start_date"; readonly start_date: string }
    | { readonly type: "time_of_date"; readonly start_time: string; readonly end_time: string }
    | undefined
  readonly prices: Prices
}

/** What is used of `@pydantic/genai-prices`. */
interface Package {
  readonly calcPrice: (
    usage: {},
    model: string,
    options: { readonly timestamp: Date; readonly providerId?: string; readonly providerApiUrl?: string }
  ) => { readonly model: { readonly prices: Prices | ReadonlyArray<ConditionalPrices> } } | null
}

type Loaded = Package | { readonly missing: unknown }

// A module is there once for a process: whoever comes later need not wait.
let loading: Promise<Loaded> | undefined
let loaded: Loaded | undefined

/** The package, or why there is none. A peer that is optional is never imported but so. */
export const load: Effect.Effect<Loaded> = Effect.suspend(() => {
  if (loaded !== undefined) return Effect.succeed(loaded)
  loading ??= import("@pydantic/genai-prices")
    .catch((missing: unknown) => ({ missing }))
    .then((found) => (loaded = found))
  return Effect.promise(() => loading!)
})

/** A price that holds at some times. */
interface Offer {
  readonly holds: (now: number) => boolean
  readonly tiers: Tiers
}

/** What a model costs, the latest offer first. */
export type Offers = ReadonlyArray<Offer>

/** The price at a time. Where none was made for it, it is the first one that there was. */
export const at = (offers: Offers, now: number): Tiers =>
  (offers.find(({ holds }) => holds(now)) ?? offers[offers.length - 1]!).tiers

const always = () => true

/**
 * What the package says that a model costs; none where it does not know the model, or not what its tokens cost. The
 * provider is a name, or the address of its API.
 */
export const offersOf = (
  { calcPrice }: Package,
  model: string,
  provider: string | undefined,
  now: number
): Result.Result<Offers | undefined, unknown> =>
  Result.try(() => {
    const source =
      provider === undefined ? {} : /^https?:/.test(provider) ? { providerApiUrl: provider } : { providerId: provider }
    const found = calcPrice({}, model, { timestamp: new Date(now), ...source })
    if (found === null) return undefined
    const { prices } = found.model
    const list: ReadonlyArray<ConditionalPrices> = isList(prices) ? prices : [{ prices }]
    const offers = list.toReversed().map((one) => ({ holds: conditionOf(one.constraint), tiers: tiersOf(one.prices) }))
    return offers.every((offer): offer is Offer => offer.tiers !== undefined) ? offers : undefined
  })

const isList = (prices: Prices | ReadonlyArray<ConditionalPrices>): prices is ReadonlyArray<ConditionalPrices> =>
  Array.isArray(prices)

const conditionOf = (constraint: ConditionalPrices["constraint"]): ((now: number) => boolean) => {
  if (constraint === undefined) return always
  if (constraint.type === "start_date") {
    const start = Date.parse(constraint.start_date)
    return (now) => now >= start
  }
  const from = timeOfDay(constraint.start_time)
  const to = timeOfDay(constraint.end_time)
  return (now) => {
    const time = now % day
    return from <= to ? time >= from && time < to : time >= from || time < to
  }
}

const day = 86_400_000

/** `16:30:00Z` or `16:30:00+02:00` as milliseconds of the day in UTC. */
const timeOfDay = (text: string): number => (Date.parse(`1970-01-02T${text}`) + day) % day

const keys: { readonly [Name in keyof Rates]: string } = {
  input: "input_mtok",
  cachedInput: "cache_read_mtok",
  cacheWrite: "cache_write_mtok",
  cacheWrite1h: "cache_write_1h_mtok",
  inputAudio: "input_audio_mtok",
  cachedAudio: "cache_audio_read_mtok",
  inputImage: "input_image_mtok",
  cachedImage: "cache_image_read_mtok",
  output: "output_mtok",
  reasoning: "output_reasoning_mtok",
  outputAudio: "output_audio_mtok",
  outputImage: "output_image_mtok",
  request: "requests_kcount"
}

const entries = Object.entries(keys) as ReadonlyArray<[keyof Rates, string]>

/** `undefined` where something is charged, but not by what is counted here. No price at all is a model for free. */
const tiersOf = (prices: Prices): Tiers | undefined => {
  const charged = Object.keys(prices).filter((key) => prices[key] !== undefined)
  if (charged.length === 0) return free
  if (!charged.some((key) => key === keys.input || key === keys.output || key === keys.request)) return undefined
  const starts = Object.values(prices).flatMap((value) =>
    typeof value === "object" ? value.tiers.map(({ start }) => start) : []
  )
  const rateOf = ([name, key]: (typeof entries)[number], above: number) => {
    const value = prices[key]
    if (value === undefined) return []
    const nanos = Money.usd(typeof value === "number" ? value : priceAbove(value, above))
    // Nano-dollars per thousand are pico-dollars per one, and a thousand times those of a million.
    return [[name, name === "request" ? nanos : Math.ceil(nanos / 1000)] as const]
  }
  return [...new Set([-1, ...starts])]
    .toSorted((a, b) => b - a)
    .map((above) => tier(above, Object.fromEntries(entries.flatMap((entry) => rateOf(entry, above)))))
}

const priceAbove = ({ base, tiers }: Exclude<Value, number>, above: number): number =>
  tiers.reduce((best, tier) => (tier.start <= above && tier.start > best.start ? tier : best), {
    start: -1,
    price: base
  }).price
