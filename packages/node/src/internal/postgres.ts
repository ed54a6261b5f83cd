import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { SqlQuotaStore } from "headgate/sql"
import type { Opened, Server, Temporary } from "./opened.ts"

const client = (url: string, options?: Partial<PgClient.PgPoolConfig>) =>
  PgClient.layer({ url: Redacted.make(url), applicationName: "headgate", ...options })

export const open = ({ url }: Server, prefix: string | undefined): Opened =>
  SqlQuotaStore.layer({ prefix }).pipe(Layer.provide(client(url)))

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
