// A PostgreSQL server of one's own for a test file: on a free port of the loopback, in a temporary folder. Binaries are
// those of the Debian package, which is installed if need be and allowed. HEADGATE_TEST_PG names a server to use instead.
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { chownSync, existsSync, globSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"

const isRoot = process.getuid?.() === 0

const folders = (): ReadonlyArray<string> =>
  globSync("/usr/lib/postgresql/*/bin")
    .filter((folder) => existsSync(join(folder, "initdb")))
    .toSorted((a, b) => Number(b.split("/").at(-2)) - Number(a.split("/").at(-2)))

const install = (): void => {
  // The package would start a server of its own, which nobody needs.
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" }
  const run = (...args: ReadonlyArray<string>) =>
    execFileSync("apt-get", ["-qq", "-o", "DPkg::Lock::Timeout=300", ...args], { env, stdio: "ignore" })
  try {
    run("install", "-y", "--no-install-recommends", "postgresql")
  } catch {
    run("update")
    run("install", "-y", "--no-install-recommends", "postgresql")
  }
}

const find = (): { readonly folder: string } | { readonly missing: string } => {
  if (folders().length === 0 && isRoot && existsSync("/usr/bin/apt-get")) {
    try {
      install()
    } catch {
      return { missing: "postgresql is not there and could not be installed" }
    }
  }
  const [folder] = folders()
  return folder === undefined ? { missing: "postgresql is not installed (apt-get install postgresql)" } : { folder }
}

const url = process.env["HEADGATE_TEST_PG"]
const found = url === undefined ? find() : { folder: "" }

/** Why there is no server for tests, or nothing if there can be one. */
export const missing: string | undefined = "missing" in found ? found.missing : undefined

if (missing !== undefined && process.env["HEADGATE_REQUIRE_SERVERS"] === "1") throw new Error(missing)

/** Whether the server is one's own, so that it can be killed and started again. */
export const isOwn = url === undefined

/** A name for a suite that says why it is skipped, if it is. */
export const named = (name: string): string => (missing === undefined ? name : `${name} (skipped: ${missing})`)

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  await once(server, "close")
  return typeof address === "object" && address !== null ? address.port : 0
}

/** The user that the server runs as: it refuses to be root. */
export const owner = (): { readonly uid: number; readonly gid: number } | undefined => {
  if (!isRoot) return undefined
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((line) => line.startsWith("postgres:"))
  const [, , uid, gid] = (line ?? "postgres:x:65534:65534").split(":")
  return { uid: Number(uid), gid: Number(gid) }
}

export interface Options {
  /** Lines for postgresql.conf. */
  readonly settings?: ReadonlyArray<string>
}

const running = new Set<PostgresServer>()

// A test that fails before it stops its server leaves nothing behind either.
process.once("exit", () => {
  for (const server of running) server.abandon()
})

export class PostgresServer {
  readonly url: string
  readonly port: number
  private readonly folder: string
  private process: ChildProcess | undefined

  constructor(folder: string, port: number) {
    this.folder = folder
    this.port = port
    this.url = url ?? `postgres://postgres@127.0.0.1:${port}/postgres`
  }

  async start(): Promise<void> {
    if (!isOwn) return
    const log = openSync(join(this.folder, "log"), "a")
    const args = ["-D", join(this.folder, "data")]
    const { folder } = found as { readonly folder: string }
    this.process = spawn(join(folder, "postgres"), args, { ...owner(), cwd: this.folder, stdio: ["ignore", log, log] })
    running.add(this)
    const ended = once(this.process, "exit").then(() => "ended" as const)
    for (let tries = 0; tries < 600; tries++) {
      if ((await Promise.race([ended, accepts(this.port)])) === "ended") break
      if (await accepts(this.port)) return
      await setTimeout(20)
    }
    throw new Error(`PostgreSQL did not start:\n${readFileSync(join(this.folder, "log"), "utf8")}`)
  }

  /** Ends all its processes without a word, as a power cut would. */
  async kill(): Promise<void> {
    await this.end("SIGQUIT")
  }

  /** Cuts all connections and shuts down. */
  async shutDown(): Promise<void> {
    await this.end("SIGINT")
  }

  async stop(): Promise<void> {
    await this.end("SIGQUIT")
    running.delete(this)
    if (isOwn) rmSync(this.folder, { recursive: true, force: true })
  }

  abandon(): void {
    this.process?.kill("SIGQUIT")
    if (isOwn) rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { process } = this
    if (process === undefined || process.exitCode !== null || process.signalCode !== null) return
    const ended = once(process, "exit")
    process.kill(signal)
    await ended
  }
}

const accepts = async (port: number): Promise<boolean> => {
  const socket = connect(port, "127.0.0.1")
  try {
    await once(socket, "connect")
    const parameters = Buffer.from("user\0postgres\0database\0postgres\0\0")
    const startup = Buffer.alloc(8)
    startup.writeInt32BE(8 + parameters.length, 0)
    startup.writeInt32BE(196_608, 4)
    socket.write(Buffer.concat([startup, parameters]))
    const [answer] = await once(socket, "data")
    // It lets us in ("R"), or it is still starting up ("E").
    return answer[0] === 0x52
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** Starts a server; whoever started it stops it. */
export const startPostgres = async (options?: Options): Promise<PostgresServer> => {
  if (missing !== undefined) throw new Error(missing)
  if (!isOwn) return new PostgresServer("", 0)
  const { folder } = found as { readonly folder: string }
  const home = mkdtempSync(join(tmpdir(), "headgate-postgres-"))
  const who = owner()
  if (who !== undefined) chownSync(home, who.uid, who.gid)
  const port = await freePort()
  const data = join(home, "data")
  const flags = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
  const initdb = spawn(join(folder, "initdb"), flags, { ...who, cwd: home, stdio: "ignore" })
  const [code] = await once(initdb, "exit")
  if (code !== 0) throw new Error(`initdb ended with ${code}`)
  const settings = [
    "listen_addresses = '127.0.0.1'",
    `port = ${port}`,
    "unix_socket_directories = ''",
    "max_connections = 100",
    ...(options?.settings ?? [])
  ]
  writeFileSync(join(data, "postgresql.conf"), settings.join("\n"), { flag: "a" })
  const server = new PostgresServer(home, port)
  await server.start()
  return server
}
