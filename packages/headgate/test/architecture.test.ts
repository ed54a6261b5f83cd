// The laws of the rooms (CONTRIBUTING.md) as they can be read from the imports.
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join, posix } from "node:path"
import { fileURLToPath } from "node:url"
import { parseAst } from "vite"

const root = fileURLToPath(new URL("../../..", import.meta.url))
const src = "packages/headgate/src/"

const rooms = {
  value: ["Money", "Usage", "UsageRecord", "Subject", "Quota", "Window", "Alert", "Errors", "ModelUsage"],
  port: ["QuotaStore"],
  Alerts: ["Alerts"],
  service: ["Budget", "RateLimiter", "Retry", "Price", "Estimator"],
  composer: ["Gate", "Guard", "ModelGuard", "Live", "index"]
}
const adapters = ["redis", "sql", "http", "ai"]

/** Optional peers, each with the one file that may import it, when it is run. */
const optionalPeers: Readonly<Record<string, string>> = {
  "@pydantic/genai-prices": "internal/model/genaiPrices.ts",
  "gpt-tokenizer": "internal/model/tokenizer.ts"
}

/** What a room may import from. A file that is in none of these rooms may not exist. */
const core = ["value", "internal", "port", "Alerts", "service", "composer"]
const arrows: Readonly<Record<string, ReadonlyArray<string>>> = {
  value: ["value", "internal"],
  internal: ["value", "internal"],
  port: ["value", "internal"],
  Alerts: ["value", "internal"],
  service: ["value", "internal", "port", "Alerts"],
  composer: core,
  ...Object.fromEntries([...adapters, "testing"].map((folder) => [folder, [...core, folder]]))
}

/** The rooms in `internal`, and which others each may import from. All may use what lies beside them. */
const inner: Readonly<Record<string, ReadonlyArray<string>>> = {
  ledger: [],
  options: [],
  provider: [],
  budget: ["ledger"],
  model: ["provider"],
  limiter: ["ledger", "provider"],
  retry: ["limiter", "options", "provider"],
  guard: ["budget", "limiter", "model", "provider", "retry"]
}

const innerOf = (file: string): string | undefined => new RegExp(`^${src}internal/([^/]+)/`).exec(file)?.[1]

const roomOf = (file: string): string => {
  const [first = "", rest] = file.slice(src.length).split("/")
  if (rest !== undefined) return first
  return Object.entries(rooms).find(([_, modules]) => modules.includes(basename(file, ".ts")))?.[0] ?? file
}

interface Import {
  readonly from: string
  readonly to: string
  readonly isType: boolean
  readonly isDynamic: boolean
}

interface Node {
  readonly type?: string
  readonly importKind?: string
  readonly exportKind?: string
  readonly source?: { readonly value?: unknown } | null
  readonly specifiers?: ReadonlyArray<Node>
}

const isType = ({ exportKind, importKind, type }: Node) =>
  type === "TSImportType" || importKind === "type" || exportKind === "type"

/** Every static, dynamic and type import of a file; relative ones as paths from the root of the repository. */
const importsOf = (from: string, source: string): ReadonlyArray<Import> => {
  const found: Array<Import> = []
  const visit = (node: Node | null): void => {
    if (typeof node !== "object" || node === null) return
    if (typeof node.source?.value === "string") {
      const path = node.source.value
      const to = path.startsWith(".") ? posix.join(posix.dirname(from), path) : path
      const named = node.specifiers ?? []
      const isTypeOnly = isType(node) || (named.length > 0 && named.every(isType))
      found.push({ from, to, isType: isTypeOnly, isDynamic: node.type === "ImportExpression" })
    }
    Object.values(node).forEach(visit)
  }
  visit(parseAst(source, { lang: "ts" }) as Node)
  return found
}

type Files = Readonly<Record<string, string>>

const violations = (files: Files): ReadonlyArray<string> => {
  const imports = Object.entries(files).flatMap(([file, source]) => importsOf(file, source))
  const ours = imports.filter(({ from }) => from.startsWith(src))
  const homeless = Object.keys(files).filter((file) => {
    const room = innerOf(file)
    return (
      file.startsWith(src) && (arrows[roomOf(file)] === undefined || (room !== undefined && inner[room] === undefined))
    )
  })
  return [
    ...homeless.map((file) => `${file} is in no room: give it one in architecture.test.ts`),
    ...ours.filter(({ to }) => to.startsWith("packages/")).flatMap(arrowViolation),
    ...ours.filter(({ to }) => !to.startsWith("packages/")).flatMap(packageViolation),
    ...adapters.flatMap((name) => areaViolation(name, ours)),
    ...imports.filter(({ from }) => !from.startsWith(src)).flatMap(entryViolation),
    ...cycles(ours)
  ]
}

