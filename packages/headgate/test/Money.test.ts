import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schema } from "effect"
import { Money } from "headgate"
import { Choices, seedOf } from "./internal/support.ts"

const most = Number.MAX_SAFE_INTEGER
const seed = seedOf("Money")

/** Amounts of every size. */
const amounts = (count: number): ReadonlyArray<Money.Money> => {
  const choose = new Choices(seed)
  const random = Array.from({ length: count }, () => Math.floor(choose.next() * 10 ** choose.between(0, 15)))
  return [0, 1, 9, 10, 999_999_999, 1_000_000_000, most - 1, most, ...random].map((nanos) => nanos as Money.Money)
}

describe("Money", () => {
  it("formats and parses every amount exactly", () => {
    for (const money of amounts(10_000)) {
      assert.strictEqual(Money.fromInput(Money.format(money)), money)
      assert.strictEqual(Money.fromInput(money), money)
    }
  })

  it.effect("round trips through text, and through dollars up to 15 digits", () =>
    Effect.gen(function* () {
      for (const money of amounts(1_000)) {
        const text = yield* Schema.encodeEffect(Money.FromString)(money)
        assert.strictEqual(yield* Schema.decodeEffect(Money.FromString)(text), money)
        if (money > 1e15) continue
        const usd = yield* Schema.encodeEffect(Money.FromUsd)(money)
        assert.strictEqual(yield* Schema.decodeUnknownEffect(Money.FromUsd)(JSON.parse(JSON.stringify(usd))), money)
      }
    })
  )

  const formatted = [
    [0, "$0.00"],
    [1, "$0.000000001"],
    [10_000_000, "$0.01"],
    [2_500_000_000, "$2.50"],
    [420_000, "$0.00042"],
    [1_000_000_000_000, "$1000.00"],
    [most, "$9007199.254740991"]
  ] as const
  for (const [nanos, text] of formatted) {
    it(`formats ${nanos} as ${text}`, () => assert.strictEqual(Money.format(nanos as Money.Money), text))
  }

  const read: ReadonlyArray<readonly [input: Money.Input, nanos: number]> = [
    ["$0", 0],
    ["$1", 1_000_000_000],
    ["$2.50", 2_500_000_000],
    ["$0.07", 70_000_000],
    ["$0.1", 100_000_000],
    ["$0.0000000001", 1],
    ["$1e-7", 100],
    ["$1e-300", 1],
    ["$0e+99", 0],
    ["$9007199.254740991", most]
  ]
  for (const [input, nanos] of read) {
    it(`reads ${input}`, () => assert.strictEqual(Money.fromInput(input), nanos))
  }

  it("takes the digits of a number of dollars as they are written", () => {
    // 0.07 * 1e9 is 70000000.00000001, 1.1 * 1e9 is 1100000000.0000001 and 0.29 * 1e9 is 290000000 by luck.
    assert.strictEqual(Money.usd(0.07), 70_000_000)
    assert.strictEqual(Money.usd(1.1), 1_100_000_000)
    assert.strictEqual(Money.usd(4.35), 4_350_000_000)
    assert.strictEqual(Money.usd(1e-10), 1)
    assert.strictEqual(Money.usd(0), 0)
    for (let cents = 0; cents < 100_000; cents += 7) assert.strictEqual(Money.usd(cents / 100), cents * 10_000_000)
  })

  it("rounds a part of a nano-dollar up, never down to nothing", () => {
    assert.strictEqual(Money.usd(0.0000000011), 2)
    assert.strictEqual(Money.fromInput("$0.9999999991"), 1_000_000_000)
  })

  const wrong: ReadonlyArray<unknown> = [
    "",
    "$",
    "$-1",
    "-$1",
    "2.50",
    "$ 1",
    "$1,000",
    "$1.",
    "$.5",
    "$NaN",
    "$Infinity",
    "$0x10",
    "$1e999",
    "$9007199.254740992",
    `$${"9".repeat(10_000_000)}`,
    NaN,
    Infinity,
    -Infinity,
    -1,
    1.5,
    2 ** 53,
    null,
    undefined,
    true,
    {},
    [1],
    10n
  ]
  for (const input of wrong) {
    const shown = typeof input === "string" ? JSON.stringify(input.slice(0, 20)) : `${typeof input} ${String(input)}`
    it(`is not made of ${shown}`, () => {
      assert.isUndefined(Money.fromInput(input as Money.Input))
      assert.throws(() => Money.fromInputUnsafe(input as Money.Input), RangeError)
      assert.isFalse(Exit.isSuccess(Schema.decodeUnknownExit(Money.FromString)(input)))
    })
  }

  it("names the bound and a short piece of the value", () => {
    assert.throws(() => Money.usd(-1), /Money\.usd: dollars must be between 0 and 9007199, got -1/)
    for (const dollars of [NaN, Infinity, -0.01, 9_007_200]) assert.throws(() => Money.usd(dollars), RangeError)
    const huge = `$${"x".repeat(1_000_000)}` as Money.Input
    assert.throws(() => Money.fromInputUnsafe(huge), /^.{0,200}$/)
  })

  it("decodes dollars of JSON, and refuses what is not an amount", () => {
    const decode = Schema.decodeUnknownExit(Money.FromUsd)
    assert.deepStrictEqual(decode(0.000125), Exit.succeed(Money.usd(0.000125)))
    for (const dollars of [-1, NaN, Infinity, "1", null, 1e10]) assert.isTrue(Exit.isFailure(decode(dollars)))
  })

  it("is a safe integer from 0 on", () => {
    for (const nanos of [0, 1, most]) assert.isTrue(Schema.is(Money.Money)(nanos))
    for (const value of [-1, 0.5, NaN, 2 ** 53, "1"]) assert.isFalse(Schema.is(Money.Money)(value))
  })
})
