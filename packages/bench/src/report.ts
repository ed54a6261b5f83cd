// The rows as text: tables in Markdown, whose columns are aligned so that they can be read in a terminal too.
import { machine, versions } from "./machine.ts"
import type { Row } from "./race.ts"
import type { Table } from "./Contest.ts"

const round = (value: number): string => {
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return Number(value.toFixed(Math.min(digits, 6))).toLocaleString("en-US", { maximumFractionDigits: 6 })
}

const amount = (value: number, unit: Row["unit"]): string =>
  unit === "µs" && value >= 10
    ? `${round(value)} µs (${Math.round(1_000_000 / value).toLocaleString("en-US")}/s)`
    : `${round(value)} ${unit}`

/** Rounds to three digits as shown: a ratio is not missed by what nobody sees. */
export const isMet = ({ goal, ratio }: Row): boolean => goal === undefined || ratio <= goal

const goalOf = (row: Row): string =>
  row.goal === undefined ? "" : `≤ ${round(row.goal)}${isMet(row) ? "" : ", **missed**"}`

const spreadOf = ({ rounds }: Row): string => {
  const ratios = rounds.map(({ ratio }) => ratio)
  const [low, high] = [round(Math.min(...ratios)), round(Math.max(...ratios))]
  return low === high ? "" : `${low} – ${high}`
}

const heads = ["work", "headgate", "against", "", "ratio", "of all rounds", "goal"]

const markdown = (lines: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = heads.map((_, column) => Math.max(3, ...lines.map((line) => line[column]!.length)))
  const show = (line: ReadonlyArray<string>) => `| ${line.map((cell, at) => cell.padEnd(widths[at]!)).join(" | ")} |`
  const [head = heads, ...body] = lines
  return [show(head), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...body.map(show)].join("\n")
}

/** One table; the name of a contest and our number stand in its first row only. */
export const tableText = ({ how, title }: Table, rows: ReadonlyArray<Row>): string => {
  const lines = rows.map((row, index) => {
    const again = rows[index - 1]?.name === row.name
    return [
      again ? "" : row.name,
      again ? "" : amount(row.ours, row.unit),
      row.against,
      amount(row.peer, row.unit),
      round(row.ratio),
      spreadOf(row),
      goalOf(row)
    ]
  })
  const missed = rows.filter((row) => !isMet(row) && row.limits !== undefined)
  const reasons = [...new Map(missed.map(({ limits, name }) => [name, `- *${name}*: ${limits}`])).values()]
  return [`## ${title}`, how, markdown([heads, ...lines]), ...(reasons.length === 0 ? [] : [reasons.join("\n")])].join(
    "\n\n"
  )
}

const preface = (date: Date): string => `# What a decision costs

Written by \`npm run bench -- --write\` on ${date.toISOString().slice(0, 10)}. Do not edit: \`npm run bench\` makes it again.

- ${machine()}
- ${versions()}
- Each side runs in a process of its own, so that none warms up or fills the heap for another. Both sides of a row are measured
  in one run, in turns: ours, peer, ours, peer. Young garbage is collected before each round and not counted.
- Numbers are medians of the rounds. *ratio* is the median of each round's ratio of ours to the peer's, and less than 1 means that
  ours takes less; *of all rounds* is the lowest and the highest.
- Ours is the built package, as npm would install it, with its own checks and metrics on.`

/** BENCHMARKS.md. */
export const document = (tables: ReadonlyArray<string>, date: Date): string =>
  `${[preface(date), ...tables].join("\n\n")}\n`
