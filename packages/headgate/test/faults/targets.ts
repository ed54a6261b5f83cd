// The servers that are put in trouble: each test has one of its own, with a clock to move and an audit of its ids.
import { Effect, type Scope } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { isOwn, missing as missingPostgres, startPostgres } from "../servers/postgres.ts"
import { isAvailable, type Server, startServer } from "../servers/redis.ts"
import { type Audit, ofRedis, ofRows } from "./audit.ts"
import { connectRedis, queryPostgres } from "./direct.ts"

export interface Target {
  readonly address: string
  readonly port: number
  /** Everything that the store knows of each id, read behind its back. */
  readonly audit: (prefix: string) => Effect.Effect<Audit>
  /** Says what `clock` of the store's options means: a file, which for Redis stands for a key. */
  readonly clock: string
  readonly setClock: (prefix: string, now: number) => Effect.Effect<void>
  /** Ends the server without a word, and starts it again. */
  readonly restart: (round: number) => Effect.Effect<void>
}

export interface RedisTarget extends Target {
  readonly server: Server
  readonly send: <A = unknown>(command: string, ...args: ReadonlyArray<string>) => Effect.Effect<A>
}

export const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "headgate-faults-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const missingRedis = isAvailable ? undefined : "there is no redis-server, and no root and apt-get to install it"

/** Why a target cannot be had here, by its name. */
export const missing = {
  Redis: missingRedis,
  PostgreSQL: missingPostgres ?? (isOwn ? undefined : "HEADGATE_TEST_PG names a server that may not be broken"),
  SQLite: undefined
}

export type Name = keyof typeof missing

const redis = (...options: ReadonlyArray<string>): Effect.Effect<RedisTarget, never, Scope.Scope> =>
  Effect.gen(function* () {
    const server = yield* Effect.acquireRelease(
      Effect.promise(() => startServer(...options)),
      (server) => Effect.promise(() => server.end())
    )
    const send = yield* connectRedis(server.port)
    return {
      address: server.url,
      port: server.port,
      server,
      send,
      audit: (prefix) => ofRedis(send, prefix),
      clock: "key",
      setClock: (prefix, now) => Effect.asVoid(send("SET", `{${prefix}}:store:now`, String(now))),
      restart: () =>
        Effect.promise(async () => {
          await server.kill()
          await server.start()
        })
    }
  })

const fileClock = (path: string) => ({
  clock: join(path, "clock"),
  setClock: (_: string, now: number) => Effect.sync(() => writeFileSync(join(path, "clock"), String(now)))
})

const postgres: Effect.Effect<Target, never, Scope.Scope> = Effect.gen(function* () {
  const server = yield* Effect.acquireRelease(
    Effect.promise(() => startPostgres({ settings: ["deadlock_timeout = 100ms"] })),
    (server) => Effect.promise(() => server.stop())
  )
  return {
    ...fileClock(yield* folder),
    address: server.url,
    port: server.port,
    audit: (prefix) =>
      Effect.map(
        queryPostgres<Record<string, unknown>>(
          server.url,
          `SELECT id, content, ended, to_json(actual)::text AS actual, to_json(usage)::text AS usage FROM ${prefix}_holds`
        ),
        ofRows
      ),
    restart: (round) =>
      Effect.promise(async () => {
        await (round % 2 === 0 ? server.kill() : server.shutDown())
        await server.start()
      })
  }
})

const sqlite: Effect.Effect<Target, never, Scope.Scope> = Effect.gen(function* () {
  const path = yield* folder
  const address = join(path, "budget.db")
  return {
    ...fileClock(path),
    address,
    port: 0,
    audit: (prefix) =>
      Effect.sync(() => {
        const database = new DatabaseSync(address)
        const [check] = database.prepare("PRAGMA integrity_check").all()
        if (check?.["integrity_check"] !== "ok") throw new Error(JSON.stringify(check))
        const columns = `id, content, CASE WHEN ended LIKE '[%' THEN 'settled' ELSE ended END AS ended, ended AS actual, usage`
        const rows = database.prepare(`SELECT ${columns} FROM ${prefix}_holds`).all()
        database.close()
        return ofRows(rows)
      }),
    restart: () => Effect.void
  }
})

export const targets = {
  Redis: redis("--appendonly", "yes", "--appendfsync", "always"),
  PostgreSQL: postgres,
  SQLite: sqlite
}

/** Redis with other options than to write everything to the disk at once. */
export const redisWith = redis
