import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Store } from "@headgate/node"
import { Context, Effect, Exit, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Redis } from "effect/persistence"
import { NodeRedis } from "@effect/platform-node"
import { Alerts, Quota, QuotaStore, Usage, Window } from "headgate"
import { SqliteClient } from "headgate/sql"
import { DatabaseSync } from "node:sqlite"
import { describeStores, type StoreKind } from "../../headgate/test/servers/stores.ts"

const plan: QuotaStore.Plan = {
  id: "simulated",
  dimension: "user",
  quotas: [Quota.make({ unit: "tokens", limit: 100, window: Window.sliding("1 hour") })],
  throttle: 0,
  alerts: "all"
}
const account = { plan, value: "42" }

const tokens = (tokens: number): Usage.Usage => ({ ...Usage.zero, requests: 1, tokens })

const reserve = (id?: string): QuotaStore.Reserve => ({
  accounts: [account],
  usage: tokens(60),
  ttl: 60_000,
  onExpiry: "charge",
  book: "now",
  mode: "enforce",
  id
})

/** What is there, by name. */
const names = (kind: StoreKind, url: string): Effect.Effect<ReadonlyArray<string>> => {
  switch (kind) {
    case "Redis":
      return Redis.Redis.use((redis) => redis.send<ReadonlyArray<string>>("KEYS", "*")).pipe(
        Effect.provide(NodeRedis.layer({ url })),
        Effect.orDie
      )
    case "PostgreSQL":
      return listed(
        `SELECT nspname AS name FROM pg_namespace WHERE nspname LIKE 'headgate%'
         UNION SELECT tablename FROM pg_tables WHERE tablename LIKE 'headgate%'`,
        PgClient.layer({ url: Redacted.make(url) })
      )
    case "SQLite":
      return listed(
        "SELECT name FROM sqlite_master",
        SqliteClient.layer(() => new DatabaseSync(url.slice("sqlite:".length)))
      )
  }
}

const listed = <E>(query: string, client: Layer.Layer<SqlClient.SqlClient, E>) =>
  SqlClient.SqlClient.use((sql) => sql.unsafe<{ readonly name: string }>(query)).pipe(
    Effect.map((rows) => rows.map(({ name }) => name)),
    Effect.provide(client),
    Effect.orDie
  )

describeStores("a temporary store", (url, kind) => {
  const start = Date.UTC(2026, 0, 31, 12)

  const open = (now: () => number) =>
    Effect.map(Layer.build(Store.temporary(url(), now).pipe(Layer.provide(Alerts.layer))), (context) =>
      Context.get(context, QuotaStore.QuotaStore)
    )

  it.live("decides by the time that it is given, and leaves nothing behind", () =>
    Effect.gen(function* () {
      const before = yield* names(kind, url())
      let now = start
      yield* Effect.scoped(
        Effect.gen(function* () {
          const store = yield* open(() => now)
          assert.strictEqual((yield* store.reserve(reserve()))._tag, "Hold")
          const refused = yield* store.reserve(reserve())
          assert(refused._tag === "Refused")
          assert.isAbove(refused.retryAfter, 3_000_000)
          now += refused.retryAfter - 1
          assert.strictEqual((yield* store.reserve(reserve()))._tag, "Refused")
          now += 1
          const hold = yield* store.reserve({ ...reserve("known"), book: "onSettle" })
          assert(hold._tag === "Hold")
          assert.strictEqual((yield* store.extend(hold, tokens(40), 0))._tag, "Booked")
          assert.strictEqual((yield* store.settle(hold, tokens(70)))._tag, "Booked")
          const more = yield* store.reserve({ ...reserve(), usage: tokens(30) })
          assert(more._tag === "Hold")
          assert.strictEqual((yield* store.release(more))._tag, "Booked")
          yield* store.record([account], tokens(5), "id")
          assert.strictEqual((yield* store.status([account])).quotas[0]?.used, 75)
          yield* store.reset({ accounts: [account] })
          assert.strictEqual((yield* store.status([account])).quotas[0]?.used, 0)
          assert.isAbove((yield* names(kind, url())).length, before.length)
        })
      )
      assert.deepStrictEqual(yield* names(kind, url()), before)
    })
  )

  it.live("is apart from every other one, and from the store of others", () =>
    Effect.gen(function* () {
      const others = yield* Layer.build(Store.fromUrl(url()).pipe(Layer.provide(Alerts.layer)))
      const there = yield* Effect.provideContext(QuotaStore.QuotaStore, others)
      yield* there.record([account], tokens(77), undefined)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const [one, other] = yield* Effect.all([open(() => start), open(() => start)], { concurrency: 2 })
          yield* one.record([account], tokens(9), undefined)
          assert.strictEqual((yield* one.status([account])).quotas[0]?.used, 9)
          assert.strictEqual((yield* other.status([account])).quotas[0]?.used, 0)
        })
      )
      assert.strictEqual((yield* there.status([account])).quotas[0]?.used, 77)
    })
  )

  it.live("is removed when its user is interrupted", () =>
    Effect.gen(function* () {
      const before = yield* names(kind, url())
      const exit = yield* Effect.exit(
        Effect.scoped(
          Effect.flatMap(
            open(() => start),
            (store) => Effect.andThen(store.reserve(reserve()), Effect.interrupt)
          )
        )
      )
      assert.isTrue(Exit.hasInterrupts(exit))
      assert.deepStrictEqual(yield* names(kind, url()), before)
    })
  )
})
