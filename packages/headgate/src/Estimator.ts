/**
 * How much a call will take at most, before it is made.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { InvalidUsage } from "./Errors.ts"
import { bytesOf, type Request, type Size, sizeOf } from "./internal/model/estimate.ts"
import { isCount, wholeNumber } from "./internal/input.ts"
import { oneOf } from "./internal/options/plans.ts"
import { Seen } from "./internal/model/seen.ts"
import { utf8Bytes } from "./internal/model/textSize.ts"
import * as tokenizer from "./internal/model/tokenizer.ts"
import type { ModelUsage } from "./ModelUsage.ts"

export type { Input, Part, Request } from "./internal/model/estimate.ts"

/**
 * The options of an estimator.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How the input is estimated:
   *
   * - `"bytes"`: a token for each byte of its text, which is never too little, and about four times too much for English.
   * - `"learned"` (the default): by the tokens per byte that 99 of 100 calls of the model did not exceed, once 100 were
   *   seen; until then, and for texts below 256 bytes, as `"bytes"`.
   * - `"tokenizer"`: for models of OpenAI counted by `gpt-tokenizer`, which must be installed; for others `"learned"`.
   */
  readonly input?: "bytes" | "learned" | "tokenizer" | undefined
  /**
   * How the output is estimated: as the most that the request allows (`"max"`, the default), or as what 99 of 100 calls
   * of the model did not exceed, once 100 were seen, and never more than the most (`"learned"`).
   */
  readonly output?: "max" | "learned" | undefined
  /** The most that a call is taken to write whose request does not limit it. Default 4096. */
  readonly maxOutputTokens?: number | undefined
}

/**
 * Estimates calls, and learns from what they took.
 *
 * @category services
 * @since 0.1.0
 */
export class Estimator extends Context.Service<
  Estimator,
  {
    /** The most that a call will take. */
    readonly estimate: (request: Request) => Effect.Effect<ModelUsage, InvalidUsage>
    /** Counts a text that comes bit by bit: each bit gives the most tokens that all so far can be. */
    readonly meter: (model: string) => Effect.Effect<(text: string) => number>
    /** Learns what a call took that was estimated from this request. */
    readonly observe: (request: Request, actual: ModelUsage) => Effect.Effect<void>
  }
>()("headgate/Estimator") {}

/**
 * The service of `Estimator`.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = (typeof Estimator)["Service"]

/**
 * What vendors put around the text: OpenAI's guide to counting tokens has 3 for each message, 1 for its role or name, and
 * 3 that begin the answer (openai-cookbook, "How to count tokens with tiktoken").
 */
const perPart = 4
const perCall = 3

/** Below this the tokens around a text outweigh it. */
const leastBytes = 256

/** More tokens than bytes can only be of what the request does not show. A ratio above this is none. */
const mostPerByte = 16

/** How many models are learned. */
const capacity = 256

/** The share of calls that an estimate is not exceeded by. */
const share = 0.99

interface Learned {
  readonly tokensPerByte: Seen
  readonly outputTokens: Seen
}

const tokensAround = ({ parts, tokens }: Size): number => tokens + parts * perPart + perCall

