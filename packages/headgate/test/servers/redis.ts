// Starts real Redis servers for tests, each on a free loopback port with a folder of its own.
import { NodeRedis } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, References } from "effect"
import type { Redis } from "effect/persistence"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

const isInstalled = (): boolean => spawnSync("redis-server", ["--version"]).status === 0

/** Debian's package, once for all test files: `flock` lets the others wait. */
const install = (): boolean => {
  if (process.getuid?.() !== 0 || spawnSync("apt-get", ["--version"]).status !== 0) return false
  const command = "redis-server --version || { apt-get update -qq; apt-get install -y -qq redis-server; }"
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" }
  spawnSync("flock", [join(tmpdir(), "headgate-apt.lock"), "sh", "-c", command], { env, timeout: 300_000 })
  return isInstalled()
}

export const isAvailable = isInstalled() || install()

const missing = "there is no redis-server, and it is not installed without root and apt-get"

/** `describe` where there is a server. Where there is none it is skipped by a name that says why, or fails in CI. */
export const describeRedis = (name: string, tests: () => void): void => {
  if (isAvailable) describe(name, tests)
  else if (process.env["HEADGATE_REQUIRE_SERVERS"] === "1") {
    it(name, () => {
      throw new Error(missing)
    })
  } else describe.skip(`${name} (${missing})`, tests)
}

const portFrom = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

/** A free port on loopback, below those to which a cluster's bus, 10,000 above, could not belong. */
export const freePort = async (): Promise<number> => {
  while (true) {
    const port = await portFrom()
    if (port < 55_000) return port
  }
}

export interface Server {
  readonly port: number
  readonly url: string
  readonly dir: string
  readonly process: () => ChildProcess
  readonly signal: (signal: NodeJS.Signals) => void
  /** `kill -9`, and the same server again with what it has on disk. */
  readonly kill: () => Promise<void>
  readonly start: () => Promise<void>
  readonly end: () => Promise<void>
}

const exited = (child: ChildProcess): Promise<void> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once("exit", () => resolve()))

/** Until it says that it is ready: the port alone says nothing of a server that loads its data. */
const ready = (child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    let log = ""
    child.stdout!.on("data", (data) => {
      log += String(data)
      if (/Ready to accept connections/.test(log)) resolve()
    })
    child.once("exit", () => reject(new Error(`redis-server ended:\n${log}`)))
  })

const running = new Set<() => void>()

// A run that is cut leaves no server behind.
process.once("exit", () => {
  for (const abandon of running) abandon()
})

export const startServer = async (...options: ReadonlyArray<string>): Promise<Server> => {
  const port = await freePort()
  const dir = mkdtempSync(join(tmpdir(), "headgate-redis-"))
  let child: ChildProcess
  const start = async () => {
    const fixed = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", ""]
    child = spawn("redis-server", [...fixed, ...options], { stdio: ["ignore", "pipe", "inherit"] })
    await ready(child)
  }
  const kill = async () => {
    child.kill("SIGKILL")
    await exited(child)
  }
  const abandon = () => {
    child.kill("SIGKILL")
    rmSync(dir, { recursive: true, force: true })
  }
  running.add(abandon)
  await start()
  return {
    port,
    dir,
    url: `redis://127.0.0.1:${port}`,
    process: () => child,
    signal: (signal) => child.kill(signal),
    kill,
    start,
    end: async () => {
      await kill()
      running.delete(abandon)
      rmSync(dir, { recursive: true, force: true })
    }
  }
}

/** A client that reconnects at once, and whose complaints about it are not printed. */
export const clientOf = (port: () => number): Layer.Layer<Redis.Redis> =>
  Layer.unwrap(
    Effect.sync(() => NodeRedis.layer({ socket: { host: "127.0.0.1", port: port(), reconnectStrategy: () => 10 } }))
  ).pipe(Layer.orDie, Layer.provide(Layer.succeed(References.MinimumLogLevel)("None")))
