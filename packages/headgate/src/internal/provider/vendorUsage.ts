import type { ModelUsage } from "../../ModelUsage.ts"
import { modelUsageFault } from "../input.ts"

/** What vendors send, of which nothing is known beforehand. */
export type Words = { readonly [key: string]: unknown }

/** What was read of a usage. Any part can be missing. */
export type Reading = {
  -readonly [Field in keyof ModelUsage]?: ModelUsage[Field] | undefined
} & {
  /** Input that was neither read from the cache nor written to it, where a vendor counts this instead of all input. */
  uncachedInputTokens?: number | undefined
  /** Input and output. */
  totalTokens?: number | undefined
}

export const isWords = (value: unknown): value is Words => typeof value === "object" && value !== null

const wordsIn = (value: unknown): Words => (isWords(value) ? value : {})

/** The first of these that is there. `null` is how some vendors write that there is none. */
const firstOf = (...values: ReadonlyArray<unknown>): number | undefined =>
  values.find((value) => typeof value === "number") as number | undefined

const plus = (...values: ReadonlyArray<number | undefined>): number | undefined =>
  values.reduce((sum, value) => (sum === undefined ? value : sum + (value ?? 0)))

/** Gemini's `[{ modality: "AUDIO", tokenCount: 12 }]`. */
const ofModality = (details: unknown, modality: string): number | undefined =>
  Array.isArray(details)
    ? firstOf(...details.map((part) => (isWords(part) && part.modality === modality ? part.tokenCount : undefined)))
    : undefined

/**
 * The one place that knows what vendors call their usage: OpenAI (chat completions, responses, images), Anthropic, Bedrock,
 * Gemini, DeepSeek, Effect's `Response.Usage`, the Vercel AI SDK, and our own words. `undefined` where there is none of
 * these words, `"invalid"` where a count is none.
 */
export const readUsage = (words: Words): Reading | "invalid" | undefined => {
  const input = wordsIn(
    words.prompt_tokens_details ?? words.input_tokens_details ?? words.inputTokenDetails ?? words.inputTokens
  )
  const output = wordsIn(
    words.completion_tokens_details ?? words.output_tokens_details ?? words.outputTokenDetails ?? words.outputTokens
  )
  const written = wordsIn(words.cache_creation)
  // Anthropic and Bedrock count what passed through the cache beside the input, all others as a part of it.
  const isBeside = [
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cacheReadInputTokens",
    "cacheWriteInputTokens"
  ].some((word) => word in words)
  const counted = firstOf(words.input_tokens, words.inputTokens)
  const thoughts = firstOf(words.thoughtsTokenCount)
  const reasoning = firstOf(
    output.reasoning_tokens,
    output.thinking_tokens,
    output.reasoning,
    output.reasoningTokens,
    words.reasoningTokens
  )
  const text = firstOf(output.text)

  const reading: Reading = {
    inputTokens:
      plus(
        firstOf(words.prompt_tokens, words.promptTokens, words.promptTokenCount, input.total),
        firstOf(words.toolUsePromptTokenCount)
      ) ?? (isBeside ? undefined : counted),
    uncachedInputTokens: isBeside ? counted : firstOf(input.uncached, input.noCache, input.noCacheTokens),
    // Gemini counts its thoughts beside the output.
    outputTokens:
      firstOf(
        words.completion_tokens,
        words.output_tokens,
        words.completionTokens,
        words.outputTokens,
        output.total,
        text === undefined ? undefined : text + (reasoning ?? 0)
      ) ?? plus(firstOf(words.candidatesTokenCount, words.responseTokenCount), thoughts),
    totalTokens: firstOf(words.total_tokens, words.totalTokens, words.totalTokenCount, words.tokens),
    cachedInputTokens: firstOf(
      words.cache_read_input_tokens,
      words.cacheReadInputTokens,
      words.cachedContentTokenCount,
      words.cachedInputTokens,
      words.prompt_cache_hit_tokens,
      input.cached_tokens,
      input.cacheRead,
      input.cacheReadTokens
    ),
    cacheWriteTokens:
      firstOf(
        words.cache_creation_input_tokens,
        words.cacheWriteInputTokens,
        words.cacheWriteTokens,
        input.cache_write_tokens,
        input.cacheWrite,
        input.cacheWriteTokens
      ) ?? plus(firstOf(written.ephemeral_5m_input_tokens), firstOf(written.ephemeral_1h_input_tokens)),
    cacheWrite1hTokens: firstOf(written.ephemeral_1h_input_tokens, words.cacheWrite1hTokens),
    reasoningTokens: reasoning ?? thoughts,
    inputAudioTokens: firstOf(
      input.audio_tokens,
      words.inputAudioTokens,
      ofModality(words.promptTokensDetails, "AUDIO")
    ),
    outputAudioTokens: firstOf(
      output.audio_tokens,
      words.outputAudioTokens,
      ofModality(words.candidatesTokensDetails, "AUDIO")
    ),
    inputImageTokens: firstOf(
      input.image_tokens,
      words.inputImageTokens,
      ofModality(words.promptTokensDetails, "IMAGE")
    ),
    outputImageTokens: firstOf(
      output.image_tokens,
      words.outputImageTokens,
      ofModality(words.candidatesTokensDetails, "IMAGE")
    )
  }
  const found = Object.values(reading).filter((value) => value !== undefined)
  if (found.length === 0) return undefined
  return found.every((value) => Number.isSafeInteger(value) && value >= 0) ? reading : "invalid"
}

/**
 * A reading as a usage, its parts brought into the sums they belong to; `undefined` where input or output is not known,
 * or where they contradict. What this part of a stream leaves out is as an earlier part said.
 */
export const toModelUsage = (reading: Reading, previous?: ModelUsage): ModelUsage | undefined => {
  const { totalTokens, uncachedInputTokens, ...own } = reading
  const known: Reading = { ...previous }
  for (const [field, value] of Object.entries(own)) if (value !== undefined) known[field as keyof ModelUsage] = value
  const { cachedInputTokens = 0, cacheWriteTokens = 0, reasoningTokens = 0 } = known
  const throughCache = cachedInputTokens + cacheWriteTokens
  if (own.inputTokens === undefined && uncachedInputTokens !== undefined) {
    known.inputTokens = uncachedInputTokens + throughCache
  } else if (own.inputTokens !== undefined && throughCache > own.inputTokens) {
    // More passed through the cache than was read: this vendor counts it beside the input.
    known.inputTokens = own.inputTokens + throughCache
  }
  const { inputTokens: allInput, outputTokens: allOutput, ...parts } = known
  // Embeddings have no output, and say so by their total alone.
  const inputTokens = allInput ?? minus(totalTokens, allOutput)
  const output = allOutput ?? minus(totalTokens, allInput)
  if (inputTokens === undefined || output === undefined) return undefined
  // xAI counts its reasoning beside the output.
  const isBeside = totalTokens === inputTokens + output + reasoningTokens
  const usage: ModelUsage = { ...parts, inputTokens, outputTokens: isBeside ? output + reasoningTokens : output }
  return modelUsageFault(usage) === undefined ? usage : undefined
}

const minus = (total: number | undefined, part: number | undefined): number | undefined =>
  total === undefined || part === undefined ? undefined : total - part
