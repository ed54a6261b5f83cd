import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Ref, Stream } from "effect"
import { Budget, Estimator, ModelGuard, ModelUsage, Money, Price } from "headgate"
import { VirtualClock } from "headgate/testing"

const limits: ModelGuard.Options = {
  budget: { maxTokensPerMinute: 10_000, maxCostPerDay: "$1", alertThreshold: 1 },
  rateLimiter: { requestsPerMinute: 100, tokensPerMinute: 10_000 },
  retry: { jitter: "none", maxRetries: 2 },
  prices: { m: { input: "$10/M", output: "$100/M", cachedInput: "$1/M" } }
}

type Services = ModelGuard.ModelGuard | Estimator.Estimator | Budget.Budget

const run =
  (options: ModelGuard.Options = limits) =>
  <A, E>(program: Effect.Effect<A, E, Services>): Effect.Effect<A, E | VirtualClock.Deadlock> =>
    Effect.andThen(
      Price.preload,
      VirtualClock.run(Effect.provide(program, ModelGuard.layerMemory(options), { local: true }))
    )

const state = Effect.gen(function* () {
  const { quotas } = yield* (yield* Budget.Budget).status()
  const of = (unit: string) => quotas.find((quota) => quota.unit === unit)
  return {
    tokens: of("tokens")?.used,
    cost: of("cost")?.used,
    heldTokens: of("tokens")?.held,
    heldCost: of("cost")?.held
  }
})
const spent = (tokens: number, cost: Money.Input) => ({
  tokens,
  cost: Money.fromInputUnsafe(cost) as number,
  heldTokens: 0,
  heldCost: 0
})

interface Part {
  readonly text?: string
  readonly usage?: object
  readonly message?: object
}
const text = (text: string): Part => ({ text })
const done = (usage: object): Part => ({ usage })

/** An input of 20 bytes: 27 tokens, $0.00027. */
const call = {
  model: "m",
  input: "How deep is the sea?",
  maxOutputTokens: 1000,
  delivered: (part: Part) => part.text ?? "",
  usage: ModelUsage.fromReply
} satisfies ModelGuard.StreamCall<Part>

const parts = [text("About "), text("3,700 m, "), text("and then the bottom.")]
const usage = { prompt_tokens: 12, completion_tokens: 8 }

const collect = <A, E, R>(stream: Stream.Stream<A, E, R>) => Stream.runCollect(stream)

