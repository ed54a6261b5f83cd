/** Recorded traffic, read from a file or standard input. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as CliError from "effect/cli/CliError"
import { exitCodes } from "../exitCodes.ts"
import { type Format, open, type Opened } from "./traceFormats.ts"
import type { Row } from "./traceRow.ts"

/** One call of the trace. `at` is its virtual arrival, in milliseconds since 1970; `index` its place in time, from 0. */
export interface TraceRequest extends Omit<Row, "timestamp"> {
  readonly index: number
  readonly at: number
}

export interface Trace {
  readonly source: string
  readonly format: Format | "generated"
  /** In the order of arrival. Not empty. */
  readonly requests: ReadonlyArray<TraceRequest>
  /** The lines passed over under `--skip-bad`. */
  readonly skipped: ReadonlyArray<TraceError>
}

/** A trace that can not be read, with the line (from 1; 0 for the whole) and the reason. */
export class TraceError extends Schema.TaggedError<TraceError>()("TraceError", {
  source: Schema.String,
  line: Schema.Number,
  reason: Schema.String
}) {
  override readonly [Runtime.errorExitCode] = exitCodes.input
  override get message(): string {
    return `${this.source}${this.line === 0 ? "" : `:${this.line}`}: ${this.reason}`
  }
  override get [CliError.userMessage](): string {
    return this.message
  }
}

export interface Options {
  /** A path, or `-` for standard input. */
  readonly source: string
  /** Default: the format that the first line looks like. */
  readonly format?: Format | undefined
  readonly onBadLine: "fail" | "skip"
}

export const read = Effect.fnUntraced(function* (options: Options) {
  const source = options.source === "-" ? "standard input" : options.source
  const error = (line: number, reason: string): TraceError => new TraceError({ source, line, reason })
  const fileSystem = yield* FileSystem.FileSystem
  const stdio = yield* Stdio.Stdio
  const bytes = options.source === "-" ? stdio.stdin : fileSystem.stream(options.source)

  const rows: Array<Row> = []
  const skipped: Array<TraceError> = []
  let number = 0
  let opened: Opened | undefined

  const readLine = (raw: string): Effect.Effect<void, TraceError> => {
    number++
    const line = number === 1 ? raw.replace(/^\uFEFF/, "") : raw
    if (line.trim() === "") return Effect.void
    if (opened === undefined) {
      const result = open(line, options.format)
      // Without a header no later line can be read either: not a line to skip.
      if (Result.isFailure(result)) return Effect.fail(error(number, result.failure))
      opened = result.success
      if (opened.firstLine === "header") return Effect.void
    }
    const row = opened.read(line)
    if (Result.isSuccess(row)) {
      rows.push(row.success)
      return Effect.void
    }
    const bad = error(number, row.failure)
    if (options.onBadLine === "fail") return Effect.fail(bad)
    skipped.push(bad)
    return Effect.void
  }

  yield* bytes.pipe(
    Stream.mapError((cause) => error(0, cause.reason._tag === "NotFound" ? "there is no such file" : cause.message)),
    Stream.decodeText,
    Stream.splitLines,
    Stream.runForEach(readLine)
  )
  if (opened === undefined || rows.length === 0) return yield* error(0, "there is no request in it")
  return { source, format: opened.format, requests: inTime(rows), skipped } satisfies Trace
})

const inTime = (rows: Array<Row>): ReadonlyArray<TraceRequest> =>
  rows
    .sort((a, b) => a.timestamp - b.timestamp)
    .map(({ timestamp, ...row }, index) => ({ index, at: timestamp, ...row }))
