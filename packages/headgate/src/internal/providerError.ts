import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type * as Money from "../Money.ts"
import type * as Usage from "../Usage.ts"

/**
 * What an error from outside says about itself, whoever made it: Effect's `AiError` and `HttpClientError`, the classes of
 * vendors' SDKs, a `fetch` that failed, or a plain object. They keep the same facts at different depths.
 */
type Facts = { readonly [key: string]: unknown }

const deeper = ["reason", "http", "response", "error", "cause"] as const

const isObject = (value: unknown): value is Facts => typeof value === "object" && value !== null

/** The error, then what it holds, a few levels down. */
const levels = (error: unknown): ReadonlyArray<Facts> => {
  const found: Array<Facts> = isObject(error) ? [error] : []
  for (let index = 0; index < found.length && found.length < 16; index++) {
    for (const key of deeper) {
      const next = found[index]![key]
      if (isObject(next) && !found.includes(next)) found.push(next)
    }
  }
  return found
}

const first = <A>(error: unknown, read: (facts: Facts) => A | undefined): A | undefined => {
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

/** A header of the reply, by its name in lower case. */
export const headerOf = (error: unknown, name: string): string | undefined =>
  first(error, ({ headers }) => {
    if (!isObject(headers)) return undefined
    const value = headers instanceof Headers ? headers.get(name) : (headers[name] ?? headers[capitalized(name)])
    return typeof value === "string" ? value : undefined
  })

const capitalized = (name: string): string => name.replace(/(^|-)[a-z]/g, (letters) => letters.toUpperCase())

/** Whether one of the tags, names, codes and types that the error carries is such a word. */
export const mentions = (error: unknown, isSuch: (word: string) => boolean): boolean =>
  first(error, ({ _tag, code, name, type }) =>
    [_tag, code, name, type].some((word) => typeof word === "string" && isSuch(word)) ? true : undefined
  ) ?? false

/** Whether the error says of itself that it is worth another try. */
export const saysRetryable = (error: unknown): boolean | undefined =>
  first(error, ({ isRetryable }) => (typeof isRetryable === "boolean" ? isRetryable : undefined))

/** The three forms of RFC 9110, 5.6.7: all begin with the day of the week and hold a time. */
const httpDate = /^(mon|tue|wed|thu|fri|sat|sun)[a-z]*,? [\w :-]*\d\d:\d\d:\d\d[\w ]*$/i

/** Seconds, or a date as in HTTP; `undefined` for what is neither. */
const parseRetryAfter = (text: string, now: number): number | undefined => {
  const trimmed = text.trim()
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed) * 1000
  // All HTTP dates are in GMT; the asctime form does not say so.
  const date = httpDate.test(trimmed) ? Date.parse(/gmt$/i.test(trimmed) ? trimmed : `${trimmed} GMT`) : NaN
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

const usable = (millis: number | undefined): number | undefined =>
  millis !== undefined && millis >= 0 ? millis : undefined

/**
 * How many milliseconds the error asks to wait: its `retryAfter` (a `Duration`, text as in the header, or seconds), the
 * header `retry-after-ms`, or `retry-after` in seconds or as a date. What cannot be read asks for nothing.
 */
export const retryAfterOf = (error: unknown, now: number): number | undefined => {
  const own = first(error, ({ retryAfter }) => {
    if (Duration.isDuration(retryAfter)) return usable(Duration.toMillis(retryAfter))
    if (typeof retryAfter === "number") return usable(retryAfter * 1000)
    return typeof retryAfter === "string" ? usable(textOf(retryAfter, now)) : undefined
  })
  const millis = headerOf(error, "retry-after-ms")
  const header = headerOf(error, "retry-after")
  return (
    own ??
    (millis === undefined ? undefined : usable(Number(millis))) ??
    (header === undefined ? undefined : parseRetryAfter(header, now))
  )
}

const textOf = (text: string, now: number): number | undefined =>
  parseRetryAfter(text, now) ??
  Option.getOrUndefined(Option.map(Duration.fromInput(text as Duration.Input), Duration.toMillis))

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

const isCutOff = (word: string): boolean => cutOffWords.has(word)

const isNotSent = (word: string): boolean => notSentWords.has(word)

/** Failures of the transport, whether or not the request left. */
export const isTransport = (word: string): boolean => isCutOff(word) || isNotSent(word)

/** What a failed attempt costs: the usage that the error carries; the estimate; nothing; or nobody knows. */
export const chargeOf = (error: unknown): Usage.Input | "billed" | "unknown" | "free" => {
  const usage = first(error, ({ usage }) => (isObject(usage) ? readUsage(usage) : undefined))
  if (usage !== undefined) return usage
  if (mentions(error, isBilled)) return "billed"
  const status = statusOf(error)
  if (status !== undefined) return status >= 200 && status < 300 ? "billed" : "free"
  if (mentions(error, isNotSent)) return "free"
  return mentions(error, isCutOff) ? "unknown" : "free"
}

/** Usage in our words, in those of Effect's `AiError` and of its replies, or in those of the vendors' SDKs. */
const readUsage = (usage: Facts): Usage.Input | undefined => {
  const count = (...keys: ReadonlyArray<string>): number | undefined => {
    for (const key of keys) {
      const value = usage[key]
      if (typeof value === "number") return value
      if (isObject(value) && typeof value.total === "number") return value.total
    }
  }
  const inputTokens = count("inputTokens", "promptTokens", "input_tokens", "prompt_tokens")
  const outputTokens = count("outputTokens", "completionTokens", "output_tokens", "completion_tokens")
  const tokens = count("tokens", "totalTokens", "total_tokens")
  if (inputTokens === undefined && outputTokens === undefined && tokens === undefined) return undefined
  const cost =
    typeof usage.cost === "number" || typeof usage.cost === "string" ? (usage.cost as Money.Input) : undefined
  return { inputTokens, outputTokens, tokens, cost }
}
