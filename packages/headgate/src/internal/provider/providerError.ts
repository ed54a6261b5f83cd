import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Money from "../../Money.ts"
import type * as Usage from "../../Usage.ts"
import { isWords, type Reading, readUsage, toModelUsage, type Words } from "./vendorUsage.ts"
import { clockOf, decimalOf, retryAfterText } from "./waits.ts"

/**
 * What an error from outside says about itself, whoever made it: Effect's `AiError` and `HttpClientError`, the classes of
 * vendors' SDKs, a `fetch` that failed, or a plain object. They keep the same facts at different depths.
 */
type Facts = Words

const deeper = ["reason", "http", "response", "error", "data", "cause"] as const

/** The error, then what it holds, a few levels down. */
const levels = (error: unknown): ReadonlyArray<Facts> => {
  const found: Array<Facts> = isWords(error) ? [error] : []
  for (let index = 0; index < found.length && found.length < 16; index++) {
    for (const key of deeper) {
      const next = found[index]![key]
      if (isWords(next) && !found.includes(next)) found.push(next)
    }
  }
  return found
}

/** What is read first, from the outside in. */
export const first = <A>(error: unknown, read: (facts: Facts) => A | undefined): A | undefined => {
  for (const facts of levels(error)) {
    const found = read(facts)
    if (found !== undefined) return found
  }
}

/** The HTTP status. */
export const statusOf = (error: unknown): number | undefined =>
  first(error, ({ status, statusCode }) =>
    typeof status === "number" ? status : typeof statusCode === "number" ? statusCode : undefined
  )

/** The headers of the reply, wherever the error keeps them, with their names in lower case. */
export const headersOf = (error: unknown): ReadonlyArray<ReadonlyMap<string, string>> =>
  levels(error).flatMap((facts) => headersIn(facts) ?? [])

/** Vercel's errors have another word for them. */
const headersIn = ({ headers, responseHeaders = headers }: Facts): ReadonlyMap<string, string> | undefined =>
  isWords(responseHeaders) ? lowerCased(responseHeaders) : undefined

/** `Headers` of the web, whoever wrote the class, or a record as Effect and Node have it. */
const lowerCased = (headers: Facts): ReadonlyMap<string, string> => {
  const found = new Map<string, string>()
  const pairs: Iterable<unknown> = Predicate.isIterable(headers) ? headers : Object.entries(headers)
  for (const pair of pairs) {
    const [name, value]: ReadonlyArray<unknown> = Array.isArray(pair) ? pair : []
    const text = Array.isArray(value) ? value.join(", ") : value
    if (typeof name === "string" && typeof text === "string") found.set(name.toLowerCase(), text)
  }
  return found
}

/** Whether one of the tags, names, codes, types and classes that the error carries is such a word. */
export const mentions = (error: unknown, isSuch: (word: string) => boolean): boolean =>
  first(error, (facts) => {
    const { _tag, code, name, type } = facts
    return [_tag, code, name, type, ...classesOf(facts)].some((word) => typeof word === "string" && isSuch(word))
      ? true
      : undefined
  }) ?? false

/** The errors of SDKs leave their `name` at `"Error"`: only their class tells what they are, or one that it extends. */
const classesOf = (facts: Facts): ReadonlyArray<unknown> => {
  const names: Array<unknown> = []
  for (
    let at: unknown = Object.getPrototypeOf(facts);
    isWords(at) && names.length < 8;
    at = Object.getPrototypeOf(at)
  ) {
    const { constructor: made } = at
    if (typeof made === "function") names.push(made.name)
  }
  return names
}

/**
 * Whether the error says of itself that it is worth another try: by the header `x-should-retry`, or by `isRetryable`, which
 * where both stand together is the guess of a client.
 */
export const saysRetryable = (error: unknown): boolean | undefined =>
  first(error, (facts) => {
    const header = headersIn(facts)?.get("x-should-retry")
    if (header === "true" || header === "false") return header === "true"
    return typeof facts.isRetryable === "boolean" ? facts.isRetryable : undefined
  })

const usable = (millis: number | undefined): number | undefined =>
  millis !== undefined && millis >= 0 ? millis : undefined

/**
 * How many milliseconds the error asks to wait: its `retryAfter` (a `Duration`, text as in the header, or seconds), the
 * header `retry-after-ms`, `retry-after` in seconds or as a date by the clock of who replied, or Gemini's `RetryInfo`. What
 * cannot be read asks for nothing.
 */
export const retryAfterOf = (error: unknown, now: number): number | undefined => {
  const replies = headersOf(error)
  const own = first(error, ({ retryAfter }) => {
    if (Duration.isDuration(retryAfter)) return usable(Duration.toMillis(retryAfter))
    if (typeof retryAfter === "number") return usable(retryAfter * 1000)
    const clock = () => replies.reduceRight((clock, headers) => clockOf(headers, clock), now)
    return typeof retryAfter === "string" ? usable(textOf(retryAfter, clock())) : undefined
  })
  return (
    own ??
    headerIn(replies, "retry-after-ms", decimalOf) ??
    headerIn(replies, "retry-after", (text, headers) => retryAfterText(text, clockOf(headers, now))) ??
    first(error, (facts) => retryInfoOf(facts, now))
  )
}

