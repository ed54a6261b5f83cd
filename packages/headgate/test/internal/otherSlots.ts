// Accounts that another version has saved, which cuts a sliding window into another number of slots.
import { assert, vi } from "@effect/vitest"
import { Effect } from "effect"
import { type QuotaStore, Window } from "headgate"
import { sharedSlots } from "../../src/internal/ledger/windows.ts"
import { type Spent, worstSpan } from "./spanSums.ts"
import { account, Choices, command, seedOf, tokens } from "./support.ts"

/** A module as a version with so many slots would have it. */
export const withSlots = async <A>(slots: number, load: () => Promise<A>): Promise<A> => {
  vi.resetModules()
  vi.doMock("../../src/internal/ledger/windows.ts", async (original) => ({
    ...(await original<object>()),
    sharedSlots: slots
  }))
  const loaded = await load()
  vi.doUnmock("../../src/internal/ledger/windows.ts")
  vi.resetModules()
  return loaded
}

/** Two versions on one account, one after the other and in turns: no span of the window passes its limit. */
export const keepTheLimitWithOtherSlots = (
  before: QuotaStore.Service,
  store: QuotaStore.Service,
  setClock: (now: number) => Effect.Effect<unknown>,
  start: number
) =>
  Effect.gen(function* () {
    const minute = { unit: "tokens", limit: 100, window: Window.sliding("1 minute") } as const
    const one = [account([minute], { id: "one" })]
    const seen = (store: QuotaStore.Service) =>
      Effect.map(store.status(one), ({ quotas: [quota] }) => [quota!.used, quota!.held])
    const reserve = (store: QuotaStore.Service, amount: number) =>
      store.reserve(command(one, tokens(amount), { book: "now" }))
    yield* setClock(start)
    yield* before.record(one, tokens(60), undefined)
    yield* before.reserve(command(one, tokens(10), { ttl: 600_000 }))
    yield* setClock(start + 30_000)
    yield* before.record(one, tokens(20), undefined)
    yield* setClock(start + 40_000)
    assert.deepStrictEqual(yield* seen(store), [80, 10])
    const refused = yield* reserve(store, 15)
    assert.strictEqual(refused._tag, "Refused")
    // It counts too long, but no longer than a window and a slot.
    const wait = refused._tag === "Refused" ? refused.retryAfter : 0
    assert.isAtLeast(wait, 20_000)
    assert.isAtMost(wait, 60_000 + 60_000 / sharedSlots)
    assert.strictEqual((yield* reserve(store, 10))._tag, "Hold")
    yield* setClock(start + 40_000 + wait)
    assert.strictEqual((yield* reserve(store, 15))._tag, "Hold")
    yield* setClock(start + 200_000)
    assert.deepStrictEqual(
      [yield* seen(before), yield* seen(store)],
      [
        [0, 10],
        [0, 10]
      ]
    )

    const choose = new Choices(seedOf("other slots"))
    const both = [account([minute], { id: "both" })]
    const log: Array<Spent> = []
    let at = start + 200_000
    for (let call = 0; call < 150; call++) {
      yield* setClock((at += choose.between(0, choose.chance(0.05) ? 90_000 : 4_000)))
      const amount = choose.between(1, 30)
      const answer = yield* choose.of([before, store]).reserve(command(both, tokens(amount), { book: "now" }))
      if (answer._tag === "Hold") log.push({ at, amount })
    }
    assert.isAtMost(worstSpan(log, 60_000), 100)
    assert.isAbove(log.length, 2)
  })
