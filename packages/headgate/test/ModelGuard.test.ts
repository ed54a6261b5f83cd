import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Metric, Ref } from "effect"
import { AiError } from "effect/ai"
import type { Guard, ModelUsage, RateLimiter } from "headgate"
import { type Alerts, Budget, Estimator, ModelGuard, Money, Price, type Retry } from "headgate"
import { VirtualClock } from "headgate/testing"

type Services =
  | ModelGuard.ModelGuard
  | Price.Price
  | Estimator.Estimator
  | Guard.Guard
  | Budget.Budget
  | RateLimiter.RateLimiter
  | Retry.Retry
  | Alerts.Alerts

const limits: ModelGuard.Options = {
  budget: { maxTokensPerMinute: 10_000, maxCostPerDay: "$1", alertThreshold: 1 },
  rateLimiter: { requestsPerMinute: 100, tokensPerMinute: 10_000 },
  retry: { jitter: "none", maxRetries: 2 },
  prices: { m: { input: "$10/M", output: "$100/M", cachedInput: "$1/M", cacheWrite: "$12.50/M" } }
}

const run =
  (options: ModelGuard.Options = limits) =>
  <A, E>(program: Effect.Effect<A, E, Services>): Effect.Effect<A, E | VirtualClock.Deadlock> =>
    Effect.andThen(
      // Virtual time does not wait for an import.
      Price.preload,
      VirtualClock.run(Effect.provide(program, ModelGuard.layerMemory(options), { local: true }))
    )

const state = Effect.gen(function* () {
  const { quotas } = yield* (yield* Budget.Budget).status()
  const of = (unit: string) => quotas.find((quota) => quota.unit === unit)
  return { tokens: of("tokens")?.used, cost: of("cost")?.used, held: of("cost")?.held, heldTokens: of("tokens")?.held }
})
const spent = (tokens: number, cost: Money.Input) => ({
  tokens,
  cost: Money.fromInputUnsafe(cost) as number,
  held: 0,
  heldTokens: 0
})

interface Reply {
  readonly usage?: ModelUsage.ModelUsage
}
const call = {
  model: "m",
  input: "How deep is the sea?",
  maxOutputTokens: 100,
  usage: (reply: Reply) => reply.usage
} satisfies ModelGuard.Call<Reply>

/** 20 bytes and what is around them; 100 tokens of output; all of it perhaps written to the cache. */
const estimated = { tokens: 127, cost: "$0.0103375" } as const

const replying = (usage?: ModelUsage.ModelUsage): Effect.Effect<Reply> =>
  Effect.succeed(usage === undefined ? {} : { usage })

