import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Exit, Fiber, Layer, Metric, Option, Stream, Tracer } from "effect"
import {
  Alerts,
  Budget,
  Guard,
  guard,
  guardStream,
  Money,
  QuotaStore,
  type RateLimiter,
  StoreError,
  type Usage,
  UsageRecord
} from "headgate"
import { VirtualClock } from "headgate/testing"

type Services = Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Alerts.Alerts

/** All metrics of a program with a registry of its own, by name and attribute: a counter's count, a histogram's count and sum. */
const metricsOf = <A, E>(options: Guard.Options, program: Effect.Effect<A, E, Services>) =>
  Effect.gen(function* () {
    yield* Effect.exit(
      Effect.provide(program, Guard.layerMemory({ retry: { jitter: "none" }, ...options }), { local: true })
    )
    return (yield* Metric.snapshot).map((metric) => {
      const attributes = Object.entries(metric.attributes ?? {}).map(([key, value]) => `${key}=${String(value)}`)
      const value =
        metric.type === "Counter"
          ? Number(metric.state.count)
          : metric.type === "Histogram"
            ? { count: metric.state.count, sum: metric.state.sum }
            : undefined
      return [[metric.id, ...attributes].join(" "), value] as const
    })
  }).pipe(
    Effect.map((entries) => Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)))),
    Effect.provideService(Metric.MetricRegistry, new Map()),
    VirtualClock.run()
  )

const subject = { user: "a-secret-user" }
const call = { estimate: { tokens: 100 }, actual: (usage: Usage.Input) => usage, subject }
const answer = (usage: Usage.Input) => guard(Effect.succeed(usage), call)
const failure = (error: unknown) => guard(Effect.fail(error), call)
const stream = (...parts: ReadonlyArray<number | { readonly outputTokens: number }>) =>
  Stream.fromIterable(parts).pipe(
    Stream.rechunk(1),
    Stream.withSpan("provider"),
    guardStream({
      estimate: { inputTokens: 60 },
      chunk: { outputTokens: 20 },
      delivered: (part: number | { readonly outputTokens: number }) => ({
        outputTokens: typeof part === "number" ? part : 0
      }),
      actual: (part) => (typeof part === "number" ? undefined : { inputTokens: 60, ...part }),
      subject
    })
  )
const quietly = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.exit(self)

