// A suite once for each database, with a store in a part of it that no other has, and a way to look behind it.
import { afterAll, beforeAll, describe } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { QuotaStore } from "headgate"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { InternalOptions } from "../../src/sql/internal/make.ts"
import { missing, named, type PostgresServer, startPostgres } from "../servers/postgres.ts"
import { newPrefix, postgres, sqlite, storeLayer } from "./support.ts"

export interface Database {
  readonly kind: "PostgreSQL" | "SQLite"
  readonly client: () => Layer.Layer<SqlClient, SqlError>
  /** A store under a name of its own, and how many rows a table of it has. */
  readonly store: (options?: InternalOptions) => {
    readonly prefix: string
    readonly layer: Layer.Layer<QuotaStore.QuotaStore, unknown>
    readonly count: (table: string) => Effect.Effect<number>
  }
}

const database = (kind: Database["kind"], client: Database["client"]): Database => ({
  kind,
  client,
  store: (options) => {
    const prefix = newPrefix()
    return {
      prefix,
      layer: Layer.suspend(() => storeLayer({ prefix, ...options }).pipe(Layer.provide(Layer.fresh(client())))),
      count: (table) =>
        Effect.flatMap(SqlClient, (sql) =>
          sql.unsafe<{ readonly many: bigint | number }>(`SELECT count(*) AS many FROM ${prefix}_${table}`)
        ).pipe(
          Effect.map(([row]) => Number(row?.many)),
          Effect.provide(Layer.fresh(client())),
          Effect.orDie
        )
    }
  }
})

export const describeDatabases = (name: string, tests: (database: Database) => void): void => {
  describe.skipIf(missing !== undefined)(named(`${name}: PostgreSQL`), () => {
    let server: PostgresServer
    beforeAll(async () => {
      server = await startPostgres({ settings: ["synchronous_commit = off"] })
    }, 60_000)
    afterAll(() => server.stop())
    tests(database("PostgreSQL", () => postgres(server.url)))
  })

  describe(`${name}: SQLite`, () => {
    const folder = mkdtempSync(join(tmpdir(), "headgate-sqlite-"))
    afterAll(() => rmSync(folder, { recursive: true, force: true }))
    tests(database("SQLite", () => sqlite(join(folder, "store.db"), { synchronous: "normal" })))
  })
}
