import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Estimator, type ModelUsage } from "headgate"
import { Choices, seedOf } from "./internal/support.ts"

const estimate = (request: Estimator.Request) => Estimator.Estimator.use((estimator) => estimator.estimate(request))

const observe = (request: Estimator.Request, actual: ModelUsage.ModelUsage, times: number) =>
  Estimator.Estimator.use((estimator) => Effect.replicateEffect(estimator.observe(request, actual), times))

const text = "How deep is the sea, and who went there first? ".repeat(20)
const bytes = text.length
const request: Estimator.Request = { model: "m", input: text, maxOutputTokens: 1000 }
/** What is added for one part. */
const around = 7

describe("an estimate of the input", () => {
  const sizes: ReadonlyArray<readonly [string, Estimator.Input, number]> = [
    ["a text: its bytes", "four", 4 + around],
    ["letters of two and three bytes", "né本", 6 + around],
    ["a character of two places", "😀", 4 + around],
    ["half a character: as it is written", "a\ud83d", 4 + around],
    ["several messages", ["four", "five5"], 9 + 4 + around],
    ["what is given in bytes", { bytes: 100 }, 100 + around],
    ["what is given in tokens", { tokens: 100 }, 100 + around],
    ["all together", ["four", { bytes: 10 }, { tokens: 765 }], 4 + 10 + 765 + 8 + around],
    ["nothing", [], 3],
    ["no text", "", around]
  ]
  it.effect.each(sizes)("%s", ([_, input, inputTokens]) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* estimate({ model: "m", input, maxOutputTokens: 10 }), {
        inputTokens,
        outputTokens: 10
      })
    }).pipe(Effect.provide(Estimator.layer({ input: "bytes" })))
  )

  it.effect("by bytes is as large as what UTF-8 makes of any text", () =>
    Effect.gen(function* () {
      const choose = new Choices(seedOf("Estimator"))
      for (let round = 0; round < 2000; round++) {
        const units = Array.from({ length: choose.between(0, 40) }, () =>
          choose.chance(0.5) ? choose.between(0xd700, 0xe100) : choose.between(0, 0x2000)
        )
        const input = String.fromCharCode(...units)
        const { inputTokens } = yield* estimate({ model: "m", input })
        assert.strictEqual(inputTokens, new TextEncoder().encode(input).length + around)
      }
    }).pipe(Effect.provide(Estimator.layer({ input: "bytes" })))
  )

  it.effect("is learned from a hundred calls, and not before", () =>
    Effect.gen(function* () {
      const took = { inputTokens: Math.round(bytes / 4) + around, outputTokens: 50 }
      yield* observe(request, took, 99)
      assert.strictEqual((yield* estimate(request)).inputTokens, bytes + around)
      yield* observe(request, took, 1)
      const { inputTokens } = yield* estimate(request)
      assert.isAtLeast(inputTokens, took.inputTokens)
      assert.isAtMost(inputTokens, took.inputTokens * 1.06)
      // For each model on its own, and only for texts that outweigh what is around them.
      assert.strictEqual((yield* estimate({ ...request, model: "other" })).inputTokens, bytes + around)
      assert.strictEqual((yield* estimate({ ...request, input: text.slice(0, 200) })).inputTokens, 200 + around)
    }).pipe(Effect.provide(Estimator.layer()))
  )

  it.effect("is exceeded by at most one in a hundred", () =>
    Effect.gen(function* () {
      const choose = new Choices(seedOf("Estimator"))
      const tokens = () => Math.round(bytes * (0.2 + 0.2 * choose.next() ** 4)) + around
      for (let call = 0; call < 3000; call++) yield* observe(request, { inputTokens: tokens(), outputTokens: 1 }, 1)
      const { inputTokens } = yield* estimate(request)
      const exceeded = Array.from({ length: 10_000 }, tokens).filter((took) => took > inputTokens).length
      assert.isAtMost(exceeded, 200)
      assert.isBelow(inputTokens, bytes * 0.45)
    }).pipe(Effect.provide(Estimator.layer()))
  )

  it.effect("follows a model whose texts change", () =>
    Effect.gen(function* () {
      yield* observe(request, { inputTokens: bytes, outputTokens: 1 }, 2000)
      yield* observe(request, { inputTokens: bytes / 5 + around, outputTokens: 1 }, 5000)
      assert.isBelow((yield* estimate(request)).inputTokens, bytes / 4)
      yield* observe(request, { inputTokens: bytes / 2 + around, outputTokens: 1 }, 50)
      assert.isAbove((yield* estimate(request)).inputTokens, bytes / 2)
    }).pipe(Effect.provide(Estimator.layer()))
  )

  it.effect("learns of input that the request does not show", () =>
    Effect.gen(function* () {
      yield* observe(request, { inputTokens: bytes * 3, outputTokens: 1 }, 100)
      assert.isAtLeast((yield* estimate(request)).inputTokens, bytes * 3)
    }).pipe(Effect.provide(Estimator.layer()))
  )

  it.effect("forgets the model that was not used for longest", () =>
    Effect.gen(function* () {
      const took = { inputTokens: bytes / 4, outputTokens: 1 }
      yield* observe(request, took, 100)
      for (let index = 0; index < 255; index++) yield* observe({ ...request, model: `m${index}` }, took, 1)
      assert.isBelow((yield* estimate(request)).inputTokens, bytes / 3)
      yield* observe({ ...request, model: "one more" }, took, 1)
      assert.strictEqual((yield* estimate(request)).inputTokens, bytes + around)
    }).pipe(Effect.provide(Estimator.layer()))
  )
})

