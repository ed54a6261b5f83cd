// Waits that depend on more open holds than a refusal looks at first.
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { type Quota, type QuotaStore, Window } from "headgate"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { sharedSlots } from "../../src/internal/ledger/windows.ts"
import { account, command, tokens } from "../internal/support.ts"
import { describeDatabases } from "./databases.ts"
import { TestClock, use } from "./support.ts"

type Ends = "charge" | "release"

const many = (...ends: ReadonlyArray<Ends>): ReadonlyArray<Ends> =>
  Array.from({ length: 300 }, (_, index) => ends[Math.floor((index * ends.length) / 300)]!)

const cases: ReadonlyArray<readonly [name: string, window: Window.Window, ends: ReadonlyArray<Ends>]> = [
  ["300 that are released", Window.lifetime, many("release")],
  ["150 that are charged, and 150 that are released later", Window.lifetime, many("charge", "release")],
  [
    "100 that are released, and 200 that are charged later, in a bucket",
    Window.bucket({ refill: "1 minute" }),
    many("release", "charge", "charge")
  ],
  ["300 that are charged, in a sliding window", Window.sliding("1 minute"), many("charge")],
  ["300 that are charged, in a day of the calendar", Window.calendar("day"), many("charge")]
]

const refused = (answer: { readonly _tag: string }): QuotaStore.Refused => {
  assert.strictEqual(answer._tag, "Refused")
  return answer as QuotaStore.Refused
}

describeDatabases("a wait", (database) => {
  it.each(cases)("is exact to the millisecond for %s", { timeout: 60_000 }, async (_, window, ends) => {
    const clock = new TestClock()
    const quota: Quota.Input = { unit: "tokens", limit: 300, window, name: "tokens" }
    const of = [account([quota, { unit: "concurrency", limit: 301 }])]
    const ledger = new Ledger(sharedSlots)
    await use(database.store({ clock: () => clock.now, tick: 0 }).layer, (store) =>
      Effect.gen(function* () {
        for (const [index, onExpiry] of ends.entries()) {
          const asked = command(of, tokens(1), { onExpiry, ttl: 1000 * (index + 1) })
          assert.strictEqual((yield* store.reserve(asked))._tag, "Hold")
          ledger.reserve(asked, clock.now)
        }
        for (const amount of [1, 90, 150, 250]) {
          const asked = command(of, tokens(amount), { mode: "ask" })
          const { retryAfter } = refused(yield* store.reserve(asked))
          assert.strictEqual(retryAfter, refused(ledger.reserve(asked, clock.now)).retryAfter, String(amount))
        }
        const asked = command(of, tokens(250))
        const { retryAfter } = refused(yield* store.reserve(asked))
        if (retryAfter === Infinity) return
        clock.now += retryAfter - 1
        assert.strictEqual(refused(yield* store.reserve(asked)).retryAfter, 1)
        clock.now += 1
        assert.strictEqual((yield* store.reserve(asked))._tag, "Hold")
      })
    )
  })

  it("for more is exact to the millisecond, and does not count on what asks for it", async () => {
    const clock = new TestClock()
    const of = [account([{ unit: "tokens", limit: 200, window: Window.lifetime }])]
    await use(database.store({ clock: () => clock.now, tick: 0 }).layer, (store) =>
      Effect.gen(function* () {
        const asking = yield* store.reserve(command(of, tokens(1), { onExpiry: "release", ttl: 150_500 }))
        for (let index = 1; index < 200; index++) {
          yield* store.reserve(command(of, tokens(1), { onExpiry: "release", ttl: 1000 * index }))
        }
        if (asking._tag !== "Hold") return assert.fail()
        assert.strictEqual(refused(yield* store.extend(asking, tokens(120), 0)).retryAfter, 120_000)
        clock.now += 119_999
        assert.strictEqual(refused(yield* store.extend(asking, tokens(120), 0)).retryAfter, 1)
        clock.now += 1
        assert.strictEqual((yield* store.extend(asking, tokens(120), 0))._tag, "Booked")
      })
    )
  })
})
