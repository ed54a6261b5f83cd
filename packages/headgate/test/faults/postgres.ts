// A connection to PostgreSQL that is lost in each verb: before the call gets through, after it was answered, or while its
// backend waits for a row.
import { assert } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { QuotaStore, type StoreError, Window } from "headgate"
import { account, command, tokens } from "../internal/support.ts"
import { Proxy } from "../servers/proxy.ts"
import { newPrefix, postgres, storeLayer } from "../sql/support.ts"
import { fault } from "./fault.ts"
import { missing, targets } from "./targets.ts"

const total = { unit: "tokens", limit: 1_000_000, window: Window.lifetime, name: "total" } as const
const minute = { unit: "tokens", limit: 1_000_000, window: Window.sliding("1 minute"), name: "minute" } as const
const concurrency = { unit: "concurrency", limit: 1_000 } as const

const all = account([total, minute, concurrency], { id: "all" })
const users = account([total, minute], { id: "user", dimension: "user" })
const accounts = [all, { plan: users.plan, value: "a" }]

type Pair = readonly [used: number, held: number]

/** The counters of everyone, of the calls under way, and of the user, after a verb on 500 used and 20 held. */
const verbs: ReadonlyArray<
  readonly [
    name: string,
    run: (store: QuotaStore.Service, held: QuotaStore.Hold) => Effect.Effect<unknown, StoreError>,
    expected: readonly [everyone: Pair, underWay: Pair, user: Pair]
  ]
> = [
  [
    "reserve",
    (store) => store.reserve(command(accounts, tokens(40))),
    [
      [500, 60],
      [0, 2],
      [500, 60]
    ]
  ],
  [
    "extend",
    (store, held) => store.extend(held, tokens(7), 0),
    [
      [500, 27],
      [0, 1],
      [500, 27]
    ]
  ],
  [
    "settle",
    (store, held) => store.settle(held, tokens(30)),
    [
      [530, 0],
      [0, 0],
      [530, 0]
    ]
  ],
  [
    "release",
    (store, held) => store.release(held),
    [
      [500, 0],
      [0, 0],
      [500, 0]
    ]
  ],
  [
    "record",
    (store) => store.record(accounts, tokens(11), undefined),
    [
      [511, 20],
      [0, 1],
      [511, 20]
    ]
  ],
  [
    "reset",
    (store) => store.reset({ accounts: [all] }),
    [
      [0, 20],
      [0, 1],
      [500, 20]
    ]
  ],
  [
    "reset of plans",
    (store) => store.reset({ plans: [users.plan] }),
    [
      [500, 20],
      [0, 1],
      [0, 20]
    ]
  ],
  [
    "status",
    (store) => store.status(accounts),
    [
      [500, 20],
      [0, 1],
      [500, 20]
    ]
  ]
]

const ways = ["loseRequest", "loseAnswer", "terminate"] as const

export const cutConnections = fault({
  name: "cut-connections-postgres",
  fault: "PostgreSQL: connection killed in each verb, before it, after it and while it waits for a row",
  mustHold: "each verb is done once",
  missing: missing.PostgreSQL,
  short: { rounds: 1 },
  full: { rounds: 5 },
  run: ({ rounds }) =>
    Effect.gen(function* () {
      const { address, port } = yield* targets.PostgreSQL
      const proxy = yield* Effect.acquireRelease(
        Effect.promise(() => Proxy.start(port)),
        (proxy) => Effect.promise(() => proxy.stop())
      )
      const behindProxy = postgres(address.replace(String(port), String(proxy.port)), { maxConnections: 2 })
      const locker = postgres(address, { maxConnections: 2 })

      /** Ends the backend of a call while it waits for a row. */
      const terminated = (prefix: string, run: Effect.Effect<unknown, StoreError>) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          const fiber = yield* sql.withTransaction(
            Effect.gen(function* () {
              yield* sql.unsafe(`SELECT id FROM ${prefix}_accounts FOR UPDATE`)
              const fiber = yield* Effect.forkChild(run)
              let ended = 0
              while (ended === 0) {
                yield* Effect.sleep("5 millis")
                const rows = yield* sql.unsafe(
                  `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE wait_event_type = 'Lock' AND query LIKE '%${prefix}%' AND pid <> pg_backend_pid()`
                )
                ended = rows.length
              }
              return fiber
            })
          )
          yield* Fiber.join(fiber)
        }).pipe(Effect.provide(locker, { local: true }))

      let cuts = 0
      for (let round = 0; round < rounds; round++) {
        for (const how of ways) {
          for (const [name, run, [everyone, underWay, user]] of verbs) {
            // A status waits for nobody.
            if (how === "terminate" && name === "status") continue
            const prefix = newPrefix()
            const layer = storeLayer({ prefix, timeout: "10 seconds" }).pipe(Layer.provide(Layer.fresh(behindProxy)))
            yield* Effect.gen(function* () {
              const store = yield* QuotaStore.QuotaStore
              yield* store.record(accounts, tokens(500), undefined)
              const held = yield* store.reserve(command(accounts, tokens(20)))
              if (held._tag !== "Hold") return yield* Effect.die(held)
              const before = proxy.cuts
              if (how === "terminate") yield* terminated(prefix, run(store, held))
              else {
                proxy.next = how
                yield* run(store, held)
                assert.strictEqual(proxy.cuts, before + 1)
              }
              cuts++
              const { quotas } = yield* store.status(accounts)
              assert.deepStrictEqual<unknown>(
                quotas.map(({ held, used }) => [used, held]),
                [everyone, everyone, underWay, user, user],
                `${name}, ${how}`
              )
            }).pipe(Effect.provide(layer, { local: true }))
          }
        }
      }
      return `${cuts} cuts, ${verbs.length} verbs, 3 ways: each done once`
    })
})
