// Versions of an application with different lists of quotas, in turns on one account.
import { assert, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import type { Redis } from "effect/persistence"
import { Alerts, type Quota, type QuotaStore, type Usage, Window } from "headgate"
import * as Plans from "../../src/redis/plans.ts"
import { source } from "../../src/redis/script.ts"
import { makeStore } from "../../src/redis/store.ts"
import { newQuotasBegin } from "../internal/changedPlans.ts"
import { keepTheLimitWithOtherSlots, withSlots } from "../internal/otherSlots.ts"
import { account, command, tokens } from "../internal/support.ts"
import { describeRedis } from "../servers/redis.ts"
import { useServer } from "./support.ts"

describeRedis("a list of quotas that changes", () => {
  const { layer, send, setClock } = useServer()
  const minute = {
    unit: "tokens",
    limit: 100,
    window: Window.sliding("1 minute"),
    name: "minute",
    alertAt: [0.5]
  } as const
  const day = { unit: "tokens", limit: 100, window: Window.calendar("day"), name: "day", alertAt: [0.5] } as const
  const total = { unit: "cost", limit: 100, window: Window.lifetime, name: "total" } as const
  const under = (...quotas: ReadonlyArray<Quota.Input>) => [account(quotas, { id: "budget:a%" })]
  const alertsOf = (answer: QuotaStore.Hold | QuotaStore.Booked | QuotaStore.Refused | QuotaStore.Conflict) =>
    answer._tag === "Conflict" ? [answer.bound] : answer.alerts.map(({ _tag, quota }) => `${quota} ${_tag}`)

  const withStore = <A, E>(
    prefix: string,
    test: (store: QuotaStore.Service) => Effect.Effect<A, E, Redis.Redis | Alerts.Alerts | Scope.Scope>
  ) =>
    Effect.andThen(setClock(prefix, Date.parse("2026-03-04T23:59:30Z")), makeStore({ prefix, clock: "key" })).pipe(
      Effect.flatMap(test),
      Effect.scoped,
      Effect.provide([layer, Alerts.layer], { local: true })
    )

  it.live("tells each threshold once, to those who look at it", () =>
    withStore("told", (store) =>
      Effect.gen(function* () {
        const record = (of: ReadonlyArray<QuotaStore.Account>, amount: number) =>
          Effect.map(store.record(of, tokens(amount), undefined), alertsOf)
        assert.deepStrictEqual(yield* record(under(minute, day), 40), [])
        assert.deepStrictEqual(yield* record(under(minute), 20), ["minute ThresholdReached"])
        assert.deepStrictEqual(yield* record(under(day, minute), 1), ["day ThresholdReached"])
        assert.deepStrictEqual(yield* record(under(minute), 1), [])
        assert.deepStrictEqual(yield* record(under(minute, day), 1), [])
        assert.deepStrictEqual(yield* record(under(day), 1), [])
        // A limit that others have set refuses nothing here.
        assert.deepStrictEqual(yield* record(under({ ...total, limit: 1 }, day), 40), [])
        assert.strictEqual((yield* store.reserve(command(under(total), tokens(1))))._tag, "Hold")
        assert.strictEqual((yield* store.reserve(command(under(day), tokens(1))))._tag, "Refused")
      })
    )
  )

  it.live("tells each threshold once in turns with others, and those of a limit that was raised", () =>
    withStore("thresholds", (store) =>
      Effect.gen(function* () {
        const record = (quota: Quota.Input, amount: number, ...more: ReadonlyArray<Quota.Input>) =>
          Effect.map(store.record(under(quota, ...more), tokens(amount), undefined), ({ _tag, ...answer }) =>
            "alerts" in answer ? answer.alerts.map(({ threshold }) => threshold) : [_tag]
          )
        const finer = { ...minute, alertAt: [0.5, 0.7, 0.8, 0.9] }
        assert.deepStrictEqual(yield* record(minute, 60), [0.5])
        // Under a list with another quota, too.
        assert.deepStrictEqual(yield* record(finer, 1, day), [])
        assert.deepStrictEqual(yield* record(minute, 1), [])
        assert.deepStrictEqual(yield* record(finer, 20), [0.7, 0.8])
        assert.deepStrictEqual(yield* record(minute, 1), [])
        assert.deepStrictEqual(yield* record(finer, 10), [0.9])
        assert.deepStrictEqual(yield* record({ ...minute, limit: 184 }, 1), [0.5])
        assert.deepStrictEqual(yield* record({ ...minute, limit: 184 }, 1), [])
      })
    )
  )

  it.live("tells a threshold in the next window that others have passed there", () =>
    withStore("next", (store) =>
      Effect.gen(function* () {
        const fixed = {
          unit: "tokens",
          limit: 100,
          window: Window.fixed("1 minute"),
          name: "fixed",
          alertAt: [0.5]
        } as const
        const record = (of: ReadonlyArray<QuotaStore.Account>, amount: number) =>
          Effect.map(store.record(of, tokens(amount), undefined), alertsOf)
        assert.deepStrictEqual(yield* record(under(fixed), 60), ["fixed ThresholdReached"])
        assert.deepStrictEqual(yield* record(under(minute), 1), [])
        yield* setClock("next", Date.parse("2026-03-05T00:00:30Z"))
        assert.deepStrictEqual(yield* record(under(minute), 60), ["minute ThresholdReached"])
        assert.deepStrictEqual(yield* record(under(minute, fixed), 1), ["fixed ThresholdReached"])
      })
    )
  )

  it.live("counts in the next day what was used on a day's quota of others", () =>
    withStore("day", (store) =>
      Effect.gen(function* () {
        yield* store.record(under(minute, day), tokens(40), undefined)
        yield* store.record(under(minute), tokens(5), undefined)
        assert.strictEqual((yield* store.status(under(day))).quotas[0]!.used, 45)
        yield* setClock("day", Date.parse("2026-03-05T00:00:10Z"))
        yield* store.record(under(minute), tokens(7), undefined)
        assert.deepStrictEqual(
          (yield* store.status(under(day, minute))).quotas.map(({ used }) => used),
          [7, 52]
        )
        // Also on days of which those others have never spoken.
        for (const [date, amount] of [
          [6, 20],
          [10, 30],
          [11, 40]
        ] as const) {
          yield* setClock("day", Date.UTC(2026, 2, date, 12))
          yield* store.record(under(minute), tokens(amount), undefined)
          yield* store.record(under(minute), tokens(1), undefined)
          assert.strictEqual((yield* store.status(under(day))).quotas[0]!.used, amount + 1)
        }
        assert.strictEqual((yield* store.reserve(command(under(day), tokens(60))))._tag, "Refused")
      })
    )
  )

  it.live("remembers for as long as the longest of its windows, whoever looks at it", () =>
    withStore("life", (store) =>
      Effect.gen(function* () {
        const [key = ""] = ["{life}:account:budget%3Aa%25:"]
        const life = send<number>("PTTL", key)
        const hold = command(under(minute), tokens(1))
        yield* store.reserve(hold)
        assert.isAbove(yield* life, 0)
        yield* store.record(under(minute, total), { ...tokens(1), cost: 5 as Usage.Usage["cost"] }, undefined)
        assert.deepStrictEqual([yield* life, yield* send("PTTL", key.replace("account", "open"))], [-1, -1])
        yield* store.reserve(hold)
        assert.strictEqual(yield* life, -1)
        assert.strictEqual((yield* store.status(under(total))).quotas[0]!.used, 5)
        yield* store.reset({ accounts: under(minute) })
        yield* store.reserve(hold)
        assert.isAbove(yield* life, 0)
      })
    )
  )

  it.live("remembers a bucket of others until it is empty", () =>
    withStore("overrun", (store) =>
      Effect.gen(function* () {
        const bucket = { ...minute, window: Window.bucket({ refill: "1 minute" }), name: "bucket" }
        yield* store.record(under(bucket), tokens(1), undefined)
        yield* store.record(under(minute), tokens(100_000), undefined)
        const life = yield* send<number>("PTTL", "{overrun}:account:budget%3Aa%25:")
        assert.isAtLeast(life, (yield* store.status(under(bucket))).quotas[0]!.resetAfter)
      })
    )
  )

  it.live("begins anew where the store has forgotten what the list was, but for what is held", () =>
    withStore("forgotten", (store) =>
      Effect.gen(function* () {
        const answer = yield* store.reserve(command(under(minute, day), tokens(30)))
        yield* store.record(under(minute, day), tokens(40), undefined)
        const fields = yield* send<Array<string>>("HKEYS", "{forgotten}:plans")
        yield* send("HDEL", "{forgotten}:plans", ...fields.filter((field) => field.startsWith("plan:")))
        const counters = Effect.map(store.status(under(day)), ({ quotas }) => [quotas[0]!.used, quotas[0]!.held])
        assert.deepStrictEqual(yield* counters, [0, 30])
        if (answer._tag === "Hold") yield* store.settle(answer, tokens(10))
        assert.deepStrictEqual(yield* counters, [50, 0])
      })
    )
  )

  it.live("shows a quota that is new with what is held, as a call will find it", () =>
    withStore("begins", (store) => newQuotasBegin(store, (by) => send("INCRBY", "{begins}:store:now", `${by}`)))
  )

  it.live("lets no span pass its limit on accounts that were saved in other slots", () =>
    withStore("slots", (store) =>
      Effect.gen(function* () {
        const other = yield* Effect.promise(() => withSlots(12, () => import("../../src/redis/store.ts")))
        const before = yield* other.makeStore({ prefix: "slots", clock: "key" })
        yield* keepTheLimitWithOtherSlots(before, store, (now) => setClock("slots", now), Date.UTC(2026, 2, 5))
      })
    )
  )

  it.live("gives back nothing on a new counter that was booked before it", () =>
    withStore("before", (store) =>
      Effect.gen(function* () {
        const bucket = { ...minute, window: Window.bucket({ refill: "1 day" }), name: "bucket" }
        const ever = { ...minute, window: Window.lifetime, name: "ever" }
        const next = under(minute, day, bucket, ever)
        const book = command(under(minute), tokens(20), { book: "now" })
        const [first, second] = [yield* store.reserve(book), yield* store.reserve(book)]
        yield* send("INCRBY", "{before}:store:now", "1")
        const later = yield* store.reserve({ ...book, accounts: next })
        yield* store.record(next, tokens(10), undefined)
        const used = Effect.map(store.status(next), ({ quotas }) => quotas.map(({ used }) => used))
        assert.deepStrictEqual(yield* used, [70, 30, 30, 30])
        if (first._tag === "Hold") yield* store.release(first)
        assert.deepStrictEqual(yield* used, [50, 30, 30, 30])
        if (second._tag === "Hold") yield* store.settle(second, tokens(5))
        assert.deepStrictEqual(yield* used, [35, 30, 30, 30])
        if (later._tag === "Hold") yield* store.release(later)
        assert.deepStrictEqual(yield* used, [15, 10, 10, 10])
      })
    )
  )

  it.live("reads what is held once for a new unit, also where it refuses", () =>
    withStore("once", (store) =>
      Effect.gen(function* () {
        const silent = (...quotas: ReadonlyArray<Quota.Input>) => [account(quotas, { alerts: "thresholds" })]
        yield* Effect.all(Array.from({ length: 60 }, () => store.reserve(command(silent(minute), tokens(1)))))
        const refused = Effect.map(store.reserve(command(silent(minute, total), tokens(41))), ({ _tag }) => _tag)
        assert.strictEqual(yield* refused, "Refused")
        yield* send("CONFIG", "RESETSTAT")
        assert.strictEqual(yield* refused, "Refused")
        const stats = yield* send<string>("INFO", "commandstats")
        // What is due, and the first of those that give something back.
        assert.strictEqual(/cmdstat_zrange:calls=(\d+)/.exec(stats)?.[1], "2")
      })
    )
  )

  it.live("forgets nothing when its first call gives up before all that is due was let go of", () =>
    withStore("hurried", (store) =>
      Effect.gen(function* () {
        const large = { ...minute, limit: 1_000 }
        yield* store.record(under(large), tokens(70), undefined)
        const one = store.reserve(command(under(large), tokens(1), { ttl: 1_000 }))
        yield* Effect.all(Array.from({ length: 300 }, () => one))
        const now = yield* send<string>("GET", "{hurried}:store:now")
        yield* setClock("hurried", Number(now) + 1_000)
        // As a call of another version does that is never sent again.
        const next = under(large, { ...total, limit: 5 })[0]!
        const keys = ["store", "hold:none", "account:budget%3Aa%25:", "open:budget%3Aa%25:"]
        const reply = yield* send<ReadonlyArray<number>>(
          "EVAL",
          source("key"),
          "4",
          ...keys.map((key) => `{hurried}:${key}`),
          "1,0,0,0,1,0",
          "RCSE0 1000 0",
          Plans.prepare(next.plan).digest,
          "",
          Plans.describe(next.plan, Number(now), Number(now) + 1_000)
        )
        assert.deepStrictEqual([reply[0], reply[4]], [0, -1])
        const [quota] = (yield* store.status(under(large))).quotas
        assert.deepStrictEqual([quota!.used, quota!.held], [370, 0])
      })
    )
  )
})
