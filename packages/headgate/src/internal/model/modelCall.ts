import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { InvalidUsage, UnpricedModel } from "../../Errors.ts"
import { fromReply, type ModelUsage } from "../../ModelUsage.ts"
import type * as Money from "../../Money.ts"
import type * as Usage from "../../Usage.ts"
import { usageOf } from "../provider/providerError.ts"
import { toModelUsage } from "../provider/vendorUsage.ts"

/** What is known of one call's model. */
export interface Till {
  readonly cost: (usage: ModelUsage) => Effect.Effect<Money.Money, UnpricedModel | InvalidUsage>
  readonly observe: (usage: ModelUsage) => Effect.Effect<void>
}

/** How to read what a call took. */
interface Reading<in A, in E> {
  readonly usage?: ((result: A) => ModelUsage | undefined) | undefined
  readonly usageOnError?: ((error: E) => ModelUsage | undefined) | undefined
}

const toUsage = ({ cachedInputTokens, inputTokens, outputTokens }: ModelUsage, cost: Money.Money): Usage.Input => ({
  inputTokens,
  outputTokens,
  cachedInputTokens,
  cost
})

export const priced = (till: Till, usage: ModelUsage) => Effect.map(till.cost(usage), (cost) => toUsage(usage, cost))

/** What besides text a call may read or write. */
export type Modality = "audio" | "image"

const kinds = {
  audio: ["inputAudioTokens", "outputAudioTokens"],
  image: ["inputImageTokens", "outputImageTokens"]
} as const

/** The modalities that are so. */
export const modalitiesWhere = (isSo: (modality: Modality) => boolean): ReadonlyArray<Modality> =>
  (["audio", "image"] as const).filter(isSo)

/**
 * The most that a call can cost. All its input may be written to a cache, which can cost more than reading it, and be kept
 * there for an hour, which costs more still; all its output may be reasoning; or either be of its other modalities.
 */
export const pricedMost = (
  till: Till,
  most: ModelUsage,
  modalities: ReadonlyArray<Modality> = []
): Effect.Effect<Usage.Input, InvalidUsage | UnpricedModel> => {
  const { inputTokens, outputTokens } = most
  const inputs: ReadonlyArray<Partial<ModelUsage>> = [
    {},
    { cacheWriteTokens: inputTokens },
    { cacheWriteTokens: inputTokens, cacheWrite1hTokens: inputTokens },
    ...modalities.map((modality) => ({ [kinds[modality][0]]: inputTokens }))
  ]
  const outputs: ReadonlyArray<Partial<ModelUsage>> = [
    {},
    { reasoningTokens: outputTokens },
    ...modalities.map((modality) => ({ [kinds[modality][1]]: outputTokens }))
  ]
  const all = inputs.flatMap((input) => outputs.map((output) => till.cost({ ...most, ...input, ...output })))
  return Effect.map(Effect.all(all), (costs) =>
    toUsage(
      most,
      costs.reduce((highest, cost) => (cost > highest ? cost : highest))
    )
  )
}

/** What an attempt took that ended so, priced; `undefined` where only the guard knows what to make of its end. */
export const pricedEnd = <A, E>(
  till: Till,
  exit: Exit.Exit<A, E>,
  reading: Reading<A, E>,
  estimate: Usage.Input
): Effect.Effect<Usage.Input | undefined> =>
  Effect.catchCause(
    Effect.suspend(() => {
      const said = saidOf(exit, reading)
      if (said === undefined || said === "estimate") return Effect.succeed(said && estimate)
      return Effect.tap(priced(till, said), till.observe(said))
    }),
    (cause) => Effect.as(Effect.logWarning("Charged the estimate instead of an invalid actual usage", cause), estimate)
  )

const saidOf = <A, E>(
  exit: Exit.Exit<A, E>,
  { usage = fromReply, usageOnError }: Reading<A, E>
): ModelUsage | "estimate" | undefined => {
  if (Exit.isSuccess(exit)) return usage(exit.value) ?? "estimate"
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isNone(error)) return undefined
  const said = usageOnError?.(error.value)
  if (said !== undefined) return said
  const found = usageOf(error.value)
  if (found === undefined || found === "invalid") return undefined
  // An error that says a part of it has no price.
  return toModelUsage(found) ?? (found.cost === undefined ? "estimate" : undefined)
}
