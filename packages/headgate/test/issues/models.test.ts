import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { Budget, ModelGuard, ModelUsage, Money, Price } from "headgate"
import { VirtualClock } from "headgate/testing"

const on = <A, E>(options: ModelGuard.Options, program: Effect.Effect<A, E, ModelGuard.ModelGuard | Budget.Budget>) =>
  Effect.andThen(
    Price.preload,
    VirtualClock.run(
      Effect.provide(program, ModelGuard.layerMemory({ retry: { jitter: "none" }, ...options }), { local: true })
    )
  )

const spent = Effect.flatMap(Budget.Budget, (budget) =>
  Effect.map(budget.status(), ({ quotas }) => ({ used: quotas[0]?.used, held: quotas[0]?.held }))
)

const prices = { m: { input: "$3/M", output: "$15/M", cachedInput: "$0.30/M", cacheWrite: "$3.75/M" } } as const
const call = { model: "m", input: "hello", maxOutputTokens: 10, usage: ModelUsage.fromReply }

describe("calls of models", () => {
  it.effect("of a model that nobody knows are not for free (litellm #25874)", () =>
    on(
      { budget: { maxCostPerDay: "$1" } },
      Effect.gen(function* () {
        let calls = 0
        const ask = Effect.sync(() => ({ calls: ++calls, usage: { prompt_tokens: 1e6, completion_tokens: 1e6 } }))
        const error = yield* Effect.flip(ModelGuard.run(ask, { ...call, model: "brand-new-model-7" }))
        assert.deepInclude(error, { _tag: "UnpricedModel", model: "brand-new-model-7" })
        assert.strictEqual(calls, 0)
      })
    )
  )

  it.effect("pay for cached tokens once, and at their price (litellm #14849)", () =>
    on(
      { budget: { maxCostPerDay: "$5" }, prices },
      Effect.gen(function* () {
        // As Anthropic tells it: 10,000 tokens in all, of which 9,000 were read from the cache and 900 written to it.
        const reply = {
          usage: {
            input_tokens: 100,
            cache_read_input_tokens: 9000,
            cache_creation_input_tokens: 900,
            output_tokens: 50
          }
        }
        yield* ModelGuard.run(Effect.succeed(reply), call)
        const cost = Money.usd(0.0003 + 0.0027 + 0.003375 + 0.00075)
        assert.deepStrictEqual(yield* spent, { used: cost, held: 0 })
      })
    )
  )

  it.effect("take a usage of nothing for nothing (litellm #37992)", () =>
    on(
      { budget: { maxCostPerDay: "$1" }, prices },
      Effect.gen(function* () {
        const reply = { usage: { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 } }
        yield* ModelGuard.run(Effect.succeed(reply), call)
        assert.deepStrictEqual(yield* spent, { used: 0, held: 0 })
      })
    )
  )

  it.effect("without content that can be estimated are limited all the same (litellm #27001)", () =>
    on(
      { budget: { maxTokensPerMinute: 1000 }, prices },
      Effect.gen(function* () {
        const ask = ModelGuard.run(Effect.succeed({}), { ...call, input: [], maxOutputTokens: 97 })
        const exits = yield* Effect.replicateEffect(Effect.exit(ask), 50, { concurrency: "unbounded" })
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 10)
        assert.deepStrictEqual(yield* spent, { used: 1000, held: 0 })
      })
    )
  )

  it.effect("are not estimated above a limit that they fit in (litellm #29193)", () =>
    on(
      { budget: { maxTokensPerMinute: 30 }, prices },
      Effect.gen(function* () {
        const reply = { usage: { prompt_tokens: 8, completion_tokens: 3 } }
        yield* ModelGuard.run(Effect.succeed(reply), call)
        assert.deepStrictEqual(yield* spent, { used: 11, held: 0 })
        // One that does not say what it may write cannot fit, and is told so: it is not to come back later.
        const error = yield* Effect.flip(ModelGuard.run(Effect.succeed(reply), { ...call, maxOutputTokens: undefined }))
        assert.strictEqual(error._tag, "RequestTooLarge")
      })
    )
  )

  it("refuse a price per million that was meant per token, and the other way round (litellm #20615)", () => {
    const layer = (input: string) => () => Price.layer({ m: { input: input as Price.PerToken, output: "$15/M" } })
    assert.throws(layer("$3"), RangeError, /m\.input must be .*"\$0\.001\/M" to "\$2000\/M".*, got \$3$/)
    assert.throws(layer("$3000000/M"), RangeError, /m\.input/)
    assert.throws(layer("$0.000003/M"), RangeError, /m\.input/)
    assert.throws(layer("$3/K"), RangeError, /m\.input/)
    assert.doesNotThrow(layer("$3/M"))
    assert.doesNotThrow(layer("$0.003/K"))
  })
})
