// Holds of which nobody was told in PostgreSQL: they end long before their time is over.
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { type QuotaStore, Window } from "headgate"
import { account, command, tokens } from "../internal/support.ts"
import { type Fate, Proxy } from "../servers/proxy.ts"
import { isOwn, missing, named, type PostgresServer, startPostgres } from "../servers/postgres.ts"
import { counters, newPrefix, postgres, storeLayer, TestClock, use } from "./support.ts"

const all = account([
  { unit: "tokens", limit: 100, window: Window.lifetime },
  { unit: "concurrency", limit: 10 }
])

const nothing = [
  [1, 0],
  [0, 0]
]

/** Looks again and again, for as long as it may take. */
const soon = <E>(look: Effect.Effect<boolean, E>): Effect.Effect<void, E> =>
  Effect.gen(function* () {
    for (let tries = 0; !(yield* look); tries++) {
      if (tries > 300) assert.fail("not within 3 s")
      yield* Effect.sleep("10 millis")
    }
  })

const isEmpty = (store: QuotaStore.Service) =>
  Effect.map(counters(store, [all]), (now) => JSON.stringify(now) === JSON.stringify(nothing))

describe.skipIf(missing !== undefined)(named("a hold of which nobody was told"), () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
  }, 60_000)
  afterAll(() => server.stop())

  const query = <A extends object>(text: string, params: ReadonlyArray<unknown> = []) =>
    Effect.flatMap(SqlClient, (sql) => sql.unsafe<A>(text, params)).pipe(
      Effect.provide(postgres(server.url, { maxConnections: 1 }), { local: true })
    )

  const behind = (proxy: Proxy, prefix: string) =>
    storeLayer({ prefix, timeout: "300 millis" }).pipe(
      Layer.provide(
        Layer.fresh(postgres(`postgres://postgres@127.0.0.1:${proxy.port}/postgres`, { maxConnections: 2 }))
      )
    )

  it.skipIf(!isOwn)("is released as soon as the database answers again", async () => {
    const proxy = await Proxy.start(server.port)
    const prefix = newPrefix()
    await use(behind(proxy, prefix), (store) =>
      Effect.gen(function* () {
        yield* store.record([all], tokens(1), undefined)
        let fate: Fate = "loseAnswer"
        proxy.fate = () => fate
        const error = yield* Effect.flip(store.reserve(command([all], tokens(40))))
        assert.strictEqual(error.outcome, "unknown")
        fate = "loseRequest"
        yield* Effect.sleep("400 millis")
        fate = "pass"
        yield* soon(isEmpty(store))
        const holds = yield* query(`SELECT ended FROM ${prefix}_holds WHERE content <> '' AND usage[5] = 40`)
        assert.deepStrictEqual(holds, [{ ended: "released" }])
      })
    )
    await proxy.stop()
  })

  it.skipIf(!isOwn)("is no longer thought of once the layer is closed", async () => {
    const proxy = await Proxy.start(server.port)
    let closing = 0
    await use(behind(proxy, newPrefix()), (store) =>
      Effect.gen(function* () {
        yield* store.record([all], tokens(1), undefined)
        proxy.fate = () => "loseRequest"
        yield* Effect.flip(store.reserve(command([all], tokens(40))))
        yield* Effect.sleep("400 millis")
        closing = performance.now()
      })
    )
    assert.isBelow(performance.now() - closing, 2_000)
    await proxy.stop()
  })

  it("is not made when it arrives after its release", async () => {
    const prefix = newPrefix()
    const layer = storeLayer({ prefix, timeout: "300 millis" }).pipe(Layer.provide(postgres(server.url)))
    await use(layer, (store) =>
      Effect.gen(function* () {
        yield* store.record([all], tokens(1), undefined)
        const sql = yield* SqlClient
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql.unsafe(`SELECT id FROM ${prefix}_accounts FOR UPDATE`)
            const error = yield* Effect.flip(store.reserve(command([all], tokens(40))))
            assert.strictEqual(error.outcome, "unknown")
            yield* soon(
              Effect.map(query(`SELECT 1 FROM ${prefix}_holds WHERE content = ''`), ({ length }) => length === 1)
            )
          })
        )
        yield* soon(
          Effect.map(
            query(`SELECT 1 FROM pg_stat_activity WHERE state <> 'idle' AND query LIKE '%${prefix}_reserve%'
              AND pid <> pg_backend_pid()`),
            ({ length }) => length === 0
          )
        )
        assert.deepStrictEqual(yield* counters(store, [all]), nothing)
      }).pipe(Effect.provide(postgres(server.url)))
    )
  })

  it("is refused by its id after its release, until that is forgotten", async () => {
    const prefix = newPrefix()
    const clock = new TestClock()
    const layer = storeLayer({ prefix, clock: () => clock.now, retention: "1 minute" }).pipe(
      Layer.provide(postgres(server.url))
    )
    await use(layer, (store) =>
      Effect.gen(function* () {
        yield* store.record([all], tokens(1), undefined)
        const release = { id: "late", accounts: [], retention: 60_000, clock: clock.now }
        yield* query(`SELECT ${prefix}_end($1::jsonb)`, [JSON.stringify(release)])
        const late = yield* store.reserve(command([all], tokens(40), { id: "late" }))
        assert.strictEqual(late._tag, "Conflict")
        assert.deepStrictEqual(yield* counters(store, [all]), nothing)
        clock.now += 60_001
        for (let call = 0; call < 60; call++) yield* store.record([all], tokens(0), undefined)
        const again = yield* store.reserve(command([all], tokens(40), { id: "late" }))
        assert.strictEqual(again._tag, "Hold")
      })
    )
  })
})
