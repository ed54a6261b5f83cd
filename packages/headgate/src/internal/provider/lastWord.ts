import { isWords } from "./vendorUsage.ts"

/** Whether what an element tells of the whole call is the last word on it. Only this library's own calls say so. */
export interface Closing<in A> {
  readonly isLast?: ((element: A) => boolean) | undefined
}

const isSaid = (value: unknown): boolean => value !== undefined && value !== null

const allSay = (values: ReadonlyArray<unknown>, key: string): boolean =>
  values.every((value) => isWords(value) && isSaid(value[key]))

/**
 * The one place that knows how vendors end their streams: whether a part that tells a usage tells it for the last time,
 * so that it holds for all that the call took. Others tell what it took up to then.
 */
export const isLastWord = (part: unknown): boolean => {
  if (!isWords(part)) return false
  const { candidates, choices, delta, metadata, type } = part
  // OpenAI's chat completions tell it in a chunk without choices; who speaks like them, often in the one that finishes.
  if (Array.isArray(choices)) return allSay(choices, "finish_reason")
  if (Array.isArray(candidates)) return candidates.length > 0 && allSay(candidates, "finishReason")
  if (type === "message_delta") return isWords(delta) && isSaid(delta.stop_reason)
  if (typeof type === "string") return /^response\.(completed|incomplete|failed)$|^finish$/.test(type)
  // Bedrock
  return isWords(metadata) && isSaid(metadata.usage)
}
