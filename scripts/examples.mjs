// Type-checks and runs every example a reader can see: the ts fences of doc comments and READMEs, and examples/*.ts.
// `expr // => value` is an assertion; a fence marked "ts no-run" is only type-checked.
// `node scripts/examples.mjs [word]` takes only the examples whose file name contains the word.
import { spawn, spawnSync } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { dirname, join, relative } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { parseAst } from "vite"

const root = fileURLToPath(new URL("..", import.meta.url))
const read = (file) => readFileSync(join(root, file), "utf8")

process.chdir(root)
// Inside the repository, so that imports resolve; git ignores dist.
mkdirSync("dist", { recursive: true })
const out = mkdtempSync(join(root, "dist/examples-"))
process.on("exit", () => rmSync(out, { recursive: true, force: true }))

const wanted = process.argv[2] ?? ""
const examples = [
  ...globSync(["README.md", "packages/*/README.md", "packages/*/src/**/*.ts"]).flatMap(fences),
  ...globSync("packages/*/examples/*.ts").map((file) => ({ file, line: 1, module: file, code: read(file), run: true }))
].filter((example) => example.file.replaceAll("\\", "/").includes(wanted))

const problems =
  examples.length === 0 ? [`No example is in a file named ${wanted}`] : [...typeCheck(), ...(await runAll())]
if (problems.length > 0) {
  console.error(problems.join("\n"))
  console.error(`\n${problems.length} problem(s) in the examples.`)
  process.exit(1)
}
console.log(`${examples.length} examples type-check, ${examples.filter(({ run }) => run).length} of them were run.`)

/** The fences of a file, each padded with empty lines so that its line numbers are those of the file. */
function fences(file) {
  const isMarkdown = file.endsWith(".md")
  const found = []
  let open
  for (const [index, raw] of read(file).split("\n").entries()) {
    const text = isMarkdown ? raw : /^\s*\* ?(.*)$/.exec(raw)?.[1]
    const line = index + 1
    if (open !== undefined && (text === undefined || text.trimEnd() === "```")) {
      found.push({ ...open, code: open.code.join("\n") })
      open = undefined
    } else if (open !== undefined) {
      open.code.push(text)
    } else if (text !== undefined && /^```ts( |$)/.test(text)) {
      const run = !/\bno-run\b/.test(text)
      open = { file, line, module: `${file}.L${line}.ts`, code: Array(line).fill(""), run }
    }
  }
  return found
}

function typeCheck() {
  for (const example of examples) write(join(out, example.module), `${example.code}\nexport {}\n`)
  const compilerOptions = {
    noEmit: true,
    composite: false,
    rewriteRelativeImportExtensions: false,
    allowImportingTsExtensions: true,
    // An example shows a value, it need not use it.
    noUnusedLocals: false,
    types: ["node"]
  }
  const config = { extends: "../../tsconfig.json", include: ["packages", "*.ts"], references: [], compilerOptions }
  write(join(out, "tsconfig.json"), JSON.stringify(config))
  const tsc = spawnSync(`tsc --pretty false -p "${out}"`, { encoding: "utf8", shell: true })
  return tsc.status === 0 ? [] : [original(tsc.stdout + tsc.stderr).trim()]
}

async function runAll() {
  const problems = []
  const runnable = examples
    .filter(({ run }) => run)
    .flatMap((example) => {
      try {
        const { code, assertions } = withAssertions(example)
        const module = join(out, example.module.replace(/ts$/, "run.ts"))
        write(module, `${code}\nexport {}\n`)
        return [{ at: `${example.file}:${example.line}`, url: pathToFileURL(module).href, assertions }]
      } catch (error) {
        problems.push(error.message)
        return []
      }
    })
  const size = Math.ceil(runnable.length / Math.min(4, availableParallelism())) || 1
  const batches = []
  for (let i = 0; i < runnable.length; i += size) batches.push(runnable.slice(i, i + size))
  return problems.concat(...(await Promise.all(batches.map(runBatch))))
}

function runBatch(batch, index) {
  const [plan, result] = [join(out, `batch-${index}.json`), join(out, `result-${index}.json`)]
  write(plan, JSON.stringify(batch))
  const args = ["--conditions=@headgate/source", "scripts/examples/run.mjs", plan, result]
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { timeout: 60_000 })
    let output = ""
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk))
    child.on("close", (code, signal) => {
      let problems
      try {
        problems = JSON.parse(readFileSync(result, "utf8"))
      } catch {
        problems = [`One of these never ended (${signal ?? code}): ${batch.map(({ at }) => at).join(", ")}`]
      }
      resolve(problems.length > 0 ? [...problems.map(original), ...(output ? [`Output:\n${output}`] : [])] : [])
    })
  })
}

/** `expr // => value` becomes `$shows(expr, () => value, "file:line")` on the same line. */
function withAssertions({ file, code }) {
  const statements = []
  if (code.includes("// => ")) collectStatements(parseAst(code, { lang: "ts" }), statements)
  const assertions = []
  const edits = []
  let offset = 0
  code.split("\n").forEach((text, index) => {
    const [, before, value] = /^(.*?);?\s*\/\/ => (.+)$/.exec(text) ?? []
    if (value !== undefined) {
      const at = `${file}:${index + 1}`
      const end = offset + before.length
      const statement = statements.find((node) => endsOf(node).includes(end))
      const name = statement?.declarations?.at(-1).id.name
      if (statement === undefined || (statement.declarations !== undefined && name === undefined)) {
        throw new Error(`${at}: "// =>" follows neither an expression nor a named const`)
      }
      const check = `, () => (${value}), ${JSON.stringify(at)})`
      edits.push({ at: end, text: name === undefined ? check : `; $shows(${name}${check}` })
      if (name === undefined) edits.push({ at: statement.start, text: ";$shows(" })
      assertions.push(at)
    }
    offset += text.length + 1
  })
  for (const { at, text } of edits.sort((a, b) => b.at - a.at)) code = code.slice(0, at) + text + code.slice(at)
  return { code, assertions }
}

// A statement that ends without a semicolon may reach into the next line, what it says does not.
function endsOf({ end, expression, declarations }) {
  return [end, expression?.end, declarations?.at(-1).end]
}

function collectStatements(node, found) {
  if (node === null || typeof node !== "object") return
  if (node.type === "ExpressionStatement" || node.type === "VariableDeclaration") found.push(node)
  for (const child of Object.values(node)) collectStatements(child, found)
}

/** Names the reader's file instead of the generated one. */
function original(message) {
  return message
    .replaceAll(pathToFileURL(out).href + "/", "")
    .replaceAll(out + "/", "")
    .replaceAll(relative(root, out) + "/", "")
    .replace(
      /(\.L\d+)?(\.run)?\.ts\((\d+),(\d+)\)/g,
      (_, fence, _run, line, column) => `${fence ? "" : ".ts"}:${line}:${column}`
    )
    .replace(/(\.L\d+\.run\.ts|\.run(?=\.ts))/g, "")
}

function write(file, text) {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
}
