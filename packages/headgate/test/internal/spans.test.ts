// Law 5: no span of a window's length holds more than the limit, and little is given up for that.
import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { Window } from "headgate"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { sharedSlots, slidingSlots, slotsOf } from "../../src/internal/ledger/windows.ts"
import { type Spent, worstSpan } from "./spanSums.ts"
import { account, admitted, Choices, command, counters, seedOf, tokens } from "./support.ts"

const total = (log: ReadonlyArray<Spent>): number => log.reduce((sum, { amount }) => sum + amount, 0)

/** What a log that keeps every event admits of the same traffic. */
const exactly = (traffic: ReadonlyArray<Spent>, limit: number, length: number): ReadonlyArray<Spent> => {
  const log: Array<Spent> = []
  let sum = 0
  let first = 0
  for (const call of traffic) {
    while (first < log.length && log[first]!.at <= call.at - length) sum -= log[first++]!.amount
    if (sum + call.amount > limit) continue
    sum += call.amount
    log.push(call)
  }
  return log
}

/** Several times what the limit lets through, somewhat at random, over 200 windows. */
const traffic = (choose: Choices, limit: number, length: number): ReadonlyArray<Spent> => {
  const most = Math.max(1, Math.floor(limit / choose.of([10, 30, 100])))
  const mean = (1 + most) / 2
  const gap = (length * mean) / (limit * choose.of([1.2, 2, 5]))
  const calls: Array<Spent> = []
  const start = choose.between(0, 1_000_000)
  for (let at = start; at < start + 200 * length; at += choose.next() * 2 * gap) {
    calls.push({ at: Math.floor(at), amount: choose.between(1, most) })
  }
  return calls
}

const lengths = [977, 10_000, 60_000, 61_234, 3_600_000, 86_400_000]

describe("a sliding window", () => {
  const seed = seedOf("spans")

  // Laws: the most that a window of so many slots may give up where calls never cease.
  for (const [slots, least] of [
    [slidingSlots, 0.97],
    [sharedSlots, 0.94]
  ] as const) {
    for (const [index, length] of lengths.entries()) {
      const window = { _tag: "Sliding", length: Duration.millis(length) } as const
      const { endOf, length: slot = 0 } = slotsOf(window, slots)
      // What is used at the beginning of a slot counts until its end is as old as the window.
      const share = length / endOf(0)

      it(
        `of ${slots} slots lets no span of ${length} ms pass its limit, and admits its share of what an exact log would`,
        { timeout: 30_000 },
        () => {
          assert.isAtLeast(share, least)
          for (let turn = 0; turn < 4; turn++) {
            const choose = new Choices(seed + index * 100 + turn)
            const limit = choose.of([500, 1_000, 5_000])
            const ledger = new Ledger(slots)
            const accounts = [account([{ unit: "tokens", limit, window }])]
            const calls = traffic(choose, limit, length)
            const log = calls.filter(
              ({ amount, at }) => ledger.reserve(command(accounts, tokens(amount), { book: "now" }), at)._tag === "Hold"
            )
            assert.isAtMost(worstSpan(log, length), limit)
            // The end may come just before a window's worth that the other has let through: that is left out.
            assert.isAtLeast(total(log) + limit, share * total(exactly(calls, limit, length)))
          }
        }
      )

      it(`of ${slots} slots admits just that share of ${length} ms where calls never cease`, () => {
        const limit = 10
        const ledger = new Ledger(slots)
        const accounts = [account([{ unit: "tokens", limit, window }])]
        let admitted = 0
        // Ten windows' worth of slots, and as many calls at the beginning of each as fit at all.
        for (let at = 0; at < 10 * endOf(0); at += slot) {
          for (let call = 0; call < limit; call++) {
            const answer = ledger.reserve(command(accounts, tokens(1), { book: "now" }), at)
            if (answer._tag === "Hold") admitted++
          }
        }
        assert.strictEqual(admitted, 10 * limit)
      })
    }
  }

  it("lets no span pass its limit when calls are settled late, for less, or not at all", { timeout: 30_000 }, () => {
    for (let turn = 0; turn < 100; turn++) {
      const choose = new Choices(seed + 10_000 + turn)
      const length = choose.of(lengths)
      const limit = choose.of([10, 100, 1_000])
      const ledger = new Ledger()
      const accounts = [account([{ unit: "tokens", limit, window: Window.sliding(length) }])]
      const log: Array<Spent> = []
      const open: Array<{ readonly settle: (at: number) => void; readonly until: number }> = []
      let at = choose.between(0, 1_000_000)
      for (let call = 0; call < 300; call++) {
        at += choose.between(0, Math.ceil(length / 40))
        for (const due of open.splice(0).filter((hold) => hold.until > at || void hold.settle(at))) open.push(due)
        const amount = choose.between(1, Math.ceil(limit / 3))
        const answer = ledger.reserve(command(accounts, tokens(amount), { ttl: 10 * length }), at)
        const [counted] = counters(ledger, accounts, at)
        assert.isAtMost(counted![0] + counted![1], limit)
        if (answer._tag !== "Hold") continue
        const hold = admitted(answer)
        const actual = choose.of([amount, amount, choose.between(0, amount)])
        const settle = (at: number) => {
          ledger.settle(hold, tokens(actual), at)
          log.push({ at, amount: actual })
        }
        open.push({ settle, until: at + choose.between(0, Math.ceil(length / 2)) })
      }
      assert.isAtMost(worstSpan(log, length), limit)
    }
  })

  it("lets nothing through at the seam of two windows that a fixed window lets through twice", () => {
    const through = (window: Window.Window): number => {
      const ledger = new Ledger()
      const accounts = [account([{ unit: "tokens", limit: 10, window }])]
      const calls = Array.from({ length: 40 }, (_, index) => 59_980 + index)
      return calls.filter((at) => ledger.reserve(command(accounts, tokens(1), { book: "now" }), at)._tag === "Hold")
        .length
    }
    assert.strictEqual(through(Window.fixed("1 minute")), 20)
    assert.strictEqual(through(Window.sliding("1 minute")), 10)
  })
})
