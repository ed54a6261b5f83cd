// One account under changing lists of quotas, as while a new version of an application is rolled out: what is counted is
// what the pure ledger counts under all of them at once.
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { type Quota, type QuotaStore, Usage, Window } from "headgate"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { sharedSlots } from "../../src/internal/ledger/windows.ts"
import { account, Choices, command, usage } from "./support.ts"

/** Nothing is refused and nothing empties: only then do both count the same at every step. */
const limit = 1_000_000_000

const pool: ReadonlyArray<Quota.Input> = [
  { unit: "tokens", limit, window: Window.sliding("1 hour"), name: "hour" },
  { unit: "tokens", limit, window: Window.calendar("day"), name: "day" },
  { unit: "cost", limit, window: Window.calendar("month", { timeZone: "Europe/Berlin" }), name: "month" },
  { unit: "cost", limit, window: Window.lifetime, name: "ever" },
  { unit: "requests", limit: 1000, window: Window.bucket({ refill: "1 day", burst: limit }), name: "bucket" },
  { unit: "inputTokens", limit, window: Window.fixed("1 hour"), cachedInput: "free", name: "input" },
  { unit: "concurrency", limit, name: "concurrency" }
]

type Answer = QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict | QuotaStore.Booked

/** One history. It gives the time at which it ends: the store's does not run backwards for the next one. */
export const agreeUnderChangedPlans = (
  store: QuotaStore.Service,
  setClock: (now: number) => Effect.Effect<unknown>,
  seed: number,
  start: number
) =>
  Effect.gen(function* () {
    const choices = new Choices(seed)
    const id = `changed ${seed}`
    const some = (): QuotaStore.Account => {
      const quotas = pool.filter(() => choices.chance(0.5))
      return account(quotas.length === 0 ? [choices.of(pool)] : choices.chance(0.5) ? quotas : quotas.toReversed(), {
        id
      })
    }
    const all = account(pool, { id })
    const accounts = [some(), some(), some()]
    const ledger = new Ledger(sharedSlots)
    let now = start
    const amounts = (least: number) =>
      usage({
        tokens: choices.between(least, 50),
        cost: choices.between(least, 50),
        inputTokens: choices.between(least + 10, 50),
        cachedInputTokens: choices.between(0, 10)
      })
    const holds: Array<readonly [hold: QuotaStore.Hold, pure: QuotaStore.Hold]> = []
    const agree = (answer: Answer, expected: Answer, where: string) => {
      assert.strictEqual(answer._tag, expected._tag, where)
      if (answer._tag === "Hold" && expected._tag === "Hold") holds.push([answer, expected])
    }
    yield* setClock(now)
    // One that stays open, so that what is under way never becomes nothing, and no counter is dropped.
    const open = command([all], usage({ tokens: 1, cost: 1, inputTokens: 2, cachedInputTokens: 1 }), { ttl: 3e9 })
    yield* store.reserve(open)
    ledger.reserve(open, now)
    const first = { ...amounts(20), requests: 1000 }
    agree(yield* store.record([all], first, undefined), ledger.record([all], first, undefined, now), "the first")
    for (let step = 0; step < 25; step++) {
      now += choices.between(0, choices.chance(0.1) ? 60 * 3_600_000 : 600_000)
      yield* setClock(now)
      const one = choices.of(accounts)
      const where = `HEADGATE_SEED=${seed} step ${step} under ${one.plan.quotas.map(({ name }) => name).join()}`
      const amount = amounts(0)
      const [hold, pure] = holds.splice(choices.between(0, 9), 1)[0] ?? []
      const book = choices.chance(0.3) ? "now" : "onSettle"
      const onExpiry = choices.chance(0.5) ? "charge" : "release"
      const way = choices.next()
      if (choices.chance(0.04)) {
        const isOfAll = choices.chance(0.5)
        yield* store.reset(isOfAll ? { plans: [one.plan] } : { accounts: [one] })
        ledger.reset(isOfAll ? { plans: [all.plan] } : { accounts: [all] }, now)
      } else if (hold === undefined || pure === undefined) {
        const asked = { ttl: choices.between(1, 4_000_000), book, onExpiry } as const
        agree(
          yield* store.reserve(command([one], amount, asked)),
          ledger.reserve(command([all], amount, asked), now),
          where
        )
      } else if (way < 0.3) {
        const more = choices.chance(0.3) ? Usage.zero : amount
        const extended = ledger.extend(pure, more, step, now)
        agree(yield* store.extend(hold, more, step), extended, where)
        if (extended._tag === "Booked") holds.push([hold, pure])
      } else if (way < 0.5) {
        // A hold belongs to the plan that made it, which need not be the one that touched the account last.
        agree(yield* store.release(hold), ledger.release(pure, now), where)
      } else {
        agree(yield* store.settle(hold, amount), ledger.settle(pure, amount, now), where)
      }
      const expected = new Map(ledger.status([all], now).quotas.map((quota) => [quota.name, quota]))
      for (const account of choices.chance(0.5) ? accounts : []) {
        for (const { held, name, resetAfter, used } of (yield* store.status([account])).quotas) {
          const wanted = expected.get(name)!
          assert.deepStrictEqual(
            { name, used, held, resetAfter },
            { name, used: wanted.used, held: wanted.held, resetAfter: wanted.resetAfter },
            where
          )
        }
      }
    }
    return now
  })

/** A quota that is new on an account begins with what is held there, and `status` says so before any call has come. */
export const newQuotasBegin = (store: QuotaStore.Service, advance: (by: number) => Effect.Effect<unknown>) =>
  Effect.gen(function* () {
    const under = (...names: ReadonlyArray<string | undefined>) => [
      account(
        pool.filter(({ name }) => names.includes(name)),
        { id: "begins" }
      )
    ]
    const before = under("hour")
    const next = under("hour", "day", "concurrency")
    const status = Effect.map(store.status(next), ({ quotas }) => quotas.map(({ held, used }) => [used, held]))
    const reserve = (tokens: number, options: Partial<QuotaStore.Reserve>) =>
      store.reserve(command(before, usage({ tokens }), options))
    yield* reserve(20, { ttl: 1_000 })
    yield* reserve(30, { ttl: 10_000, onExpiry: "release" })
    yield* reserve(5, { book: "now" })
    assert.deepStrictEqual(yield* status, [
      [5, 50],
      [0, 50],
      [0, 2]
    ])
    yield* advance(1_000)
    // The one that was held until now is charged, also where nobody has seen it held.
    const charged = [
      [25, 30],
      [20, 30],
      [0, 1]
    ]
    assert.deepStrictEqual(yield* status, charged)
    yield* store.record(next, usage({ requests: 0 }), undefined)
    assert.deepStrictEqual(yield* status, charged)
    yield* advance(9_000)
    assert.deepStrictEqual(yield* status, [
      [25, 0],
      [20, 0],
      [0, 0]
    ])
  })
