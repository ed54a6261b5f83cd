// What a SQLite store must survive: its process killed anywhere, other processes, a lock that stays, a full disk.
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { type QuotaStore, Window } from "headgate"
import { SqliteClient } from "headgate/sql"
import { execFileSync } from "node:child_process"
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { setTimeout } from "node:timers/promises"
import { account, command, tokens } from "../internal/support.ts"
import { Worker } from "./spawn.ts"
import { sqlite, storeLayer, TestClock, use } from "./support.ts"

const total = { unit: "tokens", limit: 1_000_000, window: Window.lifetime, name: "total" } as const
const minute = { unit: "tokens", limit: 1_000_000, window: Window.sliding("1 minute"), name: "minute" } as const
const all = account([total, minute], { id: "all" })
const users = account([total], { id: "user", dimension: "user" })
const accounts = [all, { plan: users.plan, value: "a" }]

const hold = (answer: QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict): QuotaStore.Hold => {
  if (answer._tag !== "Hold") throw new Error(JSON.stringify(answer))
  return answer
}

const counters = (store: QuotaStore.Service, of = accounts) =>
  Effect.map(store.status(of), ({ quotas }) => quotas.map(({ held, used }) => [used, held]))

const folder = mkdtempSync(join(tmpdir(), "headgate-sqlite-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let files = 0
const newFile = (): string => join(folder, `${files++}.db`)

/** What is left of a database when its process dies now. */
const copyOf = (file: string): string => {
  const copy = newFile()
  for (const end of ["", "-wal"]) if (existsSync(file + end)) copyFileSync(file + end, copy + end)
  return copy
}

const sumOf = (file: string): { readonly spent: number; readonly ids: ReadonlySet<string> } => {
  const database = new DatabaseSync(file)
  const [check] = database.prepare("PRAGMA integrity_check").all()
  assert.strictEqual(check?.["integrity_check"], "ok")
  const rows = database.prepare("SELECT id, ended FROM t_holds WHERE ended IS NOT NULL").all()
  database.close()
  const spent = rows.reduce((sum, { ended }) => sum + JSON.parse(String(ended))[4], 0)
  return { spent, ids: new Set(rows.map(({ id }) => String(id))) }
}

describe("SQLite in trouble", () => {
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

  it.each(verbs)("%s is done or not done, wherever its process is killed", async (_, run) => {
    const file = newFile()
    const copies: Array<string> = []
    let watching = false
    // The state of the files after each statement of the transaction.
    const open = (): SqliteClient.Database => {
      const database = new DatabaseSync(file)
      const watched = <A>(run: () => A): A => {
        const result = run()
        if (watching) copies.push(copyOf(file))
        return result
      }
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
    const [before, after] = await use(storeLayer(options).pipe(Layer.provide(SqliteClient.layer(open))), (store) =>
      Effect.gen(function* () {
        yield* store.record(accounts, tokens(500), undefined)
        const held = hold(yield* store.reserve(command(accounts, tokens(20))))
        const before = yield* counters(store)
        watching = true
        yield* run(store, held)
        watching = false
        return [before, yield* counters(store)] as const
      })
    )
    assert.isAbove(copies.length, 5)
    assert.notDeepEqual(before, after)
    for (const [index, copy] of copies.entries()) {
      const found = await use(storeLayer(options).pipe(Layer.provide(sqlite(copy))), (store) => counters(store))
      // Only the last statement, the commit, makes it so.
      assert.deepStrictEqual(found, index === copies.length - 1 ? after : before, `statement ${index}`)
    }
  })

  it("loses nothing that was acknowledged when a process is killed", { timeout: 60_000 }, async () => {
    const file = newFile()
    const acknowledged = new Map<string, number>()
    for (let round = 0; round < 4; round++) {
      const worker = new Worker(file, "t", 1_000_000_000, 4, 1_000_000)
      for (let waits = 0; worker.acknowledged.size === 0 && waits < 500; waits++) await setTimeout(10)
      await setTimeout(150 * Math.random())
      worker.process.kill("SIGKILL")
      await worker.ended()
      assert.isAbove(worker.acknowledged.size, 0)
      for (const [id, tokens] of worker.acknowledged) acknowledged.set(id, tokens)
      const { ids, spent } = sumOf(file)
      for (const id of acknowledged.keys()) assert.isTrue(ids.has(id), id)
      const plan = account([{ unit: "tokens", limit: 1_000_000_000, window: Window.lifetime }], {
        id: "shared",
        alerts: "thresholds"
      })
      const [counter] = await use(storeLayer({ prefix: "t" }).pipe(Layer.provide(sqlite(file))), (store) =>
        counters(store, [plan])
      )
      assert.strictEqual(counter?.[0], spent, "counters are the sum over ids")
    }
  })

  it("lets several processes spend one budget to the end and no further", { timeout: 60_000 }, async () => {
    const file = newFile()
    const limit = 800
    const workers = Array.from({ length: 2 }, () => new Worker(file, "t", limit, 8, 2_000))
    const spent = await Promise.all(workers.map((worker) => worker.spent()))
    const sum = spent.reduce((sum, { tokens }) => sum + tokens, 0)
    assert.isAtMost(sum, limit)
    assert.isAtLeast(sum, limit * 0.995)
    assert.strictEqual(sumOf(file).spent, sum)
    assert.deepStrictEqual(spent.flatMap(({ alerts }) => alerts).toSorted(), [
      "ThresholdReached 0.5",
      "ThresholdReached 0.8",
      ...(sum === limit ? ["ThresholdReached 1"] : [])
    ])
  })

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
        assert.deepStrictEqual((yield* counters(store))[0], [11, 0])
      })
    )
  })

  const mounted = (): string | undefined => {
    const path = mkdtempSync(join(tmpdir(), "headgate-full-"))
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", path], { stdio: "ignore" })
      return path
    } catch {
      rmSync(path, { recursive: true })
      return undefined
    }
  }
  const small = mounted()
  afterAll(() => {
    if (small === undefined) return
    execFileSync("umount", [small])
    rmSync(small, { recursive: true })
  })

  it.skipIf(small === undefined)(
    `refuses on a full disk, keeps what was acknowledged, and goes on once there is room${
      small === undefined ? " (skipped: needs root to mount a small file system)" : ""
    }`,
    async () => {
      mkdirSync(small!, { recursive: true })
      const file = join(small!, "full.db")
      const ballast = join(small!, "ballast")
      writeFileSync(ballast, Buffer.alloc(400_000))
      const layer = () => storeLayer({ timeout: "1 second" }).pipe(Layer.provide(sqlite(file)))
      let booked = 0
      await use(layer(), (store) =>
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
      const [again] = await use(layer(), (store) => counters(store))
      assert.deepStrictEqual(again, [booked, 0])
    }
  )

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

  it("keeps what is spent when a limit is raised, and holds on quotas that are added", async () => {
    const layer = storeLayer({}).pipe(Layer.provide(sqlite(":memory:")))
    const low = account([{ ...minute, limit: 100 }], { id: "plan" })
    const concurrency = { unit: "concurrency", limit: 10 } as const
    const high = account([{ ...minute, limit: 200 }, { ...total, limit: 50 }, concurrency], { id: "plan" })
    await use(layer, (store) =>
      Effect.gen(function* () {
        yield* store.record([low], tokens(60), undefined)
        const open = hold(yield* store.reserve(command([low], tokens(30))))
        const refused = yield* store.reserve(command([high], tokens(21)))
        assert.deepStrictEqual(refused._tag === "Refused" && [refused.quota.name, refused.held], ["total", 30])
        assert.deepStrictEqual(yield* counters(store, [high]), [
          [60, 30],
          [0, 30],
          [0, 1]
        ])
        yield* store.settle(open, tokens(10))
        assert.deepStrictEqual(yield* counters(store, [high]), [
          [70, 0],
          [10, 0],
          [0, 0]
        ])
        assert.deepStrictEqual(yield* counters(store, [low]), [[70, 0]])
      })
    )
  })

  it("takes any text as a name", async () => {
    const layer = storeLayer({}).pipe(Layer.provide(sqlite(":memory:")))
    await use(layer, (store) =>
      Effect.gen(function* () {
        for (const text of ["\0", "\ud800", "\\u0000", '"', "'; DROP TABLE t; --", "{}", "é\u{1F600}"]) {
          const odd = account([{ ...total, name: text }], { id: text, dimension: "user" })
          const of = [{ plan: odd.plan, value: text }]
          const one = hold(yield* store.reserve(command(of, tokens(3), { id: text })))
          assert.strictEqual(one.id, text)
          yield* store.settle(one, tokens(2))
          assert.deepStrictEqual(yield* counters(store, of), [[2, 0]])
          yield* store.reset({ plans: [odd.plan] })
          assert.deepStrictEqual(yield* counters(store, of), [[0, 0]])
        }
      })
    )
  })
})
