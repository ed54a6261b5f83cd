// What only looks at a store makes none.
import { PgClient } from "@effect/sql-pg"
import { NodeRedis } from "@effect/platform-node"
import { Store } from "@headgate/node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Redis } from "effect/persistence"
import { Alerts } from "headgate"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { describeStores, type StoreKind } from "../../headgate/test/servers/stores.ts"
import { headgate } from "./harness.ts"

/** All that there is at a url, to be compared. */
const contents = (url: string, kind: StoreKind): Effect.Effect<unknown, unknown> => {
  switch (kind) {
    case "Redis":
      return Redis.Redis.use((redis) => redis.send("KEYS", "*")).pipe(
        Effect.provide(NodeRedis.layer({ url }), { local: true })
      )
    case "PostgreSQL":
      return PgClient.PgClient.use((sql) => sql`SELECT oid, relname FROM pg_class ORDER BY oid`).pipe(
        Effect.provide(PgClient.layer({ url: Redacted.make(url) }), { local: true })
      )
    case "SQLite":
      return Effect.sync(() => {
        const path = url.slice("sqlite:".length)
        return [readdirSync(dirname(path)), readFileSync(path, "latin1")]
      })
  }
}

const commands = [["status"], ["status", "--json"], ["reset", "--yes"]] as const

describeStores("a store that nobody has made", (url, kind) => {
  it.live("is not made by status or reset", () =>
    Effect.gen(function* () {
      // Somebody else's, in a file that is none of headgate's.
      if (kind === "SQLite") {
        const database = new DatabaseSync(url().slice("sqlite:".length))
        database.exec("CREATE TABLE others (id INTEGER)")
        database.close()
      }
      const before = yield* contents(url(), kind)
      // Redis has nothing to make: a reset is written there as any other.
      for (const command of kind === "Redis" ? commands.slice(0, 2) : commands) {
        const { code, stderr, stdout } = yield* headgate([...command, "--store", url(), "--prefix", "bare"])
        assert.deepStrictEqual(yield* contents(url(), kind), before, command.join(" "))
        if (kind === "Redis") assert.strictEqual(code, 0)
        else {
          const shown = url()
            .replace(/\/\/.*@/, "//")
            .replace(/\?.*/, "")
          assert.strictEqual(code, 1)
          assert.strictEqual(stdout, "")
          assert.include(stderr, `the store ${shown} cannot be opened: it has no tables under the prefix bare`)
        }
      }
    })
  )

  it.live("is not looked for under what is no prefix, which is not told either", () =>
    Effect.gen(function* () {
      for (const prefix of ["{a-b", "redis://:hunter2@db/{0}"]) {
        const { code, stderr } = yield* headgate(["status", "--store", url(), "--prefix", prefix])
        assert.strictEqual(code, 2)
        assert.match(stderr, /--prefix must be 1 to (128 characters without braces|32 of a-z, 0-9 and _)/)
        assert.notInclude(stderr, "hunter2")
      }
    })
  )

  it.live("is not told apart from one that nothing was spent in, once an application has made it", () =>
    Effect.gen(function* () {
      yield* Layer.build(Store.fromUrl(url(), { prefix: "made" }).pipe(Layer.provide(Alerts.layer))).pipe(Effect.scoped)
      for (const command of commands) {
        const { code, stderr } = yield* headgate([...command, "--store", url(), "--prefix", "made"])
        assert.strictEqual(code, 0, stderr)
      }
    })
  )
})

it.live("a file that is not there is not made by status or reset", () =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "headgate-bare-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
    )
    const path = join(folder, "store.db")
    for (const command of commands) {
      const { code, stderr } = yield* headgate([...command, "--store", `sqlite:${path}`])
      assert.strictEqual(code, 1)
      assert.include(stderr, `the store sqlite:${path} cannot be opened: there is no such file`)
      assert.isFalse(existsSync(path))
    }
  })
)
