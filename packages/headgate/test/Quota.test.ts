import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Money, Quota, Window } from "headgate"

const minute = Window.sliding("1 minute")

const make = (input: object) => () => Quota.make({ unit: "tokens", limit: 1, window: minute, ...input } as Quota.Input)

describe("Quota", () => {
  it("fills in what is not given", () => {
    assert.deepStrictEqual(Quota.make({ unit: "tokens", limit: 500, window: minute }), {
      name: "tokens per 1m",
      unit: "tokens",
      limit: 500,
      window: minute,
      alertAt: [],
      cachedInput: "counted"
    })
    assert.deepStrictEqual(Quota.make({ unit: "concurrency", limit: 5 }), {
      name: "concurrency",
      unit: "concurrency",
      limit: 5,
      window: Window.lifetime,
      alertAt: [],
      cachedInput: "counted"
    })
  })

  it("reads money, and sorts thresholds", () => {
    const quota = Quota.make({ unit: "cost", limit: "$2.50", window: Window.calendar("day"), alertAt: [1, 0.5, 0.8] })
    assert.strictEqual(quota.limit, Money.usd(2.5))
    assert.deepStrictEqual(quota.alertAt, [0.5, 0.8, 1])
    assert.deepStrictEqual(make({ alertAt: 0.9 })().alertAt, [0.9])
  })

  const windows = [
    minute,
    Window.fixed("1 hour"),
    Window.calendar("week", { timeZone: "Asia/Tokyo", weekStartsOn: 0 }),
    Window.bucket({ refill: "1 minute", burst: 5 }),
    Window.bucket({ refill: "1 minute" }),
    Window.lifetime
  ]
  it.effect("round trips through JSON, with every window and unit", () =>
    Effect.gen(function* () {
      for (const window of windows) {
        for (const unit of ["requests", "tokens", "inputTokens", "outputTokens", "cost"] as const) {
          const quota = Quota.make({ unit, limit: 10, window, alertAt: [0.5], cachedInput: "free" })
          const json = JSON.parse(JSON.stringify(yield* Schema.encodeEffect(Quota.Quota)(quota)))
          assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Quota.Quota)(json), quota)
        }
      }
    })
  )

  const wrong: ReadonlyArray<readonly [option: string, input: object, message: RegExp]> = [
    ["an unknown unit", { unit: "bananas" }, /unit must be one of requests, tokens, .*got bananas/],
    ["no unit", { unit: undefined }, /unit must be one of .*got undefined/],
    ["a limit of NaN", { limit: NaN }, /limit must be a whole number from 0 to 2\^53 - 1, got NaN/],
    ["a limit of Infinity", { limit: Infinity }, /limit must be .*got Infinity/],
    ["a limit of -Infinity", { limit: -Infinity }, /limit must be .*got -Infinity/],
    ["a limit of -1", { limit: -1 }, /limit must be .*got -1/],
    ["a limit of 1.5", { limit: 1.5 }, /limit must be .*got 1.5/],
    ["a limit of 2^53", { limit: 2 ** 53 }, /limit must be .*got 9007199254740992/],
    ["an empty limit", { limit: "" }, /limit must be .*got /],
    ["tokens in dollars", { limit: "$5" }, /limit must be a number of tokens, got \$5/],
    ["money above a counter", { unit: "cost", limit: "$9007200" }, /limit must be money from \$0 to \$9007199, got/],
    ["no window", { window: undefined }, /window must be given for the unit tokens, got undefined/],
    ["a window for concurrency", { unit: "concurrency" }, /window must be absent for concurrency, got Sliding/],
    ["an impossible window", { window: { _tag: "Sliding", length: 5 } }, /window must be made by a constructor/],
    ["an unknown window", { window: { _tag: "Fortnight" } }, /window must be made by a constructor/],
    ["a text for a window", { window: "1 minute" }, /window must be made by a constructor/],
    ["a threshold of 0", { alertAt: 0 }, /alertAt must be above 0 and at most 1, got 0/],
    ["a threshold above 1", { alertAt: [0.5, 1.01] }, /alertAt must be .*got 1.01/],
    ["a threshold of NaN", { alertAt: [0.5, NaN] }, /alertAt must be .*got NaN/],
    ["an empty name", { name: "" }, /name must be 1 to 256 characters/],
    ["a long name", { name: "x".repeat(1_000_000) }, /^.{0,200}$/],
    ["another way to count", { cachedInput: "half" }, /cachedInput must be "counted" or "free", got half/]
  ]
  for (const [name, input, message] of wrong) {
    it(`refuses ${name}, and says what it must be`, () => {
      assert.throws(make(input), RangeError)
      assert.throws(make(input), message)
      assert.throws(make(input), /^Quota\.make: /)
    })
  }
})
