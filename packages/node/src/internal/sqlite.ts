import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import { SqliteClient, SqlQuotaStore } from "headgate/sql"
import { DatabaseSync } from "node:sqlite"
import type { File, Opened, Temporary } from "./opened.ts"

const client = (path: string) => SqliteClient.layer(() => new DatabaseSync(path))

const removeTables = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, prefix: string) {
  const tables = yield* sql<{ readonly name: string }>`
    SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, ${prefix.length + 1}) = ${`${prefix}_`}`
  yield* Effect.forEach(tables, ({ name }) => sql`DROP TABLE ${sql(name)}`, { discard: true })
})

export const open = ({ path }: File, prefix: string | undefined): Opened =>
  SqlQuotaStore.layer({ prefix }).pipe(Layer.provide(client(path)))

export const openTemporary = ({ path }: File, { now, prefix, remove }: Temporary): Opened =>
  SqlQuotaStore.layerSimulated(now, { prefix }).pipe(
    Layer.provideMerge(remove(Effect.map(SqlClient.SqlClient, (sql) => removeTables(sql, prefix)))),
    Layer.provide(client(path))
  )
