import { field } from "./json.ts"

/** An image, a recording or a file in a request. `bytes` is the length of what was sent along, 0 for a link. */
export interface Medium {
  readonly kind: "image" | "audio" | "file"
  readonly bytes: number
}

/** A medium, and where its data stands. */
interface Found extends Medium {
  readonly holder: object
  readonly key: string
}

/** Where the parts of messages keep their data: the path to its holder, its key, and what it is. */
const places: ReadonlyArray<readonly [path: ReadonlyArray<string>, key: string, kind: Medium["kind"]]> = [
  [["image_url"], "url", "image"],
  [[], "image_url", "image"],
  [["input_audio"], "data", "audio"],
  [["file"], "file_data", "file"],
  [[], "file_data", "file"],
  [["source"], "data", "file"],
  [["source"], "url", "file"],
  [["inlineData"], "data", "file"],
  [["inline_data"], "data", "file"],
  [["fileData"], "fileUri", "file"]
]

const kindOf = (part: unknown, holder: unknown, kind: Medium["kind"]): Medium["kind"] => {
  const said = ["type", "media_type", "mimeType", "mime_type"].map((key) => field(holder, key) ?? field(part, key))
  const words = [field(part, "type"), ...said].join(" ")
  return /image/.test(words) ? "image" : /audio/.test(words) ? "audio" : kind
}

const mediumOf = (part: unknown): Found | undefined => {
  for (const [path, key, kind] of places) {
    const holder = field(part, ...path)
    const data = field(holder, key)
    // The text of a document is text.
    if (typeof holder !== "object" || holder === null || typeof data !== "string") continue
    if (field(holder, "type") === "text") continue
    const isLink = /^(https?|gs):/.test(data)
    return { kind: kindOf(part, holder, kind), bytes: isLink ? 0 : Math.ceil((data.length * 3) / 4), holder, key }
  }
}

/** Where messages keep their parts. What tools are called with is no part, whatever it looks like. */
const inner = ["messages", "input", "contents", "content", "parts", "output", "system", "systemInstruction"]

const find = (value: unknown, found: Array<Found>): void => {
  if (Array.isArray(value)) return value.forEach((item) => find(item, found))
  if (typeof value !== "object" || value === null) return
  const medium = mediumOf(value)
  if (medium !== undefined) found.push(medium)
  const isCall = ["tool_use", "function_call"].includes(String(field(value, "type")))
  if (!isCall) for (const key of inner) find(field(value, key), found)
}

/** A request's body as text, with its media taken out. */
export const withoutMedia = (body: unknown): { readonly text: string; readonly media: ReadonlyArray<Medium> } => {
  const media: Array<Found> = []
  find(body, media)
  const text = JSON.stringify(body, function (this: unknown, key: string, value: unknown) {
    return media.some((medium) => medium.holder === this && medium.key === key) ? "" : value
  })
  return { text, media }
}
