// As an application without the optional peers sees them.
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { Estimator, Money, Price } from "headgate"
import { vi } from "vitest"

const { absent } = vi.hoisted(() => ({
  absent: (name: string) => () => {
    throw Object.assign(new Error(`Cannot find package '${name}'`), { code: "ERR_MODULE_NOT_FOUND" })
  }
}))
vi.mock("@pydantic/genai-prices", absent("@pydantic/genai-prices"))
vi.mock("gpt-tokenizer/GptEncoding", absent("gpt-tokenizer"))

/** What a program logs, with a logger of its own. */
const logged = <A, E>(program: Effect.Effect<A, E>) => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ message }) => void lines.push(String([message].flat()[0])))
  return Effect.map(Effect.provide(program, Logger.layer([logger])), (result) => [result, lines] as const)
}

describe("without @pydantic/genai-prices", () => {
  const plain = { inputTokens: 1000, outputTokens: 100 }
  const prices = Price.layer({ mine: { input: "$3/M", output: "$15/M" } })

  it.effect("your own prices hold, and nothing is said", () =>
    Effect.gen(function* () {
      const cost = Price.Price.use((price) => price.cost("mine", plain))
      assert.deepStrictEqual(yield* logged(Effect.provide(cost, prices)), [Money.usd(0.0045), []])
    })
  )

  it.effect("other models have no price, which is explained once", () =>
    Effect.gen(function* () {
      const ask = Price.Price.use((price) => Effect.replicateEffect(Effect.flip(price.cost("gpt-4o", plain)), 5))
      const [errors, lines] = yield* logged(Effect.provide(ask, prices))
      assert.deepStrictEqual([...new Set(errors.map(({ _tag }) => _tag))], ["UnpricedModel"])
      assert.strictEqual(lines.length, 1)
      assert.match(lines[0]!, /npm install @pydantic\/genai-prices/)
    })
  )
})

describe("without gpt-tokenizer", () => {
  it.effect("inputs are estimated by their bytes, which is explained once", () =>
    Effect.gen(function* () {
      const ask = Estimator.Estimator.use((estimator) =>
        Effect.replicateEffect(estimator.estimate({ model: "gpt-5", input: "hello world", maxOutputTokens: 5 }), 5)
      )
      const [estimates, lines] = yield* logged(Effect.provide(ask, Estimator.layer({ input: "tokenizer" })))
      assert.deepStrictEqual(estimates[4], { inputTokens: 18, outputTokens: 5 })
      assert.strictEqual(lines.length, 1)
      assert.match(lines[0]!, /npm install gpt-tokenizer/)
    })
  )
})
