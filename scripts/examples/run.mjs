// Imports the examples of one batch one after another and writes down what went wrong.
import { readFileSync, writeFileSync } from "node:fs"
import { inspect, isDeepStrictEqual } from "node:util"

const [plan, result] = process.argv.slice(2)
const batch = JSON.parse(readFileSync(plan, "utf8"))
const problems = []
const reached = new Set()
let current

globalThis.$shows = (actual, expected, at) => {
  reached.add(at)
  const value = expected()
  if (!isDeepStrictEqual(actual, value) && !isDeepStrictEqual(plain(actual), value)) {
    problems.push(`${at} shows ${inspect(value)} but is ${inspect(actual)}`)
  }
}

for (const kind of ["uncaughtException", "unhandledRejection"]) {
  process.on(kind, (error) => problems.push(`${current ?? "An example"} failed: ${brief(error)}`))
}
process.on("exit", () => {
  if (current !== undefined) problems.push(`${current} ended the process, or waits for what never comes`)
  const silent = batch.flatMap(({ assertions }) => assertions).filter((at) => !reached.has(at))
  for (const at of problems.length > 0 ? [] : silent) problems.push(`${at} is never reached`)
  writeFileSync(result, JSON.stringify(problems))
})
setTimeout(() => {
  problems.push(`${current ?? batch.map(({ at }) => at).join(", ")} still runs after 45 seconds`)
  process.exit(1)
}, 45_000).unref()

for (const { at, url } of batch) {
  current = at
  await import(url).catch((error) => problems.push(`${at} failed: ${brief(error)}`))
}
current = undefined

function brief(error) {
  return inspect(error).split("\n").slice(0, 6).join("\n")
}

// A literal stands for a class instance with the same fields.
function plain(value) {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== "object" || value === null || Object.keys(value).length === 0) return value
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)]))
}
