// Law 8: each alert once per threshold per window.
import { assert, describe, it } from "@effect/vitest"
import type { Alert, Quota, QuotaStore } from "headgate"
import { Window } from "headgate"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { account, admitted, command, plan, refused, tokens, usage } from "./support.ts"

const told = ({ alerts }: { readonly alerts: ReadonlyArray<Alert.Alert> }) =>
  alerts.map(({ _tag, quota, threshold }) => `${_tag} ${quota} ${threshold}`)

const recorded = (ledger: Ledger, accounts: ReadonlyArray<QuotaStore.Account>, amount: number, now: number) => {
  const answer = ledger.record(accounts, tokens(amount), undefined, now)
  return answer._tag === "Booked" ? told(answer) : []
}

const quota = (window: Window.Window, alertAt: ReadonlyArray<number>): Quota.Input => ({
  name: "q",
  unit: "tokens",
  limit: 100,
  window,
  alertAt
})

describe("alerts of the ledger", () => {
  it("tell each threshold at the use that reaches it, and all that one use reaches", () => {
    const ledger = new Ledger()
    const accounts = [account([quota(Window.lifetime, [1, 0.5, 0.8])])]
    assert.deepStrictEqual(recorded(ledger, accounts, 49, 0), [])
    assert.deepStrictEqual(recorded(ledger, accounts, 1, 0), ["ThresholdReached q 0.5"])
    assert.deepStrictEqual(recorded(ledger, accounts, 50, 0), ["ThresholdReached q 0.8", "ThresholdReached q 1"])
    assert.deepStrictEqual(recorded(ledger, accounts, 500, 0), [])
  })

  const windows = [
    ["sliding", Window.sliding("1 minute"), 61_000],
    ["fixed", Window.fixed("1 minute"), 60_000],
    ["calendar", Window.calendar("day"), 86_400_000],
    ["bucket", Window.bucket({ refill: "1 minute" }), 60_000],
    ["bucket of a small burst", Window.bucket({ refill: "1 hour", burst: 100 }), 3_600_000]
  ] as const
  for (const [name, window, over] of windows) {
    it(`come once per window, and again in the next: ${name}`, () => {
      const ledger = new Ledger()
      const accounts = [account([{ ...quota(window, [0.8]), limit: name.includes("burst") ? 1_000 : 100 }])]
      for (let turn = 0; turn < 3; turn++) {
        const now = (turn + 1) * over
        assert.deepStrictEqual(recorded(ledger, accounts, 90, now), ["ThresholdReached q 0.8"])
        assert.deepStrictEqual(told(refused(ledger.reserve(command(accounts, tokens(50)), now))), ["LimitHit q 1"])
        for (const later of [now, now + 1, now + 10]) {
          assert.deepStrictEqual(recorded(ledger, accounts, 0, later), [])
          assert.deepStrictEqual(told(refused(ledger.reserve(command(accounts, tokens(100)), later))), [])
        }
      }
    })

    it(`do not come again when usage falls back and rises within the window: ${name}`, () => {
      const ledger = new Ledger()
      const accounts = [account([{ ...quota(window, [0.8]), limit: name.includes("burst") ? 1_000 : 100 }])]
      const hold = admitted(ledger.reserve(command(accounts, tokens(90), { book: "now" }), 0))
      assert.deepStrictEqual(told(hold), ["ThresholdReached q 0.8"])
      ledger.release(hold, 1)
      assert.deepStrictEqual(recorded(ledger, accounts, 90, 2), [])
    })
  }

  it("come again after a reset", () => {
    const ledger = new Ledger()
    const accounts = [account([quota(Window.lifetime, [0.8])])]
    assert.strictEqual(recorded(ledger, accounts, 90, 0).length, 1)
    ledger.reset({ accounts }, 0)
    assert.strictEqual(recorded(ledger, accounts, 90, 0).length, 1)
  })

  it("are each subject's own", () => {
    const ledger = new Ledger()
    const users = plan([quota(Window.lifetime, [0.8])], { dimension: "user" })
    for (const value of ["a", "b"]) {
      const answer = ledger.record([{ plan: users, value }], tokens(80), undefined, 0)
      assert.strictEqual(answer._tag, "Booked")
      const alerts = answer._tag === "Booked" ? answer.alerts : []
      assert.deepStrictEqual(
        alerts.map(({ subject }) => subject),
        [{ user: value }]
      )
    }
  })

  it("do not tell of what is only held", () => {
    const ledger = new Ledger()
    const accounts = [account([quota(Window.lifetime, [0.8])])]
    const hold = admitted(ledger.reserve(command(accounts, tokens(100)), 0))
    assert.deepStrictEqual(told(hold), [])
    const answer = ledger.settle(hold, tokens(80), 0)
    assert.deepStrictEqual(answer._tag === "Booked" ? told(answer) : [], ["ThresholdReached q 0.8"])
  })

  it("tell of an overrun with what was reserved and what was taken, once per unit", () => {
    const ledger = new Ledger()
    const cost = { name: "money", unit: "cost", limit: 1_000, window: Window.lifetime } as const
    const accounts = [account([quota(Window.lifetime, []), quota(Window.fixed("1 hour"), []), cost])]
    const hold = admitted(ledger.reserve(command(accounts, usage({ tokens: 10, cost: 10 })), 0))
    const answer = ledger.settle(hold, usage({ tokens: 30, cost: 11 }), 0)
    assert.deepStrictEqual(answer._tag === "Booked" ? told(answer) : [], ["Overrun q 10", "Overrun money 10"])
    const again = ledger.settle(hold, usage({ tokens: 30, cost: 11 }), 0)
    assert.deepStrictEqual(again._tag === "Booked" ? again.alerts : [], [])
  })

  it("are only those at thresholds where waiting is no news", () => {
    const ledger = new Ledger()
    const accounts = [account([quota(Window.lifetime, [0.8])], { alerts: "thresholds" })]
    const hold = admitted(ledger.reserve(command(accounts, tokens(10)), 0))
    const answer = ledger.settle(hold, tokens(90), 0)
    assert.deepStrictEqual(answer._tag === "Booked" ? told(answer) : [], ["ThresholdReached q 0.8"])
    assert.deepStrictEqual(told(refused(ledger.reserve(command(accounts, tokens(20)), 0))), [])
  })

  it("tell that concurrency is full once a minute", () => {
    const ledger = new Ledger()
    const accounts = [account([{ unit: "concurrency", limit: 1, name: "c" }])]
    admitted(ledger.reserve(command(accounts, tokens(0), { ttl: 600_000 }), 0))
    const hits = Array.from({ length: 180 }, (_, second) =>
      told(refused(ledger.reserve(command(accounts, tokens(0)), second * 1_000)))
    )
    assert.strictEqual(hits.flat().length, 3)
  })

  it("tell of each throttle once", () => {
    const ledger = new Ledger()
    const accounts = [account([quota(Window.fixed("1 minute"), [])], { throttle: 1_000 })]
    ledger.record(accounts, tokens(100), undefined, 0)
    const ask = (now: number) => told(refused(ledger.reserve(command(accounts, tokens(1)), now)))
    assert.deepStrictEqual(ask(0), ["LimitHit q 1", "Throttled q 1"])
    assert.deepStrictEqual(ask(999), [])
    assert.deepStrictEqual(ask(1_000), ["Throttled q 1"])
  })
})
