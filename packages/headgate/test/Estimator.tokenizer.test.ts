import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { GptEncoding } from "gpt-tokenizer/GptEncoding"
import ranks from "gpt-tokenizer/bpeRanks/o200k_base"
import { modelToEncodingMap } from "gpt-tokenizer/mapping"
import { readFileSync } from "node:fs"
import { Estimator } from "headgate"
import { encodingOf } from "../src/internal/model/tokenizer.ts"
import { Choices, seedOf } from "./internal/support.ts"

const counting = Estimator.layer({ input: "tokenizer" })
const around = 7

/** The tokens of a text without what is added around it. */
const tokensOf = (input: string, model = "gpt-5") =>
  Estimator.Estimator.use((estimator) =>
    Effect.map(estimator.estimate({ model, input }), ({ inputTokens }) => inputTokens - around)
  )

const whole = GptEncoding.getEncodingApi("o200k_base", () => ranks)
const exactly = (text: string) => whole.countTokens(text, { disallowedSpecial: new Set() })

describe("the tokenizer", () => {
  it.effect("counts exactly where text has breaks, and with what is around it", () =>
    Effect.gen(function* () {
      for (const text of [
        "",
        "hello world",
        "<|endoftext|>",
        "Ein Schiff,\n\n\teine Insel.",
        "1234567890 años 本当に"
      ]) {
        assert.strictEqual(yield* tokensOf(text), exactly(text))
      }
    }).pipe(Effect.provide(counting))
  )

  it.effect("counts our own source, notes and their mixtures within 0.1 %, and never less", () =>
    Effect.gen(function* () {
      const files = ["../src/Budget.ts", "../src/redis/script.ts", "../../../README.md", "../../../package-lock.json"]
      for (const file of files) {
        const text = readFileSync(new URL(file, import.meta.url), "utf8").slice(0, 200_000)
        const [counted, exact] = [yield* tokensOf(text), exactly(text)]
        assert.isAtLeast(counted, exact, file)
        assert.isAtMost(counted, exact * 1.001, file)
      }
    }).pipe(Effect.provide(counting))
  )

  it.effect("counts whatever comes within 1 %, and a token or two", () =>
    Effect.gen(function* () {
      const choose = new Choices(seedOf("tokenizer"))
      const alphabets = [
        "abcdefghijklmnopqrstuvwxyz",
        "aB1 ,.;:(){}[]<>/\n\t  =+-_'\"",
        "=-_*~#",
        "0123456789abcdef",
        "你好世界大海深處，。、！",
        "বাংলাভাষা ",
        "👩‍👧😀🏽\u200d\u0301",
        "\ud800\udfff\u0000\ufffd"
      ]
      for (let round = 0; round < 300; round++) {
        const alphabet = choose.of(alphabets)
        const size = choose.between(1, 3000)
        let text = ""
        while (text.length < size) text += alphabet[choose.between(0, alphabet.length - 1)]!
        const [counted, exact] = [yield* tokensOf(text), exactly(text)]
        const label = `${JSON.stringify(text.slice(0, 40))} of ${text.length}: ${counted}, exactly ${exact}`
        assert.isAtLeast(counted, exact * 0.99 - 2, label)
        assert.isAtMost(counted, exact * 1.01 + 2, label)
        assert.isAtMost(counted, new TextEncoder().encode(text).length, label)
      }
    }).pipe(Effect.provide(counting))
  )

  const bombs: ReadonlyArray<readonly [string, string, number]> = [
    ["one letter", "a".repeat(100_000), 12_500],
    ["spaces", " ".repeat(100_000), 782],
    ["line breaks", "\n".repeat(100_000), 6250],
    ["a special token", "<|endoftext|>".repeat(7700), 46_300],
    ["a family", "👩‍👩‍👧‍👦".repeat(4000), 44_000],
    ["halves of characters", "\ud800".repeat(33_000), 33_000],
    ["marks on signs", "=\u0301".repeat(33_000), 66_000]
  ]
  it.effect.each(bombs)("is not stalled by 100 KB of %s", ([_, text, atMost]) =>
    Effect.gen(function* () {
      yield* tokensOf(text.slice(0, 20_000))
      const start = performance.now()
      assert.isAtMost(yield* tokensOf(text), atMost)
      // 50 ms on the machine it was measured on; slower ones have room.
      assert.isBelow(performance.now() - start, 500)
    }).pipe(Effect.provide(counting))
  )

  it.effect("lets others run while it counts, and counts bytes beyond a million characters", () =>
    Effect.gen(function* () {
      let turns = 0
      const other = yield* Effect.forkChild(
        Effect.forever(
          Effect.andThen(
            Effect.sync(() => turns++),
            Effect.yieldNow
          )
        ),
        {
          startImmediately: true
        }
      )
      const count = yield* tokensOf("word ".repeat(200_000) + "a".repeat(10_000_000))
      yield* Fiber.interrupt(other)
      assert.isAbove(turns, 100)
      assert.isAtLeast(count, 10_000_000 - 48_576)
      assert.isAtMost(count, 10_000_000 + 220_000)
    }).pipe(Effect.provide(counting))
  )

  it.effect("counts models of the older encoding by that", () =>
    Effect.gen(function* () {
      const text = "Straßenbahnhaltestelle, 本当に"
      assert.notStrictEqual(yield* tokensOf(text, "gpt-4"), yield* tokensOf(text, "gpt-4o"))
      assert.strictEqual(yield* tokensOf(text, "gpt-4-turbo"), yield* tokensOf(text, "text-embedding-3-small"))
    }).pipe(Effect.provide(counting))
  )

  it.effect("counts a text that comes bit by bit", () =>
    Effect.gen(function* () {
      const estimator = yield* Estimator.Estimator
      const [modern, older, other] = [
        yield* estimator.meter("gpt-5"),
        yield* estimator.meter("gpt-4"),
        yield* estimator.meter("claude-sonnet-4-5")
      ]
      assert.deepStrictEqual(["hello", " world", ""].map(modern), [1, 2, 2])
      assert.deepStrictEqual(["hello", " world"].map(older), [1, 2])
      assert.deepStrictEqual(["hello", " world"].map(other), [5, 11])
      // A bit that is no bit is counted by its bytes: nobody can run meanwhile.
      assert.strictEqual(modern("a".repeat(100_000)), 100_002)
    }).pipe(Effect.provide(counting))
  )

  it.effect("leaves models of others to what is learned", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* tokensOf("hello world", "claude-sonnet-4-5"), 11)
    }).pipe(Effect.provide(counting))
  )

  it("knows the encodings of the models that the package knows", () => {
    const old = new Set(["p50k_base", "r50k_base", "p50k_edit", "gpt2"])
    for (const [model, encoding] of Object.entries(modelToEncodingMap)) {
      if (old.has(encoding)) continue
      // The harmony encoding has other special tokens and the same ranks.
      assert.strictEqual(encodingOf(model), encoding === "o200k_harmony" ? "o200k_base" : encoding, model)
    }
    for (const model of [
      "gpt-5",
      "gpt-5.6-sol",
      "gpt-4o-mini",
      "gpt-4.1",
      "o3",
      "o4-mini",
      "chatgpt-4o-latest",
      "openai/gpt-5"
    ]) {
      assert.strictEqual(encodingOf(model), "o200k_base", model)
    }
    for (const model of ["claude-opus-5", "gemini-3-pro", "olmo-2", "", "gptq-llama"])
      assert.isUndefined(encodingOf(model))
  })
})
