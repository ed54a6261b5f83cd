import * as Effect from "effect/Effect"
import * as Window from "../../Window.ts"
import { account, type Advance, type ContractTest, makeTool, matches, plan, same, tokens, usage } from "./contract.ts"

const total = { unit: "tokens", limit: 100, window: Window.lifetime, name: "total" } as const
const minute = { unit: "tokens", limit: 100, window: Window.sliding("1 minute"), name: "minute" } as const

/** Reserve, extend, settle, release, record, reset, status: what they hold, book and refuse. */
export const make = (advance: Advance): ReadonlyArray<ContractTest> => [
  {
    name: "holds on all accounts",
    effect: Effect.gen(function* () {
      const { admitted, counters } = yield* makeTool
      const accounts = [
        account(plan("all", [total, minute])),
        account(plan("all-user", [total], { dimension: "user" }), "a")
      ]
      yield* admitted("a reserve that fits", accounts, tokens(40))
      yield* same("the hold is on every quota", yield* counters(accounts), [
        ["total", 0, 40],
        ["minute", 0, 40],
        ["total", 0, 40]
      ])
    })
  },
  {
    name: "holds on none when one account refuses, and a refusal changes nothing",
    effect: Effect.gen(function* () {
      const { admitted, refused, store } = yield* makeTool
      const roomy = account(plan("roomy", [total]))
      const tight = account(plan("tight", [{ ...total, limit: 10, name: "little" }]))
      yield* admitted("a reserve that fits", [roomy, tight], tokens(6))
      const before = yield* store.status([roomy, tight])
      const refusal = yield* refused("a reserve that does not fit", [roomy, tight], tokens(6))
      yield* matches("the refusal says why", refusal, {
        reason: "exceeded",
        capacity: 10,
        used: 0,
        held: 6,
        requested: 6,
        until: 0
      })
      yield* same("it names the quota", refusal.quota.name, "little")
      yield* same("nothing has changed", yield* store.status([roomy, tight]), before)
    })
  },
  {
    name: "answers where there is no account: a service without quotas",
    effect: Effect.gen(function* () {
      const { admitted, store } = yield* makeTool
      yield* same("there is nothing to show", yield* store.status([]), { quotas: [], throttledUntil: 0 })
      const hold = yield* admitted("nothing limits it", [], tokens(10))
      yield* same("it is extended", (yield* store.extend(hold, tokens(1), 0))._tag, "Booked")
      yield* same("it is settled", (yield* store.settle(hold, tokens(9)))._tag, "Booked")
      const other = yield* admitted("nothing limits another", [], tokens(10), { book: "now" })
      yield* same("it is released", (yield* store.release(other))._tag, "Booked")
      yield* same("it is recorded", (yield* store.record([], tokens(10), undefined))._tag, "Booked")
      yield* store.reset({ accounts: [] })
      yield* store.reset({ plans: [] })
      yield* same("there is nothing to show", yield* store.status([]), { quotas: [], throttledUntil: 0 })
    })
  },
  {
    name: "keeps the values of a dimension apart",
    effect: Effect.gen(function* () {
      const { admitted, refused } = yield* makeTool
      const users = plan("apart", [total], { dimension: "user" })
      yield* admitted("a fits", [account(users, "a")], tokens(100))
      yield* admitted("b fits too", [account(users, "b")], tokens(100))
      const refusal = yield* refused("a is full", [account(users, "a")], tokens(1))
      yield* same("the refusal names a", refusal.account.value, "a")
    })
  },
  {
    name: "says what can never fit",
    effect: Effect.gen(function* () {
      const { admitted, refused } = yield* makeTool
      const small = account(plan("never", [total]))
      const refusal = yield* refused("more than the limit", [small], tokens(101))
      yield* matches("never", refusal, { reason: "tooLarge", retryAfter: Infinity, requested: 101 })
      yield* admitted("the limit itself fits", [small], tokens(100))
      const nothing = account(plan("nothing", [{ ...total, limit: 0 }]))
      yield* matches("a limit of 0 denies everything", yield* refused("anything", [nothing], tokens(0)), {
        reason: "tooLarge"
      })
    })
  },
  {
    name: "settles for what was used and gives back the rest",
    effect: Effect.gen(function* () {
      const { admitted, counters, store } = yield* makeTool
      const accounts = [account(plan("settle", [total]))]
      const hold = yield* admitted("fits", accounts, tokens(80))
      yield* matches("settled", yield* store.settle(hold, tokens(30)), { _tag: "Booked", reserved: tokens(80) })
      yield* same("30 are used", yield* counters(accounts), [["total", 30, 0]])
      yield* admitted("70 fit again", accounts, tokens(70))
    })
  },
  {
    name: "books an overrun in full, tells it, and lets it block what comes after",
    effect: Effect.gen(function* () {
      const { admitted, counters, refused, store } = yield* makeTool
      const accounts = [account(plan("overrun", [total]))]
      const hold = yield* admitted("fits", accounts, tokens(80))
      const settled = yield* store.settle(hold, tokens(130))
      const kinds = settled._tag === "Booked" ? settled.alerts.map((alert) => alert._tag) : []
      yield* same("the overrun is told", kinds.includes("Overrun"), true)
      yield* same("130 are used", yield* counters(accounts), [["total", 130, 0]])
      yield* refused("nothing fits any more", accounts, tokens(1))
    })
  },
  {
    name: "releases everything",
    effect: Effect.gen(function* () {
      const { admitted, counters, store } = yield* makeTool
      const accounts = [account(plan("release", [total, minute]))]
      const hold = yield* admitted("fits", accounts, tokens(80))
      yield* matches("released", yield* store.release(hold), { _tag: "Booked" })
      yield* same("nothing is left", yield* counters(accounts), [
        ["total", 0, 0],
        ["minute", 0, 0]
      ])
    })
  },
  {
    name: "ends a hold once",
    effect: Effect.gen(function* () {
      const { admitted, counters, store } = yield* makeTool
      const accounts = [account(plan("once", [total]))]
      const hold = yield* admitted("fits", accounts, tokens(80))
      yield* store.settle(hold, tokens(30))
      yield* matches("the same settlement again", yield* store.settle(hold, tokens(30)), { _tag: "Booked" })
      yield* matches("another settlement", yield* store.settle(hold, tokens(31)), { _tag: "Conflict" })
      yield* matches("a release after it", yield* store.release(hold), { _tag: "Conflict" })
      yield* same("30 are used", yield* counters(accounts), [["total", 30, 0]])
      const other = yield* admitted("fits", accounts, tokens(20))
      yield* store.release(other)
      yield* matches("the same release again", yield* store.release(other), { _tag: "Booked" })
      yield* matches("a settlement after it", yield* store.settle(other, tokens(20)), { _tag: "Conflict" })
      yield* matches("more after it", yield* store.extend(other, tokens(1), 0), { _tag: "Conflict" })
      yield* same("30 are used still", yield* counters(accounts), [["total", 30, 0]])
    })
  },
  {
    name: "gives the same hold for the same id, and a conflict for another content",
    effect: Effect.gen(function* () {
      const { admitted, ask, counters } = yield* makeTool
      const accounts = [account(plan("id", [total]))]
      const first = yield* admitted("fits", accounts, tokens(60), { id: "contract-id" })
      const again = yield* admitted("again", accounts, tokens(60), { id: "contract-id" })
      yield* same("the same hold", again.id, first.id)
      yield* matches("another usage", yield* ask(accounts, tokens(1), { id: "contract-id" }), { _tag: "Conflict" })
      yield* same("held once", yield* counters(accounts), [["total", 0, 60]])
    })
  },
  {
    name: "extends a hold, each step once, or changes nothing",
    effect: Effect.gen(function* () {
      const { admitted, counters, store } = yield* makeTool
      const accounts = [account(plan("extend", [total, { unit: "concurrency", limit: 1 }]))]
      const hold = yield* admitted("fits", accounts, tokens(50))
      yield* matches("30 more", yield* store.extend(hold, tokens(30), 0), { _tag: "Booked" })
      yield* matches("the same step again", yield* store.extend(hold, tokens(30), 0), { _tag: "Booked" })
      yield* same("80 are held by one call", yield* counters(accounts), [
        ["total", 0, 80],
        ["concurrency", 0, 1]
      ])
      yield* matches("30 too many", yield* store.extend(hold, tokens(30), 1), {
        _tag: "Refused",
        reason: "exceeded",
        retryAfter: Infinity
      })
      yield* same("nothing has changed", yield* counters(accounts), [
        ["total", 0, 80],
        ["concurrency", 0, 1]
      ])
      yield* store.settle(hold, tokens(70))
      yield* same("70 are used", yield* counters(accounts), [
        ["total", 70, 0],
        ["concurrency", 0, 0]
      ])
    })
  },
  {
    name: "holds nothing when asked, and holds what does not fit when forced",
    effect: Effect.gen(function* () {
      const { admitted, counters, refused } = yield* makeTool
      const accounts = [account(plan("mode", [total]))]
      yield* admitted("it would fit", accounts, tokens(100), { mode: "ask" })
      yield* same("nothing is held", yield* counters(accounts), [["total", 0, 0]])
      yield* admitted("forced", accounts, tokens(150), { mode: "force" })
      yield* same("150 are held", yield* counters(accounts), [["total", 0, 150]])
      yield* refused("it would not fit", accounts, tokens(1), { mode: "ask" })
    })
  },
  {
    name: "charges or releases a hold whose holder is gone, and still takes its settlement once",
    effect: Effect.gen(function* () {
      const { admitted, counters, store } = yield* makeTool
      const charged = [account(plan("charged", [total]))]
      const released = [account(plan("released", [total]))]
      const one = yield* admitted("fits", charged, tokens(80), { ttl: 1000, onExpiry: "charge" })
      yield* admitted("fits", released, tokens(80), { ttl: 1000, onExpiry: "release" })
      yield* advance(999)
      yield* same("held to the last", yield* counters([...charged, ...released]), [
        ["total", 0, 80],
        ["total", 0, 80]
      ])
      yield* advance(1)
      yield* same("charged, released", yield* counters([...charged, ...released]), [
        ["total", 80, 0],
        ["total", 0, 0]
      ])
      yield* matches("a late settlement", yield* store.settle(one, tokens(30)), { _tag: "Booked" })
      yield* same("corrected", yield* counters(charged), [["total", 30, 0]])
    })
  },
  {
    name: "starts the time to live anew when a hold is extended",
    effect: Effect.gen(function* () {
      const { admitted, counters, store } = yield* makeTool
      const accounts = [account(plan("longer", [total]))]
      const hold = yield* admitted("fits", accounts, tokens(10), { ttl: 1000, onExpiry: "release" })
      yield* advance(900)
      yield* store.extend(hold, tokens(10), 0)
      yield* advance(900)
      yield* same("still held", yield* counters(accounts), [["total", 0, 20]])
      yield* advance(100)
      yield* same("gone", yield* counters(accounts), [["total", 0, 0]])
    })
  },
  {
    name: "renews the concurrency of a place that was booked at once, and nothing else of it",
    effect: Effect.gen(function* () {
      const { admitted, counters, store } = yield* makeTool
      const accounts = [account(plan("place", [total, { unit: "concurrency", limit: 1 }]))]
      const place = yield* admitted("fits", accounts, tokens(10), { ttl: 1000, book: "now" })
      const zero = usage({ requests: 0 })
      yield* advance(900)
      yield* matches("renewed", yield* store.extend(place, zero, 0), { _tag: "Booked", repeated: false })
      yield* advance(900)
      yield* matches("renewed again", yield* store.extend(place, zero, 0), { _tag: "Booked", repeated: false })
      yield* matches("not extended", yield* store.extend(place, tokens(10), 0), { _tag: "Conflict", state: "expired" })
      yield* advance(999)
      yield* same("under way", yield* counters(accounts), [
        ["total", 10, 0],
        ["concurrency", 0, 1]
      ])
      yield* advance(1)
      yield* same("over", yield* counters(accounts), [
        ["total", 10, 0],
        ["concurrency", 0, 0]
      ])
      yield* matches("too late", yield* store.extend(place, zero, 0), { _tag: "Conflict", state: "expired" })
      yield* matches("still settled", yield* store.settle(place, tokens(4)), { _tag: "Booked", repeated: false })
      yield* same("for what it took", yield* counters(accounts), [
        ["total", 4, 0],
        ["concurrency", 0, 0]
      ])
      const without = yield* admitted("fits", [account(plan("no-place", [total]))], tokens(10), { book: "now" })
      yield* matches("nothing to renew", yield* store.extend(without, zero, 0), { _tag: "Conflict", state: "expired" })
    })
  },
  {
    name: "records what was never reserved, also above the limit, and each id once",
    effect: Effect.gen(function* () {
      const { counters, refused, store } = yield* makeTool
      const accounts = [account(plan("record", [total]))]
      yield* store.record(accounts, tokens(70), "contract-record")
      yield* matches("again", yield* store.record(accounts, tokens(70), "contract-record"), { _tag: "Booked" })
      yield* matches("another", yield* store.record(accounts, tokens(71), "contract-record"), { _tag: "Conflict" })
      yield* same("booked once", yield* counters(accounts), [["total", 70, 0]])
      yield* store.record(accounts, tokens(70), undefined)
      yield* same("above the limit", yield* counters(accounts), [["total", 140, 0]])
      yield* refused("it blocks what comes after", accounts, tokens(1))
    })
  },
  {
    name: "resets what is used and keeps what is held",
    effect: Effect.gen(function* () {
      const { admitted, counters, store } = yield* makeTool
      const users = plan("reset", [total], { dimension: "user" })
      const [a, b] = [account(users, "a"), account(users, "b")]
      for (const user of [a, b]) yield* store.record([user], tokens(50), undefined)
      yield* admitted("fits", [a], tokens(20))
      yield* store.reset({ accounts: [a] })
      yield* same("a is reset", yield* counters([a, b]), [
        ["total", 0, 20],
        ["total", 50, 0]
      ])
      yield* store.reset({ plans: [users] })
      yield* same("all are reset", yield* counters([a, b]), [
        ["total", 0, 20],
        ["total", 0, 0]
      ])
    })
  },
  {
    name: "counts each unit",
    effect: Effect.gen(function* () {
      const { counters, store } = yield* makeTool
      const window = Window.lifetime
      const accounts = [
        account(
          plan("units", [
            { unit: "requests", limit: 9, window, name: "requests" },
            { unit: "tokens", limit: 900, window, name: "tokens" },
            { unit: "tokens", limit: 900, window, name: "paid tokens", cachedInput: "free" },
            { unit: "inputTokens", limit: 900, window, name: "input" },
            { unit: "inputTokens", limit: 900, window, name: "new input", cachedInput: "free" },
            { unit: "outputTokens", limit: 900, window, name: "output" },
            { unit: "cost", limit: "$1", window, name: "cost" }
          ])
        )
      ]
      yield* store.record(
        accounts,
        usage({ inputTokens: 100, cachedInputTokens: 40, outputTokens: 7, tokens: 107, cost: 12_345 }),
        undefined
      )
      yield* same("by unit", yield* counters(accounts), [
        ["requests", 1, 0],
        ["tokens", 107, 0],
        ["paid tokens", 67, 0],
        ["input", 100, 0],
        ["new input", 60, 0],
        ["output", 7, 0],
        ["cost", 12_345, 0]
      ])
    })
  },
  {
    name: "lets many fibers take exactly what there is",
    effect: Effect.gen(function* () {
      const { ask, counters } = yield* makeTool
      const accounts = [account(plan("race", [total]))]
      const answers = yield* Effect.all(
        Array.from({ length: 60 }, () => ask(accounts, tokens(3))),
        {
          concurrency: "unbounded"
        }
      )
      yield* same("33 of 60 fit", answers.filter((answer) => answer._tag === "Hold").length, 33)
      yield* same("99 are held", yield* counters(accounts), [["total", 0, 99]])
    })
  }
]
