// What happens to a server, and what must hold then.
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber } from "effect"
import { Alerts, type QuotaStore, Window } from "headgate"
import type * as Errors from "../../src/Errors.ts"
import { makeStore, type StoreOptions } from "../../src/redis/store.ts"
import { account, command, tokens } from "../internal/support.ts"
import { startProxy } from "../servers/proxy.ts"
import { clientOf, describeRedis } from "../servers/redis.ts"
import { useServer } from "./support.ts"

const total = { unit: "tokens", limit: 1_000_000, window: Window.lifetime, name: "total" } as const
const accounts = [account([total])]

const withStore = <A, E>(
  layer: ReturnType<typeof clientOf>,
  options: StoreOptions,
  test: (store: QuotaStore.Service, alerts: Alerts.Service) => Effect.Effect<A, E>
) =>
  Effect.gen(function* () {
    const alerts = yield* Alerts.make()
    const store = yield* Effect.provideService(makeStore(options), Alerts.Alerts, alerts)
    return yield* test(store, alerts)
  }).pipe(Effect.scoped, Effect.provide(layer, { local: true }))

const counters = (store: QuotaStore.Service) =>
  Effect.map(store.status(accounts), ({ quotas }) => [quotas[0]!.used, quotas[0]!.held])

const hold = (answer: QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict) =>
  answer._tag === "Hold" ? Effect.succeed(answer) : Effect.die(answer)

const reserve = (store: QuotaStore.Service, amount: number, options?: Partial<QuotaStore.Reserve>) =>
  Effect.flatMap(store.reserve(command(accounts, tokens(amount), options)), hold)

/** The alerts told so far about a store that lost something. */
const losses = (alerts: Alerts.Service) =>
  Effect.gen(function* () {
    const told: Array<string> = []
    yield* alerts.handle((alert) => Effect.sync(() => told.push(alert._tag)))
    yield* alerts.drained
    return told.filter((tag) => tag === "StoreDegraded").length
  }).pipe(Effect.scoped)

const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const start = clock.currentTimeNanosUnsafe()
    const exit = yield* Effect.exit(effect)
    return [Number(clock.currentTimeNanosUnsafe() - start) / 1e6, exit] as const
  })

