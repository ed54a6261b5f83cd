import { assert, describe, it } from "@effect/vitest"
import { type Quota, Window } from "headgate"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { account, admitted, command, counters, plan, refused, tokens } from "./support.ts"

const minute = { unit: "tokens", limit: 100, window: Window.sliding("1 minute"), name: "minute" } as const
const hour = { unit: "tokens", limit: 1_000, window: Window.fixed("1 hour"), name: "hour" } as const
const bucket = { unit: "tokens", limit: 60, window: Window.bucket({ refill: "1 minute" }), name: "bucket" } as const

const perUser = (quotas: ReadonlyArray<Quota.Input>) => {
  const users = plan(quotas, { id: "budget:user", dimension: "user" })
  return (value: string) => [{ plan: users, value }]
}

const hours = (count: number) => count * 3_600_000

describe("eviction", () => {
  it("forgets 1,000,000 idle subjects", { timeout: 60_000 }, () => {
    const ledger = new Ledger()
    const user = perUser([minute, hour])
    for (let index = 0; index < 1_000_000; index++) ledger.record(user(`user-${index}`), tokens(1), undefined, index)
    assert.strictEqual(ledger.size, 1_000_000)
    ledger.record(user("another"), tokens(1), undefined, 1_000_000 + hours(5))
    assert.isAtMost(ledger.size, 2)
    assert.deepStrictEqual(counters(ledger, user("user-0"), 1_000_000 + hours(5)), [
      [0, 0],
      [0, 0]
    ])
  })

  it("stays small while new subjects keep coming", { timeout: 30_000 }, () => {
    const ledger = new Ledger()
    const user = perUser([minute])
    let most = 0
    for (let index = 0; index < 200_000; index++) {
      ledger.record(user(`user-${index}`), tokens(1), undefined, index * 100)
      most = Math.max(most, index % 100 === 0 ? ledger.size : 0)
    }
    // Ten a second: no more than those of the last few minutes.
    assert.isBelow(most, 4 * 60 * 10 + 200)
  })

  it("remembers to the last millisecond what still counts", () => {
    const ledger = new Ledger()
    const user = perUser([minute, hour])
    for (let at = 0; at < hours(10); at += 1_234_567) {
      const end = Math.floor(at / hours(1)) * hours(1) + hours(1)
      ledger.record(user(`at-${at}`), tokens(70), undefined, at)
      if (end - 1 > at) assert.deepStrictEqual(counters(ledger, user(`at-${at}`), end - 1)[1], [70, 0])
      assert.deepStrictEqual(counters(ledger, user(`at-${at}`), end)[1], [0, 0])
      at = Math.max(at, end)
    }
  })

  it("keeps open holds, however long nothing comes", () => {
    const ledger = new Ledger()
    const user = perUser([minute])
    const hold = admitted(ledger.reserve(command(user("x"), tokens(80), { ttl: hours(24 * 30) }), 0))
    for (let index = 1; index <= 100; index++) ledger.record(user(`user-${index}`), tokens(1), undefined, hours(index))
    assert.deepStrictEqual(counters(ledger, user("x"), hours(101)), [[0, 80]])
    ledger.settle(hold, tokens(70), hours(102))
    assert.deepStrictEqual(counters(ledger, user("x"), hours(102)), [[70, 0]])
    refused(ledger.reserve(command(user("x"), tokens(31)), hours(102)))
  })

  it("keeps the charge of a hold that expired while nothing came", () => {
    const ledger = new Ledger()
    const user = perUser([minute])
    admitted(ledger.reserve(command(user("x"), tokens(80), { ttl: hours(1) }), 0))
    assert.deepStrictEqual(counters(ledger, user("x"), hours(1)), [[80, 0]])
    refused(ledger.reserve(command(user("x"), tokens(21)), hours(1)))
  })

  it("keeps the overdraft of a bucket until it has drained", () => {
    const ledger = new Ledger()
    const user = perUser([bucket])
    ledger.record(user("x"), tokens(60 * 60 * 24), undefined, 0)
    for (let index = 1; index < 24; index++) ledger.record(user(`user-${index}`), tokens(1), undefined, hours(index))
    // 60 a minute: a day of them in a day.
    assert.deepStrictEqual(counters(ledger, user("x"), hours(23)), [[3_600, 0]])
    assert.deepStrictEqual(counters(ledger, user("x"), hours(24) - 1), [[1, 0]])
    assert.deepStrictEqual(counters(ledger, user("x"), hours(24)), [[0, 0]])
    ledger.record(user("another"), tokens(1), undefined, hours(26))
    ledger.record(user("another"), tokens(1), undefined, hours(28))
    assert.isAtMost(ledger.size, 2)
  })

  it("does not bring back the overdraft of a bucket that was reset", () => {
    const ledger = new Ledger()
    const user = perUser([bucket])
    ledger.record(user("x"), tokens(70), undefined, 0)
    ledger.reset({ accounts: user("x") }, 0)
    const hold = admitted(ledger.reserve(command(user("x"), tokens(20)), 0))
    assert.deepStrictEqual(counters(ledger, user("x"), 80_000), [[0, 20]])
    ledger.settle(hold, tokens(20), 80_000)
    assert.deepStrictEqual(counters(ledger, user("x"), 80_000), [[20, 0]])
  })

  it("never forgets a lifetime", () => {
    const ledger = new Ledger()
    const user = perUser([{ unit: "tokens", limit: 100, window: Window.lifetime }, minute])
    ledger.record(user("x"), tokens(60), undefined, 0)
    for (let index = 1; index < 50; index++) ledger.record(user("y"), tokens(0), undefined, hours(index * 1_000))
    assert.deepStrictEqual(counters(ledger, user("x"), hours(50_000))[0], [60, 0])
  })

  it("keeps a throttle longer than any window", () => {
    const ledger = new Ledger()
    const users = plan([minute], { id: "budget:user", dimension: "user", throttle: hours(10) })
    const user = (value: string) => [{ plan: users, value }]
    ledger.record(user("x"), tokens(100), undefined, 0)
    refused(ledger.reserve(command(user("x"), tokens(1)), 0))
    for (let index = 1; index < 10; index++) ledger.record(user("y"), tokens(1), undefined, hours(index))
    const { reason, retryAfter } = refused(ledger.reserve(command(user("x"), tokens(1)), hours(9)))
    assert.deepStrictEqual([reason, retryAfter], ["throttled", hours(1)])
  })

  it("settles what was booked on an account that has been forgotten since", () => {
    const ledger = new Ledger()
    const user = perUser([minute])
    const hold = admitted(ledger.reserve(command(user("x"), tokens(80), { book: "now" }), 0))
    ledger.record(user("y"), tokens(1), undefined, hours(1))
    ledger.record(user("x"), tokens(30), undefined, hours(1))
    ledger.settle(hold, tokens(90), hours(1))
    assert.deepStrictEqual(counters(ledger, user("x"), hours(1)), [[40, 0]])
  })

  it("does not let one subject's turn touch another book", () => {
    const ledger = new Ledger()
    const everyone = [account([hour])]
    const user = perUser([minute])
    ledger.record(everyone, tokens(900), undefined, 0)
    for (let index = 0; index < 29; index++) ledger.record(user(`user-${index}`), tokens(1), undefined, index * 120_000)
    assert.deepStrictEqual(counters(ledger, everyone, hours(1) - 1), [[900, 0]])
  })
})
