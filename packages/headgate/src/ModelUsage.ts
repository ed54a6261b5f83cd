/**
 * What a reply of a model says it took, in one vocabulary for all vendors.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type { InvalidUsage } from "./Errors.ts"
import { modelUsageFault } from "./internal/input.ts"
import { isWords, readUsage, toModelUsage, type Words } from "./internal/provider/vendorUsage.ts"

/**
 * What a call of a model took, in tokens.
 *
 * `inputTokens` is all input, what passed through the cache included; `outputTokens` is all output, reasoning included.
 * The others are parts of these two; absent means none. `cacheWrite1hTokens` are a part of `cacheWriteTokens`, written
 * to be kept for an hour.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModelUsage {
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cachedInputTokens?: number | undefined
  readonly cacheWriteTokens?: number | undefined
  readonly cacheWrite1hTokens?: number | undefined
  readonly reasoningTokens?: number | undefined
  readonly inputAudioTokens?: number | undefined
  readonly outputAudioTokens?: number | undefined
  readonly inputImageTokens?: number | undefined
  readonly outputImageTokens?: number | undefined
}

const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))
const Part = Schema.optional(Count)

/**
 * The schema of `ModelUsage`.
 *
 * **Example** (Checking)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { ModelUsage } from "headgate"
 *
 * Schema.is(ModelUsage.ModelUsage)({ inputTokens: 100, outputTokens: 20, cachedInputTokens: 80 }) // => true
 * Schema.is(ModelUsage.ModelUsage)({ inputTokens: 100, outputTokens: 20, cachedInputTokens: 120 }) // => false
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const ModelUsage = Schema.Struct({
  inputTokens: Count,
  outputTokens: Count,
  cachedInputTokens: Part,
  cacheWriteTokens: Part,
  cacheWrite1hTokens: Part,
  reasoningTokens: Part,
  inputAudioTokens: Part,
  outputAudioTokens: Part,
  inputImageTokens: Part,
  outputImageTokens: Part
}).check(
  Schema.makeFilter((usage) => modelUsageFault(usage) === undefined, { expected: "parts that fit in their sums" })
)

/**
 * Checks a usage. Fails with `InvalidUsage`, which names the field, on NaN, negatives, fractions, numbers above
 * 2^53 - 1, and parts larger than what they are a part of.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (usage: ModelUsage): Effect.Effect<ModelUsage, InvalidUsage> => {
  const fault = modelUsageFault(usage)
  return fault === undefined ? Exit.succeed(usage) : Exit.fail(fault)
}

/** Where replies and the parts of streams keep their usage, outermost first. */
const usagesIn = (reply: Words): ReadonlyArray<unknown> => {
  const { data, message, metadata, response } = reply
  return [
    // The sum over all steps, where the Vercel AI SDK tells that of the last one too.
    reply.totalUsage,
    reply.usage,
    reply.usageMetadata,
    isWords(response) ? response.usage : undefined,
    isWords(message) ? message.usage : undefined,
    // Bedrock's last part of a stream.
    isWords(metadata) ? metadata.usage : undefined,
    // The reply with the response it came in, as `create(…).withResponse()` gives it.
    isWords(data) ? data.usage : undefined,
    reply
  ]
}

/**
 * Reads the usage of a reply, or of a part of a stream, in the words of OpenAI, Anthropic, Bedrock, Gemini, Effect's
 * `Response` and the Vercel AI SDK, and of those who speak like one of these.
 *
 * **Details**
 *
 * - `undefined` where a reply does not say both what it read and what it wrote, or says what no usage can be: NaN,
 *   negatives, fractions, parts larger than their sum. A zero that is said is a zero.
 * - `previous` is what an earlier part of the same stream said; what this part leaves out is taken from it.
 *   Anthropic tells the input at the beginning of a stream and the output at its end.
 *
 * **Example** (Reading vendors' words)
 *
 * ```ts
 * import { ModelUsage } from "headgate"
 *
 * ModelUsage.fromReply({ usage: { prompt_tokens: 9, completion_tokens: 12, total_tokens: 21 } })?.outputTokens // => 12
 *
 * const start = ModelUsage.fromReply({ message: { usage: { input_tokens: 9, cache_read_input_tokens: 90, output_tokens: 1 } } })
 * ModelUsage.fromReply({ type: "message_delta", usage: { output_tokens: 12 } }, start) // => { inputTokens: 99, outputTokens: 12, cachedInputTokens: 90 }
 * ModelUsage.fromReply({ text: "no usage" }) // => undefined
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromReply = <A>(reply: A, previous?: ModelUsage): ModelUsage | undefined => {
  if (!isWords(reply)) return undefined
  for (const words of usagesIn(reply)) {
    const reading = isWords(words) ? readUsage(words) : undefined
    if (reading === "invalid") return undefined
    if (reading !== undefined) return toModelUsage(reading, previous) ?? embedded(words as Words)
  }
}

/** The Vercel AI SDK's usage of an embedding, which has no output. */
const embedded = ({ tokens }: Words): ModelUsage | undefined =>
  typeof tokens === "number" ? { inputTokens: tokens, outputTokens: 0 } : undefined
