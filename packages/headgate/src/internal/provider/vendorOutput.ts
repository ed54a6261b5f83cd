import { isWords, type Words } from "./vendorUsage.ts"

/** Which media some data is of. */
const mimes = ["mimeType", "mime_type", "mediaType", "media_type"]

/** What stands beside the output in a delta. */
const labels = new Set(["type", "role", "id", "call_id", "name", "index", ...mimes])

/** What a model quotes. */
const quoted = new Set(["citation", "citations", "annotations"])

/** What only the vendor can read. */
const sealed = new Set(["signature", "thoughtSignature", "thought_signature", "encrypted_content"])

/** What stands beside the output in one place alone. */
const beside: Readonly<Record<string, string>> = { audio: "data", reasoning_details: "format" }

/** Where the same reasoning stands, as OpenRouter has it in several: it counts once. */
const reasonings = ["reasoning", "reasoning_content", "reasoning_details"]

/** Images and sound take tokens, but none that could be told by the letters of their encoding. */
const isBinary = (words: Words, key: string): boolean =>
  key === "data"
    ? mimes.some((mime) => mime in words) || /encrypted|redacted/.test(String(words.type))
    : key === "url" && String(words.url).startsWith("data:")

/** All text in a delta: its content, reasoning, refusals, and the input of tools, whatever a vendor calls them. */
const textIn = (value: unknown, within = ""): string => {
  if (typeof value === "string") return value
  if (Array.isArray(value)) return value.map((item) => textIn(item, within)).join("")
  if (!isWords(value) || ArrayBuffer.isView(value)) return ""
  const reasoning = reasonings.find((key) => textIn(value[key], key) !== "")
  return Object.entries(value)
    .map(([key, inner]) => {
      if (labels.has(key) || quoted.has(key) || sealed.has(key)) return ""
      if (beside[within] === key || isBinary(value, key)) return ""
      if (reasonings.includes(key) && key !== reasoning) return ""
      // What Gemini calls a tool with has come as an object, in which any key can stand.
      return key === "args" && isWords(inner) ? JSON.stringify(inner) : textIn(inner, key)
    })
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
  // Anthropic's `message_delta` says why it ended, and what it took; OpenAI's `response.audio.delta` is sound.
  return /(?<!audio)[.-]delta$|^content_block_delta$/.test(type) ? textIn(delta ?? text) : ""
}

/** The output in an element of a stream. One that nobody knows counts with all its text, rather than as nothing. */
export const outputIn = (element: unknown): string => knownOutputIn(element) ?? textIn(element)
