// What a role or user needs for what: see the table in the README of @headgate/node.
import { PgClient } from "@effect/sql-pg"
import { Store } from "@headgate/node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Alerts, Budget } from "headgate"
import { spawnSync } from "node:child_process"
import { chmodSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { isOwn, missing, named, startPostgres } from "../../headgate/test/servers/postgres.ts"
import { fromRoot, headgate } from "./harness.ts"

/** An application that spends 100 tokens. */
const spend = (url: string) =>
  Budget.Budget.use((budget) =>
    Effect.flatMap(budget.reserve({ tokens: 100 }), (reservation) => budget.settle(reservation, { tokens: 100 }))
  ).pipe(
    Effect.provide(Budget.layer(Budget.defaults).pipe(Layer.provide(Store.fromUrl(url)), Layer.provide(Alerts.layer)), {
      local: true
    })
  )

const used = /everyone +maxTokensPerDay +\S+ +100 /

describe.skipIf(missing !== undefined || !isOwn)(named("the rights of a role in PostgreSQL"), () => {
  const server = Effect.acquireRelease(
    Effect.promise(() => startPostgres()),
    (server) => Effect.promise(() => server.stop())
  )
  const as = (url: string, role: string) => url.replace("postgres@", `${role}@`)
  const run = (url: string, ...statements: ReadonlyArray<string>) =>
    PgClient.PgClient.use((sql) => Effect.forEach(statements, (statement) => sql.unsafe(statement))).pipe(
      Effect.provide(PgClient.layer({ url: Redacted.make(url) }), { local: true })
    )
  const everyday = "CREATE ROLE app LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app"

  it.live("to look is SELECT, and to reset is what an application has", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      yield* spend(url)
      yield* run(
        url,
        ...everyday.split("; "),
        "CREATE ROLE looker LOGIN",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker"
      )
      const status = yield* headgate(["status", "--store", as(url, "looker")])
      assert.strictEqual(status.code, 0, status.stderr)
      assert.match(status.stdout, used)
      const reset = yield* headgate(["reset", "--yes", "--store", as(url, "looker")])
      assert.strictEqual(reset.code, 1)
      assert.include(reset.stderr, "permission denied for table headgate_accounts")
      assert.strictEqual((yield* headgate(["reset", "--yes", "--store", as(url, "app")])).code, 0)
      const simulate = yield* headgate(["simulate", "--store", as(url, "app")])
      assert.strictEqual(simulate.code, 1)
      assert.include(simulate.stderr, "permission denied for database")
    })
  )

  it.live("to spend are SELECT, INSERT, UPDATE and DELETE, and CREATE to make the tables", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      yield* run(url, "CREATE ROLE app LOGIN", "CREATE ROLE owner LOGIN", "GRANT CREATE ON SCHEMA public TO owner")
      const refused = yield* Effect.flip(spend(as(url, "app")))
      assert.include(refused.message, "permission denied for schema public")
      yield* spend(as(url, "owner"))
      yield* run(url, ...everyday.split("; ").slice(1))
      yield* spend(as(url, "app"))
      assert.match((yield* headgate(["status", "--store", as(url, "app")])).stdout, /maxTokensPerDay +\S+ +200 /)
    })
  )
})

const bin = fromRoot("packages/cli/src/bin.ts")
// Nothing is kept from root, so root looks as nobody.
const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
const canRun = spawnSync("test", ["-r", bin, "-a", "-x", process.execPath], nobody).status === 0

describe.skipIf(!canRun)("a SQLite file that may only be read", () => {
  it.live("is shown, whether somebody has it open or not, and stays as it is", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "headgate-rights-"))),
        (folder) =>
          Effect.sync(() => {
            chmodSync(folder, 0o755)
            rmSync(folder, { recursive: true })
          })
      )
      const url = `sqlite:${join(folder, "store.db")}`
      const look = (mode: number, ...args: ReadonlyArray<string>) => {
        chmodSync(join(folder, "store.db"), 0o444)
        chmodSync(folder, mode)
        const command = ["--conditions=@headgate/source", bin, ...args, "--store", url]
        return spawnSync(process.execPath, command, { ...nobody, cwd: fromRoot("packages/cli"), encoding: "utf8" })
      }
      yield* spend(url)
      for (const mode of [0o555, 0o777]) {
        const closed = look(mode, "status")
        assert.strictEqual(closed.status, 0, closed.stderr)
        assert.match(closed.stdout, used)
        assert.deepStrictEqual(readdirSync(folder), ["store.db"])
      }
      const reset = look(0o555, "reset", "--yes")
      assert.strictEqual(reset.status, 1)
      assert.include(reset.stderr, "attempt to write a readonly database")
      chmodSync(folder, 0o755)
      chmodSync(join(folder, "store.db"), 0o644)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(Store.fromUrl(url).pipe(Layer.provide(Alerts.layer)))
          const open = look(0o555, "status")
          assert.strictEqual(open.status, 0, open.stderr)
          assert.match(open.stdout, used)
        })
      )
    })
  )
})
