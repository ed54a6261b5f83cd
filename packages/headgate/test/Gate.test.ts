// A vendor's SDK behind promises, guarded: the official client against a provider on the loopback interface.
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Budget, BudgetExceeded, Gate, ModelGuard, UnpricedModel } from "headgate"
import { LoopbackProvider } from "headgate/testing"
import OpenAI from "openai"

const prices = { "my-model": { input: "$1/M", output: "$10/M" } } as const
const request = {
  model: "my-model",
  max_completion_tokens: 50,
  messages: [{ role: "user" as const, content: "Six by seven?" }]
}
const question = { model: "my-model", input: "Six by seven?", maxOutputTokens: 50 }
const usage = { inputTokens: 30, outputTokens: 5 }

const setUp = Effect.fnUntraced(function* (
  script: LoopbackProvider.Script,
  options: Omit<ModelGuard.Options, "prices"> = { budget: {} }
) {
  const provider = yield* LoopbackProvider.make({ script })
  const gate = yield* Effect.acquireRelease(
    Effect.sync(() => Gate.make(Layer.merge(ModelGuard.layerMemory({ prices, ...options }), TestClock.layer()))),
    (gate) => Effect.promise(gate.dispose)
  )
  const client = new OpenAI({ apiKey: "none", baseURL: `${provider.url}/v1`, maxRetries: 0 })
  const ask = (signal: AbortSignal) => client.chat.completions.create(request, { signal })
  return { ask, gate, provider, status: Effect.promise(() => gate.runtime.runPromise(budget)) }
})

const budget = Budget.Budget.use((budget) => budget.status())

/** Where a promise got to: its value, or what it rejected with. */
const settled = <A>(promise: Promise<A>) =>
  Effect.promise(() =>
    promise.then(
      (value) => ({ value }),
      (error: unknown) => ({ error })
    )
  )

const errorOf = (outcome: { readonly value: unknown } | { readonly error: unknown }): unknown =>
  "error" in outcome ? outcome.error : assert.fail("answered")

describe("Gate", () => {
  it.effect("gives what the SDK gives, and books what its reply says", () =>
    Effect.gen(function* () {
      const { ask, gate, status } = yield* setUp([{ answer: "It is 42.", usage }], {
        budget: { maxCostPerDay: "$1", maxTokensPerDay: 1000 }
      })
      const reply = yield* Effect.promise(() => gate.run(ask, question))
      assert.strictEqual(reply.choices[0]?.message.content, "It is 42.")
      const { costUsedDay, tokensUsedDay } = yield* status
      assert.strictEqual(tokensUsedDay, 35)
      assert.strictEqual(costUsedDay, 30 * 1000 + 5 * 10_000)
    })
  )

  it.effect("rejects with an error of headgate, and does not call", () =>
    Effect.gen(function* () {
      const { ask, gate, provider } = yield* setUp([{ answer: "ok", usage }], {
        budget: { maxTokensPerDay: 100 }
      })
      yield* Effect.promise(() => gate.run(ask, question))
      const error = errorOf(yield* settled(gate.run(ask, { ...question, maxOutputTokens: 80 })))
      assert.instanceOf(error, BudgetExceeded)
      assert.strictEqual(error.quota, "maxTokensPerDay")
      const unpriced = errorOf(yield* settled(gate.run(ask, { ...question, model: "nobody's" })))
      assert.instanceOf(unpriced, UnpricedModel)
      assert.strictEqual((yield* provider.totals).requests, 1)
    })
  )

  it.effect("rejects with the error of the SDK itself", () =>
    Effect.gen(function* () {
      const { ask, gate, status } = yield* setUp([{ fail: "insufficient_quota" }], {
        budget: { maxTokensPerDay: 1000 }
      })
      const error = errorOf(yield* settled(gate.run(ask, question)))
      assert.instanceOf(error, OpenAI.RateLimitError)
      assert.strictEqual(error.code, "insufficient_quota")
      assert.strictEqual((yield* status).tokensUsedDay, 0)
    })
  )

  it.effect("retries what is worth it, when the provider says", () =>
    Effect.gen(function* () {
      const scheduled = Promise.withResolvers<void>()
      const { ask, gate, provider, status } = yield* setUp(
        [
          { fail: "rate_limit_exceeded", retryAfter: "20 seconds" },
          { answer: "ok", usage }
        ],
        {
          budget: { maxTokensPerDay: 1000 },
          retry: { jitter: "none", onRetry: () => Effect.sync(() => scheduled.resolve()) }
        }
      )
      const tick = (millis: number) => Effect.promise(() => gate.runtime.runPromise(TestClock.adjust(millis)))
      let answered = false
      const call = gate.run(ask, question).then(() => {
        answered = true
      })
      yield* Effect.promise(() => scheduled.promise)
      yield* tick(19_999)
      assert.strictEqual((yield* provider.totals).requests, 1)
      assert.isFalse(answered)
      yield* tick(1)
      yield* Effect.promise(() => call)
      assert.strictEqual((yield* provider.totals).requests, 2)
      assert.strictEqual((yield* status).tokensUsedDay, 35)
    })
  )

  it.effect("rejects with the reason of an aborted signal, aborts the call, and charges it", () =>
    Effect.gen(function* () {
      const { ask, gate, status } = yield* setUp(["silent"], { budget: { maxTokensPerDay: 1000 } })
      const abort = new AbortController()
      const started = Promise.withResolvers<AbortSignal>()
      const call = gate.run(
        (signal) => {
          started.resolve(signal)
          return ask(signal)
        },
        { ...question, signal: abort.signal }
      )
      const passedOn = yield* Effect.promise(() => started.promise)
      abort.abort(new Error("the user went away"))
      assert.strictEqual(errorOf(yield* settled(call)), abort.signal.reason)
      assert.isTrue(passedOn.aborted)
      assert.isAbove((yield* status).tokensUsedDay, 50)
      const released = gate.run(ask, { ...question, onUnknown: "release", signal: AbortSignal.abort("too late") })
      assert.strictEqual(errorOf(yield* settled(released)), "too late")
    })
  )

  it.effect("rejects with the reason of a signal that is aborted already, calls nothing and charges nothing", () =>
    Effect.gen(function* () {
      const { ask, gate, provider, status } = yield* setUp([{ answer: "ok", usage }], {
        budget: { maxTokensPerDay: 1000 }
      })
      let called = 0
      const call = (signal: AbortSignal) => {
        called++
        return ask(signal)
      }
      const signal = AbortSignal.abort("too late")
      assert.strictEqual(errorOf(yield* settled(gate.run(call, { ...question, signal }))), "too late")
      assert.strictEqual(called, 0)
      assert.strictEqual((yield* provider.totals).requests, 0)
      assert.strictEqual((yield* status).tokensUsedDay, 0)
    })
  )

  it.effect("rejects every call with the error of a layer that cannot be built", () =>
    Effect.gen(function* () {
      const gate = Gate.make(Layer.effect(ModelGuard.ModelGuard)(Effect.fail("no store")))
      for (const _ of [1, 2]) {
        const error = errorOf(
          yield* settled(gate.run(() => Promise.resolve("never"), { ...question, usage: () => usage }))
        )
        assert.strictEqual(error, "no store")
      }
      yield* Effect.promise(gate.dispose)
    })
  )
})
