import Anthropic from "@anthropic-ai/sdk"
import { Clock, Effect, Layer } from "effect"
import { Budget, Gate, ModelGuard } from "headgate"
import { LoopbackProvider } from "headgate/testing"
import OpenAI from "openai"

export const prices = { "my-model": { input: "$1/M", output: "$10/M" } } as const

const messages = [{ role: "user" as const, content: "Six by seven?" }]
export const chat = { model: "my-model", max_completion_tokens: 50, messages }
export const message = { model: "my-model", max_tokens: 50, messages }
export const streamed = { stream: true, stream_options: { include_usage: true } } as const
export const question = { model: "my-model", input: "Six by seven?", maxOutputTokens: 50 }

/** A provider, the official clients of it, and a gate that runs on the test's clock. */
export const setUp = Effect.fnUntraced(function* (
  answers: LoopbackProvider.Options = {},
  options: Omit<ModelGuard.Options, "prices"> = {}
) {
  const provider = yield* LoopbackProvider.make(answers)
  const clock = yield* Clock.Clock
  const services = ModelGuard.layerMemory({
    budget: { maxTokensPerDay: 1_000_000, maxCostPerDay: "$100" },
    retry: { jitter: "none" },
    ...options,
    prices
  })
  const gate = yield* Effect.acquireRelease(
    Effect.sync(() => Gate.make(Layer.provideMerge(services, Layer.succeed(Clock.Clock)(clock)))),
    (gate) => Effect.promise(gate.dispose)
  )
  const booked = Effect.promise(() =>
    gate.runtime.runPromise(
      Budget.Budget.use((budget) => budget.status()).pipe(
        Effect.map(({ costUsedDay, quotas, tokensUsedDay }) => ({
          tokens: tokensUsedDay,
          cost: costUsedDay,
          held: quotas.reduce((sum, { held }) => sum + held, 0)
        }))
      )
    )
  )
  return {
    provider,
    gate,
    booked,
    openai: new OpenAI({ apiKey: "none", baseURL: `${provider.url}/v1`, maxRetries: 0 }),
    anthropic: new Anthropic({ apiKey: "none", baseURL: provider.url, maxRetries: 0 })
  }
})

/** Where a promise got to: its value, or what it rejected with. */
export const settled = <A>(promise: Promise<A>): Effect.Effect<{ value: A } | { error: unknown }> =>
  Effect.promise(() =>
    promise.then(
      (value) => ({ value }),
      (error: unknown) => ({ error })
    )
  )
