import { assert, describe, it } from "@effect/vitest"
import { Quota, Window } from "headgate"
import { capacity, type Entry, worst } from "../src/simulate/Audit.ts"
import { uniform } from "../src/simulate/uniform.ts"

const entry = (at: number, amount: number, end = at): Entry => ({ at, end, amount })
const quota = (window: Window.Window, limit = 10) => Quota.make({ unit: "tokens", limit, window })

describe("the audit", () => {
  it("finds the fullest span of a sliding window, wherever it begins", () => {
    const log = [entry(0, 4), entry(900, 5), entry(1_000, 3), entry(1_899, 3), entry(1_900, 1), entry(9_000, 2)]
    // From just after 0 to 1,000 there are 8; from just after 899 to 1,899 there are 11.
    assert.deepStrictEqual(worst(quota(Window.sliding("1 second")), log), { amount: 11, at: 1_899, share: 1.1 })
  })

  it("agrees with the sum over every span", () => {
    for (let round = 0; round < 50; round++) {
      let at = 0
      const log = Array.from({ length: 60 }, (_, index) => {
        at += Math.floor(uniform(round, index, 1) * 120)
        return entry(at, Math.floor(uniform(round, index, 2) * 9))
      })
      const length = 1 + Math.floor(uniform(round) * 999)
      let most = 0
      for (let end = 0; end <= at; end++) {
        const sum = log.reduce((sum, { amount, at }) => (at <= end && at > end - length ? sum + amount : sum), 0)
        most = Math.max(most, sum)
      }
      assert.strictEqual(worst(quota(Window.sliding(`${length} millis`)), log).amount, most)
    }
  })

  it("sums fixed windows, days of a time zone, and lifetimes", () => {
    const log = [entry(0, 1), entry(999, 2), entry(1_000, 2), entry(1_999, 2)]
    assert.strictEqual(worst(quota(Window.fixed("1 second")), log).amount, 4)
    assert.strictEqual(worst(quota(Window.lifetime), log).amount, 7)
    const noon = Date.UTC(2026, 2, 29, 12)
    const days = [entry(noon, 3), entry(noon + 9.5 * 3_600_000, 4), entry(noon + 10.5 * 3_600_000, 5)]
    assert.strictEqual(worst(quota(Window.calendar("day")), days).amount, 12)
    assert.strictEqual(worst(quota(Window.calendar("day", { timeZone: "Europe/Berlin" })), days).amount, 7)
  })

  it("asks of a bucket what it would have had to hold", () => {
    const bucket = quota(Window.bucket({ refill: "1 second", burst: 5 }))
    const steady = Array.from({ length: 50 }, (_, index) => entry(index * 100, 1))
    assert.deepStrictEqual(worst(bucket, steady), { amount: 1, at: 0, share: 0.2 })
    assert.deepStrictEqual(worst(bucket, [entry(0, 5), entry(100, 1), entry(150, 1)]), { amount: 5, at: 0, share: 1 })
    assert.strictEqual(worst(bucket, [entry(0, 5), entry(99, 1), entry(100, 1)]).share, 1.2)
    assert.strictEqual(capacity(bucket), 5)
    assert.strictEqual(capacity(quota(Window.bucket({ refill: "1 second", burst: 5 }), 0)), 0)
  })

  it("counts what is under way at once", () => {
    const places = Quota.make({ unit: "concurrency", limit: 2 })
    const log = [entry(0, 1, 10), entry(5, 1, 20), entry(10, 1, 30), entry(10, 1, 10)]
    assert.deepStrictEqual(worst(places, log), { amount: 2, at: 5, share: 1 })
  })

  it("finds nothing in an empty log, and more than any limit of 0 in another", () => {
    assert.deepStrictEqual(worst(quota(Window.lifetime), []), { amount: 0, at: 0, share: 0 })
    assert.strictEqual(worst(quota(Window.lifetime, 0), [entry(0, 1)]).share, Infinity)
  })
})
