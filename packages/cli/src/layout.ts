/** How a report is laid out: sections, columns and bars. */
import * as Array from "effect/Array"

export const section = (title: string, lines: ReadonlyArray<string>): string =>
  [title, ...lines.map((line) => `  ${line}`)].join("\n")

/** Columns, aligned left or right as `sides` says. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>, sides: string): ReadonlyArray<string> => {
  const widths = Array.makeBy(sides.length, (column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) =>
        sides[column] === "r" ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)
      )
      .join("  ")
      .trimEnd()
  )
}

const barWidth = 20

/** A share of 1 as a bar, up to its full width. */
export const bar = (share: number): string => {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * barWidth * 8)
  return "█".repeat(Math.floor(eighths / 8)) + (eighths % 8 === 0 ? "" : (" ▏▎▍▌▋▊▉"[eighths % 8] ?? ""))
}
