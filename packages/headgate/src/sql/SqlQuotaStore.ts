/**
 * A `QuotaStore` in PostgreSQL or SQLite: one budget for many processes, which survives their end and the database's.
 *
 * | | PostgreSQL | SQLite |
 * | --- | --- | --- |
 * | client | `@effect/sql-pg` | `SqliteClient` of this package over `node:sqlite` |
 * | a decision | one round trip, by a function in the database | one transaction, by the ledger in this process |
 * | time | the server's clock | the machine's clock |
 * | what is acknowledged | survives as the server's `synchronous_commit` says (on by default) | is on the disk |
 *
 * **Details**
 *
 * Tables, types and functions are made by migrations when the layer is built, in one schema, under names that begin with
 * `prefix`. Each account (a plan's counters for one value of its dimension) is one row, which is locked while a call is
 * decided, always in the same order. Sliding windows have 20 slots. Spending belongs to an account and to what its quotas
 * count (name, unit, window), not to their limits: who raises a limit keeps what is spent, and a quota that is added
 * finds what is held.
 *
 * There is one time for all accounts, and it never runs backwards: if the clock jumps ahead and comes back, time stands
 * still until the clock has caught up.
 *
 * A call ends within `timeout`. Deadlocks, failed serializations and lost connections are tried again until then, by the
 * same id, so that nothing is booked twice. What fails is a `StoreError`: `"notApplied"`, or `"unknown"` where an answer
 * was lost; a reservation of which nobody knows is then released in the background. A call takes no part in a transaction
 * of its caller.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { MigrationError } from "effect/sql/Migrator"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as QuotaStore from "../QuotaStore.ts"
import { makeStore } from "./internal/make.ts"

/**
 * Options of the store.
 *
 * - `prefix`: the beginning of the names of its tables and functions (default `"headgate"`): 1 to 32 of `a-z`, `0-9` and `_`,
 *   a letter first, and not `sqlite`. Stores with the same prefix in the same database are one.
 * - `timeout`: when a call ends at the latest (default `"5 seconds"`).
 * - `retention`: how long ended and expired holds and the ids of records are remembered (default `"1 hour"`). A repeated
 *   call is recognized, and a hold that has expired can still be settled, for so long. Choose it longer than what repeats
 *   records may take to do so: after it, a `requestId` is booked again.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly prefix?: string | undefined
  readonly timeout?: Duration.Input | undefined
  readonly retention?: Duration.Input | undefined
}

/**
 * Makes a store in the database of the `SqlClient`, once its tables are there. Throws a `RangeError` on options out of
 * bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options?: Options
): Effect.Effect<QuotaStore.Service, MigrationError | SqlError, SqlClient | Scope.Scope> => makeStore(options)

/**
 * A store in the database of the `SqlClient`. Throws a `RangeError` on options out of bounds.
 *
 * **Example** (A budget in PostgreSQL)
 *
 * ```ts no-run
 * import { PgClient } from "@effect/sql-pg"
 * import { Layer, Redacted } from "effect"
 * import { Alerts, Budget } from "headgate"
 * import { SqlQuotaStore } from "headgate/sql"
 *
 * const live = Budget.layer({ maxCostPerDay: "$1000" }).pipe(
 *   Layer.provide(SqlQuotaStore.layer()),
 *   Layer.provide(PgClient.layer({ url: Redacted.make("postgres://localhost/app") })),
 *   Layer.provide(Alerts.layer)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<QuotaStore.QuotaStore, MigrationError | SqlError, SqlClient> =>
  Layer.effect(QuotaStore.QuotaStore)(make(options))

/**
 * As `layer`, but decides by the time that it is given, in milliseconds since 1970, instead of the database's: for
 * replaying traffic faster than it came. Not for real spending: clients whose clocks differ would not keep a limit
 * together.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSimulated = (
  now: () => number,
  options?: Options
): Layer.Layer<QuotaStore.QuotaStore, MigrationError | SqlError, SqlClient> =>
  Layer.effect(QuotaStore.QuotaStore)(makeStore({ ...options, clock: now }))
