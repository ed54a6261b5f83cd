// Runs every check, also after one has failed, and names those that did.
import { exec } from "node:child_process"
import { globSync } from "node:fs"
import { fileURLToPath } from "node:url"

process.chdir(fileURLToPath(new URL("..", import.meta.url)))

const projects = globSync("packages/*/tsconfig.*.json").sort()
const failed = []

// The others read what this one emits, and its errors explain theirs.
await check("types", `tsc -b ${projects.join(" ")}`)
await Promise.all([
  check("lint", "oxlint"),
  check("format", "oxfmt --check"),
  check("api", "node scripts/api.mjs --check"),
  check("examples", "node scripts/examples.mjs"),
  ...projects.map((path) => check(`effect ${path}`, `effect-tsgo diagnostics --project ${path} --format text --strict`))
])

if (failed.length > 0) {
  console.error(`Failed: ${failed.join(", ")}`)
  process.exit(1)
}

function check(name, command) {
  const start = performance.now()
  return new Promise((resolve) => {
    exec(command, { maxBuffer: Infinity }, (error, stdout, stderr) => {
      const seconds = ((performance.now() - start) / 1000).toFixed(1)
      console.log(error === null ? `ok     ${name} (${seconds} s)` : `FAILED ${name}\n$ ${command}\n${stdout}${stderr}`)
      if (error !== null) failed.push(name)
      resolve()
    })
  })
}
