import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { verdictOf } from "./call.ts"
import { Later } from "../../internal/later.ts"
import { millisOf } from "../../internal/options/plans.ts"
import type * as QuotaStore from "../../QuotaStore.ts"
import type { Options } from "../SqlQuotaStore.ts"
import { makePostgres } from "./postgres/store.ts"
import { schema as postgresSchema } from "./postgres/schema.ts"
import type { Settings } from "./settings.ts"
import { makeSqlite } from "./sqlite/store.ts"
import { schema as sqliteSchema } from "./sqlite/schema.ts"

/**
 * What tests may choose beyond the options: the store's clock, in milliseconds since the epoch; by how many of them the time
 * that the database knows of may lag behind (default 1 second, so that it is not written in each call); and how many open
 * claims of an account a refusal looks at before it looks at all of them (default 100).
 */
export interface InternalOptions extends Options {
  readonly clock?: (() => number) | undefined
  readonly tick?: number | undefined
  readonly few?: number | undefined
}

const maxTtl = 8.64e15 / 4

const settingsOf = (options: InternalOptions): Omit<Settings, "later"> => {
  const prefix = options.prefix ?? "headgate"
  if (!/^(?!sqlite(?:_|$))[a-z][a-z0-9_]{0,31}$/.test(prefix)) {
    const bound = "1 to 32 of a-z, 0-9 and _, a letter first, and not sqlite, which SQLite keeps for itself"
    throw new RangeError(`SqlQuotaStore: prefix must be ${bound}, got ${String(prefix).slice(0, 64)}`)
  }
  const store = crypto.randomUUID()
  let holds = 0
  return {
    prefix,
    timeout: Duration.millis(millisOf("SqlQuotaStore: timeout", options.timeout ?? "5 seconds")),
    retention: millisOf("SqlQuotaStore: retention", options.retention ?? "1 hour"),
    newId: () => `${store}-${holds++}`,
    clock: options.clock,
    tick: options.tick ?? 1000,
    few: options.few ?? 100,
    ttlOf: (ttl) => Math.min(maxTtl, Math.max(0, Math.ceil(ttl)))
  }
}

/** Of the tables. */
const version = 1

/**
 * Makes what is missing. Another process that does the same is waited for. Where nothing is missing, nothing is asked for
 * that who may only read cannot have.
 */
const migrate = (sql: SqlClient.SqlClient, { prefix, timeout }: Settings, statements: ReadonlyArray<string>) => {
  const isCurrent = sql.unsafe(`SELECT 1 FROM ${prefix}_migrations WHERE migration_id = ${version}`).pipe(
    Effect.map(({ length }) => length > 0),
    Effect.catchIf(
      (error) => verdictOf(error) === "final",
      () => Effect.succeed(false)
    )
  )
  const make = Migrator.make({})({
    table: `${prefix}_migrations`,
    loader: Migrator.fromRecord({
      [`${version}_ledger`]: Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
    })
  })
  return Effect.flatMap(isCurrent, (current) => (current ? Effect.void : Effect.asVoid(make))).pipe(
    Effect.retry({
      while: (error) => isSqlError(error) && verdictOf(error) !== "final",
      schedule: Schedule.max([Schedule.spaced("20 millis").pipe(Schedule.jittered), Schedule.during(timeout)])
    })
  )
}

export const makeStore = (
  options: InternalOptions = {}
): Effect.Effect<QuotaStore.Service, Migrator.MigrationError | SqlError, SqlClient.SqlClient | Scope.Scope> => {
  // Before anybody is asked for a connection: wrong options are wrong without one.
  const checked = settingsOf(options)
  const { prefix } = checked
  return Effect.gen(function* () {
    const settings = { ...checked, later: yield* Later.make(checked.timeout) }
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    return yield* sql.onDialectOrElse({
      pg: () => Effect.as(migrate(sql, settings, postgresSchema(prefix)), makePostgres(sql, settings)),
      sqlite: () => Effect.as(migrate(sql, settings, sqliteSchema(prefix)), makeSqlite(sql, settings)),
      orElse: () => Effect.die(new RangeError("SqlQuotaStore: the database must be PostgreSQL or SQLite"))
    })
  })
}
