/** A row of a trace, and the reading of its fields. What is wrong with one is a sentence that names it. */
import * as Result from "effect/Result"

export interface Row {
  /** Milliseconds since 1970, or since whenever the trace began to count. */
  readonly timestamp: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cachedInputTokens: number
  readonly user: string | undefined
  readonly model: string | undefined
}

/** Reads a line, or says what is wrong with it. */
export type ReadLine = (line: string) => Result.Result<Row, string>

/** What a line has, by the names of our own format. */
export type Fields = { readonly [name: string]: unknown }

/** What each field is called in the trace. */
export type Names = Partial<typeof ownNames>

export const ownNames = {
  timestamp: "timestamp",
  input_tokens: "input_tokens",
  output_tokens: "output_tokens",
  cached_input_tokens: "cached_input_tokens",
  user: "user",
  model: "model"
}

export const readRow = (fields: Fields, names: Names = ownNames): Result.Result<Row, string> =>
  Result.gen(function* () {
    const timestamp = yield* readTime(fields["timestamp"], names.timestamp ?? "timestamp")
    const inputTokens = yield* readTokens(fields["input_tokens"], names.input_tokens ?? "input_tokens")
    const outputTokens = yield* readTokens(fields["output_tokens"], names.output_tokens ?? "output_tokens")
    const cachedInputTokens = yield* readTokens(fields["cached_input_tokens"] || 0, "cached_input_tokens")
    if (cachedInputTokens > inputTokens) {
      return yield* Result.fail(`cached_input_tokens (${cachedInputTokens}) is more than input_tokens (${inputTokens})`)
    }
    const user = yield* readName(fields["user"], "user")
    const model = yield* readName(fields["model"], "model")
    return { timestamp, inputTokens, outputTokens, cachedInputTokens, user, model }
  })

export const show = (value: unknown): string =>
  value === undefined ? "nothing" : (JSON.stringify(value) ?? "").slice(0, 60)

export const readTokens = (value: unknown, name: string): Result.Result<number, string> => {
  const tokens = typeof value === "string" && value.trim() !== "" ? Number(value) : value
  return typeof tokens === "number" && Number.isSafeInteger(tokens) && tokens >= 0
    ? Result.succeed(tokens)
    : Result.fail(`${name} must be a whole number of tokens, got ${show(value)}`)
}

const readName = (value: unknown, name: string): Result.Result<string | undefined, string> =>
  value === undefined || value === null || value === ""
    ? Result.succeed(undefined)
    : typeof value === "string" && value.length <= 256 && value !== "__proto__"
      ? Result.succeed(value)
      : Result.fail(`${name} must be a text of up to 256 characters, not __proto__, got ${show(value)}`)

const dateTime = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?)(Z|[+-]\d\d:\d\d)?$/

// A date without a zone is UTC: the Azure traces have none, and a local zone would give each reader another replay.
export const readTime = (value: unknown, name: string): Result.Result<number, string> => {
  const text = typeof value === "string" ? value.trim() : value
  const parts = typeof text === "string" ? dateTime.exec(text) : null
  const time =
    parts !== null
      ? Date.parse(`${parts[1]}T${parts[2]}${parts[3] ?? "Z"}`)
      : typeof text === "string" && text !== ""
        ? Number(text)
        : text
  return typeof time === "number" && time >= 0 && time <= 8.64e15
    ? Result.succeed(Math.floor(time))
    : Result.fail(`${name} must be milliseconds or a date such as 2026-01-31 12:00:00.000, got ${show(value)}`)
}
