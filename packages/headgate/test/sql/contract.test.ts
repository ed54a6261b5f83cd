// The contract of stores on both databases, with a clock that the tests move.
import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { QuotaStoreTest } from "headgate/testing"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { missing, named, type PostgresServer, startPostgres } from "../servers/postgres.ts"
import { newPrefix, postgres, sqlite, storeLayer, TestClock } from "./support.ts"

const clock = new TestClock()
const options = {
  advance: (duration: Duration.Input) =>
    Effect.sync(() => {
      clock.now += Duration.toMillis(Duration.fromInputUnsafe(duration))
    })
}

/** Without one of its tables a store can do nothing. */
const withoutAccounts = (prefix: string, client: Layer.Layer<SqlClient, SqlError>) => {
  const rename = (from: string, to: string) =>
    SqlClient.use((sql) => sql.unsafe(`ALTER TABLE ${prefix}_${from} RENAME TO ${prefix}_${to}`)).pipe(
      Effect.provide(client, { local: true }),
      Effect.orDie
    )
  return Effect.acquireRelease(rename("accounts", "gone"), () => rename("gone", "accounts"))
}

describe.skipIf(missing !== undefined)(named("PostgreSQL"), () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
  }, 60_000)
  afterAll(() => server.stop())

  const prefix = newPrefix()
  const layer = Layer.unwrap(
    Effect.sync(() =>
      storeLayer({ clock: () => clock.now, prefix, retention: "90 days" }).pipe(Layer.provide(postgres(server.url)))
    )
  )
  const failing = Effect.suspend(() => withoutAccounts(prefix, postgres(server.url)))
  QuotaStoreTest.suite("postgres", layer, (name, test) => it.live(name, test, 30_000), { ...options, failing })
})

describe("SQLite", () => {
  const folder = mkdtempSync(join(tmpdir(), "headgate-sqlite-"))
  afterAll(() => rmSync(folder, { recursive: true }))
  const client = sqlite(join(folder, "contract.db"))
  const layer = storeLayer({ clock: () => clock.now, retention: "90 days" }).pipe(Layer.provide(client))
  const failing = withoutAccounts("headgate", client)
  QuotaStoreTest.suite("sqlite", layer, (name, test) => it.live(name, test, 30_000), { ...options, failing })
})