describeRedis("faults of Redis", () => {
  const { layer, port, send, server } = useServer("--appendonly", "yes", "--appendfsync", "always")

  it.live("SCRIPT FLUSH is not noticed", () =>
    withStore(layer, { prefix: "flush" }, (store) =>
      Effect.gen(function* () {
        const held = yield* reserve(store, 10)
        yield* send("SCRIPT", "FLUSH")
        yield* store.settle(held, tokens(7))
        yield* send("SCRIPT", "FLUSH")
        const concurrent = yield* Effect.all(
          Array.from({ length: 20 }, () => reserve(store, 1)),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(concurrent.map(({ id }) => id)).size, 20)
        assert.deepStrictEqual(yield* counters(store), [7, 20])
      })
    )
  )

  it.live("FLUSHALL is told once, and what was under way is charged", () =>
    withStore(layer, { prefix: "flushall" }, (store, alerts) =>
      Effect.gen(function* () {
        const held = yield* reserve(store, 10)
        const released = yield* reserve(store, 10)
        assert.strictEqual(yield* losses(alerts), 0)
        yield* send("FLUSHALL")
        assert.strictEqual((yield* store.settle(held, tokens(7)))._tag, "Booked")
        assert.strictEqual((yield* store.settle(held, tokens(7)))._tag, "Booked")
        assert.strictEqual((yield* store.release(released))._tag, "Booked")
        yield* reserve(store, 5)
        assert.deepStrictEqual(yield* counters(store), [7, 5])
        assert.strictEqual(yield* losses(alerts), 1)
      })
    )
  )

  it.live("data that is older than an answer is told", () =>
    withStore(layer, { prefix: "older" }, (store, alerts) =>
      Effect.gen(function* () {
        yield* reserve(store, 10)
        const old = yield* send<string>("HGET", "{older}:store", "last")
        yield* Effect.sleep("5 millis")
        yield* reserve(store, 10)
        yield* reserve(store, 10)
        assert.strictEqual(yield* losses(alerts), 0)
        yield* send("HSET", "{older}:store", "last", old)
        yield* reserve(store, 10)
        yield* reserve(store, 10)
        assert.strictEqual(yield* losses(alerts), 1)
      })
    )
  )

  const failing = (store: QuotaStore.Service, held: QuotaStore.Hold) =>
    Effect.forEach(
      [
        store.reserve(command(accounts, tokens(1))),
        store.extend(held, tokens(1), 0),
        store.settle(held, tokens(1)),
        store.release(held),
        store.record(accounts, tokens(1), undefined),
        store.reset({ accounts })
      ],
      (verb) => Effect.flip(verb as Effect.Effect<unknown, Errors.StoreError>)
    )

  for (const [name, breakIt, mendIt] of [
    ["OOM", ["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]],
    ["READONLY", ["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]]
  ] as const) {
    it.live(`-${name} is an error that says that nothing was applied, and status still answers`, () =>
      withStore(layer, { prefix: name }, (store) =>
        Effect.gen(function* () {
          const held = yield* reserve(store, 10)
          yield* send(breakIt[0], ...breakIt.slice(1))
          yield* Effect.sleep("2 millis")
          for (const error of yield* failing(store, held)) {
            assert.strictEqual(error._tag, "StoreError")
            assert.strictEqual(error.outcome, "notApplied")
            assert.include(String(error.cause), name)
          }
          assert.deepStrictEqual(yield* counters(store), [0, 10])
          yield* send(mendIt[0], ...mendIt.slice(1))
          assert.deepStrictEqual(yield* counters(store), [0, 10])
          yield* store.settle(held, tokens(3))
          assert.deepStrictEqual(yield* counters(store), [3, 0])
        }).pipe(Effect.ensuring(send(mendIt[0], ...mendIt.slice(1))))
      )
    )
  }

  it.live("another type under a key changes nothing on any other", () =>
    withStore(layer, { prefix: "types" }, (store) =>
      Effect.gen(function* () {
        const other = account([{ ...total, name: "other" }], { id: "other" })
        const both = [...accounts, other]
        const held = yield* Effect.flatMap(store.reserve(command(both, tokens(10))), hold)
        const keys = yield* send<Array<string>>("KEYS", "{types}:*")
        assert.strictEqual(keys.length, 6)
        for (const key of keys) {
          const saved = `${key}-saved`
          const before = (yield* send<Array<string>>("KEYS", "{types}:*")).length
          yield* send("RENAME", key, saved)
          yield* key.includes(":open:") || key.endsWith(":store") ? send("SET", key, "x") : send("LPUSH", key, "x")
          const dump = Effect.forEach(keys, (key) => send("DUMP", key))
          const was = yield* dump
          const verbs: ReadonlyArray<Effect.Effect<unknown, Errors.StoreError>> = [
            ...(key.includes(":hold:") ? [] : [store.reserve(command(both, tokens(1)))]),
            store.extend(held, tokens(1), 0),
            store.settle(held, tokens(1)),
            store.release(held)
          ]
          for (const verb of verbs) {
            const error = yield* Effect.flip(verb)
            assert.strictEqual(error.outcome, "notApplied", `${key}: ${error.cause}`)
          }
          const is = yield* dump
          keys.forEach((other, index) => {
            if (!other.endsWith(":store")) assert.deepStrictEqual(is[index], was[index], `${key}, ${other}`)
          })
          yield* send("DEL", key)
          yield* send("RENAME", saved, key)
          assert.strictEqual((yield* send<Array<string>>("KEYS", "{types}:*")).length, before)
        }
        assert.strictEqual((yield* store.settle(held, tokens(3)))._tag, "Booked")
        assert.deepStrictEqual(yield* counters(store), [3, 0])
      })
    )
  )

  it.live(
    "every call ends within its timeout while the server hangs, and afterwards nothing is held twice",
    () =>
      withStore(layer, { prefix: "hang", timeout: "500 millis" }, (store) =>
        Effect.gen(function* () {
          const held = yield* Effect.all(Array.from({ length: 20 }, () => reserve(store, 10)))
          server().signal("SIGSTOP")
          const calls = yield* Effect.forEach(
            [
              ...held.slice(0, 10).map((hold) => store.settle(hold, tokens(5))),
              ...Array.from({ length: 10 }, () => store.reserve(command(accounts, tokens(100)))),
              store.status(accounts),
              store.record(accounts, tokens(1_000), undefined)
            ],
            (call) => elapsed(Effect.uninterruptible<unknown, Errors.StoreError, never>(call)),
            { concurrency: "unbounded" }
          )
          for (const [millis, exit] of calls) {
            assert.isBelow(millis, 600)
            assert.isTrue(Exit.isFailure(exit))
          }
          // A caller that is interrupted waits for the outcome, and no longer than that.
          const fiber = yield* Effect.forkChild(store.settle(held[10]!, tokens(5)))
          yield* Effect.sleep("50 millis")
          const [millis] = yield* elapsed(Fiber.interrupt(fiber))
          assert.isAbove(millis, 300)
          assert.isBelow(millis, 600)
          yield* Effect.sleep("1 second")
          server().signal("SIGCONT")
          // What was sent arrives in the end; what nobody knows of is released.
          yield* Effect.sleep("1500 millis")
          assert.deepStrictEqual(yield* counters(store), [11 * 5 + 1_000, 9 * 10])
          for (const hold of held.slice(0, 11)) {
            const again = yield* store.settle(hold, tokens(5))
            assert.deepStrictEqual([again._tag, again._tag === "Booked" && again.repeated], ["Booked", true])
          }
          assert.deepStrictEqual(yield* counters(store), [11 * 5 + 1_000, 9 * 10])
        }).pipe(Effect.ensuring(Effect.sync(() => server().signal("SIGCONT"))))
      ),
    20_000
  )

  it.live(
    "a cut after the request and before the reply: nothing is charged twice, nothing is lost",
    () =>
      Effect.gen(function* () {
        const proxy = yield* Effect.acquireRelease(
          Effect.promise(() => startProxy(port())),
          (proxy) => Effect.promise(() => proxy.end())
        )
        yield* withStore(
          clientOf(() => proxy.port),
          { prefix: "cut", timeout: "5 seconds" },
          (store) =>
            Effect.gen(function* () {
              let charged = 0
              let refused = 0
              proxy.cutEvery(20)
              const work = Effect.gen(function* () {
                for (let index = 0; index < 60; index++) {
                  const held = yield* reserve(store, 10)
                  if (index % 3 === 0) {
                    yield* store.extend(held, tokens(5), 0)
                    yield* store.settle(held, tokens(15))
                    charged += 15
                  } else if (index % 3 === 1) {
                    yield* store.release(held)
                    yield* store.record(accounts, tokens(1), undefined)
                    charged += 1
                  } else {
                    yield* store.settle(held, tokens(10))
                    charged += 10
                  }
                }
              }).pipe(Effect.catch(() => Effect.sync(() => refused++)))
              yield* Effect.all(
                Array.from({ length: 16 }, () => work),
                { concurrency: "unbounded" }
              )
              proxy.cutEvery(0)
              assert.strictEqual(refused, 0)
              assert.isAbove(proxy.lost(), 100)
              console.log(`${proxy.cuts()} cuts, ${proxy.lost()} answers lost`)
              assert.deepStrictEqual(yield* counters(store), [charged, 0])
            })
        )
      }).pipe(Effect.scoped),
    30_000
  )

  it.live(
    "killed and started again under load: no acknowledged settlement is lost",
    () =>
      withStore(layer, { prefix: "killed", timeout: "3 seconds" }, (store, alerts) =>
        Effect.gen(function* () {
          let acknowledged = 0
          let unknown = 0
          let stop = false
          const work = Effect.gen(function* () {
            while (!stop) {
              const answer = yield* store.reserve(command(accounts, tokens(10)))
              const held = yield* hold(answer)
              const settled = yield* store.settle(held, tokens(10))
              if (settled._tag === "Booked") acknowledged++
            }
          }).pipe(
            Effect.catchTag("StoreError", ({ outcome }) => Effect.sync(() => outcome === "unknown" && unknown++)),
            Effect.repeat({ while: () => !stop })
          )
          const fiber = yield* Effect.forkChild(
            Effect.all(
              Array.from({ length: 16 }, () => work),
              { concurrency: "unbounded" }
            )
          )
          for (let cycle = 0; cycle < 5; cycle++) {
            yield* Effect.sleep("200 millis")
            yield* Effect.promise(() => server().kill())
            yield* Effect.sleep("20 millis")
            yield* Effect.promise(() => server().start())
          }
          yield* Effect.sleep("200 millis")
          stop = true
          yield* Fiber.join(fiber)
          const [used = 0] = yield* counters(store)
          console.log(`5 kills: ${acknowledged} settlements acknowledged, ${unknown} unknown, used ${used}`)
          assert.isAtLeast(used, acknowledged * 10)
          assert.isAtMost(used, (acknowledged + unknown) * 10)
          assert.strictEqual(yield* losses(alerts), 0)
        })
      ),
    30_000
  )
})