describe("metrics", () => {
  it.effect("an answer counts as a call, an attempt, its tokens and its cost, and how good the estimate was", () =>
    Effect.map(metricsOf({}, answer({ inputTokens: 30, outputTokens: 20, cost: "$0.001" })), (metrics) =>
      assert.deepStrictEqual(metrics, {
        headgate_attempts: 1,
        "headgate_calls outcome=answered": 1,
        headgate_cost_nanodollars: 1_000_000,
        headgate_estimate_ratio: { count: 1, sum: 2 },
        "headgate_tokens kind=all": 50,
        "headgate_tokens kind=input": 30,
        "headgate_tokens kind=output": 20
      })
    )
  )

  it.effect("a stream counts as a call, and what was held for it at last as its estimate", () =>
    Effect.gen(function* () {
      const once = {
        headgate_attempts: 1,
        "headgate_calls outcome=answered": 1,
        "headgate_tokens kind=all": 100,
        "headgate_tokens kind=input": 60,
        "headgate_tokens kind=output": 40
      }
      const answered = yield* metricsOf({}, Stream.runDrain(stream(10, 20, 20, { outputTokens: 40 })))
      assert.deepStrictEqual(answered, { ...once, headgate_estimate_ratio: { count: 1, sum: 1.2 } })
      const left = yield* metricsOf({}, Stream.runDrain(Stream.take(stream(20, 20, 20), 2)))
      assert.deepStrictEqual(left, { ...once, headgate_estimate_ratio: { count: 1, sum: 1 } })
      const cut = yield* metricsOf({ budget: { maxTokensPerMinute: 100 } }, Stream.runDrain(stream(40, 20)))
      assert.strictEqual(cut["headgate_calls outcome=failed"], 1)
      assert.strictEqual(cut["headgate_refusals reason=BudgetExceeded"], 1)
    })
  )

  it.effect("retries and attempts", () =>
    Effect.map(metricsOf({ retry: { maxRetries: 2 } }, failure({ status: 503 })), (metrics) =>
      assert.deepStrictEqual(metrics, {
        headgate_attempts: 3,
        "headgate_calls outcome=failed": 1,
        headgate_retries: 2
      })
    )
  )

  const refusals: ReadonlyArray<readonly [string, Guard.Options]> = [
    ["BudgetExceeded", { budget: { maxTokensPerMinute: 150 } }],
    ["RequestTooLarge", { budget: { maxTokensPerRequest: 99 } }],
    ["RequestTooLarge", { rateLimiter: { tokensPerMinute: 99 } }],
    ["RateLimitExceeded", { rateLimiter: { tokensPerMinute: 150, onExceeded: "fail" } }],
    ["RateLimitExceeded", { rateLimiter: { tokensPerMinute: 150, maxWait: "1 second" } }]
  ]
  it.effect.each(refusals)("a refusal: %s %j", ([reason, options]) =>
    Effect.gen(function* () {
      const metrics = yield* metricsOf(
        options,
        Effect.andThen(quietly(answer({ tokens: 100 })), answer({ tokens: 100 }))
      )
      const times = reason === "RequestTooLarge" ? 2 : 1
      assert.strictEqual(metrics[`headgate_refusals reason=${reason}`], times)
      assert.strictEqual(metrics["headgate_calls outcome=refused"], times)
      assert.strictEqual(metrics["headgate_calls outcome=answered"] ?? 0, 2 - times)
    })
  )

  it.effect("a throttle, and what a shadow budget would refuse", () =>
    Effect.gen(function* () {
      const thrice = Effect.replicateEffect(quietly(answer({ tokens: 100 })), 3)
      const throttled = yield* metricsOf({ budget: { maxTokensPerMinute: 150, autoThrottle: true } }, thrice)
      assert.strictEqual(throttled["headgate_refusals reason=BudgetExceeded"], 1)
      assert.strictEqual(throttled["headgate_refusals reason=BudgetThrottled"], 1)
      const shadow = yield* metricsOf({ budget: { maxTokensPerMinute: 150, mode: "shadow" } }, thrice)
      assert.strictEqual(shadow["headgate_refusals reason=Shadow"], 2)
      assert.strictEqual(shadow["headgate_calls outcome=answered"], 3)
    })
  )

  it.effect("an interruption", () =>
    Effect.gen(function* () {
      const interrupted = Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(guard(Effect.never, call), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
      })
      assert.deepStrictEqual(yield* metricsOf({}, interrupted), {
        headgate_attempts: 1,
        "headgate_calls outcome=interrupted": 1,
        headgate_estimate_ratio: { count: 1, sum: 1 },
        "headgate_tokens kind=all": 100
      })
    })
  )

  it.effect("a wait, only where there was one", () =>
    Effect.gen(function* () {
      const twice = Effect.andThen(answer({ tokens: 1 }), answer({ tokens: 1 }))
      const metrics = yield* metricsOf({ rateLimiter: { requestsPerMinute: 60, burst: 1 } }, twice)
      assert.deepStrictEqual(metrics["headgate_wait_millis"], { count: 1, sum: 1000 })
      assert.notProperty(yield* metricsOf({}, twice), "headgate_wait_millis")
    })
  )

  it.effect("a record counts once, and so does a settlement", () =>
    Effect.gen(function* () {
      const program = Effect.gen(function* () {
        const budget = yield* Budget.Budget
        const made = { timestamp: DateTime.makeUnsafe(0), tokens: 7, cost: Money.usd(0.1), model: "m", requestId: "r" }
        yield* budget.record(new UsageRecord(made))
        yield* budget.record(new UsageRecord(made))
        const reservation = yield* budget.reserve({ tokens: 10 })
        yield* budget.settle(reservation, { tokens: 3 })
        yield* budget.settle(reservation, { tokens: 3 })
      })
      const metrics = yield* metricsOf({ budget: Budget.defaults }, program)
      assert.deepStrictEqual(metrics, { headgate_cost_nanodollars: 100_000_000, "headgate_tokens kind=all": 10 })
    })
  )

  it.effect("a store that fails, where calls are let through", () =>
    Effect.gen(function* () {
      const broken = Effect.map(QuotaStore.makeMemory, (store) => ({
        ...store,
        reserve: () => Effect.fail(new StoreError({ operation: "reserve", outcome: "unknown", cause: "down" }))
      }))
      const layer = Guard.layer({
        budget: { maxTokensPerMinute: 1000, onStoreError: "allow" },
        rateLimiter: { requestsPerMinute: 10, onStoreError: "allow" }
      }).pipe(Layer.provide(Layer.effect(QuotaStore.QuotaStore)(broken)), Layer.provide(Alerts.layer))
      yield* Effect.provide(answer({ tokens: 5 }), layer)
      const errors = (yield* Metric.snapshot).find(({ id }) => id === "headgate_store_errors")
      assert(errors?.type === "Counter")
      assert.strictEqual(Number(errors.state.count), 2)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("never name a subject", () =>
    Effect.gen(function* () {
      const everything = Effect.all([
        answer({ tokens: 50 }),
        quietly(failure({ status: 503 })),
        Effect.replicateEffect(quietly(answer({ tokens: 100 })), 9),
        quietly(guard(Effect.interrupt, call))
      ])
      const limits = { per: { user: { maxTokensPerMinute: 300 } }, autoThrottle: true }
      const metrics = yield* metricsOf(
        { budget: limits, rateLimiter: { per: { user: { requestsPerMinute: 100 } } } },
        everything
      )
      assert.isAbove(Object.keys(metrics).length, 6)
      assert.isTrue(Object.keys(metrics).every((name) => !name.includes("secret")))
    })
  )
})

describe("spans", () => {
  /** The spans of a program, with their attributes. */
  const spansOf = <A, E>(options: Guard.Options, program: Effect.Effect<A, E, Services>) =>
    Effect.gen(function* () {
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span(options) {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const layer = Guard.layerMemory({ retry: { jitter: "none" }, ...options })
      const exit = yield* Effect.exit(Effect.provide(Effect.withTracer(program, tracer), layer, { local: true }))
      return {
        exit,
        parents: spans.map(({ parent }) =>
          Option.isSome(parent) && parent.value._tag === "Span" ? parent.value.name : undefined
        ),
        spans: spans.map(({ attributes, name, status }) => [name, status._tag, Object.fromEntries(attributes)])
      }
    }).pipe(VirtualClock.run())

  it.effect("one for each guarded call, with what it was held for, took, needed and waited", () =>
    Effect.gen(function* () {
      let attempts = 0
      const model = Effect.suspend(() =>
        attempts++ === 0
          ? Effect.fail({ status: 503, usage: { inputTokens: 5, outputTokens: 0 } })
          : Effect.succeed({ tokens: 40, cost: "$0.002" as const })
      )
      const program = guard(model, { ...call, estimate: { inputTokens: 60, outputTokens: 40, cost: "$0.01" } })
      const { spans } = yield* spansOf({ rateLimiter: { requestsPerMinute: 10, burst: 1 } }, program)
      assert.deepStrictEqual(spans, [
        [
          "headgate.guard",
          "Ended",
          {
            "headgate.estimate.tokens": 100,
            "headgate.estimate.cost": 10_000_000,
            "headgate.actual.tokens": 45,
            "headgate.actual.cost": 2_000_000,
            "headgate.attempts": 2,
            "headgate.waited": 5000
          }
        ]
      ])
    })
  )

  it.effect("one for each guarded stream, around those of the provider, however it is left", () =>
    Effect.gen(function* () {
      const attributes = {
        "headgate.estimate.tokens": 100,
        "headgate.estimate.cost": 0,
        "headgate.actual.tokens": 90,
        "headgate.actual.cost": 0,
        "headgate.attempts": 1,
        "headgate.waited": 0
      }
      const expected = [
        ["headgate.guard", "Ended", attributes],
        ["provider", "Ended", {}]
      ]
      const whole = yield* spansOf({}, Stream.runDrain(stream(10, 20, { outputTokens: 30 })))
      assert.deepStrictEqual(whole.spans, expected)
      const left = yield* spansOf({}, Stream.runDrain(Stream.take(stream(10, 20, 20), 2)))
      assert.deepStrictEqual(left.spans, expected)
      const parents = yield* spansOf({}, Stream.runDrain(stream(10)))
      assert.deepStrictEqual(parents.parents, [undefined, "headgate.guard"])
      const silent = yield* spansOf({ tracing: "none" }, Stream.runDrain(stream(10)))
      assert.deepStrictEqual(silent.parents, [undefined])
    })
  )

  it.effect("one for a call that was refused, and none when told so", () =>
    Effect.gen(function* () {
      const refused = yield* spansOf({ budget: { maxTokensPerRequest: 1 } }, answer({}))
      assert.strictEqual(refused.spans.length, 1)
      const inside = Effect.currentParentSpan.pipe(Effect.option)
      const silent = yield* spansOf({ tracing: "none" }, guard(inside, { ...call, actual: () => ({}) }))
      assert.deepStrictEqual(silent.spans, [])
      assert.isTrue(Exit.isSuccess(silent.exit) && Option.isNone(silent.exit.value))
      assert.throws(() => Guard.make({ tracing: "some" as "none" }), /tracing must be "spans" or "none", got some/)
    })
  )
})