const arrowViolation = ({ from, isType, to }: Import): ReadonlyArray<string> => {
  if (!to.startsWith(src)) return [`${from} imports ${to}: outside of its package`]
  const [room, imported] = [roomOf(from), roomOf(to)]
  if (to === `${src}index.ts`) return [`${from} imports the barrel ${to}`]
  if (room === "internal" && imported === "port" && isType) return []
  const [here, there] = [room === "internal" ? (innerOf(from) ?? "beside") : undefined, innerOf(to)]
  if (here !== undefined && there !== undefined && here !== there && !inner[here]?.includes(there)) {
    return [`${from} (${here} of internal) imports ${to} (${there})`]
  }
  return (arrows[room]?.includes(imported) ?? true) ? [] : [`${from} (${room}) imports ${to} (${imported})`]
}

/** The one file that may import Node: it asks for it when a provider is made. */
const nodeOf: Readonly<Record<string, string>> = { [`${src}testing/internal/loopback.ts`]: "node:http" }

const packageViolation = ({ from, isDynamic, to }: Import): ReadonlyArray<string> => {
  if (nodeOf[from] === to) return []
  const peer = Object.keys(optionalPeers).find((name) => to === name || to.startsWith(`${name}/`))
  if (peer !== undefined) {
    const isOpen = isDynamic && from === src + optionalPeers[peer]
    return isOpen ? [] : [`${from} imports "${to}": an optional peer is imported by import() in its one file`]
  }
  if (!to.startsWith("effect/")) return [`${from} imports "${to}": src imports effect/<Module> only`]
  const isFree = [...adapters, "testing"].includes(roomOf(from))
  return isFree || isStable(to) ? [] : [`${from} imports "${to}", which is not a stable root module of effect`]
}

const stable = new Map<string, boolean>()
const isStable = (specifier: string): boolean => {
  const name = /^effect\/([A-Z]\w*)$/.exec(specifier)?.[1]
  if (name === undefined) return false
  if (!stable.has(name)) {
    // The module's own tag stands in the comment above its imports.
    const source = readFileSync(join(root, `node_modules/effect/src/${name}.ts`), "utf8")
    const tag = /@stability (\w+)/.exec(source.slice(0, source.search(/^(import|export) /m)))
    stable.set(name, tag?.[1] === "stable")
  }
  return stable.get(name) === true
}

/** What the area of an adapter cannot be used without: `SqlClient.make` asks for `Reactivity`, streams are events. */
const companions: Readonly<Record<string, string>> = { sql: "effect/reactivity", http: "effect/encoding" }

const areaViolation = (adapter: string, imports: ReadonlyArray<Import>): ReadonlyArray<string> => {
  const areas = new Set(
    imports.filter(({ from }) => roomOf(from) === adapter).flatMap(({ to }) => /^effect\/[a-z][^/]*/.exec(to) ?? [])
  )
  areas.delete(companions[adapter] ?? "")
  return areas.size <= 1 ? [] : [`${adapter} imports more than one area: ${[...areas].join(", ")}`]
}

const entries = ["headgate", "node"].flatMap((folder) => {
  const { exports, name } = JSON.parse(readFileSync(join(root, `packages/${folder}/package.json`), "utf8"))
  return Object.keys(exports).flatMap((path) => (path.includes("*") ? [] : [posix.join(name, path)]))
})

const entryViolation = ({ from, to }: Import): ReadonlyArray<string> => {
  const isOurs = /^(headgate|@headgate\/\w+)(\/|$)/.test(to)
  const home = from.split("/", 2).join("/") + "/"
  const isOpen = isOurs ? entries.includes(to) : !to.startsWith("packages/") || to.startsWith(home)
  return isOpen ? [] : [`${from} imports ${to}: other packages are imported through their public entry points`]
}

