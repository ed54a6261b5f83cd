// Decisions in PostgreSQL and SQLite, against the least that a counter in a database needs: one upsert.
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Alerts, Budget } from "headgate"
import { SqliteClient, SqlQuotaStore } from "headgate/sql"
import { mkdtempSync, rmSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { startPostgres } from "../../test/servers.ts"
import type { Contestant, Effort } from "../Contest.ts"
import { timed } from "../measure.ts"
import { byFibers, serviceOf } from "./fibers.ts"
import { estimate, quotasOf } from "./headgate.ts"

export type Database = "postgres" | "sqlite"

interface Opened {
  readonly layer: Layer.Layer<SqlClient.SqlClient, unknown>
  readonly close: () => unknown
}

const databases: { readonly [D in Database]: () => Promise<Opened> } = {
  /** The server's own defaults; the client's ten connections. */
  postgres: async () => {
    const server = await startPostgres()
    return { layer: PgClient.layer({ url: Redacted.make(server.url) }), close: () => server.stop() }
  },
  /** A file, durable: each transaction is on the disk before it is acknowledged. */
  sqlite: async () => {
    const folder = mkdtempSync(join(tmpdir(), "headgate-bench-"))
    return {
      layer: SqliteClient.layer(() => new DatabaseSync(join(folder, "bench.db"))),
      close: () => rmSync(folder, { recursive: true })
    }
  }
}

const inFlight = 16
const users = Array.from({ length: 100 }, (_, index) => `user-${index}`)

const raced = async (
  { close }: Opened,
  end: () => Promise<void>,
  call: (user: string) => Effect.Effect<unknown, unknown>,
  effort: Effort
): Promise<Contestant> => {
  let at = 0
  const next = () => call(users[at++ % users.length]!)
  return {
    ...(await timed((times) => byFibers(times, inFlight, next), effort)),
    end: async () => {
      await end()
      await close()
    }
  }
}

/** A reservation on 4 quotas of a user. */
export const headgate =
  (database: Database) =>
  async (effort: Effort): Promise<Contestant> => {
    const opened = await databases[database]()
    const { end, service } = await serviceOf(
      Budget.Budget,
      Budget.layer({ per: { user: { quotas: quotasOf(4) } } }).pipe(
        Layer.provide(SqlQuotaStore.layer()),
        Layer.provide(opened.layer),
        Layer.provide(Alerts.layer)
      )
    )
    return raced(opened, end, (user) => service.reserve(estimate, { user }), effort)
  }

/** One row per user, counted up. */
export const upsert =
  (database: Database) =>
  async (effort: Effort): Promise<Contestant> => {
    const opened = await databases[database]()
    const { end, service: sql } = await serviceOf(SqlClient.SqlClient, opened.layer)
    await Effect.runPromise(sql`CREATE TABLE counters (name TEXT PRIMARY KEY, used BIGINT NOT NULL)`)
    const count = (user: string) =>
      sql`INSERT INTO counters (name, used) VALUES (${user}, 1200)
        ON CONFLICT (name) DO UPDATE SET used = counters.used + 1200 RETURNING used`
    return raced(opened, end, count, effort)
  }