/**
 * Makes the service. Throws a `RangeError` that names the option, its bound and its value.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<Service> => {
  const input = oneOf("Estimator.layer: input", ["bytes", "learned", "tokenizer"], options.input ?? "learned")
  const output = oneOf("Estimator.layer: output", ["max", "learned"], options.output ?? "max")
  const most = options.maxOutputTokens ?? 4096
  if (!isCount(most)) throw new RangeError(`Estimator.layer: maxOutputTokens must be ${wholeNumber}, got ${most}`)

  return Effect.map(input === "tokenizer" ? counters : Effect.succeed(undefined), (counterOf): Service => {
    const learned = new Map<string, Learned>()

    const tokensPerByte = (model: string): number =>
      input === "bytes" ? 1 : Math.min(learned.get(model)?.tokensPerByte.quantile(share) ?? 1, mostPerByte)

    const textTokens = (model: string, bytes: number): number =>
      bytes < leastBytes ? bytes : Math.ceil(bytes * tokensPerByte(model))

    const outputTokens = ({ maxOutputTokens = most, model, outputs = 1 }: Request): number => {
      const usual = output === "learned" ? learned.get(model)?.outputTokens.quantile(share) : undefined
      return Math.min(maxOutputTokens, Math.ceil(usual ?? Infinity)) * outputs
    }

    const learnedOf = (model: string): Learned => {
      const known = learned.get(model) ?? {
        tokensPerByte: new Seen(1 / 64, mostPerByte),
        outputTokens: new Seen(1, 2 ** 20)
      }
      // The one that was not used for longest goes first.
      learned.delete(model)
      if (learned.size >= capacity) learned.delete(learned.keys().next().value!)
      learned.set(model, known)
      return known
    }

    const learn = (request: Request, actual: ModelUsage): void => {
      const size = sizeOf(request)
      if (size instanceof InvalidUsage) return
      const { outputTokens, tokensPerByte } = learnedOf(request.model)
      const bytes = bytesOf(size)
      const tokens = actual.inputTokens - tokensAround(size)
      if (bytes >= leastBytes && tokens >= 0) tokensPerByte.add(tokens / bytes)
      const { maxOutputTokens = Infinity, outputs = 1 } = request
      const perOutput = actual.outputTokens / outputs
      // What was cut off would have been longer, nobody knows by how much.
      outputTokens.add(perOutput >= maxOutputTokens ? Infinity : perOutput)
    }

    return {
      estimate: (request) =>
        Effect.suspend((): Effect.Effect<ModelUsage, InvalidUsage> => {
          const size = sizeOf(request)
          if (size instanceof InvalidUsage) return Exit.fail(size)
          const usageOf = (tokens: number): ModelUsage => ({
            inputTokens: tokens + tokensAround(size),
            outputTokens: outputTokens(request)
          })
          const counter = counterOf?.(request.model)
          return counter === undefined
            ? Exit.succeed(usageOf(textTokens(request.model, bytesOf(size))))
            : Effect.map(
                Effect.flatMap(counter, (count) => tokenizer.countAll(count, size.texts)),
                (tokens) => usageOf(tokens + size.bytes)
              )
        }),
      meter: (model) =>
        Effect.suspend(() => {
          const counter = counterOf?.(model)
          let sum = 0
          if (counter !== undefined) {
            return Effect.map(counter, (count) => (text: string) => (sum += tokenizer.countNow(count, text)))
          }
          const ratio = tokensPerByte(model)
          return Effect.succeed((text: string) => Math.ceil((sum += utf8Bytes(text)) * ratio))
        }),
      observe: (request, actual) =>
        input === "bytes" && output === "max" ? Effect.void : Effect.sync(() => learn(request, actual))
    }
  })
}

/** How the texts of a model are counted, if its tokenizer is known. */
const counters = Effect.gen(function* () {
  const found = yield* tokenizer.load
  if (!("missing" in found)) return found
  yield* Effect.logWarning(
    "Estimator: inputs are not counted, because gpt-tokenizer cannot be imported (npm install gpt-tokenizer)",
    found.missing
  )
  return undefined
})

/**
 * An estimator with its options.
 *
 * **Details**
 *
 * - No tokenizer that works on bytes makes more tokens than there are bytes in UTF-8. Where text stands in a message, 4
 *   tokens are added for each part and 3 for the call.
 * - What was learned is kept in this process for 256 models, in a few kilobytes each, and fades: a call weighs half as
 *   much after 512 others.
 *
 * **Gotchas**
 *
 * - An image or a file given by its bytes is estimated many times too high. Give `{ tokens }` where the vendor tells.
 * - `"tokenizer"` takes a tenth of a second to load, and 130 MB. Text is counted in slices between which other fibers
 *   run, in runs of at most 256 bytes without a space or sign, since merging takes time that grows with their square: this
 *   counts up to 0.1 % more. Beyond the first 1,048,576 characters bytes are counted.
 *
 * **Example** (An estimate)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Estimator } from "headgate"
 *
 * const estimate = Estimator.Estimator.use((estimator) =>
 *   estimator.estimate({ model: "gpt-5.6", input: ["Be brief.", "How deep is the sea?"], maxOutputTokens: 100 })
 * ).pipe(Effect.provide(Estimator.layer()))
 *
 * await Effect.runPromise(estimate) // => { inputTokens: 40, outputTokens: 100 }
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Estimator> => Layer.effect(Estimator)(make(options))
