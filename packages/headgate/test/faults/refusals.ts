// What Redis says instead of an answer, or forgets: typed errors where nothing was applied, or calls go on.
import { assert } from "@effect/vitest"
import { Effect, Fiber, type Scope } from "effect"
import { type QuotaStore, type StoreError, Window } from "headgate"
import { mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { account, command, tokens } from "../internal/support.ts"
import { type Services, services } from "./connect.ts"
import { connectRedis } from "./direct.ts"
import { type Fault, fault } from "./fault.ts"
import { missing, redisWith, type RedisTarget } from "./targets.ts"
import { losses, Stopwatch } from "./watch.ts"

const total = { unit: "tokens", limit: 1_000_000, window: Window.lifetime, name: "total" } as const
const accounts = [account([total])]
const timeout = 1000

const counters = (store: QuotaStore.Service) =>
  Effect.map(store.status(accounts), ({ quotas }) => [quotas[0]!.used, quotas[0]!.held])

const hold = (answer: QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict) =>
  answer._tag === "Hold" ? Effect.succeed(answer) : Effect.die(answer)

const reserve = (store: QuotaStore.Service, amount: number) =>
  Effect.flatMap(store.reserve(command(accounts, tokens(amount))), hold)

interface Rounds {
  readonly rounds: number
}

const once = { short: { rounds: 1 }, full: { rounds: 10 } }

/** A fault of a server of its own, and what a store and the server are asked. */
const refusal = (row: {
  readonly name: string
  readonly fault: string
  readonly mustHold: string
  readonly short: Rounds
  readonly full: Rounds
  readonly options?: ReadonlyArray<string>
  readonly run: (redis: RedisTarget, all: Services, size: Rounds) => Effect.Effect<string, unknown, Scope.Scope>
}) =>
  fault({
    ...row,
    missing: missing.Redis,
    run: (size) =>
      Effect.gen(function* () {
        const redis = yield* redisWith(...(row.options ?? []))
        const all = yield* services(redis.address, { prefix: "p", quotas: "spend", limit: 1, ttl: 1, timeout })
        return yield* row.run(redis, all, size)
      })
  })

const scriptFlush = refusal({
  name: "script-flush",
  fault: "SCRIPT FLUSH under load",
  mustHold: "no call fails; nothing is booked twice",
  short: { rounds: 20 },
  full: { rounds: 500 },
  run: ({ send }, { store }, { rounds }) =>
    Effect.gen(function* () {
      let isOver = false
      let calls = 0
      const work = Effect.gen(function* () {
        const held = yield* reserve(store, 10)
        yield* store.settle(held, tokens(7))
        calls++
      })
      const load = Effect.all(
        Array.from({ length: 20 }, () => Effect.whileLoop({ while: () => !isOver, body: () => work, step: () => {} })),
        { concurrency: "unbounded", discard: true }
      )
      const flushing = Effect.gen(function* () {
        for (let round = 0; round < rounds; round++) {
          const before = calls
          yield* send("SCRIPT", "FLUSH")
          while (calls === before) yield* Effect.yieldNow
        }
        isOver = true
      })
      yield* Effect.all([load, flushing], { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* counters(store), [7 * calls, 0])
      return `${rounds} flushes, ${calls.toLocaleString("en")} calls, 0 failed`
    })
})

const flushAll = refusal({
  name: "flushall",
  fault: "FLUSHALL",
  mustHold: "noticed and told once; what was under way is charged",
  ...once,
  run: ({ send }, all, { rounds }) =>
    Effect.gen(function* () {
      const { store } = all
      const told = yield* losses(all)
      for (let round = 0; round < rounds; round++) {
        const held = yield* reserve(store, 10)
        const released = yield* reserve(store, 10)
        assert.strictEqual(yield* told, round)
        yield* send("FLUSHALL")
        assert.strictEqual((yield* store.settle(held, tokens(7)))._tag, "Booked")
        assert.strictEqual((yield* store.settle(held, tokens(7)))._tag, "Booked")
        assert.strictEqual((yield* store.release(released))._tag, "Booked")
        yield* reserve(store, 5)
        assert.deepStrictEqual(yield* counters(store), [7, 5])
        assert.strictEqual(yield* told, round + 1)
      }
      return `${rounds} flushes, ${yield* told} told`
    })
})

const olderData = refusal({
  name: "older-data",
  fault: "data older than an answer",
  mustHold: "noticed and told once",
  ...once,
  run: ({ send }, all, { rounds }) =>
    Effect.gen(function* () {
      const { store } = all
      const told = yield* losses(all)
      const lose = (withPlans: boolean) =>
        Effect.gen(function* () {
          yield* reserve(store, 10)
          const old = (yield* send<string>("GET", "{p}:store")).slice(0, 16)
          yield* Effect.sleep("5 millis")
          yield* reserve(store, 10)
          yield* reserve(store, 10)
          const before = yield* told
          yield* send("SETRANGE", "{p}:store", "0", old)
          if (withPlans) {
            const fields = yield* send<Array<string>>("HKEYS", "{p}:plans")
            yield* send("HDEL", "{p}:plans", ...fields.filter((field) => field.startsWith("plan:")))
            // By the next call the account is not as it was saved either, so that its plan is asked for.
            yield* send("DEL", "{p}:account:budget:")
          }
          yield* reserve(store, 10)
          yield* reserve(store, 10)
          assert.strictEqual((yield* told) - before, 1)
        })
      for (let round = 0; round < rounds; round++) {
        yield* lose(false)
        yield* lose(true)
      }
      return `${2 * rounds} times, ${yield* told} told`
    })
})

const failing = (store: QuotaStore.Service, held: QuotaStore.Hold, watch: Stopwatch) =>
  Effect.forEach(
    [
      store.reserve(command(accounts, tokens(1))),
      store.extend(held, tokens(1), 0),
      store.settle(held, tokens(1)),
      store.release(held),
      store.record(accounts, tokens(1), undefined),
      store.reset({ accounts })
    ],
    (verb) => watch.time(Effect.flip(verb as Effect.Effect<unknown, StoreError>))
  )

/** Each verb fails by this code while the server is broken, with nothing applied, and works once it is mended. */
const refused = (
  code: string,
  options: ReadonlyArray<string>,
  status: "answers" | "fails",
  breakIt: (redis: RedisTarget) => Effect.Effect<Effect.Effect<unknown>, unknown, Scope.Scope>
) =>
  refusal({
    name: code.toLowerCase(),
    fault: `-${code}`,
    mustHold: "a typed error says that nothing was applied; it goes on once Redis does",
    ...once,
    options,
    run: (redis, { store }, { rounds }) =>
      Effect.gen(function* () {
        const watch = new Stopwatch()
        for (let round = 0; round < rounds; round++) {
          const held = yield* reserve(store, 10)
          const mend = yield* breakIt(redis)
          yield* Effect.gen(function* () {
            for (const error of yield* failing(store, held, watch)) {
              assert.deepStrictEqual([error._tag, error.outcome], ["StoreError", "notApplied"])
              assert.include(String(error.cause), code)
            }
            if (status === "answers") assert.deepStrictEqual(yield* counters(store), [3 * round, 10])
            else assert.include(String((yield* Effect.flip(store.status(accounts))).cause), code)
          }).pipe(Effect.ensuring(mend))
          assert.deepStrictEqual(yield* counters(store), [3 * round, 10])
          yield* store.settle(held, tokens(3))
          assert.deepStrictEqual(yield* counters(store), [3 * round + 3, 0])
        }
        assert.isAtMost(watch.longest, timeout + 100)
        return `${watch.calls} calls of 6 verbs refused, none applied, the longest took ${Math.round(watch.longest)} ms`
      })
  })

const oom = refused("OOM", [], "answers", ({ send }) =>
  Effect.as(send("CONFIG", "SET", "maxmemory", "1"), send("CONFIG", "SET", "maxmemory", "0"))
)

const readonly = refused("READONLY", [], "answers", ({ send }) =>
  Effect.as(send("REPLICAOF", "127.0.0.1", "1"), send("REPLICAOF", "NO", "ONE"))
)

const busy = refused("BUSY", ["--lua-time-limit", "1"], "fails", ({ port }) =>
  Effect.gen(function* () {
    const [other, killer] = yield* Effect.all([connectRedis(port), connectRedis(port)])
    const script = yield* Effect.forkChild(Effect.exit(other("EVAL", "while true do end", "0")))
    // Until others are told so, and not only made to wait.
    while ((yield* Effect.exit(killer("PING")))._tag === "Success") yield* Effect.sleep("1 millis")
    return Effect.andThen(killer("SCRIPT", "KILL"), Fiber.join(script))
  })
)

const misconf = refused("MISCONF", ["--save", "3600 1000000"], "answers", ({ send, server }) =>
  Effect.gen(function* () {
    const save = (status: string) =>
      Effect.gen(function* () {
        yield* send("BGSAVE")
        while (!(yield* send<string>("INFO", "persistence")).includes(`rdb_last_bgsave_status:${status}`)) {
          yield* Effect.sleep("5 millis")
        }
      })
    // A folder stands where the snapshot should be.
    const obstacle = join(server.dir, "dump.rdb")
    rmSync(obstacle, { recursive: true, force: true })
    mkdirSync(join(obstacle, "full"), { recursive: true })
    yield* save("err")
    return Effect.andThen(
      Effect.sync(() => rmSync(obstacle, { recursive: true })),
      save("ok")
    )
  })
)

const wrongType = refusal({
  name: "wrong-type",
  fault: "another type under a key, each key in turn",
  mustHold: "a typed error; nothing changes on any other key",
  ...once,
  run: ({ send }, { store }, { rounds }) =>
    Effect.gen(function* () {
      const other = account([{ ...total, name: "other" }], { id: "other" })
      const both = [...accounts, other]
      let errors = 0
      for (let round = 0; round < rounds; round++) {
        const held = yield* Effect.flatMap(store.reserve(command(both, tokens(10))), hold)
        const all = yield* send<Array<string>>("KEYS", "{p}:*")
        // Holds that have ended are looked at by nobody.
        const keys = all.filter((key) => !key.includes(":hold:") || key.endsWith(held.id))
        assert.strictEqual(keys.length, 7)
        for (const key of keys) {
          const saved = `${key}-saved`
          const isString = (yield* send<string>("TYPE", key)) === "string"
          yield* send("RENAME", key, saved)
          yield* isString ? send("LPUSH", key, "x") : send("SET", key, "x")
          const dump = Effect.forEach(keys, (key) => send("DUMP", key))
          const was = yield* dump
          const verbs: ReadonlyArray<Effect.Effect<unknown, StoreError>> = [
            ...(key.includes(":hold:") ? [] : [store.reserve(command(both, tokens(key.endsWith(":plans") ? 1e6 : 1)))]),
            store.extend(held, tokens(1), 0),
            // What plans are is not asked by a call that fits.
            ...(key.endsWith(":plans") ? [] : [store.settle(held, tokens(1)), store.release(held)])
          ]
          for (const verb of verbs) {
            const error = yield* Effect.flip(verb)
            assert.strictEqual(error.outcome, "notApplied", `${key}: ${error.cause}`)
            errors++
          }
          const is = yield* dump
          keys.forEach((other, index) => {
            if (!other.endsWith(":store")) assert.deepStrictEqual(is[index], was[index], `${key}, ${other}`)
          })
          yield* send("DEL", key)
          yield* send("RENAME", saved, key)
          assert.strictEqual((yield* send<Array<string>>("KEYS", "{p}:*")).length, all.length)
        }
        assert.strictEqual((yield* store.settle(held, tokens(3)))._tag, "Booked")
        assert.deepStrictEqual(yield* counters(store), [3 * (round + 1), 0])
      }
      return `7 keys, ${errors} calls refused, none applied`
    })
})

export const refusals: ReadonlyArray<Fault> = [
  scriptFlush,
  flushAll,
  olderData,
  oom,
  readonly,
  busy,
  misconf,
  wrongType
]
