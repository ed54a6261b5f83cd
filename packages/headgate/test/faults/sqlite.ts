// A SQLite database whose process ends anywhere, or whose disk is full.
import { assert } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { type QuotaStore, Window } from "headgate"
import { SqliteClient } from "headgate/sql"
import { execFileSync } from "node:child_process"
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { account, command, tokens } from "../internal/support.ts"
import { sqlite, storeLayer, TestClock, use } from "../sql/support.ts"
import { fault } from "./fault.ts"
import { folder } from "./targets.ts"

const total = { unit: "tokens", limit: 1_000_000, window: Window.lifetime, name: "total" } as const
const minute = { unit: "tokens", limit: 1_000_000, window: Window.sliding("1 minute"), name: "minute" } as const
const all = account([total, minute], { id: "all" })
const users = account([total], { id: "user", dimension: "user" })
const accounts = [all, { plan: users.plan, value: "a" }]

const counters = (store: QuotaStore.Service) =>
  Effect.map(store.status(accounts), ({ quotas }) => quotas.map(({ held, used }) => [used, held]))

const verbs: ReadonlyArray<
  readonly [name: string, run: (store: QuotaStore.Service, held: QuotaStore.Hold) => Effect.Effect<unknown, unknown>]
> = [
  ["reserve", (store) => store.reserve(command(accounts, tokens(40)))],
  ["extend", (store, held) => store.extend(held, tokens(7), 0)],
  ["settle", (store, held) => store.settle(held, tokens(30))],
  ["release", (store, held) => store.release(held)],
  ["record", (store) => store.record(accounts, tokens(11), undefined)],
  ["reset", (store) => store.reset({ plans: [all.plan, users.plan] })]
]

export const cutTransactions = fault({
  name: "cut-transactions-sqlite",
  fault: "SQLite: its process ends after any statement of each transaction",
  mustHold: "opens again, and each verb is done or not done",
  short: {},
  full: {},
  run: () =>
    Effect.gen(function* () {
      const home = yield* folder
      let files = 0
      const newFile = () => join(home, `${files++}.db`)
      let opened = 0
      for (const [name, run] of verbs) {
        const file = newFile()
        const copies: Array<string> = []
        let watching = false
        // What is left of the files when the process ends after this statement.
        const watched = <A>(statement: () => A): A => {
          const result = statement()
          if (watching) {
            const copy = newFile()
            for (const end of ["", "-wal"]) if (existsSync(file + end)) copyFileSync(file + end, copy + end)
            copies.push(copy)
          }
          return result
        }
        const open = (): SqliteClient.Database => {
          const database = new DatabaseSync(file)
          return {
            get isTransaction() {
              return database.isTransaction
            },
            exec: (sql) => database.exec(sql),
            close: () => database.close(),
            prepare: (sql) => {
              const statement = database.prepare(sql)
              return { all: (...params) => watched(() => statement.all(...params)) }
            }
          }
        }
        const clock = new TestClock()
        const options = { clock: () => clock.now }
        const [before, after] = yield* Effect.promise(() =>
          use(storeLayer(options).pipe(Layer.provide(SqliteClient.layer(open))), (store) =>
            Effect.gen(function* () {
              yield* store.record(accounts, tokens(500), undefined)
              const held = yield* store.reserve(command(accounts, tokens(20)))
              if (held._tag !== "Hold") return yield* Effect.die(held)
              const before = yield* counters(store)
              watching = true
              yield* run(store, held)
              watching = false
              return [before, yield* counters(store)] as const
            })
          )
        )
        assert.isAbove(copies.length, 5)
        assert.notDeepEqual(before, after)
        for (const [index, copy] of copies.entries()) {
          const found = yield* Effect.promise(() =>
            use(storeLayer(options).pipe(Layer.provide(sqlite(copy))), (store) => counters(store))
          )
          // Only the last statement, the commit, makes it so.
          assert.deepStrictEqual(found, index === copies.length - 1 ? after : before, `${name}, statement ${index}`)
          opened++
        }
      }
      return `${verbs.length} verbs, cut after each of ${opened} statements: all open again, done or not done`
    })
})

/** A file system of a megabyte, where that can be had. */
const mount = (): string | undefined => {
  const path = mkdtempSync(join(tmpdir(), "headgate-full-"))
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", path], { stdio: "ignore" })
    return path
  } catch {
    rmSync(path, { recursive: true })
    return undefined
  }
}

const unmount = (path: string) => {
  execFileSync("umount", [path])
  rmSync(path, { recursive: true })
}

const canMount = (() => {
  const path = mount()
  if (path !== undefined) unmount(path)
  return path !== undefined
})()

export const fullDisk = fault({
  name: "full-disk-sqlite",
  fault: "SQLite: disk full",
  mustHold: "a typed error, nothing acknowledged is lost; goes on once there is room",
  missing: canMount ? undefined : "needs root to mount a small file system",
  short: {},
  full: {},
  run: () =>
    Effect.gen(function* () {
      const small = yield* Effect.acquireRelease(
        Effect.sync(() => mount()!),
        (path) => Effect.sync(() => unmount(path))
      )
      const file = join(small, "full.db")
      const ballast = join(small, "ballast")
      writeFileSync(ballast, Buffer.alloc(400_000))
      const layer = () => storeLayer({ timeout: "1 second" }).pipe(Layer.provide(sqlite(file)))
      let booked = 0
      yield* Effect.promise(() =>
        use(layer(), (store) =>
          Effect.gen(function* () {
            const spend = Effect.tap(store.record(accounts, tokens(1), undefined), () => Effect.sync(() => booked++))
            const error = yield* Effect.flip(Effect.forever(spend))
            assert.deepStrictEqual([error.operation, error.outcome], ["record", "notApplied"])
            assert.isAbove(booked, 10)
            assert.deepStrictEqual((yield* counters(store))[0], [booked, 0])
            rmSync(ballast)
            yield* spend
            assert.deepStrictEqual((yield* counters(store))[0], [booked, 0])
          })
        )
      )
      const [again] = yield* Effect.promise(() => use(layer(), counters))
      assert.deepStrictEqual(again, [booked, 0])
      return `${booked} records acknowledged and there, the next refused as not applied, then again`
    })
})
