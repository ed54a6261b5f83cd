import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { SqlQuotaStore } from "headgate/sql"
import type { Options } from "../Store.ts"
import { noTables, type Opened, type Server, tableOf, type Temporary } from "./opened.ts"

const client = (url: string, options?: Partial<PgClient.PgPoolConfig>) =>
  PgClient.layer({ url: Redacted.make(url), applicationName: "headgate", ...options })

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

export const open = ({ url }: Server, options: Options = {}): Opened =>
  SqlQuotaStore.layer({ prefix: options.prefix }).pipe(Layer.provideMerge(found(options)), Layer.provide(client(url)))

/** In a schema of its own, so that one statement removes all of it and nothing else. */
export const openTemporary = ({ url }: Server, { now, prefix, remove }: Temporary): Opened => {
  const schema = remove(
    Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.as(sql`CREATE SCHEMA ${sql(prefix)}`, Effect.asVoid(sql`DROP SCHEMA ${sql(prefix)} CASCADE`))
    )
  ).pipe(Layer.provide(client(url, { maxConnections: 1 })))
  return SqlQuotaStore.layerSimulated(now).pipe(
    Layer.provide(client(url, { startupParameters: { search_path: prefix, client_min_messages: "warning" } })),
    Layer.provide(schema)
  )
}
