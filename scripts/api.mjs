// Writes packages/<name>/<name>.api.txt: the public surface as the declarations say it, without their comments.
// With --check it only compares, so that a change of the surface is a change of a reviewed file. Needs `tsc -b`.
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs"
import { basename, dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"

process.chdir(fileURLToPath(new URL("..", import.meta.url)))
const check = process.argv.includes("--check")

for (const folder of globSync("packages/*").sort()) {
  const { name, exports = {} } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
  const entries = Object.entries(exports).filter(([, target]) => target?.types !== undefined)
  if (entries.length === 0) continue
  const surface = surfaceOf(name, folder, entries)
  const file = join(folder, `${basename(folder)}.api.txt`)
  if (!check) writeFileSync(file, surface)
  else compare(file, existsSync(file) ? readFileSync(file, "utf8") : "", surface)
}

function surfaceOf(name, folder, entries) {
  const modules = new Set()
  const visit = (file) => {
    if (modules.has(file)) return
    modules.add(file)
    const exported = readFileSync(file, "utf8").matchAll(/^export\s[^;]*?\sfrom "(\.[^"]+)\.ts"/gm)
    for (const [, path] of exported) visit(join(dirname(file), `${path}.d.ts`))
  }
  for (const [, { types }] of entries) visit(join(folder, types))
  const paths = new Map(entries.map(([path, { types }]) => [join(folder, types), join(name, path)]))
  const sections = [...modules].map((file) => {
    const title = relative(join(folder, "dist"), file)
      .replace(/\.d\.ts$/, "")
      .replaceAll("\\", "/")
    const entry = paths.get(file)
    return `=== ${title}${entry === undefined ? "" : ` = "${entry}"`} ===\n\n${declarations(file)}`
  })
  return `The public surface of ${name}. Written by \`npm run api\`.\n\n${sections.join("\n")}`
}

function declarations(file) {
  return readFileSync(file, "utf8")
    .replace(/("(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`)|\/\*[^]*?\*\/|\/\/.*$/gm, (_, text) => text ?? "")
    .replace(/^import [^;]*;$/gm, "")
    .replace(/^export \{\s*\};$/gm, "")
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "")
    .map((line) => `${line}\n`)
    .join("")
}

function compare(file, written, built) {
  if (written === built) return
  const [before, now] = [written.split("\n"), built.split("\n")]
  const at = now.findIndex((line, index) => line !== before[index])
  const index = at === -1 ? now.length : at
  console.error(`${file}:${index + 1} does not say what the declarations say. If the change is meant: npm run api`)
  console.error(`- ${before[index] ?? "(end of file)"}\n+ ${now[index] ?? "(end of file)"}`)
  process.exitCode = 1
}
