// Installs the packages as npm would publish them into an empty project, and uses them there.
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const user = mkdtempSync(join(tmpdir(), "headgate-pack-"))
process.on("exit", () => rmSync(user, { recursive: true, force: true }))

const { version } = JSON.parse(readFileSync(join(root, "packages/cli/package.json"), "utf8"))
// What the README's first example needs besides headgate.
const peers = ["effect", "@pydantic/genai-prices", "openai"].map((name) => {
  const { version } = JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8"))
  return `${name}@${version}`
})

step("build", "node scripts/build.mjs")
const packed = JSON.parse(
  step("npm pack", `npm pack --json --pack-destination "${user}" -w headgate -w @headgate/node -w @headgate/cli`)
)
const tarballs = Object.values(packed).map(({ filename }) => join(user, filename))
for (const tarball of tarballs) {
  step(`publint ${basename(tarball)}`, `publint run --strict "${tarball}"`)
}
for (const tarball of tarballs.filter((path) => !/-cli-\d/.test(path))) {
  step(`are the types wrong ${basename(tarball)}`, `attw --profile esm-only "${tarball}"`)
}

writeFileSync(join(user, "package.json"), `{ "name": "user", "private": true, "type": "module" }`)
const install = "npm install --prefer-offline --ignore-scripts --no-audit --no-fund --loglevel=error"
step("install", `${install} ${peers.join(" ")} ${tarballs.map((path) => `"${path}"`).join(" ")}`, user)

const readme = join(root, "README.md")
const example = existsSync(readme) ? /^```ts\n([^]*?)^```$/m.exec(readFileSync(readme, "utf8")) : null
if (example === null) fail("readme example", "There is no README.md with a ts fence.")
writeFileSync(join(user, "example.ts"), example[1])
step("readme example runs", "node example.ts", user)
const compilerOptions = { strict: true, module: "NodeNext", target: "ES2024", lib: ["ES2024", "DOM"], noEmit: true }
writeFileSync(join(user, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["example.ts"] }))
step("readme example type-checks", `tsc -p "${user}"`)

// headgate's names over a store of the environment, which the command then finds.
const uses = `import { Effect } from "effect"
import { Budget } from "headgate"
import { BudgetLive } from "@headgate/node"
const program = Budget.Budget.use((budget) => budget.reserve({ tokens: 1 }))
await Effect.runPromise(Effect.provide(program, BudgetLive))
`
writeFileSync(join(user, "node.mjs"), uses)
const env = { HEADGATE_STORE: "sqlite:store.db" }
step("the store of the environment", "node node.mjs", user, env)
const status = JSON.parse(step("its status", "npx --no-install headgate status --json", user, env))
if (status.quotas[0]?.held !== 1) fail("its status", JSON.stringify(status))

const printed = step("installed command", "npx --no-install headgate --version", user)
if (!printed.includes(version))
  fail("installed command", `headgate --version printed ${printed.trim()}, not ${version}`)

function step(name, command, cwd = root, env = {}) {
  const options = { cwd, encoding: "utf8", shell: true, env: { ...process.env, ...env } }
  const { status, stdout, stderr } = spawnSync(command, options)
  if (status !== 0) fail(name, `$ ${command}\n${stdout}${stderr}`)
  console.log(`ok     ${name}`)
  return stdout
}

function fail(name, message) {
  console.error(`FAILED ${name}\n${message}`)
  process.exit(1)
}
