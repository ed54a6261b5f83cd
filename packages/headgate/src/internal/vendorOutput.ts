import { isWords } from "./vendorUsage.ts"

/** What stands beside the output in a delta. */
const labels = new Set(["type", "role", "id", "call_id", "name", "index", "signature", "thoughtSignature", "mimeType"])

/** All text in a delta: its content, reasoning, refusals, and the input of tools, whatever a vendor calls them. */
const textIn = (value: unknown): string => {
  if (typeof value === "string") return value
  if (Array.isArray(value)) return value.map(textIn).join("")
  if (!isWords(value)) return ""
  return Object.entries(value)
    .map(([key, inner]) => (labels.has(key) ? "" : textIn(inner)))
    .join("")
}

/**
 * The one place that knows where vendors put the output in the parts of their streams: OpenAI (chat completions,
 * responses), Anthropic, Gemini, Effect's `Response`, the Vercel AI SDK. `undefined` for what is no part of theirs.
 */
export const knownOutputIn = (part: unknown): string | undefined => {
  if (!isWords(part)) return undefined
  const { candidates, choices, delta, text, type } = part
  if (Array.isArray(choices)) return choices.map((choice) => textIn(choice?.delta ?? choice?.text)).join("")
  if (Array.isArray(candidates)) return candidates.map((candidate) => textIn(candidate?.content)).join("")
  if (typeof type !== "string") return undefined
  // Anthropic's `message_delta` says why it ended, and what it took.
  return /[.-]delta$|^content_block_delta$/.test(type) ? textIn(delta ?? text) : ""
}

/** The output in an element of a stream. One that nobody knows counts with all its text, rather than as nothing. */
export const outputIn = (element: unknown): string => knownOutputIn(element) ?? textIn(element)
