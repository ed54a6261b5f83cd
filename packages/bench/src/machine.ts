// Where and with what a run was made.
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { availableParallelism, cpus, release, totalmem, type } from "node:os"
import { dirname, join } from "node:path"

const require = createRequire(import.meta.url)

/** Some packages do not export their package.json: it is looked for upwards from what they do export. */
const versionOf = (name: string): string => {
  const marker = join("node_modules", name)
  const entry = require.resolve(name)
  const at = entry.lastIndexOf(marker)
  const folder = at < 0 ? dirname(dirname(entry)) : entry.slice(0, at + marker.length)
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).version
}

const packages = [
  "effect",
  "@effect/platform-node",
  "@effect/sql-pg",
  "rate-limiter-flexible",
  "limiter",
  "bottleneck",
  "p-queue",
  "p-retry",
  "cockatiel",
  "redis",
  "esbuild"
]

export const machine = (): string =>
  `${cpus()[0]?.model.trim() ?? "unknown processor"}, ${availableParallelism()} cores, ` +
  `${Math.round(totalmem() / 2 ** 30)} GB, ${type()} ${release()}`

export const versions = (): string =>
  [`Node ${process.versions.node}`, ...packages.map((name) => `${name} ${versionOf(name)}`)].join(", ")
