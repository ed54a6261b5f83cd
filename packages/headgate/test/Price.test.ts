import { assert, describe, it } from "@effect/vitest"
import { calcPrice, findProvider } from "@pydantic/genai-prices"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Money, type ModelUsage, Price, UnpricedModel } from "headgate"
import { Choices, seedOf } from "./internal/support.ts"

const cost = (model: string, usage: ModelUsage.ModelUsage, provider?: string) =>
  Price.Price.use((price) => price.cost(model, usage, { provider }))

const plain = { inputTokens: 1000, outputTokens: 100 }

/** The usage in the words of the package of prices. */
const theirs = (usage: ModelUsage.ModelUsage) => ({
  input_tokens: usage.inputTokens,
  output_tokens: usage.outputTokens,
  cache_read_tokens: usage.cachedInputTokens,
  cache_write_tokens: usage.cacheWriteTokens,
  cache_write_1h_tokens: usage.cacheWrite1hTokens,
  output_reasoning_tokens: usage.reasoningTokens,
  input_audio_tokens: usage.inputAudioTokens,
  output_audio_tokens: usage.outputAudioTokens,
  input_image_tokens: usage.inputImageTokens,
  output_image_tokens: usage.outputImageTokens,
  cache_audio_read_tokens: 0,
  cache_image_read_tokens: 0
})

const providers = [
  "openai",
  "anthropic",
  "google",
  "aws",
  "azure",
  "groq",
  "mistral",
  "x-ai",
  "deepseek",
  "perplexity",
  "openrouter",
  "together",
  "cohere",
  "voyageai"
]

const models = providers.flatMap((provider) =>
  findProvider({ providerId: provider })!.models.map(({ id }) => ({ provider, model: id }))
)

const anyUsage = (choose: Choices): ModelUsage.ModelUsage => {
  const size = () => Math.floor(choose.next() * 10 ** choose.between(0, 6))
  const part = () => (choose.chance(0.4) ? size() : 0)
  const [cachedInputTokens, cacheWrite5m, cacheWrite1hTokens, inputAudioTokens, inputImageTokens] = [
    part(),
    part(),
    part(),
    part(),
    part()
  ]
  const [reasoningTokens, outputAudioTokens, outputImageTokens] = [part(), part(), part()]
  return {
    inputTokens: size() + cachedInputTokens + cacheWrite5m + cacheWrite1hTokens + inputAudioTokens + inputImageTokens,
    outputTokens: size() + reasoningTokens + outputAudioTokens + outputImageTokens,
    cachedInputTokens,
    cacheWriteTokens: cacheWrite5m + cacheWrite1hTokens,
    cacheWrite1hTokens,
    reasoningTokens,
    inputAudioTokens,
    outputAudioTokens,
    inputImageTokens,
    outputImageTokens
  }
}

describe("Price, against the package's own sums", () => {
  const seed = seedOf("Price")

  it.effect(
    `agrees within what floating point loses, for ${models.length} models, usages of all kinds, at all times`,
    () =>
      Effect.gen(function* () {
        const choose = new Choices(seed)
        let compared = 0
        for (const { model, provider } of models) {
          for (let round = 0; round < 12; round++) {
            const at = Date.UTC(
              2025,
              choose.between(0, 23),
              choose.between(1, 28),
              choose.between(0, 23),
              choose.between(0, 59)
            )
            yield* TestClock.setTime(at)
            const usage = anyUsage(choose)
            const found = calcPrice(theirs(usage), model, { providerId: provider, timestamp: new Date(at) })
            const keys = Object.keys(found?.model_price ?? {})
            const isByToken =
              keys.length === 0 || ["input_mtok", "output_mtok", "requests_kcount"].some((key) => keys.includes(key))
            if (found === null || !isByToken) {
              assert.instanceOf(yield* Effect.flip(cost(model, usage, provider)), UnpricedModel)
              continue
            }
            const mine = yield* cost(model, usage, provider)
            const nanos = found.total_price * 1e9
            // A rate below a pico-dollar per token is rounded up to one, and the sum to a nano-dollar.
            const rounding = 1 + (usage.inputTokens + usage.outputTokens) / 1000
            const label = `${provider} ${model} ${JSON.stringify(usage)} at ${at}: ${mine} for ${nanos}`
            assert.isAtLeast(mine, nanos * (1 - 1e-9) - 1e-6, label)
            assert.isAtMost(mine, nanos * (1 + 1e-9) + rounding, label)
            compared++
          }
        }
        assert.isAbove(compared, models.length * 10)
      }).pipe(Effect.provide(Price.layer()))
  )

  it.effect("rounds up to the nano-dollar, exactly", () =>
    Effect.gen(function* () {
      const choose = new Choices(seed)
      const rate = () => choose.between(1000, 2_000_000_000)
      for (let round = 0; round < 3000; round++) {
        const [input, output, cached] = [rate(), rate(), rate()]
        const perM = (pico: number) =>
          `$${Math.floor(pico / 1e6)}.${String(pico % 1e6).padStart(6, "0")}/M` as Price.PerToken
        const price = yield* Price.make({
          m: { input: perM(input), output: perM(output), cachedInput: perM(cached) }
        })
        const size = () => Math.floor(choose.next() * 10 ** choose.between(0, 12))
        const cachedInputTokens = size()
        const usage = { inputTokens: cachedInputTokens + size(), outputTokens: size(), cachedInputTokens }
        const pico =
          BigInt(usage.inputTokens - cachedInputTokens) * BigInt(input) +
          BigInt(cachedInputTokens) * BigInt(cached) +
          BigInt(usage.outputTokens) * BigInt(output)
        const nanos = (pico + 999n) / 1000n
        const most = BigInt(Number.MAX_SAFE_INTEGER)
        assert.strictEqual(BigInt(yield* price.cost("m", usage)), nanos > most ? most : nanos)
      }
    })
  )
})

