import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Money, Usage } from "headgate"

const part = (input: Usage.Input) => Effect.runSync(Usage.make(input))

describe("Usage", () => {
  it.effect("is one request of nothing when nothing is known", () =>
    Effect.map(Usage.make({}), (usage) => assert.deepStrictEqual(usage, { ...Usage.zero, requests: 1 }))
  )

  it.effect("adds input and output tokens up", () =>
    Effect.gen(function* () {
      const usage = yield* Usage.make({ inputTokens: 1_000, outputTokens: 200, cachedInputTokens: 900, cost: "$0.01" })
      assert.deepStrictEqual(usage, {
        requests: 1,
        inputTokens: 1_000,
        outputTokens: 200,
        cachedInputTokens: 900,
        tokens: 1_200,
        cost: Money.usd(0.01)
      })
    })
  )

  // litellm #37001: an estimate of two fields that fools the check of one.
  it.effect("counts no fewer tokens than input and output have", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* Usage.make({ tokens: 1, inputTokens: 500, outputTokens: 500 })).tokens, 1_000)
      assert.strictEqual((yield* Usage.make({ tokens: 2_000, inputTokens: 500, outputTokens: 500 })).tokens, 2_000)
    })
  )

  // litellm #37992: explicit zero usage treated as missing.
  it.effect("takes an explicit zero as zero", () =>
    Effect.gen(function* () {
      const usage = yield* Usage.make({ requests: 0, tokens: 0, inputTokens: 0, outputTokens: 0, cost: Money.zero })
      assert.deepStrictEqual(usage, Usage.zero)
    })
  )

  it.effect("knows its cached tokens as a part of its input, or of all where the input is not known", () =>
    Effect.gen(function* () {
      const usage = yield* Usage.make({ tokens: 10, cachedInputTokens: 10 })
      assert.deepStrictEqual([usage.cachedInputTokens, usage.inputTokens, usage.tokens], [10, 10, 10])
      assert.deepStrictEqual(yield* Usage.make(usage), usage, "complete is complete")
      const more = yield* Effect.flip(Usage.make({ tokens: 10, cachedInputTokens: 11 }))
      assert.deepStrictEqual([more.field, more.value], ["cachedInputTokens", 11])
      const error = yield* Effect.flip(Usage.make({ inputTokens: 9, outputTokens: 5, cachedInputTokens: 10 }))
      assert.deepStrictEqual([error._tag, error.field, error.value], ["InvalidUsage", "cachedInputTokens", 10])
    })
  )

  const counts = ["requests", "inputTokens", "outputTokens", "cachedInputTokens", "tokens"] as const
  const wrong: ReadonlyArray<unknown> = [
    NaN,
    Infinity,
    -Infinity,
    -1,
    1.5,
    2 ** 53,
    "5",
    "",
    true,
    {},
    [],
    5n,
    Symbol("5")
  ]
  for (const field of counts) {
    it.effect(`refuses ${field} that are not counts, and says which and why`, () =>
      Effect.gen(function* () {
        for (const value of wrong) {
          const error = yield* Effect.flip(Usage.make({ [field]: value }))
          assert.strictEqual(error._tag, "InvalidUsage")
          assert.strictEqual(error.field, field)
          assert.strictEqual(error.bound, "a whole number from 0 to 2^53 - 1")
          assert.include(["number", "string"], typeof error.value)
          assert.include(error.message, `${field} must be a whole number from 0 to 2^53 - 1, got`)
          if (typeof value === "number") assert.deepStrictEqual(error.value, value)
        }
      })
    )
  }

  it.effect("refuses money that is none", () =>
    Effect.gen(function* () {
      for (const cost of [NaN, -1, 0.5, 2 ** 53, "1", "$-1", "", null, {}]) {
        const error = yield* Effect.flip(Usage.make({ cost: cost as Money.Input }))
        assert.deepStrictEqual([error.field, error.bound], ["cost", "money from $0 to $9007199"])
      }
    })
  )

  it.effect("refuses what is not a record", () =>
    Effect.gen(function* () {
      for (const input of [null, 5, "tokens", undefined, true]) {
        const error = yield* Effect.flip(Usage.make(input as Usage.Input))
        assert.deepStrictEqual([error.field, error.bound], ["usage", "an object"])
      }
    })
  )

  it.effect("refuses a sum of tokens beyond 2^53 - 1, with the sum", () =>
    Effect.gen(function* () {
      const half = 2 ** 52
      const error = yield* Effect.flip(Usage.make({ inputTokens: half, outputTokens: half }))
      assert.deepStrictEqual([error.field, error.value], ["tokens", 2 ** 53])
    })
  )

  it("sums field by field", () => {
    const a = part({ inputTokens: 3, outputTokens: 4, cachedInputTokens: 1, cost: "$0.10" })
    const b = part({ requests: 2, tokens: 10, cost: "$0.20" })
    assert.deepStrictEqual(Usage.sum(a, b), {
      requests: 3,
      inputTokens: 3,
      outputTokens: 4,
      cachedInputTokens: 1,
      tokens: 17,
      cost: Money.usd(0.3)
    })
    assert.deepStrictEqual(Usage.sum(a, Usage.zero), a)
  })

  it("tells what is in excess, and never less than nothing", () => {
    const a = part({ tokens: 100, cost: "$1" })
    const b = part({ tokens: 40, cost: "$3" })
    assert.deepStrictEqual(Usage.excess(a, b), { ...Usage.zero, tokens: 60 })
    assert.deepStrictEqual(Usage.excess(b, a), { ...Usage.zero, cost: Money.usd(2) })
    assert.deepStrictEqual(Usage.excess(a, a), Usage.zero)
  })

  it.effect("round trips through JSON", () =>
    Effect.gen(function* () {
      const usage = yield* Usage.make({ inputTokens: 3, outputTokens: 4, cachedInputTokens: 2, cost: "$0.1" })
      const json = JSON.parse(JSON.stringify(yield* Schema.encodeEffect(Usage.Usage)(usage)))
      assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Usage.Usage)(json), usage)
      for (const bad of [{ ...json, tokens: -1 }, { ...json, tokens: 1.5 }, { ...json, cost: "1" }, {}]) {
        assert.isFalse(Schema.is(Usage.Usage)(bad))
      }
    })
  )
})
