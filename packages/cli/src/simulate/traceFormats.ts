/** The formats a trace can have, one line at a time. A line is a row, or a sentence that says what is wrong with it. */
import * as Result from "effect/Result"

/**
 * - `azure`: the Azure LLM inference trace, CSV with `TIMESTAMP,ContextTokens,GeneratedTokens`.
 * - `mooncake`: the Mooncake trace, JSON lines with `timestamp` (ms), `input_length`, `output_length`, `hash_ids`.
 * - `csv`, `jsonl`: our own, with `timestamp`, `input_tokens`, `output_tokens` and, where known,
 *   `cached_input_tokens`, `user`, `model`. Other columns are passed over.
 */
export const formats = ["azure", "mooncake", "csv", "jsonl"] as const
export type Format = (typeof formats)[number]

export interface Row {
  /** Milliseconds since 1970, or since whenever the trace began to count. */
  readonly timestamp: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cachedInputTokens: number
  readonly user: string | undefined
  readonly model: string | undefined
}

export type ReadLine = (line: string) => Result.Result<Row, string>

export interface Opened {
  readonly format: Format
  readonly read: ReadLine
  readonly firstLine: "header" | "row"
}

/** Opens a trace by its first line, in the given format or the one it looks like. */
export const open = (line: string, format: Format | undefined): Result.Result<Opened, string> => {
  switch (format ?? sniff(line)) {
    case "azure":
      return openCsv("azure", line, azureColumns)
    case "csv":
      return openCsv("csv", line, ownColumns)
    case "mooncake":
      return Result.succeed({ format: "mooncake", read: mooncakeReader(), firstLine: "row" })
    case "jsonl":
      return Result.succeed({
        format: "jsonl",
        read: (line) => Result.flatMap(parseObject(line), readOwn),
        firstLine: "row"
      })
  }
}

const sniff = (line: string): Format =>
  line.trimStart().startsWith("{")
    ? line.includes('"hash_ids"') || line.includes('"input_length"')
      ? "mooncake"
      : "jsonl"
    : line.includes(azureColumns.input_tokens)
      ? "azure"
      : "csv"

// ---- rows ----

type Fields = { readonly [name: string]: unknown }

const ownColumns = {
  timestamp: "timestamp",
  input_tokens: "input_tokens",
  output_tokens: "output_tokens",
  cached_input_tokens: "cached_input_tokens",
  user: "user",
  model: "model"
}

const azureColumns = { timestamp: "TIMESTAMP", input_tokens: "ContextTokens", output_tokens: "GeneratedTokens" }

const readOwn = (fields: Fields, names: Partial<typeof ownColumns> = ownColumns): Result.Result<Row, string> =>
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

const show = (value: unknown): string => (value === undefined ? "nothing" : (JSON.stringify(value) ?? "").slice(0, 60))

const readTokens = (value: unknown, name: string): Result.Result<number, string> => {
  const tokens = typeof value === "string" && value.trim() !== "" ? Number(value) : value
  return typeof tokens === "number" && Number.isSafeInteger(tokens) && tokens >= 0
    ? Result.succeed(tokens)
    : Result.fail(`${name} must be a whole number of tokens, got ${show(value)}`)
}

const readName = (value: unknown, name: string): Result.Result<string | undefined, string> =>
  value === undefined || value === null || value === ""
    ? Result.succeed(undefined)
    : typeof value === "string" && value.length <= 256
      ? Result.succeed(value)
      : Result.fail(`${name} must be a text of up to 256 characters, got ${show(value)}`)

const dateTime = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?)(Z|[+-]\d\d:\d\d)?$/

// A date without a zone is UTC: the Azure traces have none, and a local zone would give each reader another replay.
const readTime = (value: unknown, name: string): Result.Result<number, string> => {
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

// ---- JSON lines ----

const parseObject = (line: string): Result.Result<Fields, string> =>
  Result.try({ try: (): unknown => JSON.parse(line), catch: () => "not a line of JSON" }).pipe(
    Result.flatMap((value) =>
      typeof value === "object" && value !== null && !Array.isArray(value)
        ? Result.succeed(value as Fields)
        : Result.fail(`must be a JSON object, got ${show(value)}`)
    )
  )

const blockTokens = 512

/** Counts as cached the leading blocks that any earlier request had: those a prefix cache would still hold. */
const mooncakeReader = (): ReadLine => {
  const seen = new Set<number>()
  return (line) =>
    Result.gen(function* () {
      const fields = yield* parseObject(line)
      const timestamp = yield* readTime(fields["timestamp"], "timestamp")
      const inputTokens = yield* readTokens(fields["input_length"], "input_length")
      const outputTokens = yield* readTokens(fields["output_length"], "output_length")
      const blocks = fields["hash_ids"]
      if (!Array.isArray(blocks) || !blocks.every((block) => Number.isSafeInteger(block))) {
        return yield* Result.fail(`hash_ids must be a list of whole numbers, got ${show(blocks)}`)
      }
      const firstNew = blocks.findIndex((block) => !seen.has(block))
      const known = firstNew === -1 ? blocks.length : firstNew
      for (const block of blocks) seen.add(block)
      const cachedInputTokens = Math.min(blockTokens * known, inputTokens)
      return { timestamp, inputTokens, outputTokens, cachedInputTokens, user: undefined, model: undefined }
    })
}

// ---- CSV ----

const openCsv = (format: Format, header: string, names: Partial<typeof ownColumns>): Result.Result<Opened, string> => {
  const columns = cells(header).map((cell) => cell.trim())
  const required = [names.timestamp, names.input_tokens, names.output_tokens]
  const missing = required.filter((name) => name === undefined || !columns.includes(name))
  if (missing.length > 0) {
    return Result.fail(`the first line must name the columns ${required.join(", ")}; missing: ${missing.join(", ")}`)
  }
  const places = Object.entries(names).map(([field, name]) => [field, columns.indexOf(name)] as const)
  const read: ReadLine = (line) => {
    const row = cells(line)
    if (row.length !== columns.length) {
      return Result.fail(`must have ${columns.length} columns as the first line has, got ${row.length}`)
    }
    return readOwn(Object.fromEntries(places.map(([field, place]) => [field, row[place]])), names)
  }
  return Result.succeed({ format, read, firstLine: "header" })
}

const cells = (line: string): ReadonlyArray<string> =>
  line.includes('"')
    ? [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map((cell) =>
        cell[1] === undefined ? (cell[2] ?? "") : cell[1].replaceAll('""', '"')
      )
    : line.split(",")
