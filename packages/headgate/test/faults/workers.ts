// Starts worker.ts in processes of their own. It is bundled once, so that a process starts in a sixth of a second: one is
// killed every fifth.
import { Effect } from "effect"
import { build } from "esbuild"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Told, Work } from "./worker.ts"

let bundled: Promise<string> | undefined
let outdir: string | undefined

/** Removes the bundle, once no more processes will be started. */
export const removeWorkers = (): void => {
  if (outdir !== undefined) rmSync(outdir, { recursive: true, force: true })
}
process.once("exit", removeWorkers)

const bundle = async (): Promise<string> => {
  outdir = mkdtempSync(join(tmpdir(), "headgate-worker-"))
  await build({
    entryPoints: [fileURLToPath(new URL("worker.ts", import.meta.url))],
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    minify: true,
    platform: "node",
    format: "esm",
    conditions: ["@headgate/source"],
    // Dependencies that are CommonJS ask for it.
    banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` }
  })
  return join(outdir, "worker.mjs")
}

export interface Alerted {
  readonly alert: string
  readonly at: number
}

export class Worker {
  readonly process: ChildProcess
  /** What it was told of its settlements: the id of the reservation and the tokens, as often as it was told. */
  readonly settled: Array<readonly [id: string, tokens: number]> = []
  readonly alerts: Array<Alerted> = []
  told: Told | undefined
  private rest = ""
  private errors = ""
  private readonly closed: Promise<unknown>

  constructor(file: string, work: Work) {
    this.process = spawn(process.execPath, [file, JSON.stringify(work)], { stdio: ["ignore", "pipe", "pipe"] })
    this.process.stdout!.on("data", (data) => this.read(String(data)))
    this.process.stderr!.on("data", (data) => (this.errors += data))
    this.closed = once(this.process, "close")
  }

  private read(text: string): void {
    const lines = (this.rest + text).split("\n")
    this.rest = lines.pop()!
    for (const line of lines) {
      const words = line.split(" ")
      if (line.startsWith("= ")) this.told = JSON.parse(line.slice(2))
      else if (words[0] === "!") this.alerts.push({ alert: words.slice(1, -1).join(" "), at: Number(words.at(-1)) })
      else this.settled.push([words[0]!, Number(words[1])])
    }
  }

  /** Waits until it has ended by itself, or was asked to end. */
  readonly ended = Effect.promise(async (): Promise<Told> => {
    await this.closed
    if (this.told === undefined) throw new Error(`a worker failed: ${this.errors || this.process.signalCode}`)
    return this.told
  })

  readonly stop = Effect.suspend(() => {
    this.process.kill("SIGTERM")
    return this.ended
  })

  /** `kill -9`, and what it had printed until then. */
  readonly kill = Effect.promise(async () => {
    this.process.kill("SIGKILL")
    await this.closed
  })
}

/** Starts a process that is killed with the scope, if it still runs. */
export const startWorker = (work: Work) =>
  Effect.acquireRelease(
    Effect.promise(async () => new Worker(await (bundled ??= bundle()), work)),
    (worker) => worker.kill
  )
