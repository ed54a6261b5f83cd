/** Traces whose first line names the columns. */
import * as Result from "effect/Result"
import { type Names, type ReadLine, readRow } from "./traceRow.ts"

/** Reads the first line and gives what reads the others. */
export const csvReader = (header: string, names: Names): Result.Result<ReadLine, string> => {
  const columns = cells(header).map((cell) => cell.trim())
  const required = [names.timestamp, names.input_tokens, names.output_tokens]
  const missing = required.filter((name) => name === undefined || !columns.includes(name))
  if (missing.length > 0) {
    return Result.fail(`the first line must name the columns ${required.join(", ")}; missing: ${missing.join(", ")}`)
  }
  const places = Object.entries(names).map(([field, name]) => [field, columns.indexOf(name)] as const)
  return Result.succeed((line) => {
    const row = cells(line)
    if (row.length !== columns.length) {
      return Result.fail(`must have ${columns.length} columns as the first line has, got ${row.length}`)
    }
    return readRow(Object.fromEntries(places.map(([field, place]) => [field, row[place]])), names)
  })
}

const cells = (line: string): ReadonlyArray<string> =>
  line.includes('"')
    ? [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map((cell) =>
        cell[1] === undefined ? (cell[2] ?? "") : cell[1].replaceAll('""', '"')
      )
    : line.split(",")
