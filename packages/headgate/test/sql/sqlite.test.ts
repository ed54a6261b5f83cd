// What a SQLite store keeps and forgets, and a lock that stays. Worse is in ../faults/sqlite.ts.
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock as Time } from "effect/testing"
import { Window } from "headgate"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { account, command, tokens } from "../internal/support.ts"
import { counters, hold, sqlite, storeLayer, TestClock, use } from "./support.ts"

const total = { unit: "tokens", limit: 1_000_000, window: Window.lifetime, name: "total" } as const
const minute = { unit: "tokens", limit: 1_000_000, window: Window.sliding("1 minute"), name: "minute" } as const
const all = account([total, minute], { id: "all" })
const users = account([total], { id: "user", dimension: "user" })
const accounts = [all, { plan: users.plan, value: "a" }]

const folder = mkdtempSync(join(tmpdir(), "headgate-sqlite-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let files = 0
const newFile = (): string => join(folder, `${files++}.db`)

describe("SQLite in trouble", () => {
  it("ends each call within its time while another process holds the lock", async () => {
    const file = newFile()
    const layer = storeLayer({ timeout: "300 millis" }).pipe(Layer.provide(sqlite(file)))
    await use(layer, (store) =>
      Effect.gen(function* () {
        yield* store.record(accounts, tokens(1), undefined)
        const other = new DatabaseSync(file)
        other.exec("BEGIN IMMEDIATE")
        const start = performance.now()
        const fiber = yield* Effect.forkChild(Effect.flip(store.record(accounts, tokens(10), undefined)))
        const status = yield* store.status(accounts)
        assert.strictEqual(status.quotas[0]?.used, 1)
        const error = yield* Fiber.join(fiber)
        assert.isBelow(performance.now() - start, 400)
        assert.deepStrictEqual([error.operation, error.outcome], ["record", "notApplied"])
        other.exec("ROLLBACK")
        other.close()
        yield* store.record(accounts, tokens(10), undefined)
        assert.deepStrictEqual((yield* counters(store, accounts))[0], [11, 0])
      })
    )
  })

  describe("at its start, in a file that another process has locked and that has no write-ahead log", () => {
    const locked = Effect.acquireRelease(
      Effect.sync(() => {
        const file = newFile()
        const other = new DatabaseSync(file)
        other.exec("CREATE TABLE one (a)")
        other.exec("BEGIN EXCLUSIVE")
        const layer = storeLayer({}).pipe(Layer.provide(sqlite(file, { busyTimeout: 0 })))
        return { layer, other }
      }),
      ({ other }) => Effect.sync(() => other.close())
    )

    it.effect("waits as a call would", () =>
      Effect.gen(function* () {
        const { layer, other } = yield* locked
        const fiber = yield* Effect.forkChild(Layer.build(layer))
        yield* Time.adjust("4 seconds")
        assert.isUndefined(fiber.pollUnsafe())
        other.exec("COMMIT")
        yield* Time.adjust("100 millis")
        yield* Fiber.join(fiber)
      }).pipe(Effect.scoped)
    )

    it.effect("gives up when a call would", () =>
      Effect.gen(function* () {
        const { layer } = yield* locked
        const fiber = yield* Effect.forkChild(Effect.flip(Layer.build(layer)))
        yield* Time.adjust("5100 millis")
        assert.include(String(yield* Fiber.join(fiber)), "locked")
      }).pipe(Effect.scoped)
    )
  })

  it("forgets what is over", async () => {
    const clock = new TestClock()
    const file = newFile()
    const layer = storeLayer({ clock: () => clock.now, retention: "1 minute" }).pipe(Layer.provide(sqlite(file)))
    const idle = account([{ unit: "tokens", limit: 100, window: Window.sliding("1 minute") }], {
      id: "idle",
      dimension: "user"
    })
    await use(layer, (store) =>
      Effect.gen(function* () {
        for (let user = 0; user < 30; user++) {
          const of = [{ plan: idle.plan, value: `${user}` }]
          const one = hold(yield* store.reserve(command(of, tokens(1), { ttl: 1_000 })))
          if (user % 2 === 0) yield* store.settle(one, tokens(1))
        }
        clock.now += 3_600_000
        for (let call = 0; call < 40; call++) {
          yield* store.record([{ plan: idle.plan, value: "busy" }], tokens(0), undefined)
          clock.now += 60_001
        }
      })
    )
    const database = new DatabaseSync(file)
    for (const [table, most] of [
      ["accounts", 3],
      ["holds", 3],
      ["claims", 0]
    ] as const) {
      const [row] = database.prepare(`SELECT count(*) AS many FROM headgate_${table}`).all()
      assert.isAtMost(Number(row?.["many"]), most, table)
    }
    database.close()
  })
})
