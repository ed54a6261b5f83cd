// `npm run faults`: every fault at full length, and the table of what was seen. `-- --only NAME` runs those whose name
// begins with NAME. Ends with 1 where something does not hold, or cannot be run.
import { Cause, Effect, Exit } from "effect"
import { cpus } from "node:os"
import { parseArgs } from "node:util"
import { postgresFaults, redisFaults, sqliteFaults } from "./all.ts"
import type { Fault } from "./fault.ts"

const { only, short = false } = parseArgs({ options: { only: { type: "string" }, short: { type: "boolean" } } }).values
const all = [...redisFaults, ...postgresFaults, ...sqliteFaults]
const chosen = all.filter(({ name }) => name.startsWith(only ?? ""))
if (chosen.length === 0) {
  console.error(`No fault is named ${only}. There are: ${all.map(({ name }) => name).join(", ")}`)
  process.exit(1)
}

const run = async (fault: Fault): Promise<string> => {
  if (fault.missing !== undefined) return `NOT RUN: ${fault.missing}`
  const limited = Effect.timeout(Effect.scoped(short ? fault.short : fault.full), "3 minutes")
  const exit = await Effect.runPromiseExit(limited)
  if (Exit.isSuccess(exit)) return exit.value
  console.error(Cause.pretty(exit.cause))
  return `DOES NOT HOLD: ${String(Cause.squash(exit.cause)).split("\n", 1)[0]}`
}

const began = performance.now()
const rows: Array<readonly [name: string, fault: string, mustHold: string, seen: string]> = []
for (const fault of chosen) {
  const start = performance.now()
  const seen = await run(fault)
  console.error(`${fault.name} (${((performance.now() - start) / 1000).toFixed(1)} s): ${seen}`)
  rows.push([fault.name, fault.fault, fault.mustHold, seen])
}

const seconds = Math.round((performance.now() - began) / 1000)
const machine = `${cpus().length} x ${cpus()[0]?.model.trim()}, Node ${process.version}`
console.log(`\n| name | fault | must hold | seen |\n| --- | --- | --- | --- |`)
for (const row of rows) console.log(`| ${row.join(" | ")} |`)
console.log(`\n${new Date().toISOString().slice(0, 10)}, ${machine}, ${seconds} s`)
process.exit(rows.some(([, , , seen]) => /^(NOT RUN|DOES NOT HOLD)/.test(seen)) ? 1 : 0)
