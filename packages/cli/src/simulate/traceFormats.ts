/** The formats a trace can have, one line at a time. A line is a row, or a sentence that says what is wrong with it. */
import * as Result from "effect/Result"
import { csvReader } from "./traceCsv.ts"
import { mooncakeReader, readJson } from "./traceJson.ts"
import { type Names, ownNames, type ReadLine } from "./traceRow.ts"

/**
 * - `azure`: the Azure LLM inference trace, CSV with `TIMESTAMP,ContextTokens,GeneratedTokens`.
 * - `mooncake`: the Mooncake trace, JSON lines with `timestamp` (ms), `input_length`, `output_length`, `hash_ids`.
 * - `csv`, `jsonl`: our own, with `timestamp`, `input_tokens`, `output_tokens` and, where known,
 *   `cached_input_tokens`, `user`, `model`. Other columns are passed over.
 */
export const formats = ["azure", "mooncake", "csv", "jsonl"] as const
export type Format = (typeof formats)[number]

export interface Opened {
  readonly format: Format
  readonly read: ReadLine
  readonly firstLine: "header" | "row"
}

const azureNames: Names = { timestamp: "TIMESTAMP", input_tokens: "ContextTokens", output_tokens: "GeneratedTokens" }

/** Opens a trace by its first line, in the given format or the one it looks like. */
export const open = (line: string, format: Format | undefined): Result.Result<Opened, string> => {
  const found = format ?? sniff(line)
  switch (found) {
    case "azure":
    case "csv":
      return Result.map(csvReader(line, found === "azure" ? azureNames : ownNames), (read) => ({
        format: found,
        read,
        firstLine: "header"
      }))
    case "mooncake":
      return Result.succeed({ format: found, read: mooncakeReader(), firstLine: "row" })
    case "jsonl":
      return Result.succeed({ format: found, read: readJson, firstLine: "row" })
  }
}

const sniff = (line: string): Format =>
  line.trimStart().startsWith("{")
    ? line.includes('"hash_ids"') || line.includes('"input_length"')
      ? "mooncake"
      : "jsonl"
    : line.includes("ContextTokens")
      ? "azure"
      : "csv"
