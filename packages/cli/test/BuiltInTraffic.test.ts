import { assert, describe, it } from "@effect/vitest"
import * as BuiltInTraffic from "../src/simulate/BuiltInTraffic.ts"
import { uniform } from "../src/simulate/uniform.ts"

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

describe("the built-in traffic", () => {
  it("is the same for the same seed, and another for another", () => {
    assert.deepStrictEqual(BuiltInTraffic.make(7), BuiltInTraffic.make(7))
    assert.notDeepEqual(BuiltInTraffic.make(7).requests, BuiltInTraffic.make(8).requests)
  })

  it("lasts an hour, in the order of arrival, by several users of both models", () => {
    for (const seed of [0, 1, 2 ** 31 - 1]) {
      const { requests } = BuiltInTraffic.make(seed)
      const times = requests.map(({ at }) => at)
      assert.deepStrictEqual(
        times,
        times.toSorted((a, b) => a - b)
      )
      const span = (times.at(-1) ?? 0) - (times[0] ?? 0)
      assert.isAbove(span, 3_590_000)
      assert.isBelow(span, 3_600_000)
      assert.isAtLeast(new Set(requests.map(({ user }) => user)).size, 10)
      assert.strictEqual(new Set(requests.map(({ model }) => model)).size, 2)
    }
  })

  it("has the quantiles it is made from", () => {
    const chat = BuiltInTraffic.make(1).requests.filter(({ model }) => model === "small")
    assert.closeTo(median(chat.map(({ inputTokens }) => inputTokens)), 1_020, 25)
    assert.closeTo(median(chat.map(({ outputTokens }) => outputTokens)), 129, 8)
    assert.isAtMost(Math.max(...chat.map(({ inputTokens }) => inputTokens)), 14_050)
  })
})

describe("uniform", () => {
  it("depends on every key and spreads evenly", () => {
    const bins = Array.from({ length: 10 }, () => 0)
    for (let key = 0; key < 10_000; key++) {
      const value = uniform(1, key, 2)
      assert.isTrue(value >= 0 && value < 1)
      bins[Math.floor(value * 10)]! += 1
    }
    for (const count of bins) assert.closeTo(count, 1_000, 150)
    assert.strictEqual(uniform(1, 2, 3), uniform(1, 2, 3))
    assert.notStrictEqual(uniform(1, 2, 3), uniform(1, 3, 2))
  })
})