/** A header of the first reply that has it. */
const headerIn = <A>(
  replies: ReadonlyArray<ReadonlyMap<string, string>>,
  name: string,
  read: (text: string, headers: ReadonlyMap<string, string>) => A
): A | undefined => {
  const headers = replies.find((headers) => headers.has(name))
  return headers && read(headers.get(name)!, headers)
}

const textOf = (text: string, now: number): number | undefined =>
  retryAfterText(text, now) ??
  Option.getOrUndefined(Option.map(Duration.fromInput(text as Duration.Input), Duration.toMillis))

/**
 * Gemini says it in the body; its SDKs keep that as `details`, as `errorDetails`, or as the text of the message, Vercel's
 * as `responseBody`.
 */
const retryInfoOf = ({ details, errorDetails, message, responseBody }: Facts, now: number): number | undefined => {
  for (const detail of [details, errorDetails].flat()) {
    if (!isWords(detail) || !String(detail["@type"]).endsWith("google.rpc.RetryInfo")) continue
    return typeof detail.retryDelay === "string" ? retryAfterText(detail.retryDelay, now) : undefined
  }
  for (const text of [message, responseBody]) {
    const [, delay] = (typeof text === "string" && inMessage.exec(text)) || []
    if (delay !== undefined) return retryAfterText(delay, now)
  }
}

const inMessage = /google\.rpc\.RetryInfo"[^{}]{0,200}"retryDelay"\s*:\s*"([^"]{1,40})"/

/** The provider answered and will bill it, but the reply was of no use. Another try costs again. */
const billedWords: ReadonlySet<string> = new Set([
  "InvalidOutputError",
  "InvalidResponseError",
  "DecodeError",
  "EmptyBodyError",
  "StructuredOutputError",
  "UnsupportedSchemaError",
  "ToolNotFoundError",
  "ToolParameterValidationError",
  "ToolResultEncodingError"
])

export const isBilled = (word: string): boolean => billedWords.has(word)

/** The request got no answer, and may have reached the provider. */
const cutOffWords: ReadonlySet<string> = new Set([
  "TransportError",
  "NetworkError",
  "TimeoutError",
  "APIConnectionError",
  "APIConnectionTimeoutError",
  "ECONNRESET",
  "ECONNABORTED",
  "ETIMEDOUT",
  "EPIPE",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "UND_ERR_SOCKET"
])

/** The request never left. */
const notSentWords: ReadonlySet<string> = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"])

/**
 * Somebody gave up waiting. It may have reached the provider, as what is cut off, but whoever gave up wants no other try.
 * Some timeouts are an abort too: those say so in another word.
 */
const abortedWords: ReadonlySet<string> = new Set([
  "AbortError",
  "APIUserAbortError",
  "ResponseAborted",
  "UND_ERR_ABORTED"
])

const isAborted = (word: string): boolean => abortedWords.has(word)

const isCutOff = (word: string): boolean => cutOffWords.has(word)

const isNotSent = (word: string): boolean => notSentWords.has(word)

/** Failures of the transport, whether or not the request left. */
export const isTransport = (word: string): boolean => isCutOff(word) || isNotSent(word)

/** What a failed attempt costs: the usage that the error carries; the estimate; nothing; or nobody knows. */
export const chargeOf = (error: unknown): Usage.Input | "billed" | "unknown" | "free" => {
  const usage = usageOf(error)
  if (usage !== undefined) return usage === "invalid" ? "billed" : inputOf(usage)
  if (mentions(error, isBilled)) return "billed"
  const status = statusOf(error)
  if (status !== undefined) return status >= 200 && status < 300 ? "billed" : "free"
  if (mentions(error, isNotSent)) return "free"
  return mentions(error, isCutOff) || mentions(error, isAborted) ? "unknown" : "free"
}

/** What was read of the usage that an error carries, and its cost if it says that too. */
export const usageOf = (error: unknown): (Reading & { cost?: Money.Input | undefined }) | "invalid" | undefined =>
  first(error, ({ usage }) => {
    const reading = isWords(usage) ? readUsage(usage) : undefined
    if (typeof reading !== "object" || !isWords(usage)) return reading
    const { cost } = usage
    return typeof cost === "number" || typeof cost === "string" ? { ...reading, cost: cost as Money.Input } : reading
  })

const inputOf = (usage: Exclude<ReturnType<typeof usageOf>, "invalid" | undefined>): Usage.Input => {
  const { cachedInputTokens, inputTokens, outputTokens } = toModelUsage(usage) ?? usage
  return { inputTokens, outputTokens, cachedInputTokens, tokens: usage.totalTokens, cost: usage.cost }
}
