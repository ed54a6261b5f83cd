import * as Effect from "effect/Effect"
import type * as Quota from "../../Quota.ts"
import type * as QuotaStore from "../../QuotaStore.ts"
import * as Window from "../../Window.ts"
import { account, type Advance, type ContractTest, makeTool, matches, plan, same, tokens } from "./contract.ts"

const windows: ReadonlyArray<readonly [name: string, window: Window.Window, longest: number]> = [
  // The longest wait here: the window's length, for a sliding one a slot of 12 more, for a bucket filled twice two.
  ["sliding", Window.sliding("1 minute"), 65_000],
  ["fixed", Window.fixed("1 minute"), 60_000],
  ["calendar", Window.calendar("day", { timeZone: "Asia/Tokyo" }), 86_400_000],
  ["bucket", Window.bucket({ refill: "1 minute" }), 120_000]
]

/** What each window admits and when, throttles, and alerts. */
export const make = (advance: Advance): ReadonlyArray<ContractTest> => [
  ...windows.map(([name, window, longest]): ContractTest => ({
    name: `refuses up to retryAfter and admits at it: ${name}`,
    effect: Effect.gen(function* () {
      const { admitted, refused, store } = yield* makeTool
      const accounts = [account(plan(`wait-${name}`, [{ unit: "tokens", limit: 97, window }]))]
      for (const amount of [31, 17, 49]) {
        const hold = yield* admitted("it fits", accounts, tokens(amount))
        yield* store.settle(hold, tokens(amount))
        yield* advance(1_234)
      }
      for (const amount of [1, 40, 97]) {
        yield* store.record(accounts, tokens(97), undefined)
        const { retryAfter } = yield* refused("it is full", accounts, tokens(amount), { mode: "ask" })
        yield* same("the wait is positive and bounded", retryAfter > 0 && retryAfter <= longest, true)
        yield* advance(Math.floor(retryAfter / 2))
        yield* refused("half-way", accounts, tokens(amount), { mode: "ask" })
        yield* advance(retryAfter - Math.floor(retryAfter / 2) - 1)
        const last = yield* refused("a millisecond before", accounts, tokens(amount), { mode: "ask" })
        yield* same("a millisecond is left", last.retryAfter, 1)
        yield* advance(1)
        yield* admitted("at it", accounts, tokens(amount), { mode: "ask" })
      }
    })
  })),
  ...windows.map(([name, window, longest]): ContractTest => ({
    name: `tells when nothing is used any more: ${name}`,
    effect: Effect.gen(function* () {
      const { store } = yield* makeTool
      const accounts = [account(plan(`reset-after-${name}`, [{ unit: "tokens", limit: 97, window }]))]
      yield* store.record(accounts, tokens(60), undefined)
      const [status] = (yield* store.status(accounts)).quotas
      yield* matches("used", status ?? {}, { used: 60, held: 0, remaining: 37, limit: 97 })
      const resetAfter = status?.resetAfter ?? 0
      yield* same("positive and bounded", resetAfter > 0 && resetAfter <= longest, true)
      yield* advance(resetAfter - 1)
      yield* same("used still", ((yield* store.status(accounts)).quotas[0]?.used ?? 0) > 0, true)
      yield* advance(1)
      yield* matches("nothing used", (yield* store.status(accounts)).quotas[0] ?? {}, { used: 0, resetAfter: 0 })
    })
  })),
  {
    name: "never frees a lifetime",
    effect: Effect.gen(function* () {
      const { refused, store } = yield* makeTool
      const accounts = [account(plan("ever", [{ unit: "tokens", limit: 10, window: Window.lifetime }]))]
      yield* store.record(accounts, tokens(10), undefined)
      yield* matches("no time helps", yield* refused("full", accounts, tokens(1)), { retryAfter: Infinity })
      yield* advance("60 days")
      yield* refused("full still", accounts, tokens(1))
    })
  },
  {
    name: "lets a bucket take its burst at once, and then the average",
    effect: Effect.gen(function* () {
      const { admitted, refused, store } = yield* makeTool
      const window = Window.bucket({ refill: "1 minute", burst: 5 })
      const accounts = [account(plan("burst", [{ unit: "requests", limit: 60, window }]))]
      const take = admitted("fits", accounts, tokens(0), { book: "now" })
      for (let turn = 0; turn < 5; turn++) yield* take
      yield* matches("one a second", yield* refused("empty", accounts, tokens(0)), { retryAfter: 1000, capacity: 5 })
      yield* advance(1000)
      yield* take
      yield* refused("empty again", accounts, tokens(0))
      yield* same("the burst is the limit told", (yield* store.status(accounts)).quotas[0]?.limit, 5)
    })
  },
  {
    name: "counts a place in a rate limit when it is taken, and a budget's spending when it is settled",
    effect: Effect.gen(function* () {
      const { admitted, counters, store } = yield* makeTool
      const quota: Quota.Input = { unit: "tokens", limit: 100, window: Window.fixed("1 minute"), name: "fixed" }
      const now = [account(plan("book-now", [quota]))]
      const later = [account(plan("book-later", [quota]))]
      const place = yield* admitted("fits", now, tokens(30), { book: "now", ttl: 600_000 })
      const hold = yield* admitted("fits", later, tokens(30), { ttl: 600_000 })
      yield* same("used, held", yield* counters([...now, ...later]), [
        ["fixed", 30, 0],
        ["fixed", 0, 30]
      ])
      yield* advance("2 minutes")
      yield* store.settle(place, tokens(30))
      yield* store.settle(hold, tokens(30))
      yield* same("over, used now", yield* counters([...now, ...later]), [
        ["fixed", 0, 0],
        ["fixed", 30, 0]
      ])
    })
  },
  {
    name: "counts in concurrency what is under way, whatever it uses",
    effect: Effect.gen(function* () {
      const { admitted, refused, store } = yield* makeTool
      const accounts = [account(plan("at-once", [{ unit: "concurrency", limit: 2 }]))]
      const first = yield* admitted("one", accounts, tokens(1), { book: "now" })
      yield* admitted("two", accounts, tokens(1_000_000), { book: "now" })
      yield* refused("three", accounts, tokens(1), { book: "now" })
      yield* store.settle(first, tokens(5))
      yield* admitted("two again", accounts, tokens(1), { book: "now" })
      yield* advance("1 minute")
      yield* admitted("the time to live gives a slot back", accounts, tokens(1), { book: "now" })
    })
  },
  {
    name: "refuses everything for a while after a refusal, where a plan throttles",
    effect: Effect.gen(function* () {
      const { admitted, refused, store } = yield* makeTool
      const quota: Quota.Input = { unit: "tokens", limit: 100, window: Window.sliding("1 minute") }
      const accounts = [account(plan("throttle", [quota], { throttle: 5_000 }))]
      const hold = yield* admitted("fits", accounts, tokens(99))
      yield* refused("does not fit", accounts, tokens(2))
      yield* store.release(hold)
      yield* matches("throttled", yield* refused("would fit", accounts, tokens(1)), {
        reason: "throttled",
        retryAfter: 5_000
      })
      yield* advance(4_999)
      yield* refused("throttled still", accounts, tokens(1))
      yield* advance(1)
      yield* admitted("fits again", accounts, tokens(1))
    })
  },
  {
    name: "raises each alert once until usage has fallen back and the window is over",
    effect: Effect.gen(function* () {
      const { ask, store } = yield* makeTool
      const quota: Quota.Input = {
        unit: "tokens",
        limit: 100,
        window: Window.fixed("1 minute"),
        name: "fixed",
        alertAt: [0.5, 0.8]
      }
      const accounts = [account(plan("alerts", [quota]))]
      const raised = (answer: QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Booked | QuotaStore.Conflict) =>
        answer._tag === "Conflict" ? [] : answer.alerts.map((alert) => [alert._tag, alert.quota, alert.threshold])
      const record = (amount: number) => Effect.map(store.record(accounts, tokens(amount), undefined), raised)
      const refuse = Effect.map(ask(accounts, tokens(50)), raised)
      for (let turn = 0; turn < 2; turn++) {
        yield* same("below", yield* record(49), [])
        yield* same("at one half", yield* record(1), [["ThresholdReached", "fixed", 0.5]])
        yield* same("above it", yield* record(20), [])
        yield* same("at four fifths", yield* record(20), [["ThresholdReached", "fixed", 0.8]])
        yield* same("a refusal", yield* refuse, [["LimitHit", "fixed", 1]])
        yield* same("another refusal", yield* refuse, [])
        yield* advance("1 minute")
      }
      yield* same("both at once", yield* record(90), [
        ["ThresholdReached", "fixed", 0.5],
        ["ThresholdReached", "fixed", 0.8]
      ])
    })
  }
]
