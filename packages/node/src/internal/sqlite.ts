import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as SqlClient from "effect/sql/SqlClient"
import { SqliteClient, SqlQuotaStore } from "headgate/sql"
import { accessSync, constants, existsSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { pathToFileURL } from "node:url"
import type { Options } from "../Store.ts"
import { type File, noTables, type Opened, tableOf, type Temporary } from "./opened.ts"

const client = (path: string | URL) => SqliteClient.layer(() => new DatabaseSync(path))

/**
 * A file to look at. SQLite writes beside each one that it reads, unless somebody else has it open. Who may not write the file
 * leaves nothing there that its owner could not write either, if SQLite is told that the file stays as it is.
 */
const readable = (path: string): string | URL => {
  const mayWrite = [path, dirname(path)].every((name) =>
    Result.isSuccess(Result.try(() => accessSync(name, constants.W_OK)))
  )
  if (mayWrite || existsSync(`${path}-wal`)) return path
  const url = pathToFileURL(path)
  url.searchParams.set("immutable", "1")
  return url
}

const removeTables = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, prefix: string) {
  const tables = yield* sql<{ readonly name: string }>`
    SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, ${prefix.length + 1}) = ${`${prefix}_`}`
  yield* Effect.forEach(tables, ({ name }) => sql`DROP TABLE ${sql(name)}`, { discard: true })
})

/** Only looks, where nothing is to be made. The client would make the file, and write its settings into it. */
const found = (path: string, { onMissing, prefix = "headgate" }: Options) =>
  onMissing !== "fail"
    ? Layer.empty
    : Layer.effectDiscard(
        Effect.gen(function* () {
          if (!existsSync(path)) return yield* Effect.fail("there is no such file")
          const database = yield* Effect.acquireRelease(
            Effect.try(() => new DatabaseSync(readable(path), { timeout: 1_000 })),
            (database) => Effect.sync(() => database.close())
          )
          const table = yield* Effect.try(() =>
            database.prepare("SELECT 1 FROM sqlite_master WHERE name = ?").get(tableOf(prefix))
          )
          if (table === undefined) return yield* Effect.fail(noTables(prefix))
        }).pipe(Effect.scoped)
      )

export const open = ({ path }: File, options: Options = {}): Opened =>
  SqlQuotaStore.layer({ prefix: options.prefix }).pipe(
    Layer.provide(Layer.suspend(() => client(options.onMissing === "fail" ? readable(path) : path))),
    Layer.provideMerge(found(path, options))
  )

export const openTemporary = ({ path }: File, { now, prefix, remove }: Temporary): Opened =>
  SqlQuotaStore.layerSimulated(now, { prefix }).pipe(
    Layer.provideMerge(remove(Effect.map(SqlClient.SqlClient, (sql) => removeTables(sql, prefix)))),
    Layer.provide(client(path))
  )