describe("Price", () => {
  const cases: ReadonlyArray<readonly [string, string, ModelUsage.ModelUsage, Money.Input, string?]> = [
    ["input and output", "claude-sonnet-4-5", { inputTokens: 1000, outputTokens: 100 }, "$0.0045"],
    ["what was read from the cache", "claude-sonnet-4-5", { ...plain, cachedInputTokens: 1000 }, "$0.0018"],
    ["what was written to it", "claude-sonnet-4-5", { ...plain, cacheWriteTokens: 1000 }, "$0.00525"],
    [
      "what was written to be kept",
      "claude-sonnet-4-5",
      { ...plain, cacheWriteTokens: 1000, cacheWrite1hTokens: 1000 },
      "$0.0075"
    ],
    ["reasoning as output", "claude-sonnet-4-5", { ...plain, reasoningTokens: 100 }, "$0.0045"],
    ["a small input by the lower tier", "gemini-2.5-pro", { inputTokens: 200_000, outputTokens: 0 }, "$0.25"],
    [
      "a large input by the higher tier, all of it",
      "gemini-2.5-pro",
      { inputTokens: 200_001, outputTokens: 0 },
      "$0.5000025"
    ],
    [
      "cached audio as audio, where all was audio",
      "gpt-realtime",
      { inputTokens: 1000, outputTokens: 0, inputAudioTokens: 1000, cachedInputTokens: 900 },
      "$0.00356"
    ],
    ["each request", "sonar", { inputTokens: 0, outputTokens: 0 }, "$0.012", "perplexity"],
    ["a model that is for free", "deepseek/deepseek-r1:free", plain, "$0", "openrouter"],
    ["by the address of an API", "claude-sonnet-4-5", plain, "$0.0045", "https://api.anthropic.com/v1/messages"],
    ["a model with its date", "gpt-4o-2024-08-06", plain, "$0.0035"]
  ]
  it.effect.each(cases)("charges %s", ([_, model, usage, expected, provider]) =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 10, 1))
      assert.strictEqual(
        Money.format(yield* cost(model, usage, provider)),
        Money.format(Money.fromInputUnsafe(expected))
      )
    }).pipe(Effect.provide(Price.layer()))
  )

  it.effect("charges what holds at the time, although the model was looked up before", () =>
    Effect.gen(function* () {
      const at = (hour: number, minute: number, second = 0) =>
        Effect.andThen(
          TestClock.setTime(Date.UTC(2025, 3, 2, hour, minute, second)),
          cost("deepseek-chat", { inputTokens: 1_000_000, outputTokens: 0 }, "deepseek")
        )
      const [night, day] = [yield* at(0, 29, 59), yield* at(0, 30)]
      assert.notStrictEqual(night, day)
      assert.strictEqual(yield* at(16, 29, 59), day)
      assert.strictEqual(yield* at(16, 30), night)
      yield* TestClock.setTime(Date.parse("2025-06-09T23:59:59.999Z"))
      assert.strictEqual(yield* cost("o3", { inputTokens: 1000, outputTokens: 0 }), Money.usd(0.01))
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* cost("o3", { inputTokens: 1000, outputTokens: 0 }), Money.usd(0.002))
    }).pipe(Effect.provide(Price.layer()))
  )

  it.effect("puts your own prices before the package's", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* cost("gpt-4o", plain), Money.usd(0.0011))
      const many = {
        ...plain,
        cachedInputTokens: 500,
        cacheWriteTokens: 300,
        cacheWrite1hTokens: 100,
        reasoningTokens: 40
      }
      assert.strictEqual(yield* cost("mine", many), Money.usd(0.0048))
      assert.strictEqual(yield* cost("mine", { inputTokens: 1001, outputTokens: 1 }), Money.usd(0.007021))
      assert.strictEqual(yield* cost("mine", { inputTokens: 2001, outputTokens: 1 }), Money.usd(0.013036))
    }).pipe(
      Effect.provide(
        Price.layer({
          "gpt-4o": { input: "$1/M", output: "$0.001/K" },
          mine: {
            input: "$3/M",
            output: "$15/M",
            cachedInput: "$0.30/M",
            cacheWrite: "$3.75/M",
            cacheWrite1h: "$6/M",
            reasoning: "$20/M",
            request: "$0.001",
            tiers: [
              { inputAbove: 1000, input: "$6/M" },
              { inputAbove: 2000, input: "$6/M", output: "$30/M" }
            ]
          }
        })
      )
    )
  )

  const unpriced: ReadonlyArray<readonly [string, string, string?]> = [
    ["a model that nobody knows", "nobody-knows-this-1"],
    ["a provider that nobody knows", "gpt-4o", "nobody"],
    ["a provider that has no such model", "gpt-4o", "anthropic"],
    ["a model that is charged by the hour", "whisper-1"],
    ["a model without a name", ""],
    ["a name that is none", "m".repeat(100_000)]
  ]
  it.effect.each(unpriced)("has no price for %s", ([_, model, provider]) =>
    Effect.gen(function* () {
      // The second time it is remembered.
      for (const _ of [1, 2]) {
        const error = yield* Effect.flip(cost(model, plain, provider))
        assert.deepStrictEqual(error, new UnpricedModel({ model: model.slice(0, 256), ...(provider && { provider }) }))
      }
    }).pipe(Effect.provide(Price.layer()))
  )

  it.effect("charges what you chose for a model without a price", () =>
    Effect.gen(function* () {
      const unknown = cost("nobody-knows-this-1", plain)
      assert.strictEqual(yield* Effect.provide(unknown, Price.layer({}, { unpriced: "free" })), 0)
      assert.strictEqual(yield* Effect.provide(unknown, Price.layer({}, { unpriced: "$0.25" })), Money.usd(0.25))
    })
  )

  it.effect("refuses a usage that is none", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(cost("gpt-4o", { inputTokens: NaN, outputTokens: 1 }))
      assert(error._tag === "InvalidUsage")
      assert.strictEqual(error.field, "inputTokens")
    }).pipe(Effect.provide(Price.layer()))
  )

  it.effect("remembers a thousand models, not all that are asked for", () =>
    Effect.gen(function* () {
      const price = yield* Price.Price
      for (let index = 0; index < 3000; index++) yield* Effect.exit(price.cost(`model-${index}`, plain))
      assert.strictEqual(yield* price.cost("gpt-4o", plain), Money.usd(0.0035))
    }).pipe(Effect.provide(Price.layer()))
  )

  const right = { input: "$3/M", output: "$15/M" } as const
  const wrong: ReadonlyArray<readonly [prices: unknown, unpriced: unknown, message: RegExp]> = [
    [{ m: { ...right, input: 3 } }, "fail", /Price\.layer: m\.input must be .*, got 3$/],
    [{ m: { ...right, input: "$3" } }, "fail", /m\.input must be .*, got \$3$/],
    [{ m: { ...right, input: "3/M" } }, "fail", /m\.input must be .*, got 3\/M$/],
    [{ m: { ...right, input: "$-3/M" } }, "fail", /m\.input must be .*, got \$-3\/M$/],
    [{ m: { ...right, input: "$NaN/M" } }, "fail", /m\.input/],
    [{ m: { ...right, cachedInput: "$0.0000025/M" } }, "fail", /m\.cachedInput must be .*\$0\.001\/M/],
    [{ m: { ...right, cachedInput: "$0.1234567/M" } }, "fail", /m\.cachedInput must be .* 6 decimals/],
    [{ m: { ...right, output: undefined } }, "fail", /m\.output must be given/],
    [{ m: { ...right, cached: "$1/M" } }, "fail", /m\.cached must be a price that is known here/],
    [{ m: { ...right, request: "1 cent" } }, "fail", /m\.request must be money/],
    [{ m: { ...right, tiers: [{ inputAbove: -1 }] } }, "fail", /m\.tiers\[0\]\.inputAbove must be a whole number/],
    [{ m: { ...right, tiers: [{ inputAbove: 1, output: "$1" }] } }, "fail", /m\.tiers\[0\]\.output must be/],
    [{}, "none", /unpriced must be "fail", "free" or money .*, got none/],
    [{}, "$-1", /unpriced must be/]
  ]
  it.each(wrong)("refuses %j and unpriced %j, and says why", (prices, unpriced, message) => {
    assert.throws(
      () => Price.layer(prices as { [model: string]: Price.ModelPrice }, { unpriced: unpriced as Money.Input }),
      RangeError,
      message
    )
  })
})
