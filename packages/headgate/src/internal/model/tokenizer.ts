import * as Effect from "effect/Effect"
import { bytesAt, utf8Bytes } from "./textSize.ts"

/** Counts the tokens of a short text. */
export type Count = (text: string) => number

export type Encoding = "cl100k_base" | "o200k_base"

/** Whose tokenizer is known: OpenAI's alone. */
export const encodingOf = (model: string): Encoding | undefined => {
  const name = model.slice(model.lastIndexOf("/") + 1).toLowerCase()
  if (/^(gpt-4(?!o|\.)|gpt-3\.5|text-embedding-|(babbage|davinci)-002)/.test(name)) return "cl100k_base"
  return /^(chatgpt|codex|gpt|o\d)\b/.test(name) ? "o200k_base" : undefined
}

/** Pieces that have to be merged come back seldom, and each keeps a list of tokens. */
const mergeCache = 2000

/**
 * An instance of our own: its cache must not grow large. A peer that is optional is never imported but so, and a bundler
 * lets it be absent only where it sees that the import itself is caught.
 */
const counterOf = (encoding: Encoding): Promise<Count> =>
  Promise.all([
    import("gpt-tokenizer/GptEncoding").catch(absent),
    encoding === "o200k_base"
      ? import("gpt-tokenizer/bpeRanks/o200k_base").catch(absent)
      : import("gpt-tokenizer/bpeRanks/cl100k_base").catch(absent)
  ]).then(([{ GptEncoding }, { default: ranks }]) => {
    const api = GptEncoding.getEncodingApi(encoding, () => ranks)
    api.setMergeCacheSize(mergeCache)
    // Without this a text that names a special token, such as <|endoftext|>, is an error.
    const options = { disallowedSpecial: new Set<string>() }
    return (text) => api.countTokens(text, options)
  })

const absent = (cause: unknown): Promise<never> => Promise.reject(cause)

/** The counter of a model, if its tokenizer is known. */
export type CounterOf = (model: string) => Effect.Effect<Count> | undefined

/** The counters, or why there are none. The older encoding is loaded when a model first needs it. */
export const load: Effect.Effect<CounterOf | { readonly missing: unknown }> = Effect.gen(function* () {
  const modern = yield* Effect.promise(() => counterOf("o200k_base").catch((missing: unknown) => ({ missing })))
  if (typeof modern !== "function") return modern
  const older = yield* Effect.cached(Effect.uninterruptible(Effect.promise(() => counterOf("cl100k_base"))))
  return (model) => {
    const encoding = encodingOf(model)
    if (encoding === undefined) return undefined
    return encoding === "o200k_base" ? Effect.succeed(modern) : older
  }
})

/** Longest run of text without a break, in bytes. To merge a run takes time that grows with its square. */
const longestRun = 256

/** Longest text that is counted without letting others run. */
const slice = 4096

/** What lies beyond is counted by its bytes, which is more. */
const farthest = 1_048_576

const isDigit = (code: number): boolean => code >= 48 && code <= 57

const isSpace = (code: number): boolean => code === 32 || (code >= 9 && code <= 13) || code === 0xa0 || code === 0x3000

/** Signs between words, before which a run may be cut without changing what is counted. */
const isSign = (code: number): boolean =>
  code < 0x80
    ? !isDigit(code) && !(code >= 65 && code <= 90) && !(code >= 97 && code <= 122)
    : (code >= 0x2010 && code <= 0x2027) || (code >= 0x3001 && code <= 0x3003) || (code >= 0xff01 && code <= 0xff0f)

/** Where the piece that begins at `start` ends: at a slice's end, or where a run is too long. */
const endOf = (text: string, start: number, end: number): number => {
  let runStart = start
  let bytes = 0
  let lastSign = start
  let wasSpace = isSpace(text.charCodeAt(start))
  for (let index = start; index < end; index++) {
    const code = text.charCodeAt(index)
    const space = isSpace(code)
    // Digits are counted in threes, whatever stands beside them.
    if (space !== wasSpace || isDigit(code)) {
      wasSpace = space
      runStart = lastSign = index
      bytes = 0
    }
    const size = bytesAt(text, index)
    if (bytes + size > longestRun) return lastSign > runStart ? lastSign : index
    bytes += size
    if (isSign(code) && index > runStart && !isSign(text.charCodeAt(index - 1))) lastSign = index
    if (size === 4) index++
  }
  return end
}

/** Where a slice that begins at `start` may end: before a space, else anywhere but inside of a character. */
const sliceEnd = (text: string, start: number): number => {
  const end = start + slice
  if (end >= text.length) return text.length
  for (let index = end; index > end - longestRun; index--) {
    if (isSpace(text.charCodeAt(index)) && !isSpace(text.charCodeAt(index - 1))) return index
  }
  return (text.charCodeAt(end) & 0xfc00) === 0xdc00 ? end - 1 : end
}

/** The tokens of texts of any size and content, in slices between which others run. */
export const countAll = (count: Count, texts: ReadonlyArray<string>): Effect.Effect<number> =>
  texts.every((text) => text.length <= slice)
    ? Effect.sync(() => texts.reduce((sum, text) => sum + countNow(count, text), 0))
    : Effect.reduce(
        texts,
        () => 0,
        (sum, text) => Effect.map(countTokens(count, text), (tokens) => sum + tokens)
      )

const countTokens = Effect.fnUntraced(function* (count: Count, text: string) {
  let tokens = 0
  let start = 0
  while (start < text.length && start < farthest) {
    const end = sliceEnd(text, start)
    tokens += countSlice(count, text, start, end)
    start = end
    yield* Effect.yieldNow
  }
  return tokens + utf8Bytes(text.slice(start))
})

/** The tokens of a short text; of one that is longer than a slice its bytes, which are more. */
export const countNow = (count: Count, text: string): number =>
  text.length <= slice ? countSlice(count, text, 0, text.length) : utf8Bytes(text)

const countSlice = (count: Count, text: string, from: number, to: number): number => {
  let tokens = 0
  for (let start = from; start < to;) {
    const end = endOf(text, start, to)
    tokens += count(text.slice(start, end))
    start = end
  }
  return tokens
}