describe("a guarded call of a model", () => {
  it.effect("holds the most that it can take, and settles what the reply says at its price", () =>
    Effect.gen(function* () {
      const ask = Effect.delay(replying({ inputTokens: 12, outputTokens: 30, cachedInputTokens: 2 }), "2 seconds")
      const fiber = yield* Effect.forkChild(ModelGuard.run(ask, call), { startImmediately: true })
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual(yield* state, {
        tokens: 0,
        cost: 0,
        held: Money.fromInputUnsafe(estimated.cost),
        heldTokens: estimated.tokens
      })
      assert.deepStrictEqual(yield* Fiber.join(fiber), {
        usage: { inputTokens: 12, outputTokens: 30, cachedInputTokens: 2 }
      })
      assert.deepStrictEqual(yield* state, spent(42, "$0.003102"))
    }).pipe(run())
  )

  const dear = {
    prices: {
      m: {
        input: "$3/M",
        output: "$15/M",
        cacheWrite: "$3.75/M",
        cacheWrite1h: "$6/M",
        reasoning: "$20/M",
        inputAudio: "$40/M",
        outputImage: "$60/M"
      }
    }
  } as const

  it.effect.each([
    ["text is written to the cache for an hour, and reasoned", [], 27 * 6000 + 100 * 20_000],
    ["audio is read", ["audio"], 27 * 40_000 + 100 * 20_000],
    ["an image is written", ["image"], 27 * 6000 + 100 * 60_000]
  ] as const)("holds the most that it can cost: %s", ([_, modalities, cost]) =>
    Effect.gen(function* () {
      // Without a usage, the estimate is booked.
      yield* ModelGuard.run(replying(), { ...call, modalities })
      const { quotas } = yield* (yield* Budget.Budget).status()
      assert.strictEqual(quotas.find(({ unit }) => unit === "cost")?.used, cost)
    }).pipe(run({ ...limits, ...dear }))
  )

  const ai = (reason: AiError.AiErrorReason) => AiError.make({ module: "Model", method: "generateText", reason })
  const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 }
  const throwing = () => {
    throw new Error("a bug of the caller")
  }
  const fails = (error: unknown): Effect.Effect<Reply, unknown> => Effect.fail(error)
  const asUsage = spent(15, "$0.0006")
  const asEstimate = spent(estimated.tokens, estimated.cost)
  const nothing = spent(0, "$0")
  const slow: Effect.Effect<Reply, unknown> = Effect.timeout(Effect.never, "1 second")
  const ends: ReadonlyArray<
    readonly [string, Effect.Effect<Reply, unknown>, Partial<ModelGuard.Call<Reply, unknown>>, typeof nothing]
  > = [
    ["a reply without usage: the estimate", replying(), {}, asEstimate],
    ["a reply that took nothing: nothing", replying({ inputTokens: 0, outputTokens: 0 }), {}, nothing],
    [
      "a reply beyond the estimate: all of it",
      replying({ inputTokens: 500, outputTokens: 500 }),
      {},
      spent(1000, "$0.055")
    ],
    ["a usage that is none: the estimate", replying({ inputTokens: NaN, outputTokens: 1 }), {}, asEstimate],
    [
      "more cached than read: the estimate",
      replying({ inputTokens: 1, outputTokens: 1, cachedInputTokens: 2 }),
      {},
      asEstimate
    ],
    ["a usage that cannot be read: the estimate", replying(), { usage: throwing }, asEstimate],
    ["an error with usage: that, at its price", fails({ status: 400, usage }), {}, asUsage],
    [
      "an AiError with usage: that, at its price",
      fails(
        ai(
          new AiError.InvalidOutputError({
            description: "",
            usage: { promptTokens: 10, completionTokens: 5, totalTokens: 15 }
          })
        )
      ),
      {},
      asUsage
    ],
    [
      "an error with a part of its usage: the estimate",
      fails({ status: 400, usage: { total_tokens: 15 } }),
      {},
      asEstimate
    ],
    [
      "an error that says its cost: that",
      fails({ status: 400, usage: { tokens: 15, cost: "$0.002" } }),
      {},
      spent(15, "$0.002")
    ],
    ["an error with a wrong usage: the estimate", fails({ status: 400, usage: { prompt_tokens: -1 } }), {}, asEstimate],
    ["what usageOnError says", fails("odd"), { usageOnError: () => ({ inputTokens: 10, outputTokens: 5 }) }, asUsage],
    [
      "a usageOnError that says nothing: as without it",
      fails({ status: 400, usage }),
      { usageOnError: () => undefined },
      asUsage
    ],
    ["a usageOnError that throws: the estimate", fails("odd"), { usageOnError: throwing }, asEstimate],
    [
      "output that was billed and is of no use: the estimate",
      fails(ai(new AiError.InvalidOutputError({ description: "" }))),
      {},
      asEstimate
    ],
    ["a refusal by the provider: nothing", fails({ status: 400 }), {}, nothing],
    ["an error of one's own: nothing", fails(new Error("before the call")), {}, nothing],
    ["a timeout: the estimate", slow, {}, asEstimate],
    ["a timeout, told to release: nothing", slow, { onUnknown: "release" }, nothing]
  ]
  it.effect.each(ends)("counts %s", ([_, self, more, expected]) =>
    Effect.gen(function* () {
      yield* Effect.exit(ModelGuard.run(self, { ...call, ...more }))
      assert.deepStrictEqual(yield* state, expected)
    }).pipe(run({ ...limits, retry: { maxRetries: 0 } }))
  )

  it.effect("adds up what its attempts took", () =>
    Effect.gen(function* () {
      const count = yield* Ref.make(0)
      const ask = Effect.flatMap(
        Ref.getAndUpdate(count, (n) => n + 1),
        (n): Effect.Effect<Reply, unknown> =>
          n === 0
            ? Effect.fail({ status: 503, usage })
            : n === 1
              ? Effect.fail({ status: 503 })
              : replying({ inputTokens: 1, outputTokens: 1 })
      )
      yield* ModelGuard.run(ask, call)
      assert.strictEqual(yield* Ref.get(count), 3)
      assert.deepStrictEqual(yield* state, spent(17, "$0.00071"))
    }).pipe(run())
  )

  it.effect("keeps the error of its effect, and can be piped", () =>
    Effect.gen(function* () {
      const error = yield* Effect.fail("odd" as const).pipe(ModelGuard.run(call), Effect.flip)
      assert.strictEqual(error, "odd")
      const reply = yield* replying({ inputTokens: 1, outputTokens: 2 }).pipe(
        ModelGuard.run({ model: "m", input: "a", usage: (reply: Reply) => reply.usage }),
        Effect.map((reply) => reply.usage?.outputTokens)
      )
      assert.strictEqual(reply, 2)
    }).pipe(run())
  )

  it.effect("draws on the quotas of its model, beside those of its subject", () =>
    Effect.gen(function* () {
      const ask = (model: string, user: string) =>
        Effect.exit(
          ModelGuard.run(replying({ inputTokens: 50, outputTokens: 50 }), { ...call, model, subject: { user } })
        )
      assert.isTrue(Exit.isSuccess(yield* ask("m", "a")))
      const refused = yield* Effect.flip(ModelGuard.run(replying(), { ...call, subject: { user: "b" } }))
      assert(refused._tag === "BudgetExceeded")
      assert.deepStrictEqual(refused.subject, { model: "m" })
      assert.isTrue(Exit.isSuccess(yield* ask("n", "b")))
      const alias = yield* Effect.exit(ModelGuard.run(replying(), { ...call, subject: { model: "alias" } }))
      assert.isTrue(Exit.isSuccess(alias))
    }).pipe(run({ ...limits, unpriced: "free", budget: { per: { model: { maxTokensPerMinute: 150 } } } }))
  )

  const refusals: ReadonlyArray<readonly [string, Partial<ModelGuard.Call<Reply, never>>]> = [
    ["UnpricedModel", { model: "nobody-knows-this-1" }],
    ["UnpricedModel", { model: "gpt-4o", provider: "nobody" }],
    ["InvalidUsage", { maxOutputTokens: -1 }],
    ["InvalidUsage", { outputs: 0 }],
    ["RequestTooLarge", { maxOutputTokens: 20_000 }]
  ]
  it.effect.each(refusals)("%s of %j makes no call and holds nothing", ([tag, part]) =>
    Effect.gen(function* () {
      let calls = 0
      const ask = Effect.andThen(
        Effect.sync(() => calls++),
        replying()
      )
      assert.strictEqual((yield* Effect.flip(ModelGuard.run(ask, { ...call, ...part })))._tag, tag)
      assert.strictEqual(calls, 0)
      assert.deepStrictEqual(yield* state, nothing)
    }).pipe(run())
  )

  it.effect("teaches the estimator what it took", () =>
    Effect.gen(function* () {
      const input = "How deep is the sea? ".repeat(40)
      const estimate = Estimator.Estimator.use((estimator) => estimator.estimate({ ...call, input }))
      const before = yield* estimate
      const ask = ModelGuard.run(replying({ inputTokens: 220, outputTokens: 20 }), { ...call, input })
      yield* Effect.replicateEffect(ask, 100)
      const after = yield* estimate
      assert.strictEqual(before.inputTokens, 847)
      assert.isAtLeast(after.inputTokens, 220)
      assert.isAtMost(after.inputTokens, 235)
      assert.isAtMost(after.outputTokens, 21)
    }).pipe(run({ estimator: { output: "learned" }, unpriced: "free" }))
  )

  it.effect("tells the rate limiter what the reply's headers say is left, and nothing that its body says", () =>
    Effect.gen(function* () {
      const usage = { inputTokens: 12, outputTokens: 8 }
      const headers = { "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s" }
      const body = { usage, retryAfter: "1 hour", error: { headers }, response: { headers: {}, error: { headers } } }
      yield* ModelGuard.run(Effect.succeed(body), call)
      yield* ModelGuard.run(Effect.succeed({ usage, response: { headers: new Headers(headers) } }), call)
      const error = yield* Effect.flip(ModelGuard.run(replying(usage), call))
      assert.deepInclude(error, { _tag: "RateLimitExceeded", quota: "provider" })
      assert.strictEqual((yield* state).tokens, 40)
      const unreadable = {
        usage,
        get response(): object {
          throw new Error("gone")
        }
      }
      yield* ModelGuard.run(Effect.succeed(unreadable), { ...call, model: "another" })
      // Another model has other limits.
      yield* ModelGuard.run(replying(usage), { ...call, model: "other" })
    }).pipe(run({ ...limits, rateLimiter: { onExceeded: "fail" }, unpriced: "free" }))
  )

  it.effect("works over services that are there already", () =>
    Effect.gen(function* () {
      const own = Price.Price.of({ cost: () => Effect.succeed(Money.usd(0.5)) })
      yield* ModelGuard.run(replying({ inputTokens: 1, outputTokens: 1 }), call).pipe(
        Effect.provide(ModelGuard.layer, { local: true }),
        Effect.provideService(Price.Price, own),
        Effect.provide(Estimator.layer())
      )
      assert.strictEqual((yield* state).cost, Money.usd(0.5))
    }).pipe(run())
  )
})

