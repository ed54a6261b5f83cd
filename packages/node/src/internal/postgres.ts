import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { SqlQuotaStore } from "headgate/sql"
import { readFileSync } from "node:fs"
import type { Options } from "../Store.ts"
import { noTables, type Opened, type Server, tableOf, type Temporary } from "./opened.ts"

const client = ({ tls, url }: Server, options?: Partial<PgClient.PgPoolConfig>) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const ssl = typeof tls === "string" ? yield* Effect.try(() => ({ ca: readFileSync(tls) })) : tls
      return PgClient.layer({ url: Redacted.make(url), ssl, applicationName: nameIn(url) ?? "headgate", ...options })
    })
  )

/** How connections are called that the server lists. */
const nameIn = (url: string) => new URL(url).searchParams.get("application_name")

/** Only looks, where nothing is to be made. */
const found = ({ onMissing, prefix = "headgate" }: Options) =>
  onMissing !== "fail"
    ? Layer.empty
    : Layer.effectDiscard(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const tables = yield* sql`
            SELECT 1 FROM pg_class WHERE relname = ${tableOf(prefix)} AND pg_table_is_visible(oid)`
          if (tables.length === 0) return yield* Effect.fail(noTables(prefix))
        })
      )

export const open = (server: Server, options: Options = {}): Opened =>
  SqlQuotaStore.layer({ prefix: options.prefix }).pipe(
    Layer.provideMerge(found(options)),
    Layer.provide(client(server))
  )

/** In a schema of its own, so that one statement removes all of it and nothing else. */
export const openTemporary = (server: Server, { now, prefix, remove }: Temporary): Opened => {
  const schema = remove(
    Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.as(sql`CREATE SCHEMA ${sql(prefix)}`, Effect.asVoid(sql`DROP SCHEMA ${sql(prefix)} CASCADE`))
    )
  ).pipe(Layer.provide(client(server, { maxConnections: 1 })))
  return SqlQuotaStore.layerSimulated(now).pipe(
    Layer.provide(client(server, { startupParameters: { search_path: prefix, client_min_messages: "warning" } })),
    Layer.provide(schema)
  )
}
