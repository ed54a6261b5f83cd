// What a PostgreSQL store keeps and forgets, and locks. Worse is in ../faults.
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { QuotaStore, Window } from "headgate"
import { setTimeout } from "node:timers/promises"
import { account, command, tokens } from "../internal/support.ts"
import { Proxy } from "../servers/proxy.ts"
import { isOwn, missing, named, type PostgresServer, startPostgres } from "../servers/postgres.ts"
import { counters, hold, newPrefix, postgres, storeLayer, TestClock, use } from "./support.ts"

const total = { unit: "tokens", limit: 1_000_000, window: Window.lifetime, name: "total" } as const
const minute = { unit: "tokens", limit: 1_000_000, window: Window.sliding("1 minute"), name: "minute" } as const
const concurrency = { unit: "concurrency", limit: 1_000 } as const

const all = account([total, minute, concurrency], { id: "all" })
const users = account([total, minute], { id: "user", dimension: "user" })
const accounts = [all, { plan: users.plan, value: "a" }]

describe.skipIf(missing !== undefined)(named("PostgreSQL in trouble"), () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres({ settings: ["deadlock_timeout = 100ms"] })
  }, 60_000)
  afterAll(() => server.stop())

  /** Asks the database directly, on a connection of its own. */
  const query = <A extends object>(text: string, params: ReadonlyArray<unknown> = []): Promise<ReadonlyArray<A>> =>
    Effect.runPromise(
      Effect.provide(
        Effect.flatMap(SqlClient, (sql) => sql.unsafe<A>(text, params)),
        postgres(server.url, { maxConnections: 1 })
      )
    )

  it("makes its tables once, whoever comes first", async () => {
    const prefix = newPrefix()
    const make = () =>
      use(storeLayer({ prefix }).pipe(Layer.provide(postgres(server.url))), (store) => store.status([]))
    await Promise.all([make(), make(), make()])
    await make()
    const rows = await query(`SELECT * FROM ${prefix}_migrations`)
    assert.strictEqual(rows.length, 1)
  })

  it.skipIf(!isOwn)("tells alerts although their answer was lost", async () => {
    const proxy = await Proxy.start(server.port)
    const layer = storeLayer({ prefix: newPrefix() }).pipe(
      Layer.provide(postgres(`postgres://postgres@127.0.0.1:${proxy.port}/postgres`, { maxConnections: 1 }))
    )
    const half = account([{ ...total, limit: 100, alertAt: [0.5] }], { id: "half" })
    await use(layer, (store) =>
      Effect.gen(function* () {
        const first = hold(yield* store.reserve(command([half], tokens(60))))
        proxy.next = "loseAnswer"
        const settled = yield* store.settle(first, tokens(60))
        assert.deepStrictEqual(settled._tag === "Booked" && settled.alerts.map(({ _tag }) => _tag), [
          "ThresholdReached"
        ])
        const again = yield* store.settle(first, tokens(60))
        assert.deepStrictEqual(again._tag === "Booked" && [again.repeated, again.alerts], [true, []])
      })
    )
    await proxy.stop()
  })

  it("ends each call within its time, says that the outcome is unknown, and takes it once by its id", async () => {
    const prefix = newPrefix()
    const layer = storeLayer({ prefix, timeout: "300 millis" }).pipe(
      Layer.provide(Layer.fresh(postgres(server.url, { maxConnections: 4 })))
    )
    const asked = command(accounts, tokens(40), { id: "once" })
    await use(layer, (store) =>
      Effect.gen(function* () {
        yield* store.record(accounts, tokens(1), undefined)
        const sql = yield* SqlClient
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql.unsafe(`SELECT id FROM ${prefix}_accounts FOR UPDATE`)
            const start = performance.now()
            const error = yield* Effect.flip(store.reserve(asked))
            assert.isBelow(performance.now() - start, 400)
            assert.deepStrictEqual([error.operation, error.outcome], ["reserve", "unknown"])
          })
        )
        const once = hold(yield* store.reserve(asked))
        assert.strictEqual(once.id, "once")
        yield* Effect.sleep("50 millis")
        assert.deepStrictEqual((yield* counters(store, accounts))[0], [1, 40])
      }).pipe(Effect.provide(postgres(server.url)))
    )
  })

  it.skipIf(!isOwn)("says that nothing was applied where there is no database", async () => {
    const layer = storeLayer({ prefix: newPrefix(), timeout: "500 millis" })
    const other = await startPostgres()
    await use(layer.pipe(Layer.provide(postgres(other.url))), (store) =>
      Effect.gen(function* () {
        yield* store.record(accounts, tokens(1), undefined)
        yield* Effect.promise(() => other.kill())
        // The connection that it had is lost; by the next call it knows.
        yield* Effect.ignore(store.status(accounts))
        const start = performance.now()
        const error = yield* Effect.flip(store.reserve(command(accounts, tokens(1))))
        assert.isBelow(performance.now() - start, 600)
        assert.deepStrictEqual([error.operation, error.outcome], ["reserve", "notApplied"])
      })
    )
    await other.stop()
  })

  it("takes no part in a transaction of its caller", async () => {
    const url = postgres(server.url)
    const layer = storeLayer({ prefix: newPrefix() })
    const program = Effect.gen(function* () {
      const store = yield* QuotaStore.QuotaStore
      const sql = yield* SqlClient
      const undone = sql.withTransaction(
        Effect.andThen(store.record(accounts, tokens(5), undefined), Effect.fail("undone" as const))
      )
      assert.strictEqual(yield* Effect.flip(undone), "undone")
      assert.deepStrictEqual((yield* counters(store, accounts))[0], [5, 0])
    })
    await Effect.runPromise(Effect.provide(program, layer.pipe(Layer.provideMerge(url))))
  })

  it("locks in one order: calls that name their accounts the other way round do not meet in a deadlock", async () => {
    const layer = storeLayer({ prefix: newPrefix() }).pipe(Layer.provide(postgres(server.url)))
    const deadlocks = () =>
      query<{ readonly deadlocks: bigint }>("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    const [before] = await deadlocks()
    await use(layer, (store) =>
      Effect.gen(function* () {
        const of = ["a", "b", "c"].map((value) => ({ plan: users.plan, value }))
        yield* Effect.all(
          Array.from({ length: 150 }, (_, index) => {
            const turned = [...of.slice(index % 3), ...of.slice(0, index % 3)]
            const asked = command(index % 2 === 0 ? turned : turned.toReversed(), tokens(1))
            return Effect.flatMap(store.reserve(asked), (answer) => store.settle(hold(answer), tokens(1)))
          }),
          { concurrency: 30 }
        )
        assert.deepStrictEqual((yield* counters(store, of))[0], [150, 0])
      })
    )
    await setTimeout(50)
    const [after] = await deadlocks()
    assert.deepStrictEqual(after, before)
  })

  it("goes on after a deadlock that others brought about", async () => {
    const prefix = newPrefix()
    const layer = storeLayer({ prefix }).pipe(Layer.provide(postgres(server.url)))
    await use(layer, (store) =>
      Effect.gen(function* () {
        yield* store.record(accounts, tokens(1), undefined)
        const other = Effect.gen(function* () {
          const sql = yield* SqlClient
          yield* sql
            .withTransaction(
              Effect.gen(function* () {
                yield* sql.unsafe("SET LOCAL deadlock_timeout = '30s'")
                yield* sql.unsafe(`SELECT id FROM ${prefix}_accounts WHERE plan = 'user' FOR UPDATE`)
                const fiber = yield* Effect.forkChild(store.record(accounts, tokens(10), undefined))
                yield* Effect.sleep("50 millis")
                yield* sql.unsafe(`SELECT id FROM ${prefix}_accounts WHERE plan = 'all' FOR UPDATE`)
                return fiber
              })
            )
            .pipe(Effect.flatMap((fiber) => Fiber.join(fiber)))
        })
        yield* Effect.provide(other, postgres(server.url))
        assert.deepStrictEqual((yield* counters(store, accounts))[0], [11, 0])
      })
    )
  })

  it("does not run backwards with its clock", async () => {
    const clock = new TestClock()
    const layer = storeLayer({ prefix: newPrefix(), clock: () => clock.now }).pipe(Layer.provide(postgres(server.url)))
    const tight = account([{ unit: "tokens", limit: 100, window: Window.sliding("1 minute") }], { id: "tight" })
    await use(layer, (store) =>
      Effect.gen(function* () {
        yield* store.record([tight], tokens(100), undefined)
        clock.now -= 3_600_000
        const refused = yield* store.reserve(command([tight], tokens(1)))
        assert.strictEqual(refused._tag === "Refused" && refused.retryAfter <= 65_000, true)
        clock.now += 3_600_000 + 65_000
        hold(yield* store.reserve(command([tight], tokens(100))))
      })
    )
  })

  it("forgets what is over", async () => {
    const clock = new TestClock()
    const prefix = newPrefix()
    const layer = storeLayer({ prefix, clock: () => clock.now, retention: "1 minute" }).pipe(
      Layer.provide(postgres(server.url))
    )
    const idle = account([{ unit: "tokens", limit: 100, window: Window.sliding("1 minute") }], {
      id: "idle",
      dimension: "user"
    })
    await use(layer, (store) =>
      Effect.gen(function* () {
        for (let user = 0; user < 30; user++) {
          const one = hold(
            yield* store.reserve(command([{ plan: idle.plan, value: `${user}` }], tokens(1), { ttl: 1_000 }))
          )
          if (user % 2 === 0) yield* store.settle(one, tokens(1))
        }
        clock.now += 3_600_000
        for (let call = 0; call < 150; call++) {
          yield* store.record([{ plan: idle.plan, value: "busy" }], tokens(0), undefined)
          clock.now += 60_001
        }
      })
    )
    // The holds of the last calls are there, until one of the next calls forgets them: one in five does so.
    for (const [table, most] of [
      ["accounts", 3],
      ["holds", 60],
      ["claims", 0]
    ] as const) {
      const [rows] = await query<{ readonly many: bigint }>(`SELECT count(*) AS many FROM ${prefix}_${table}`)
      assert.isAtMost(Number(rows?.many), most, table)
    }
  })
})
