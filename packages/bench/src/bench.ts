// npm run bench: measures what a decision costs, side by side with what people use today.
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import type { Table } from "./Contest.ts"
import { type Options, race, type Row } from "./race.ts"
import { document, isMet, tableText } from "./report.ts"
import { tables } from "./tables.ts"

const help = `npm run bench -- [options]

  --only TEXT   only the work, or the tables, whose name contains this text
  --rounds N    how often each side is measured (default 7)
  --json        the rows as data: { rows: [{ table, name, against, ours, peer, unit, ratio, goal, rounds }] }
  --write       writes BENCHMARKS.md; takes about 8 minutes
  --quick       shows that everything works, in tiny sizes and one process, and measures nothing
`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    rounds: { type: "string", default: "7" },
    json: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    help: { type: "boolean", default: false }
  }
})

const stop = (message: string): never => {
  console.error(`${message}\n\n${help}`)
  process.exit(1)
}

const { json, only, quick, write } = values
const rounds = Number(values.rounds)
if (values.help) {
  console.log(help)
  process.exit()
}
if (!Number.isSafeInteger(rounds) || rounds < 1) stop(`--rounds must be a whole number from 1, got ${values.rounds}`)
if (write && (only !== "" || quick)) stop("--write is for a full run")

// In a quick run this process starts all the servers, and each wants to be ended with it.
process.setMaxListeners(100)

const options: Options = { rounds, effort: quick ? "quick" : "full" }
const has = (name: string) => name.toLowerCase().includes(only.toLowerCase())

const rowsOf = async ({ contests, title }: Table): Promise<ReadonlyArray<Row>> => {
  const rows: Array<Row> = []
  for (const contest of contests) {
    if (!has(title) && !has(contest.name)) continue
    rows.push(...(await race(title, contest, options)))
  }
  return rows
}

const all: Array<Row> = []
const texts: Array<string> = []
for (const table of tables) {
  const rows = await rowsOf(table)
  if (rows.length === 0) continue
  all.push(...rows)
  texts.push(tableText(table, rows))
  if (!json) console.log(`${texts.at(-1)}\n`)
}
if (all.length === 0) stop(`there is nothing named ${only}`)
if (json) console.log(JSON.stringify({ rows: all }, null, 2))
if (write) writeFileSync(new URL("../BENCHMARKS.md", import.meta.url), document(texts, new Date()))

const missed = all.filter((row) => !isMet(row))
if (!json && !quick && missed.length > 0) {
  console.log(`Goals missed: ${missed.map(({ against, name }) => `${name} (${against})`).join("; ")}`)
}
process.exit()
