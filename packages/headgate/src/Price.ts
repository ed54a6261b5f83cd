/**
 * What the calls of a model cost. The prices are those of `@pydantic/genai-prices`, if it is installed, and your own; the
 * sums are whole pico-dollars, rounded up once per call to a nano-dollar.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { type InvalidUsage, UnpricedModel } from "./Errors.ts"
import * as genaiPrices from "./internal/model/genaiPrices.ts"
import { modelUsageFault } from "./internal/input.ts"
import { type ModelPrice, ownPrice } from "./internal/model/ownPrices.ts"
import { costOf, type Tiers } from "./internal/model/rates.ts"
import { refusal } from "./internal/refusal.ts"
import type { ModelUsage } from "./ModelUsage.ts"
import * as Money from "./Money.ts"

export type { ModelPrice, PerToken, TokenPrices } from "./internal/model/ownPrices.ts"

/**
 * The options of prices.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * What becomes of a model without a price: its calls fail with `UnpricedModel` (`"fail"`, the default), cost nothing
   * (`"free"`), or cost so much each.
   */
  readonly unpriced?: "fail" | "free" | Money.Input | undefined
}

/**
 * Knows what calls cost.
 *
 * @category services
 * @since 0.1.0
 */
export class Price extends Context.Service<
  Price,
  {
    /**
     * What a call costs at this time. `provider` says whose price is meant where several offer the model: a name such as
     * `"openrouter"`, or the address of its API.
     */
    readonly cost: (
      model: string,
      usage: ModelUsage,
      options?: { readonly provider?: string | undefined }
    ) => Effect.Effect<Money.Money, UnpricedModel | InvalidUsage>
  }
>()("headgate/Price") {}

/**
 * The service of `Price`.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = (typeof Price)["Service"]

/** How many models are remembered, and for how long: the package can learn new prices while the process runs. */
const capacity = 1000
const maxAge = 3_600_000

/** Names longer than this are no model's. */
const maxLength = 256

const unpricedOf = (unpriced: Options["unpriced"] = "fail"): Money.Money | undefined => {
  if (unpriced === "fail") return undefined
  const cost = unpriced === "free" ? Money.zero : Money.fromInput(unpriced)
  if (cost !== undefined) return cost
  throw new RangeError(
    `Price.layer: unpriced must be "fail", "free" or money from $0 to $9007199, got ${String(unpriced).slice(0, 64)}`
  )
}

/**
 * Makes the service. Throws a `RangeError` that names the price or option, its bound and its value.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  prices: { readonly [model: string]: ModelPrice } = {},
  options?: Options
): Effect.Effect<Service> => {
  const own = new Map(Object.entries(prices).map(([model, price]) => [model, ownPrice(model, price)] as const))
  const unpriced = unpricedOf(options?.unpriced)

  return Effect.sync((): Service => {
    const remembered = new Map<string, { readonly until: number; readonly offers: genaiPrices.Offers | undefined }>()
    let isToldMissing = false

    const lookUp = Effect.fnUntraced(function* (model: string, provider: string | undefined, now: number) {
      const known = yield* genaiPrices.load
      if (!("missing" in known)) {
        const found = genaiPrices.offersOf(known, model, provider, now)
        if (Result.isSuccess(found)) return found.success
        yield* Effect.logWarning(`Price: the price of ${model} cannot be read`, found.failure)
        return undefined
      }
      if (isToldMissing) return undefined
      isToldMissing = true
      yield* Effect.logWarning(
        "Price: only your own prices are known, because @pydantic/genai-prices cannot be imported (npm install @pydantic/genai-prices)",
        known.missing
      )
      return undefined
    })

    const priced = (
      tiers: Tiers | undefined,
      model: string,
      usage: ModelUsage,
      provider: string | undefined
    ): Exit.Exit<Money.Money, UnpricedModel> => {
      if (tiers !== undefined) return Exit.succeed(costOf(tiers, usage))
      if (unpriced !== undefined) return Exit.succeed(unpriced)
      const names = { model: model.slice(0, maxLength), ...(provider === undefined ? {} : { provider }) }
      return Exit.fail(refusal(() => new UnpricedModel(names)))
    }

    return {
      cost: (model, usage, options) =>
        Effect.withFiber((fiber): Effect.Effect<Money.Money, UnpricedModel | InvalidUsage> => {
          const fault = modelUsageFault(usage)
          if (fault !== undefined) return Exit.fail(fault)
          const provider = options?.provider
          const ownTiers = own.get(model)
          if (ownTiers !== undefined || model.length > maxLength || (provider?.length ?? 0) > maxLength) {
            return priced(ownTiers, model, usage, provider?.slice(0, maxLength))
          }
          const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
          const key = provider === undefined ? model : `${provider}\n${model}`
          const found = remembered.get(key)
          if (found !== undefined && now < found.until) {
            return priced(found.offers && genaiPrices.at(found.offers, now), model, usage, provider)
          }
          return Effect.flatMap(lookUp(model, provider, now), (offers) => {
            remembered.delete(key)
            if (remembered.size >= capacity) remembered.delete(remembered.keys().next().value!)
            remembered.set(key, { until: now + maxAge, offers })
            return priced(offers && genaiPrices.at(offers, now), model, usage, provider)
          })
        })
    }
  })
}

/**
 * Imports the prices of `@pydantic/genai-prices` now. Without it this is done once, at the first call whose price is not
 * your own, and takes some 40 milliseconds of the process.
 *
 * @category combinators
 * @since 0.1.0
 */
export const preload: Effect.Effect<void> = Effect.asVoid(genaiPrices.load)

/**
 * The prices of `@pydantic/genai-prices`, if it is installed, with your own, which go before them.
 *
 * **Details**
 *
 * - Cached input, cache writes, reasoning, audio, images, tiers by size of the input, and prices that begin at a date or
 *   hold at some hours are counted as the provider does.
 * - The package knows its prices by a model's name and, for those that several offer, its `provider`. Your own hold for
 *   exactly the name given, whoever offers it.
 * - The package's prices of a model are looked up once and remembered for an hour.
 *
 * **Gotchas**
 *
 * What a provider charges beside tokens and requests, such as searches, pages or hours, is not in the cost.
 *
 * **Example** (A price of your own)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Money, Price } from "headgate"
 *
 * const prices = Price.layer({
 *   "my-model": { input: "$3/M", output: "$15/M", cachedInput: "$0.30/M" }
 * })
 *
 * const cost = Price.Price.use((price) =>
 *   price.cost("my-model", { inputTokens: 1000, outputTokens: 200, cachedInputTokens: 400 })
 * ).pipe(Effect.provide(prices))
 *
 * Money.format(await Effect.runPromise(cost)) // => "$0.00492"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (prices?: { readonly [model: string]: ModelPrice }, options?: Options): Layer.Layer<Price> =>
  Layer.effect(Price)(make(prices, options))