const cycles = (imports: ReadonlyArray<Import>): ReadonlyArray<string> => {
  const targets = Map.groupBy(
    imports.filter((one) => !one.isType),
    ({ from }) => from
  )
  const done = new Set<string>()
  const visit = (file: string, path: ReadonlyArray<string>): ReadonlyArray<string> => {
    if (path.includes(file)) return [`cycle: ${[...path.slice(path.indexOf(file)), file].join(" -> ")}`]
    if (done.has(file)) return []
    const found = (targets.get(file) ?? []).flatMap(({ to }) => visit(to, [...path, file]))
    done.add(file)
    return found
  }
  return [...targets.keys()].flatMap((file) => visit(file, []))
}

describe("architecture", () => {
  it("keeps the laws of the rooms", () => {
    const paths = globSync("packages/{headgate,node,cli,bench}/src/**/*.ts", { cwd: root }).map((path) =>
      path.replaceAll("\\", "/")
    )
    const files = Object.fromEntries(paths.map((path) => [path, readFileSync(join(root, path), "utf8")]))
    assert.isAbove(paths.filter((path) => path.startsWith(src)).length, 0)
    assert.deepStrictEqual(violations(files), [])
  })

  const laws: ReadonlyArray<readonly [law: string, files: Files, report: RegExp]> = [
    ["a value imports no service", { "Money.ts": `import * as B from "./Budget.ts"` }, /Money.ts \(value\) imports/],
    ["a value imports no port", { "Quota.ts": `import type * as S from "./QuotaStore.ts"` }, /\(port\)/],
    ["the port imports no service", { "QuotaStore.ts": `import * as A from "./Alerts.ts"` }, /\(port\) imports/],
    ["a service imports no other service", { "Budget.ts": `import { a } from "./Retry.ts"` }, /\(service\) imports/],
    ["Alerts imports no service", { "Alerts.ts": `export { a } from "./Budget.ts"` }, /\(Alerts\) imports/],
    ["a service does not import Guard", { "Retry.ts": `import { a } from "./Guard.ts"` }, /imports .*\(composer\)/],
    ["internal imports no service", { "internal/x.ts": `import { a } from "../Budget.ts"` }, /\(internal\) imports/],
    [
      "internal imports only types of the port",
      { "internal/x.ts": `import { a } from "../QuotaStore.ts"` },
      /\(port\)/
    ],
    [
      "a room of internal imports only what lies below it",
      { "internal/ledger/a.ts": `import { b } from "../budget/b.ts"` },
      /\(ledger of internal\) imports .*\(budget\)/
    ],
    [
      "what lies beside the rooms of internal imports none of them",
      { "internal/a.ts": `import type { B } from "../internal/ledger/b.ts"` },
      /\(beside of internal\)/
    ],
    ["every folder of internal is a room", { "internal/utils/a.ts": "export {}" }, /utils.a.ts is in no room/],
    ["nobody imports an adapter", { "Guard.ts": `export * from "./redis/RedisStore.ts"` }, /imports .*\(redis\)/],
    ["an adapter imports no other", { "sql/A.ts": `import { a } from "../redis/B.ts"` }, /\(sql\) imports .*\(redis\)/],
    ["nobody imports testing", { "Live.ts": `const a = import("./testing/index.ts")` }, /imports .*\(testing\)/],
    ["a type import is an import", { "Money.ts": `type A = import("./Budget.ts").A` }, /Money.ts \(value\) imports/],
    ["nobody imports the barrel", { "Guard.ts": `import { Money } from "./index.ts"` }, /the barrel/],
    ["every file has a room", { "Helpers.ts": `import { a } from "./Money.ts"` }, /Helpers.ts is in no room/],
    ["every folder is a room", { "utils/a.ts": "export {}" }, /utils.a.ts is in no room/],
    ["src stays in its package", { "Money.ts": `import { a } from "../../cli/src/bin.ts"` }, /outside of its package/],
    ["the effect barrel is not imported", { "Money.ts": `import { Effect } from "effect"` }, /effect\/<Module> only/],
    ["effect is the only dependency", { "Money.ts": `import { join } from "node:path"` }, /effect\/<Module> only/],
    ["an optional peer has one room", { "Price.ts": `import("@pydantic/genai-prices")` }, /in its one file/],
    [
      "an optional peer is optional",
      { "internal/model/tokenizer.ts": `import "gpt-tokenizer"` },
      /imported by import\(\)/
    ],
    ["unstable modules stay out", { "Money.ts": `import * as F from "effect/FileSystem"` }, /not a stable/],
    ["unstable areas stay out", { "internal/x.ts": `import * as S from "effect/sql/SqlClient"` }, /not a stable/],
    [
      "an adapter imports one area",
      { "redis/A.ts": `import "effect/sql/SqlClient"`, "redis/B.ts": `import "effect/http/HttpClient"` },
      /redis imports more than one area/
    ],
    [
      "there are no cycles",
      {
        "Money.ts": `import "./Usage.ts"`,
        "Usage.ts": `export * from "./Quota.ts"`,
        "Quota.ts": `import "./Money.ts"`
      },
      /cycle: .*Money.ts -> .*Usage.ts -> .*Quota.ts -> .*Money.ts/
    ],
    ["the command uses no internals", { "../../cli/src/a.ts": `import "headgate/internal/ledger"` }, /public entry/],
    [
      "the command uses no internals of node",
      { "../../cli/src/a.ts": `import "@headgate/node/internal/redis"` },
      /public/
    ],
    [
      "the command uses no source of node",
      { "../../cli/src/a.ts": `import "../../node/src/Store.ts"` },
      /public entry/
    ],
    ["the command uses no source", { "../../cli/src/a.ts": `import "../../headgate/src/Money.ts"` }, /public entry/]
  ]
  it.each(laws)("reports that %s", (_, files, report) => {
    const placed = Object.fromEntries(Object.entries(files).map(([file, source]) => [posix.join(src, file), source]))
    const [found, ...more] = violations(placed)
    assert.match(found ?? "no violation", report)
    assert.deepStrictEqual(more, [])
  })

  it("allows every arrow of the design", () => {
    const files = {
      "internal/ledger/ledger.ts": `import * as Quota from "../../Quota.ts"; import type * as S from "../../QuotaStore.ts"`,
      "internal/budget/held.ts": `import * as ledger from "../ledger/ledger.ts"; import * as verbs from "../verbs.ts"`,
      "QuotaStore.ts": `import * as ledger from "./internal/ledger/ledger.ts"; import * as Effect from "effect/Effect"`,
      "Budget.ts": `import * as Alerts from "./Alerts.ts"; import * as QuotaStore from "./QuotaStore.ts"`,
      "Guard.ts": `import * as Budget from "./Budget.ts"; import * as Retry from "./Retry.ts"`,
      "ModelGuard.ts": `import * as Guard from "./Guard.ts"; import * as Price from "./Price.ts"`,
      "internal/model/tokenizer.ts": `const load = () => import("gpt-tokenizer/GptEncoding")`,
      "redis/RedisStore.ts": `import "../QuotaStore.ts"; import * as Redis from "effect/persistence/Redis"`,
      "testing/suite.ts": `import "../QuotaStore.ts"; import * as TestClock from "effect/testing/TestClock"`,
      "../../cli/src/bin.ts": `import { Guard } from "headgate"; import "headgate/testing"; import "@headgate/node"; import "./a.ts"`
    }
    const placed = Object.fromEntries(Object.entries(files).map(([file, source]) => [posix.join(src, file), source]))
    assert.deepStrictEqual(violations(placed), [])
  })

  it("forbids in src what would escape Effect", () => {
    const forbidden = [
      ["no-explicit-any", "export const a: any = 1"],
      ["no-console", `console.log("a")`],
      ["no-async-await", "export const b = async () => {}"],
      ["no-try", "try { JSON } catch {}"],
      ["no-restricted-properties", "Date.now()"],
      ["no-restricted-properties", "performance.now()"],
      ["no-restricted-properties", "Math.random()"],
      ["no-current-date", "new Date()"],
      ["no-restricted-globals", "setTimeout(() => {}, 1)"],
      ["no-restricted-globals", "setInterval(() => {}, 1)"]
    ]
    const folder = mkdtempSync(join(tmpdir(), "headgate-lint-"))
    mkdirSync(join(folder, "headgate/src"), { recursive: true })
    writeFileSync(join(folder, "headgate/src/Forbidden.ts"), forbidden.map(([, line]) => line).join("\n"))
    const oxlint = join(root, "node_modules/oxlint/bin/oxlint")
    const args = [oxlint, "-c", join(root, ".oxlintrc.json"), "--format", "unix", folder]
    const { stdout } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" })
    rmSync(folder, { recursive: true })
    const missed = forbidden.filter(
      ([rule], index) => !new RegExp(`Forbidden.ts:${index + 1}:.*\\(${rule}\\)`).test(stdout)
    )
    assert.deepStrictEqual(missed, [], stdout)
  })
})
