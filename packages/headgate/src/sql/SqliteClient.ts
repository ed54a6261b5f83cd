/**
 * The smallest `SqlClient` over `node:sqlite` that a durable store needs, in this one file, until a driver package for
 * Effect 4.1 is published (`@effect/sql-sqlite-node` has none yet). Then use that one; `SqlQuotaStore` takes either.
 *
 * It imports no driver: it is given the database, since `headgate` depends on `effect` alone and also runs where there
 * is no `node:sqlite`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"

/**
 * What is used of a `DatabaseSync` of `node:sqlite`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Database {
  readonly isTransaction: boolean
  exec(sql: string): void
  prepare(sql: string): PreparedStatement
  close(): void
}

/**
 * What is used of a prepared statement of `node:sqlite`.
 *
 * @category models
 * @since 0.1.0
 */
export interface PreparedStatement {
  all(...params: ReadonlyArray<never>): ReadonlyArray<unknown>
  setReturnArrays?(enabled: boolean): void
}

/**
 * Options of the client.
 *
 * - `busyTimeout`: how long a statement waits for another process (default `"50 millis"`). Waiting blocks this process, since
 *   `node:sqlite` is synchronous; `SqlQuotaStore` goes on trying after it without blocking.
 * - `synchronous`: `"full"` (default) puts every transaction on the disk before it is acknowledged; with `"normal"` a
 *   power cut can undo the last ones.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly busyTimeout?: Duration.Input | undefined
  readonly synchronous?: "full" | "normal" | undefined
}

const sqlError = (cause: unknown, operation: string): SqlError =>
  new SqlError({
    reason: classifySqliteError(withCode(cause), { message: `SQLite: ${messageOf(cause)}`, operation })
  })

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** `node:sqlite` tells SQLite's own code as `errcode`. */
const withCode = (cause: unknown): unknown => {
  const errno: unknown = typeof cause === "object" && cause !== null ? Reflect.get(cause, "errcode") : undefined
  return typeof errno === "number" ? { errno, code: errno, message: messageOf(cause), cause } : cause
}

const isLocked = ({ reason }: SqlError): boolean => reason._tag === "LockTimeoutError"

/** As long as a call of the store waits for the lock. */
const whileLocked = Schedule.max([Schedule.spaced("20 millis").pipe(Schedule.jittered), Schedule.during("5 seconds")])

const maxStatements = 200

/**
 * A client over a database that is opened and closed with the layer: write-ahead log, durable by default, transactions
 * that write from their beginning on.
 *
 * **Example** (A budget that survives a restart)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Alerts, Budget } from "headgate"
 * import { SqliteClient, SqlQuotaStore } from "headgate/sql"
 * import { DatabaseSync } from "node:sqlite"
 *
 * const live = Budget.layer({ maxCostPerDay: "$1000" }).pipe(
 *   Layer.provide(SqlQuotaStore.layer()),
 *   Layer.provide(SqliteClient.layer(() => new DatabaseSync(":memory:"))), // or the path of a file
 *   Layer.provide(Alerts.layer)
 * )
 *
 * const program = Budget.Budget.use((budget) =>
 *   Effect.gen(function* () {
 *     const reservation = yield* budget.reserve({ cost: "$2" })
 *     yield* budget.settle(reservation, { cost: "$1.25" })
 *     return (yield* budget.status()).costUsedDay
 *   })
 * )
 *
 * await Effect.runPromise(Effect.provide(program, live)) // => 1_250_000_000
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (open: () => Database, options?: Options): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient)(make(open, options)).pipe(Layer.provide(Reactivity.layer))

/**
 * Makes the client; `layer` needs no `Reactivity`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function* (open: () => Database, options?: Options) {
  const attempt = <A>(operation: string, run: () => A): Effect.Effect<A, SqlError> =>
    Effect.try({ try: run, catch: (cause) => sqlError(cause, operation) })
  const busyTimeout = Option.getOrUndefined(Duration.fromInput(options?.busyTimeout ?? "50 millis"))
  const millis = busyTimeout === undefined ? NaN : Math.ceil(Duration.toMillis(busyTimeout))
  if (!(millis >= 0 && millis <= 3_600_000)) {
    throw new RangeError(`SqliteClient: busyTimeout must be a duration of 0 to 1 hour, got ${options?.busyTimeout}`)
  }
  const synchronous = options?.synchronous ?? "full"
  if (synchronous !== "full" && synchronous !== "normal") {
    throw new RangeError(`SqliteClient: synchronous must be "full" or "normal", got ${String(synchronous)}`)
  }
  const database = yield* Effect.acquireRelease(attempt("connect", open), (database) =>
    Effect.ignore(attempt("close", () => database.close()))
  )
  yield* attempt("connect", () => {
    database.exec(`PRAGMA busy_timeout = ${millis}`)
    database.exec("PRAGMA journal_mode = WAL")
    database.exec(`PRAGMA synchronous = ${synchronous}`)
  }).pipe(Effect.retry({ while: isLocked, schedule: whileLocked }))

  const prepared = new Map<string, PreparedStatement>()
  const prepare = (sql: string): PreparedStatement => {
    let statement = prepared.get(sql)
    if (statement !== undefined) return statement
    if (prepared.size >= maxStatements) prepared.clear()
    prepared.set(sql, (statement = database.prepare(sql)))
    return statement
  }
  const all = (statement: PreparedStatement, params: ReadonlyArray<unknown>) =>
    statement.all(...(params as ReadonlyArray<never>)) as ReadonlyArray<{}>
  const run = (sql: string, params: ReadonlyArray<unknown>) => attempt("execute", () => all(prepare(sql), params))
  const values = (sql: string, params: ReadonlyArray<unknown>) =>
    Effect.map(run(sql, params), (rows) => rows.map((row) => Object.values(row)))
  const execute: Connection["execute"] = (sql, params, transformRows) =>
    Effect.map(run(sql, params), (rows) => (transformRows === undefined ? rows : transformRows(rows)))
  const connection: Connection = {
    execute,
    executeRaw: run,
    executeValues: values,
    executeValuesUnprepared: values,
    executeUnprepared: execute,
    executeStream: (sql, params, transformRows) =>
      Stream.unwrap(Effect.map(execute(sql, params, transformRows), Stream.fromIterable))
  }
  return yield* SqlClient.make({
    ...SqlClient.makeSqliteAcquirers({
      connection: Effect.succeed(connection),
      semaphore: yield* Semaphore.make(1),
      isTransaction: () => database.isTransaction
    }),
    compiler: Statement.makeCompilerSqlite(),
    driver: "headgate-sqlite",
    beginTransaction: "BEGIN IMMEDIATE",
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
    spanAttributes: [["db.system.name", "sqlite"]]
  })
})
