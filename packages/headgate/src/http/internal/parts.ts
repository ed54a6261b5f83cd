import * as Sse from "effect/encoding/Sse"
import { isLastWord } from "../../internal/provider/lastWord.ts"
import { knownOutputIn } from "../../internal/provider/vendorOutput.ts"
import * as ModelUsage from "../../ModelUsage.ts"
import { field, items, parseJson } from "./json.ts"
import type { Api } from "./recognized.ts"

/** What some bytes of a stream hold: the output in them, and what they say that the whole call took. */
export interface Part {
  readonly delivered: string
  readonly usage: ModelUsage.ModelUsage | undefined
  /** Whether that usage is the stream's last word. */
  readonly isLast: boolean
}

/** The parts of a stream that say what it took up to now say too little when it is cut: the last word is heard alone. */
const isHeard: Readonly<Record<Api, (event: unknown) => boolean>> = {
  chat: () => true,
  responses: () => true,
  messages: (event) => field(event, "type") === "message_delta",
  gemini: (event) => items(field(event, "candidates")).some((candidate) => field(candidate, "finishReason") != null),
  embeddings: () => true
}

/**
 * Reads the bytes of a reply as they come. Not through schemas: an event that has a field more or less than is known
 * here still has output that is paid for.
 */
export const partsOf = (api: Api, isEvents: boolean): ((bytes: Uint8Array | undefined) => Part) => {
  const decoder = new TextDecoder()
  let delivered = ""
  let said: ModelUsage.ModelUsage | undefined
  let usage: ModelUsage.ModelUsage | undefined
  let isLast = false
  const read = (event: unknown): void => {
    const output = knownOutputIn(event) ?? ""
    delivered += output
    const told = ModelUsage.fromReply(event, said)
    said = told ?? said
    if (isHeard[api](event)) usage = said
    isLast = (told !== undefined && isLastWord(event)) || (isLast && output === "")
  }
  const parser = Sse.makeParser((event) => {
    if (event._tag === "Event") read(parseJson(event.data))
  })
  let whole = ""
  return (bytes) => {
    const text = bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true })
    delivered = ""
    usage = undefined
    isLast = false
    if (isEvents) {
      parser.feed(text)
      return { delivered, usage, isLast }
    }
    // It was to be a stream, and is one JSON: what comes of it is counted, and at its end it is read.
    whole += text
    if (bytes === undefined) for (const event of [parseJson(whole)].flat()) read(event)
    return { delivered: text, usage: bytes === undefined ? said : undefined, isLast: bytes === undefined }
  }
}
