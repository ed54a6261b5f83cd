// What the tests of the SQL stores share: stores with a clock of the test's, and the two databases.
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { SqlClient } from "effect/sql/SqlClient"
import { QuotaStore } from "headgate"
import { SqliteClient } from "headgate/sql"
import { DatabaseSync } from "node:sqlite"
import { type InternalOptions, makeStore } from "../../src/sql/internal/make.ts"

/** A clock that stands still until it is moved. */
export class TestClock {
  now: number

  constructor(start = Date.parse("2026-03-04T05:06:07.891Z")) {
    this.now = start
  }
}

export const storeLayer = (options: InternalOptions): Layer.Layer<QuotaStore.QuotaStore, unknown, SqlClient> =>
  Layer.effect(QuotaStore.QuotaStore)(makeStore(options))

export const postgres = (
  url: string,
  options?: { readonly maxConnections?: number }
): Layer.Layer<SqlClient, SqlError> =>
  PgClient.layer({ url: Redacted.make(url), connectTimeout: "5 seconds", ...options })

export const sqlite = (path: string, options?: SqliteClient.Options): Layer.Layer<SqlClient, SqlError> =>
  SqliteClient.layer(() => new DatabaseSync(path), options)

let prefixes = 0

/** A name that no other test of this process uses. */
export const newPrefix = (): string => `t${process.pid}_${prefixes++}`

export const use = <A, E>(
  layer: Layer.Layer<QuotaStore.QuotaStore, unknown>,
  f: (store: QuotaStore.Service) => Effect.Effect<A, E>
): Promise<A> => Effect.runPromise(Effect.orDie(Effect.provide(Effect.flatMap(QuotaStore.QuotaStore, f), layer)))

export const hold = (answer: QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict): QuotaStore.Hold => {
  if (answer._tag !== "Hold") throw new Error(JSON.stringify(answer))
  return answer
}

/** What is used and held, of each quota. */
export const counters = (store: QuotaStore.Service, of: ReadonlyArray<QuotaStore.Account>) =>
  Effect.map(store.status(of), ({ quotas }) => quotas.map(({ held, used }) => [used, held]))