describe("the metrics of a guarded call of a model", () => {
  const metricsOf = <A, E>(program: Effect.Effect<A, E, Services>) =>
    Effect.gen(function* () {
      yield* Effect.exit(Effect.provide(program, ModelGuard.layerMemory(limits), { local: true }))
      const entries = (yield* Metric.snapshot).map((metric) => {
        const attributes = Object.entries(metric.attributes ?? {}).map(([key, value]) => `${key}=${String(value)}`)
        const { state } = metric
        return [
          [metric.id, ...attributes].join(" "),
          metric.type === "Histogram" ? metric.state.sum : "count" in state ? Number(state.count) : undefined
        ] as const
      })
      return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)))
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()), VirtualClock.run())

  it.effect("tell how good the estimate was", () =>
    Effect.map(metricsOf(ModelGuard.run(replying({ inputTokens: 10, outputTokens: 10 }), call)), (metrics) =>
      assert.deepStrictEqual(metrics, {
        headgate_attempts: 1,
        "headgate_calls outcome=answered": 1,
        headgate_cost_nanodollars: 1_100_000,
        headgate_estimate_ratio: estimated.tokens / 20,
        "headgate_tokens kind=all": 20,
        "headgate_tokens kind=input": 10,
        "headgate_tokens kind=output": 10
      })
    )
  )

  it.effect("tell of models without a price", () =>
    Effect.map(metricsOf(ModelGuard.run(replying(), { ...call, model: "nobody-knows-this-1" })), (metrics) =>
      assert.deepStrictEqual(metrics, {
        "headgate_calls outcome=refused": 1,
        "headgate_refusals reason=UnpricedModel": 1
      })
    )
  )
})
