// Starts test/sql/worker.ts in processes of their own.
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

export interface Spent {
  readonly tokens: number
  readonly calls: number
  readonly refused: number
  readonly alerts: ReadonlyArray<string>
}

export class Worker {
  readonly process: ChildProcess
  private output = ""
  private errors = ""

  constructor(target: string, prefix: string, limit: number, fibers: number, calls: number) {
    const file = fileURLToPath(new URL("worker.ts", import.meta.url))
    const args = ["--conditions=@headgate/source", file, target, prefix, limit, fibers, calls].map(String)
    this.process = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] })
    this.process.stdout!.on("data", (data) => (this.output += data))
    this.process.stderr!.on("data", (data) => (this.errors += data))
  }

  /** What it was told of its settlements: tokens by hold. */
  get acknowledged(): ReadonlyMap<string, number> {
    const lines = this.output.split("\n").slice(0, -1)
    return new Map(
      lines.flatMap((line) => {
        const [id = "", tokens] = line.split(" ")
        return id.startsWith("{") ? [] : [[id, Number(tokens)] as const]
      })
    )
  }

  async ended(): Promise<void> {
    const { process } = this
    if (process.exitCode === null && process.signalCode === null) await once(process, "close")
  }

  async spent(): Promise<Spent> {
    await this.ended()
    if (this.process.exitCode !== 0) throw new Error(`a worker failed:\n${this.errors}${this.output.slice(-2000)}`)
    return JSON.parse(this.output.trimEnd().split("\n").at(-1)!)
  }
}