describe("an estimate of the output", () => {
  const outputOf = (request: Estimator.Request) => Effect.map(estimate(request), ({ outputTokens }) => outputTokens)

  it.effect("is the most that the request allows", () =>
    Effect.gen(function* () {
      yield* observe(request, { inputTokens: 1, outputTokens: 1 }, 200)
      assert.strictEqual(yield* outputOf(request), 1000)
      assert.strictEqual(yield* outputOf({ ...request, outputs: 3 }), 3000)
      assert.strictEqual(yield* outputOf({ ...request, maxOutputTokens: 0 }), 0)
      assert.strictEqual(yield* outputOf({ model: "m", input: "a" }), 4096)
      const own = Estimator.layer({ maxOutputTokens: 500 })
      assert.strictEqual(yield* Effect.provide(outputOf({ model: "m", input: "a" }), own, { local: true }), 500)
    }).pipe(Effect.provide(Estimator.layer()))
  )

  it.effect("is learned from a hundred calls, and never more than the most", () =>
    Effect.gen(function* () {
      yield* observe({ ...request, outputs: 2 }, { inputTokens: 1, outputTokens: 200 }, 99)
      assert.strictEqual(yield* outputOf(request), 1000)
      yield* observe(request, { inputTokens: 1, outputTokens: 100 }, 1)
      const learned = yield* outputOf(request)
      assert.isAtLeast(learned, 100)
      assert.isAtMost(learned, 105)
      assert.strictEqual(yield* outputOf({ ...request, maxOutputTokens: 20 }), 20)
      assert.strictEqual(yield* outputOf({ ...request, outputs: 2 }), learned * 2)
    }).pipe(Effect.provide(Estimator.layer({ output: "learned" })))
  )

  it.effect("is not learned from answers that were cut off", () =>
    Effect.gen(function* () {
      yield* observe({ ...request, maxOutputTokens: 50 }, { inputTokens: 1, outputTokens: 50 }, 100)
      assert.strictEqual(yield* outputOf(request), 1000)
    }).pipe(Effect.provide(Estimator.layer({ output: "learned" })))
  )
})

describe("a meter", () => {
  const meter = (model: string) => Estimator.Estimator.use((estimator) => estimator.meter(model))

  it.effect("counts a text bit by bit, by its bytes until more is known", () =>
    Effect.gen(function* () {
      const tokensOf = yield* meter("m")
      assert.deepStrictEqual(["four", "", "né本"].map(tokensOf), [4, 4, 10])
      // Another one begins anew.
      assert.strictEqual((yield* meter("m"))("four"), 4)
      yield* observe(request, { inputTokens: bytes / 4 + around, outputTokens: 1 }, 100)
      const learned = yield* meter("m")
      for (let bit = 1; bit <= 1000; bit++) {
        const tokens = learned("word")
        assert.isAtLeast(tokens, bit)
        assert.isAtMost(tokens, bit * 1.06 + 1)
      }
    }).pipe(Effect.provide(Estimator.layer()))
  )

  it.effect("counts bytes where it is told to", () =>
    Effect.gen(function* () {
      yield* observe(request, { inputTokens: bytes / 4 + around, outputTokens: 1 }, 100)
      assert.strictEqual((yield* meter("m"))(text), bytes)
    }).pipe(Effect.provide(Estimator.layer({ input: "bytes", output: "learned" })))
  )
})

describe("a request that is none", () => {
  const wrong: ReadonlyArray<readonly [field: string, request: Partial<Estimator.Request>]> = [
    ["maxOutputTokens", { maxOutputTokens: NaN }],
    ["maxOutputTokens", { maxOutputTokens: -1 }],
    ["outputs", { outputs: 0 }],
    ["outputs", { outputs: 1.5 }],
    ["input.bytes", { input: { bytes: -1 } }],
    ["input.tokens", { input: ["a", { tokens: Infinity }] }],
    ["input", { input: 5 as never }],
    ["input", { input: [undefined as never] }]
  ]
  it.effect.each(wrong)("is refused by %s: %j", ([field, part]) =>
    Effect.gen(function* () {
      assert.strictEqual((yield* Effect.flip(estimate({ ...request, ...part }))).field, field)
    }).pipe(Effect.provide(Estimator.layer()))
  )

  it("of options is a RangeError", () => {
    assert.throws(
      () => Estimator.layer({ input: "exact" as never }),
      RangeError,
      /Estimator\.layer: input must be "bytes"/
    )
    assert.throws(() => Estimator.layer({ output: "p50" as never }), RangeError, /output must be "max" or "learned"/)
    assert.throws(() => Estimator.layer({ maxOutputTokens: -1 }), RangeError, /maxOutputTokens must be .*, got -1/)
  })
})