describe("a guarded stream of a model", () => {
  it.effect("passes its elements on and settles what it says, at its price", () =>
    Effect.gen(function* () {
      const all = [...parts, done({ ...usage, prompt_tokens_details: { cached_tokens: 10 } })]
      assert.deepStrictEqual(yield* collect(ModelGuard.stream(Stream.fromIterable(all), call)), all)
      assert.deepStrictEqual(yield* state, spent(20, "$0.00083"))
    }).pipe(run())
  )

  it.effect("holds its input and a chunk, and another whenever that is used up, at their price", () =>
    Effect.gen(function* () {
      const gate = yield* Ref.make<Array<object>>([])
      const seen = Stream.mapEffect((part: Part) =>
        Effect.andThen(
          Effect.flatMap(state, (now) => Ref.update(gate, (all) => [...all, now])),
          Effect.succeed(part)
        )
      )
      const slow = Stream.fromIterable([text("a".repeat(5)), text("b".repeat(5)), text("c".repeat(5))]).pipe(
        Stream.rechunk(1)
      )
      yield* slow.pipe(ModelGuard.stream({ ...call, chunk: 8 }), seen, Stream.runDrain)
      const held = (tokens: number, cost: Money.Input) => ({
        tokens: 0,
        cost: 0,
        heldTokens: tokens,
        heldCost: Money.fromInputUnsafe(cost) as number
      })
      assert.deepStrictEqual(yield* Ref.get(gate), [
        held(27 + 8, "$0.00107"),
        held(27 + 16, "$0.00187"),
        held(27 + 16, "$0.00187")
      ])
      assert.deepStrictEqual(yield* state, spent(27 + 15, "$0.00177"))
    }).pipe(run())
  )

  const anthropic = [
    { message: { usage: { input_tokens: 2, cache_read_input_tokens: 10, output_tokens: 1 } } },
    ...parts,
    done({ output_tokens: 8 })
  ]
  const fails = (error: unknown) => Stream.concat(Stream.fromIterable(parts), Stream.fail(error))
  const throwing = () => {
    throw new Error("a bug of the caller")
  }
  const delivered = 6 + 9 + 20
  const ends: ReadonlyArray<
    readonly [
      string,
      Stream.Stream<Part, unknown>,
      Partial<ModelGuard.StreamCall<Part, unknown>>,
      ReturnType<typeof spent>
    ]
  > = [
    ["no usage: its input and what it delivered", Stream.fromIterable(parts), {}, spent(27 + delivered, "$0.00377")],
    ["delivered tokens: as many", Stream.fromIterable(parts), { delivered: () => 2 }, spent(27 + 6, "$0.00087")],
    [
      "more text than it may write: the most",
      Stream.fromIterable(parts),
      { maxOutputTokens: 10 },
      spent(37, "$0.00127")
    ],
    [
      "a usage of nothing: nothing",
      Stream.make(text("a"), done({ prompt_tokens: 0, completion_tokens: 0 })),
      {},
      spent(0, "$0")
    ],
    ["its input told first and its output last: both", Stream.fromIterable(anthropic), {}, spent(20, "$0.00083")],
    [
      "its input told first, and no more: what came after is added",
      Stream.fromIterable(anthropic.slice(0, -1)),
      {},
      spent(12 + 1 + delivered, "$0.00363")
    ],
    [
      "its usage told all along: the last",
      Stream.make(done({ prompt_tokens: 12, completion_tokens: 4 }), done(usage)),
      {},
      spent(20, "$0.00092")
    ],
    ["an error after elements: input and delivered", fails(new Error("cut")), {}, spent(27 + delivered, "$0.00377")],
    [
      "an error that says more: that",
      fails({ usage: { prompt_tokens: 100, completion_tokens: 50 } }),
      {},
      spent(150, "$0.006")
    ],
    [
      "what usageOnError says",
      fails("odd"),
      { usageOnError: () => ({ inputTokens: 100, outputTokens: 50 }) },
      spent(150, "$0.006")
    ],
    ["an error before any element: nothing", Stream.fail({ status: 400 }), {}, spent(0, "$0")],
    ["an error before any element with usage: that", Stream.fail({ status: 400, usage }), {}, spent(20, "$0.00092")],
    [
      "a delivery that cannot be read: a chunk for each",
      Stream.fromIterable(parts),
      { delivered: throwing, chunk: 10 },
      spent(57, "$0.00327")
    ],
    [
      "a delivery that is none: a chunk",
      Stream.make(text("a")),
      { delivered: () => NaN, chunk: 10 },
      spent(37, "$0.00127")
    ],
    [
      "a usage that cannot be read: as without it",
      Stream.fromIterable(parts),
      { usage: throwing },
      spent(27 + delivered, "$0.00377")
    ],
    [
      "a usage that is none: what was said before it",
      Stream.make(done(usage), text("")),
      { usage: (part, previous) => (previous ? { inputTokens: NaN, outputTokens: 1 } : ModelUsage.fromReply(part)) },
      spent(20, "$0.00092")
    ]
  ]
  it.effect.each(ends)("counts %s", ([_, self, more, expected]) =>
    Effect.gen(function* () {
      yield* Effect.exit(Stream.runDrain(ModelGuard.stream(self, { ...call, ...more })))
      assert.deepStrictEqual(yield* state, expected)
    }).pipe(run({ ...limits, retry: { maxRetries: 0 } }))
  )

  it.effect("settles what was delivered when nobody listens any more, or it is interrupted (litellm #14457)", () =>
    Effect.gen(function* () {
      const slow = Stream.concat(Stream.fromIterable(parts), Stream.never).pipe(Stream.rechunk(1))
      yield* Stream.runDrain(Stream.take(ModelGuard.stream(slow, call), 2))
      assert.deepStrictEqual(yield* state, spent(27 + 15, "$0.00177"))
      const fiber = yield* Effect.forkChild(Stream.runDrain(ModelGuard.stream(slow, call)), { startImmediately: true })
      yield* Effect.sleep("1 second")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* state, spent(27 + 15 + 27 + delivered, "$0.00554"))
    }).pipe(run())
  )

  it.effect("ends with BudgetExceeded after what was paid for (litellm #41610)", () =>
    Effect.gen(function* () {
      const seen: Array<Part> = []
      const exit = yield* Stream.fromIterable(Array.from({ length: 100 }, () => text("0123456789"))).pipe(
        Stream.rechunk(1),
        ModelGuard.stream({ ...call, chunk: 20 }),
        Stream.runForEach((part) => Effect.sync(() => seen.push(part))),
        Effect.flip
      )
      assert(exit._tag === "BudgetExceeded")
      assert.strictEqual(exit.unit, "cost")
      // $0.00027 of input and chunks of $0.002 fit in one cent four times; the element that found no more is the last.
      assert.strictEqual(seen.length, 9)
      assert.deepStrictEqual(yield* state, spent(27 + 90, "$0.00927"))
    }).pipe(run({ ...limits, budget: { maxTokensPerMinute: 10_000, maxCostPerDay: "$0.01" } }))
  )

  it.effect("for which no more can be held settles its last word, where that came along", () =>
    Effect.gen(function* () {
      const words = Array.from({ length: 100 }, () => text("0123456789"))
      const all = Stream.fromIterable<object>([...words, { type: "finish", usage }])
      const { input, maxOutputTokens, model } = call
      const guarded = ModelGuard.stream(all, { model, input, maxOutputTokens, chunk: 20 })
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(guarded)))._tag, "BudgetExceeded")
      assert.deepStrictEqual(yield* state, spent(20, "$0.00092"))
    }).pipe(run({ ...limits, budget: { maxTokensPerMinute: 10_000, maxCostPerDay: "$0.01" } }))
  )

  it.effect("tries again before the first element, and pays for what failed", () =>
    Effect.gen(function* () {
      const count = yield* Ref.make(0)
      const self = Stream.unwrap(
        Effect.map(
          Ref.getAndUpdate(count, (n) => n + 1),
          (n): Stream.Stream<Part, unknown> =>
            n === 0
              ? Stream.fail({ status: 503, usage })
              : n === 1
                ? Stream.fail({ status: 503 })
                : Stream.make(...parts, done(usage))
        )
      )
      assert.strictEqual((yield* collect(ModelGuard.stream(self, call))).length, 4)
      assert.strictEqual(yield* Ref.get(count), 3)
      assert.deepStrictEqual(yield* state, spent(40, "$0.00184"))
    }).pipe(run())
  )

  const refusals: ReadonlyArray<readonly [string, Partial<ModelGuard.StreamCall<Part, never>>]> = [
    ["UnpricedModel", { model: "nobody-knows-this-1" }],
    ["InvalidUsage", { chunk: 0 }],
    ["InvalidUsage", { chunk: 1.5 }],
    ["InvalidUsage", { maxOutputTokens: -1 }],
    ["RequestTooLarge", { input: { tokens: 20_000 } }]
  ]
  it.effect.each(refusals)("%s of %j opens no stream and holds nothing", ([tag, part]) =>
    Effect.gen(function* () {
      let opened = 0
      const self = Stream.suspend(() => (opened++, Stream.fromIterable(parts)))
      assert.strictEqual((yield* Effect.flip(collect(ModelGuard.stream(self, { ...call, ...part }))))._tag, tag)
      assert.strictEqual(opened, 0)
      assert.deepStrictEqual(yield* state, spent(0, "$0"))
    }).pipe(run())
  )

  it.effect("can be run twice, each time from the beginning", () =>
    Effect.gen(function* () {
      const guarded = ModelGuard.stream(Stream.fromIterable([...parts, done(usage)]), call)
      yield* Stream.runDrain(guarded)
      yield* Stream.runDrain(guarded)
      assert.deepStrictEqual(yield* state, spent(40, "$0.00184"))
    }).pipe(run())
  )

  it.effect("teaches the estimator what it took, if it came to its end, and counts text by what was learned", () =>
    Effect.gen(function* () {
      const input = "How deep is the sea? ".repeat(40)
      const estimate = Estimator.Estimator.use((estimator) => estimator.estimate({ ...call, input }))
      const before = yield* estimate
      const all = Stream.fromIterable([...parts, done({ prompt_tokens: 217, completion_tokens: 8 })])
      yield* Effect.replicateEffect(Stream.runDrain(Stream.take(ModelGuard.stream(all, { ...call, input }), 1)), 100)
      assert.deepStrictEqual(yield* estimate, before)
      yield* Effect.replicateEffect(Stream.runDrain(ModelGuard.stream(all, { ...call, input })), 100)
      const { inputTokens } = yield* estimate
      assert.isAtLeast(inputTokens, 217)
      assert.isAtMost(inputTokens, 235)
      const tokens = Effect.map(state, (now) => now.tokens ?? NaN)
      const spentBefore = yield* tokens
      yield* Stream.runDrain(ModelGuard.stream(Stream.make(text("a".repeat(400))), { ...call, input: { tokens: 0 } }))
      const counted = (yield* tokens) - spentBefore - 7
      assert.isAtLeast(counted, 100)
      assert.isAtMost(counted, 105)
    }).pipe(run({ ...limits, budget: { maxTokensPerMinute: 1_000_000 }, rateLimiter: {} }))
  )

  it.effect("teaches the estimator its last word also when it is left at it, and not one that others follow", () =>
    Effect.gen(function* () {
      const input = "How deep is the sea? ".repeat(40)
      const estimate = Estimator.Estimator.use((estimator) => estimator.estimate({ ...call, input }))
      const before = yield* estimate
      const last = { type: "finish", usage: { prompt_tokens: 217, completion_tokens: 8 } }
      const left = (...all: ReadonlyArray<Part>) => {
        const stream = Stream.rechunk(Stream.concat(Stream.fromIterable(all), Stream.never), 1)
        const taken = Stream.take(ModelGuard.stream(stream, { ...call, input }), all.length)
        return Effect.replicateEffect(Stream.runDrain(taken), 100)
      }
      yield* left(text("About "), last, text("more"))
      assert.deepStrictEqual(yield* estimate, before)
      assert.strictEqual((yield* state).tokens, 100 * (before.inputTokens + 8 + "more".length))
      yield* left(text("About "), last, text(""))
      assert.isAtMost((yield* estimate).inputTokens, 235)
      assert.strictEqual((yield* state).tokens, 100 * (before.inputTokens + 8 + "more".length + 225))
    }).pipe(run({ ...limits, budget: { maxTokensPerMinute: 1_000_000 }, rateLimiter: {} }))
  )

  it.effect("settles what Bedrock tells in the last part of its stream, also when it is left there", () =>
    Effect.gen(function* () {
      const events = [
        { messageStart: { role: "assistant" } },
        { contentBlockDelta: { contentBlockIndex: 0, delta: { text: "About 3,700 m." } } },
        { messageStop: { stopReason: "end_turn" } },
        { metadata: { usage: { inputTokens: 12, outputTokens: 8, totalTokens: 20 }, metrics: { latencyMs: 900 } } }
      ]
      const { input, maxOutputTokens, model } = call
      const stream = Stream.rechunk(Stream.fromIterable<object>(events), 1).pipe(
        ModelGuard.stream({ model, input, maxOutputTokens })
      )
      yield* Stream.runDrain(stream)
      assert.deepStrictEqual(yield* state, spent(20, "$0.00092"))
      yield* Stream.runDrain(Stream.take(stream, events.length))
      assert.deepStrictEqual(yield* state, spent(40, "$0.00184"))
    }).pipe(run())
  )

  it.effect("asks the rate limiter for the most it can take", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(collect(ModelGuard.stream(Stream.fromIterable(parts), call)))
      assert.strictEqual(error._tag, "RequestTooLarge")
      yield* collect(ModelGuard.stream(Stream.fromIterable(parts), { ...call, maxOutputTokens: 100 }))
    }).pipe(run({ ...limits, rateLimiter: { tokensPerMinute: 500 } }))
  )
})
