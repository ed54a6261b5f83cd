import { assert, describe, it } from "@effect/vitest"
import { Window } from "headgate"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { account, admitted, command, counters, plan, refused, tokens, usage } from "./support.ts"

const minute = { unit: "tokens", limit: 100, window: Window.sliding("1 minute"), name: "minute" } as const
const total = { unit: "tokens", limit: 1_000, window: Window.lifetime, name: "total" } as const
const bucket = { unit: "tokens", limit: 100, window: Window.bucket({ refill: "1 minute" }), name: "bucket" } as const

describe("Ledger", () => {
  it("holds on all accounts or on none", () => {
    const ledger = new Ledger()
    const everyone = account([total])
    const user = { plan: plan([minute], { id: "budget:user", dimension: "user" }), value: "42" }
    admitted(ledger.reserve(command([everyone, user], tokens(60)), 0))
    const before = ledger.status([everyone, user], 1)
    const refusal = refused(ledger.reserve(command([everyone, user], tokens(60)), 1))
    assert.strictEqual(refusal.quota.name, "minute")
    assert.deepStrictEqual(ledger.status([everyone, user], 1), before)
  })

  it("changes nothing when it refuses an extension", () => {
    const ledger = new Ledger()
    const accounts = [account([total, minute])]
    const hold = admitted(ledger.reserve(command(accounts, tokens(60), { ttl: 1_000, onExpiry: "release" }), 0))
    refused(ledger.extend(hold, tokens(60), 0, 500))
    assert.deepStrictEqual(counters(ledger, accounts, 999), [
      [0, 60],
      [0, 60]
    ])
    // Its time to live has not begun anew either.
    assert.deepStrictEqual(counters(ledger, accounts, 1_000), [
      [0, 0],
      [0, 0]
    ])
  })

  it("asks without holding, and forces what does not fit", () => {
    const ledger = new Ledger()
    const accounts = [account([minute])]
    admitted(ledger.reserve(command(accounts, tokens(100), { mode: "ask" }), 0))
    assert.deepStrictEqual(counters(ledger, accounts, 0), [[0, 0]])
    const forced = admitted(ledger.reserve(command(accounts, tokens(150), { mode: "force" }), 0))
    assert.deepStrictEqual(counters(ledger, accounts, 0), [[0, 150]])
    assert.strictEqual(ledger.extend(forced, tokens(10), 0, 0)._tag, "Booked")
    assert.deepStrictEqual(counters(ledger, accounts, 0), [[0, 160]])
  })

  it("tells never from not now", () => {
    const ledger = new Ledger()
    const accounts = [account([minute])]
    assert.strictEqual(refused(ledger.reserve(command(accounts, tokens(101)), 0)).reason, "tooLarge")
    admitted(ledger.reserve(command(accounts, tokens(100)), 0))
    assert.strictEqual(refused(ledger.reserve(command(accounts, tokens(101)), 0)).reason, "tooLarge")
    assert.strictEqual(refused(ledger.reserve(command(accounts, tokens(1)), 0)).reason, "exceeded")
  })

  it("does not mix the ids of reservations and of records", () => {
    const ledger = new Ledger()
    const accounts = [account([total])]
    admitted(ledger.reserve(command(accounts, tokens(1), { id: "a" }), 0))
    assert.strictEqual(ledger.record(accounts, tokens(1), "a", 0)._tag, "Conflict")
    ledger.record(accounts, tokens(1), "b", 0)
    assert.strictEqual(ledger.reserve(command(accounts, tokens(1), { id: "b" }), 0)._tag, "Conflict")
    assert.deepStrictEqual(counters(ledger, accounts, 0), [[1, 1]])
  })

  it("forgets the id of what it refused", () => {
    const ledger = new Ledger()
    const accounts = [account([minute])]
    const first = admitted(ledger.reserve(command(accounts, tokens(100)), 0))
    refused(ledger.reserve(command(accounts, tokens(1), { id: "a" }), 0))
    ledger.release(first, 0)
    admitted(ledger.reserve(command(accounts, tokens(1), { id: "a" }), 0))
    assert.deepStrictEqual(counters(ledger, accounts, 0), [[0, 1]])
  })

  it("tells the alerts of a repeated reservation once", () => {
    const ledger = new Ledger()
    const accounts = [account([{ ...minute, alertAt: 0.5 }])]
    const asked = command(accounts, tokens(60), { book: "now", id: "a" })
    assert.strictEqual(admitted(ledger.reserve(asked, 0)).alerts.length, 1)
    assert.strictEqual(admitted(ledger.reserve(asked, 0)).alerts.length, 0)
  })

  it("remembers the last 65,536 ids, and no more", () => {
    const ledger = new Ledger()
    const accounts = [account([total])]
    const one = usage({ tokens: 0 })
    for (let id = 0; id <= 65_536; id++) ledger.record(accounts, one, `r-${id}`, 0)
    const again = (id: number) => {
      const answer = ledger.record(accounts, one, `r-${id}`, 0)
      return answer._tag === "Booked" && answer.repeated
    }
    assert.isTrue(again(65_536))
    assert.isTrue(again(1))
    assert.isFalse(again(0))
  })

  it("does not know the holds of another ledger", () => {
    const accounts = [account([total])]
    const hold = admitted(new Ledger().reserve(command(accounts, tokens(1)), 0))
    const other = { _tag: "Hold", id: hold.id, alerts: [] } as const
    const ledger = new Ledger()
    assert.strictEqual(ledger.settle(other, tokens(1), 0)._tag, "Conflict")
    assert.strictEqual(ledger.release(other, 0)._tag, "Conflict")
    assert.strictEqual(ledger.extend(other, tokens(1), 0, 0)._tag, "Conflict")
    assert.deepStrictEqual(counters(ledger, accounts, 0), [[0, 0]])
  })

  it("charges at the moment of expiry, not when it is noticed", () => {
    const ledger = new Ledger()
    const accounts = [account([minute])]
    admitted(ledger.reserve(command(accounts, tokens(100), { ttl: 10_500 }), 0))
    // The charge of 10.5 s counts until its slot of a second has wholly left the minute: 71 s.
    assert.deepStrictEqual(counters(ledger, accounts, 70_999), [[100, 0]])
    assert.deepStrictEqual(counters(ledger, accounts, 71_000), [[0, 0]])
  })

  it("puts a late settlement in the place of the charge", () => {
    for (const actual of [40, 80, 120]) {
      const ledger = new Ledger()
      const accounts = [account([total, bucket])]
      const hold = admitted(ledger.reserve(command(accounts, tokens(80), { ttl: 1_000 }), 0))
      assert.deepStrictEqual(counters(ledger, accounts, 1_000)[0], [80, 0])
      ledger.settle(hold, tokens(actual), 1_000)
      assert.deepStrictEqual(counters(ledger, accounts, 1_000), [
        [actual, 0],
        [actual, 0]
      ])
      assert.strictEqual(ledger.release(hold, 1_000)._tag, "Conflict")
    }
  })

  it("gives back no more than still counts", () => {
    const ledger = new Ledger()
    const accounts = [account([minute, bucket, total])]
    const hold = admitted(ledger.reserve(command(accounts, tokens(60), { book: "now" }), 0))
    ledger.record(accounts, tokens(30), undefined, 61_000)
    ledger.settle(hold, tokens(0), 61_000)
    // What the bucket drained in the meantime is not given back a second time.
    assert.deepStrictEqual(counters(ledger, accounts, 61_000), [
      [30, 0],
      [30, 0],
      [30, 0]
    ])
  })

  it("tells when nothing is used any more after the last use was given back", () => {
    const ledger = new Ledger()
    const accounts = [account([minute])]
    ledger.record(accounts, tokens(5), undefined, 0)
    const hold = admitted(ledger.reserve(command(accounts, tokens(3), { book: "now" }), 10_000))
    ledger.record(accounts, tokens(0), undefined, 20_000)
    ledger.release(hold, 20_000)
    assert.strictEqual(ledger.status(accounts, 20_000).quotas[0]!.resetAfter, 41_000)
  })

  it("does not give back after a reset what was booked before it", () => {
    const ledger = new Ledger()
    const accounts = [account([total])]
    const hold = admitted(ledger.reserve(command(accounts, tokens(80), { book: "now" }), 0))
    ledger.reset({ accounts }, 0)
    ledger.record(accounts, tokens(50), undefined, 0)
    ledger.settle(hold, tokens(10), 0)
    assert.deepStrictEqual(counters(ledger, accounts, 0), [[50, 0]])
  })

  it("keeps what is held through a reset", () => {
    const ledger = new Ledger()
    const accounts = [account([total])]
    const hold = admitted(ledger.reserve(command(accounts, tokens(80)), 0))
    ledger.record(accounts, tokens(50), undefined, 0)
    ledger.reset({ plans: [accounts[0]!.plan] }, 0)
    assert.deepStrictEqual(counters(ledger, accounts, 0), [[0, 80]])
    ledger.settle(hold, tokens(70), 0)
    assert.deepStrictEqual(counters(ledger, accounts, 0), [[70, 0]])
  })

  describe("time", () => {
    it("does not run backwards", () => {
      const ledger = new Ledger()
      const accounts = [account([minute, bucket])]
      ledger.record(accounts, tokens(100), undefined, 3_600_000)
      for (const clock of [3_599_999, 0, -1, -Infinity]) {
        const { retryAfter } = refused(ledger.reserve(command(accounts, tokens(100)), clock))
        assert.strictEqual(retryAfter, 61_000)
        assert.deepStrictEqual(counters(ledger, accounts, clock), [
          [100, 0],
          [100, 0]
        ])
      }
      admitted(ledger.reserve(command(accounts, tokens(100)), 3_661_000))
    })

    it("is waited for when the clock is set back, but for no more than a second at a time", () => {
      const ledger = new Ledger()
      const accounts = [account([{ unit: "concurrency", limit: 1, name: "one" }])]
      admitted(ledger.reserve(command(accounts, tokens(1), { ttl: 5 }), 600_000))
      const waits = [600_000, 599_999, 599_900, 599_000, 0].map(
        (clock) => refused(ledger.reserve(command(accounts, tokens(1)), clock)).retryAfter
      )
      assert.deepStrictEqual(waits, [5, 5, 100, 1_000, 1_000])
    })

    it("books at the last seen time when the clock is set back", () => {
      const ledger = new Ledger()
      const accounts = [account([minute])]
      ledger.status(accounts, 600_000)
      ledger.record(accounts, tokens(100), undefined, 0)
      assert.deepStrictEqual(counters(ledger, accounts, 660_999), [[100, 0]])
      assert.deepStrictEqual(counters(ledger, accounts, 661_000), [[0, 0]])
    })

    it("keeps holds to their time when the clock is set back", () => {
      const ledger = new Ledger()
      const accounts = [account([minute])]
      admitted(ledger.reserve(command(accounts, tokens(10), { ttl: 1_000, onExpiry: "release" }), 600_000))
      assert.deepStrictEqual(counters(ledger, accounts, 0), [[0, 10]])
      assert.deepStrictEqual(counters(ledger, accounts, 600_999.9), [[0, 10]])
      assert.deepStrictEqual(counters(ledger, accounts, 601_000), [[0, 0]])
    })
  })

  it("counts up to 2^53 - 1 without rounding", () => {
    const most = Number.MAX_SAFE_INTEGER
    for (const window of [Window.lifetime, Window.sliding("1 minute"), Window.bucket({ refill: "1 day" })]) {
      const ledger = new Ledger()
      const accounts = [account([{ unit: "tokens", limit: most, window }])]
      admitted(ledger.reserve(command(accounts, tokens(most - 1)), 0))
      const hold = admitted(ledger.reserve(command(accounts, tokens(1)), 0))
      const { held, requested, used } = refused(ledger.reserve(command(accounts, tokens(1)), 0))
      assert.deepStrictEqual([used, held, requested], [0, most, 1])
      ledger.settle(hold, tokens(1), 0)
      assert.deepStrictEqual(counters(ledger, accounts, 0), [[1, most - 1]])
    }
  })
})
