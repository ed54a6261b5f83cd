// What a decision costs the server, what it leaves there, and what it refuses to read.
import { assert, it } from "@effect/vitest"
import { type Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { Redis } from "effect/persistence"
import { Alerts, type Quota, type QuotaStore, Window } from "headgate"
import { RedisQuotaStore } from "headgate/redis"
import { source } from "../../src/redis/script.ts"
import { makeStore } from "../../src/redis/store.ts"
import { account, command, plan, tokens, usage } from "../internal/support.ts"
import { describeRedis } from "../servers/redis.ts"
import { start, useServer } from "./support.ts"

const windows = [Window.sliding("1 minute"), Window.sliding("1 hour"), Window.calendar("day"), Window.calendar("month")]
const quotas = (unit: Quota.Unit): ReadonlyArray<Quota.Input> =>
  windows.map((window) => ({ unit, limit: 1_000_000, window, alertAt: 0.8 }))
const accounts = [account(quotas("tokens")), account(quotas("cost"), { id: "user", dimension: "user" })]

describeRedis("commands of the store in Redis", () => {
  const { layer, send, setClock } = useServer()

  const withStore = <A, E>(prefix: string, test: (store: QuotaStore.Service) => Effect.Effect<A, E>) =>
    Effect.flatMap(makeStore({ prefix }), test).pipe(
      Effect.scoped,
      Effect.provide([layer, Alerts.layer], { local: true })
    )

  const calls = Effect.map(send<string>("INFO", "commandstats"), (text) => {
    const found = [...text.matchAll(/cmdstat_([^:]+):calls=(\d+)/g)].map(([, name, count]) => [name, Number(count)])
    return Object.fromEntries(found) as Record<string, number>
  })

  const during = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.gen(function* () {
      yield* send("CONFIG", "RESETSTAT")
      yield* effect
      const { "config|resetstat": _, info: __, ...counted } = yield* calls
      return counted
    })

  it.live("a decision over eight quotas is one command", () =>
    withStore("one", (store) =>
      Effect.gen(function* () {
        const first = yield* store.reserve(command(accounts, tokens(1)))
        assert.strictEqual(first._tag, "Hold")
        yield* Effect.sleep("2 millis")
        const held: Array<QuotaStore.Hold> = []
        const reserved = yield* during(
          Effect.tap(store.reserve(command(accounts, tokens(1))), (answer) =>
            Effect.sync(() => answer._tag === "Hold" && held.push(answer))
          )
        )
        // Inside: all that is read, the time; the hold, each list of open holds, the store, each account.
        assert.deepStrictEqual(reserved, { evalsha: 1, mget: 1, time: 1, set: 1, zadd: 2, setrange: 3 })
        yield* Effect.sleep("2 millis")
        const settled = yield* during(store.settle(held[0]!, tokens(1)))
        assert.deepStrictEqual(settled, { evalsha: 1, mget: 1, time: 1, set: 1, zrem: 2, setrange: 3 })
        const refused = yield* during(store.reserve(command(accounts, tokens(2_000_000))))
        assert.strictEqual(refused["evalsha"], 1)
        for (const verb of [
          store.status(accounts),
          store.record(accounts, tokens(1), undefined),
          store.reset({ accounts }),
          store.reset({ plans: accounts.map(({ plan }) => plan) })
        ]) {
          const { evalsha } = yield* during<unknown, unknown>(verb)
          assert.strictEqual(evalsha, 1)
        }
      })
    )
  )

  it.live(
    "places of a rate limit, given back in part in this slot and a later one, need no list of holds to be read",
    () =>
      Effect.gen(function* () {
        const windows = [Window.sliding("1 minute"), Window.bucket({ refill: "1 minute", burst: 500 })]
        const places = [
          account(
            windows.map((window): Quota.Input => ({ unit: "tokens", limit: 1_000, window, alertAt: [] })),
            { id: "limiter" }
          )
        ]
        yield* setClock("places", start)
        const store = yield* makeStore({ prefix: "places", clock: "key" })
        const take = Effect.gen(function* () {
          const answer = yield* store.reserve(command(places, tokens(100), { book: "now" }))
          return answer._tag === "Hold" ? answer : yield* Effect.die(answer)
        })
        const isShort = (effect: Effect.Effect<unknown, unknown>) =>
          Effect.map(during(effect), ({ evalsha, zrange }) => assert.deepStrictEqual([evalsha, zrange], [1, undefined]))
        const first = yield* take
        let second = first
        yield* isShort(Effect.tap(take, (held) => Effect.sync(() => (second = held))))
        yield* isShort(store.settle(second, tokens(30)))
        yield* setClock("places", start + 6_000)
        yield* take
        yield* isShort(store.settle(first, tokens(60)))
        // Of the bucket 100 have drained in 6 seconds: all that was left of the first, so that nothing is given back of it.
        const { quotas } = yield* store.status(places)
        assert.deepStrictEqual(
          quotas.map(({ used }) => used),
          [30 + 60 + 100, 30 + 100]
        )
      }).pipe(Effect.scoped, Effect.provide([layer, Alerts.layer], { local: true }))
  )

  it.live("all keys are in one slot and all but the store's expire, unless a window never ends", () =>
    withStore("keys", (store) =>
      Effect.gen(function* () {
        yield* store.reserve(command(accounts, tokens(1)))
        const braces = account([{ unit: "tokens", limit: 5, window: Window.lifetime }], { dimension: "user" })
        yield* store.reserve(command([{ ...braces, value: "{}\u0000 \uD800 __proto__" }], tokens(1)))
        const keys = yield* send<Array<string>>("KEYS", "{keys}:*")
        const expiring = new Map<string, boolean>()
        for (const key of keys) {
          assert.match(key, /^\{keys\}:(store$|plans$|hold:|account:|open:)/)
          expiring.set(key, (yield* send<number>("PTTL", key)) > 0)
        }
        const of = (name: string) => keys.filter((key) => key.startsWith(`{keys}:${name}`))
        assert.strictEqual(of("account:").length, 3)
        assert.strictEqual(of("open:").length, 3)
        assert.deepStrictEqual(
          of("account:")
            .map((key) => expiring.get(key))
            .toSorted(),
          [false, true, true]
        )
        assert.isTrue(of("hold:").every((key) => expiring.get(key)))
        assert.strictEqual(yield* send<number>("PTTL", "{keys}:store"), -1)
        assert.strictEqual(yield* send<number>("PTTL", "{keys}:plans"), -1)
      })
    )
  )

  it.live("clients whose clocks are an hour off share one time, the server's", () =>
    withStore("clocks", (store) =>
      Effect.gen(function* () {
        const day = [account([{ unit: "tokens", limit: 100, window: Window.calendar("day"), name: "day" }])]
        const real = yield* store.status(day)
        const answers: Array<unknown> = []
        for (const offset of [-86_400_000, -3_600_000, 0, 3_600_000, 86_400_000]) {
          const other = yield* makeStore({ prefix: "clocks" })
          yield* Effect.gen(function* () {
            yield* TestClock.setTime(Math.floor(performance.timeOrigin + performance.now()) + offset)
            yield* other.record(day, tokens(7), undefined)
            const { quotas } = yield* other.status(day)
            answers.push(quotas[0]!.used)
            assert.isAtMost(quotas[0]!.resetAfter, 86_400_000)
          }).pipe(Effect.provide(TestClock.layer()))
        }
        assert.deepStrictEqual(answers, [7, 14, 21, 28, 35])
        assert.strictEqual(real.quotas[0]!.used, 0)
        assert.strictEqual((yield* store.status(day)).quotas[0]!.used, 35)
      }).pipe(Effect.scoped, Effect.provide([layer, Alerts.layer], { local: true }))
    )
  )

  it.live("what is not a whole number changes nothing", () =>
    Effect.gen(function* () {
      const wrong = [NaN, Infinity, -Infinity, -1, 1.5, 2 ** 53, 1e300]
      yield* withStore("input", (store) =>
        Effect.gen(function* () {
          yield* store.record(accounts, tokens(5), undefined)
          const held = yield* store.reserve(command(accounts, tokens(5)))
          const before = yield* Effect.map(store.status(accounts), ({ quotas }) =>
            quotas.map(({ used, held }) => [used, held])
          )
          for (const value of wrong) {
            for (const unit of ["requests", "tokens", "cost"] as const) {
              const verbs: ReadonlyArray<Effect.Effect<unknown, { readonly outcome: string }>> = [
                store.reserve(command(accounts, usage({ [unit]: value }))),
                store.record(accounts, usage({ [unit]: value }), undefined),
                ...(held._tag === "Hold" ? [store.settle(held, usage({ [unit]: value }))] : [])
              ]
              for (const verb of verbs) assert.strictEqual((yield* Effect.flip(verb)).outcome, "notApplied")
            }
            const asked = store.reserve(command(accounts, tokens(1), { ttl: value }))
            assert.strictEqual((yield* Effect.flip(asked)).outcome, "notApplied")
          }
          const after = yield* Effect.map(store.status(accounts), ({ quotas }) =>
            quotas.map(({ used, held }) => [used, held])
          )
          assert.deepStrictEqual(after, before)
        })
      )
      for (const text of ["nan", "0x10", " 7 ", "1e3", "-5", "", "99999999999999999", "1\n"]) {
        const args = [`1,${text},0,0,0,0`, "RCNE0 1 1", "1"]
        const refused = yield* Effect.flip(
          Redis.Redis.use((redis) => redis.send("EVAL", source("server"), "2", "{raw}:store", "{raw}:hold:x", ...args))
        ).pipe(Effect.provide(layer))
        assert.include(String(refused.cause), "headgate: usage must be", JSON.stringify(text))
      }
      assert.deepStrictEqual(yield* send("KEYS", "{raw}:*"), [])
    })
  )

  it("options out of bounds are named", () => {
    assert.throws(() => RedisQuotaStore.layer({ prefix: "a{b}" }), /RedisQuotaStore: prefix must be/)
    assert.throws(() => RedisQuotaStore.layer({ prefix: "" }), /RedisQuotaStore: prefix must be/)
    assert.throws(() => RedisQuotaStore.layer({ timeout: 0 }), /RedisQuotaStore: timeout must be/)
    assert.throws(() => RedisQuotaStore.layer({ wait: { replicas: 0, timeout: 10 } }), /wait.replicas must be/)
    for (const make of [
      RedisQuotaStore.layer,
      RedisQuotaStore.make,
      (options: RedisQuotaStore.Options) => RedisQuotaStore.layerSimulated(() => 0, options)
    ]) {
      const wait = (timeout: Duration.Input) => () => make({ timeout: "1 second", wait: { replicas: 1, timeout } })
      assert.throws(
        wait("1 minute"),
        RangeError,
        "RedisQuotaStore: wait.timeout must be less than half of timeout (1000 ms), got 60000 ms"
      )
      assert.throws(wait(500), /wait.timeout must be less than half/)
      assert.throws(wait(0), /wait.timeout must be a duration/)
      wait(499)()
    }
  })

  it.live("a write that too few replicas have is an unknown outcome", () =>
    Effect.gen(function* () {
      const store = yield* makeStore({ prefix: "wait", wait: { replicas: 1, timeout: "20 millis" } })
      const error = yield* Effect.flip(store.record(accounts, tokens(5), undefined))
      assert.strictEqual(error.outcome, "unknown")
      assert.include(String(error.cause), "0 of 1 replicas")
      assert.strictEqual((yield* store.status(accounts)).quotas[0]!.used, 5)
    }).pipe(Effect.scoped, Effect.provide([layer, Alerts.layer], { local: true }))
  )

  it.live("a write of which nobody could be asked whether others have it is an unknown outcome", () =>
    Effect.gen(function* () {
      const redis = yield* Redis.Redis
      const closed = new Redis.RedisError({ cause: new Error("The client is closed") })
      const reserve = Effect.map(redis.reserve, (connection) => ({
        ...connection,
        send: <A>(command: string, ...args: ReadonlyArray<string>) =>
          command === "WAIT" ? Effect.fail(closed) : connection.send<A>(command, ...args)
      }))
      const made = makeStore({ prefix: "closed", wait: { replicas: 1, timeout: "20 millis" } })
      const store = yield* Effect.provideService(made, Redis.Redis, { ...redis, reserve })
      const error = yield* Effect.flip(store.record(accounts, tokens(5), undefined))
      assert.strictEqual(error.outcome, "unknown")
      assert.strictEqual((yield* store.status(accounts)).quotas[0]!.used, 5)
    }).pipe(Effect.scoped, Effect.provide([layer, Alerts.layer], { local: true }))
  )

  it.live("a limit can be changed while its counters go on, and a reset of all values reaches those not touched", () =>
    withStore("changes", (store) =>
      Effect.gen(function* () {
        const at = (limit: number, value: string) => [
          {
            plan: plan([{ unit: "tokens", limit, window: Window.sliding("1 minute"), name: "minute" }], {
              dimension: "user"
            }),
            value
          }
        ]
        yield* store.record(at(100, "a"), tokens(60), undefined)
        yield* store.record(at(100, "b"), tokens(60), undefined)
        const [changed] = (yield* store.status(at(200, "a"))).quotas
        assert.deepStrictEqual([changed!.used, changed!.remaining], [60, 140])
        yield* store.reset({ plans: [at(100, "a")[0]!.plan] })
        assert.strictEqual((yield* store.status(at(100, "b"))).quotas[0]!.used, 0)
      })
    )
  )

  it.live("a great many holds that are due at once are let go of a few at a time, before anything is decided", () =>
    Effect.gen(function* () {
      yield* setClock("due", start)
      const store = yield* makeStore({ prefix: "due", clock: "key", timeout: "10 seconds" })
      const many = 1_100
      const quotas: ReadonlyArray<Quota.Input> = [
        { unit: "tokens", limit: many, window: Window.sliding("1 hour") },
        { unit: "tokens", limit: many, window: Window.calendar("day") }
      ]
      const of = (value: string) => ({ ...account(quotas, { id: "due", dimension: "user" }), value })
      yield* Effect.forEach(
        Array.from({ length: many }, (_, index) => index),
        (index) =>
          store.reserve(
            command([of("a"), of("b")], tokens(1), {
              ttl: 1_000 + (index % 7),
              onExpiry: index % 2 === 0 ? "charge" : "release"
            })
          ),
        { concurrency: 50, discard: true }
      )
      assert.deepStrictEqual(
        (yield* store.status([of("a")])).quotas.map(({ held }) => held),
        [many, many]
      )
      yield* setClock("due", start + 2_000)
      // What is only read is let go of in the answer alone.
      const gone = [many / 2, 0]
      const counters = Effect.map(store.status([of("a"), of("b")]), ({ quotas }) =>
        quotas.map(({ held, used }) => [used, held])
      )
      assert.deepStrictEqual(yield* counters, [gone, gone, gone, gone])
      const commands = yield* during(
        Effect.map(store.reserve(command([of("a"), of("b")], tokens(many / 2))), ({ _tag }) =>
          assert.strictEqual(_tag, "Hold")
        )
      )
      assert.deepStrictEqual([commands["evalsha"], commands["zremrangebyrank"]], [1 + 2 * 4, 2 * 4])
      const left = [many / 2, many / 2]
      assert.deepStrictEqual(yield* counters, [left, left, left, left])
    }).pipe(Effect.scoped, Effect.provide([layer, Alerts.layer], { local: true }))
  )

  it.live("a refusal does not read holds that give nothing back when they expire", () =>
    withStore("refusal", (store) =>
      Effect.gen(function* () {
        const day = [account([{ unit: "tokens", limit: 1_000, window: Window.calendar("day") }], { id: "refusal" })]
        const places = [
          account(
            [
              { unit: "requests", limit: 300, window: Window.sliding("1 minute") },
              { unit: "concurrency", limit: 9_999 }
            ],
            { id: "places" }
          )
        ]
        for (let index = 0; index < 300; index++) {
          yield* store.reserve(command(day, tokens(3)))
          yield* store.reserve(command(places, tokens(1), { book: "now" }))
        }
        yield* store.reserve(command(day, tokens(101)))
        yield* store.reserve(command(places, tokens(1)))
        for (const [of, reads] of [
          [day, 1 + 1],
          [places, 1]
        ] as const) {
          const { evalsha, zrange } = yield* during(
            Effect.map(store.reserve(command(of, tokens(101))), ({ _tag }) => assert.strictEqual(_tag, "Refused"))
          )
          assert.deepStrictEqual([evalsha, zrange], [1, reads])
        }
      })
    )
  )
})
