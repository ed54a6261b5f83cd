import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, DateTime, Duration, Effect, Exit, Fiber, Layer, Ref } from "effect"
import { AiError } from "effect/ai"
import { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import {
  Alerts,
  Budget,
  Guard,
  guard,
  Money,
  QuotaStore,
  RateLimiter,
  StoreError,
  type Usage,
  UsageRecord
} from "headgate"
import { VirtualClock } from "headgate/testing"

const limits = {
  budget: { maxTokensPerMinute: 1000 },
  rateLimiter: { requestsPerMinute: 10, tokensPerMinute: 1000, concurrency: 5 },
  retry: { jitter: "none" }
} as const satisfies Guard.Options

/** What is used and held: tokens of the budget; requests, tokens and calls under way of the limiter. */
const counters = Effect.gen(function* () {
  const budget = (yield* (yield* Budget.Budget).status()).quotas[0]
  const { quotas, waiting } = yield* (yield* RateLimiter.RateLimiter).status()
  const of = (name: string) => quotas.find((quota) => quota.name === name)
  return {
    spent: budget?.used,
    held: budget?.held,
    requests: of("requestsPerMinute")?.used,
    tokens: of("tokensPerMinute")?.used,
    underWay: of("concurrency")?.held,
    waiting
  }
})

const at = (spent: number, requests: number, tokens: number) => ({
  spent,
  held: 0,
  requests,
  tokens,
  underWay: 0,
  waiting: 0
})

interface Reply {
  readonly tokens: number
}

const call = { estimate: { tokens: 100 }, actual: ({ tokens }: Reply) => ({ tokens }) } satisfies Guard.Call<Reply>

/** A model that ends each call as told, in order, and counts them. */
const model = <E>(...ends: ReadonlyArray<Effect.Effect<Reply, E>>) =>
  Effect.map(Ref.make(0), (count) => ({
    ask: Effect.flatMap(
      Ref.getAndUpdate(count, (n) => n + 1),
      (n) => ends[Math.min(n, ends.length - 1)]!
    ),
    count: Ref.get(count)
  }))

const answer = (tokens: number) => Effect.succeed({ tokens })

const run =
  (options: Guard.Options = limits) =>
  <A, E>(
    program: Effect.Effect<A, E, Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Alerts.Alerts>
  ): Effect.Effect<A, E | VirtualClock.Deadlock> =>
    VirtualClock.run(Effect.provide(program, Guard.layerMemory(options), { local: true }))

describe("a guarded call", () => {
  it.effect("holds its estimate while it runs, and settles what it took", () =>
    Effect.gen(function* () {
      const { ask, count } = yield* model(Effect.delay(answer(30), "2 seconds"))
      const fiber = yield* Effect.forkChild(guard(ask, call), { startImmediately: true })
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual(yield* counters, { ...at(0, 1, 100), held: 100, underWay: 1 })
      assert.deepStrictEqual(yield* Fiber.join(fiber), { tokens: 30 })
      assert.deepStrictEqual(yield* counters, at(30, 1, 30))
      assert.strictEqual(yield* count, 1)
    }).pipe(run())
  )

  it.effect("draws on the quotas of its subject", () =>
    Effect.gen(function* () {
      const ask = answer(60).pipe(guard({ ...call, subject: { user: "a" } }))
      yield* ask
      const refused = yield* Effect.flip(ask)
      assert(refused._tag === "BudgetExceeded")
      assert.deepStrictEqual(refused.subject, { user: "a" })
      yield* answer(60).pipe(guard({ ...call, subject: { user: "b" } }))
    }).pipe(run({ budget: { per: { user: { maxTokensPerMinute: 100 } } } }))
  )

  it.effect("without limits is limited by nothing", () =>
    Effect.gen(function* () {
      yield* Effect.replicateEffect(guard(answer(1e9), call), 100)
      assert.deepStrictEqual((yield* (yield* Budget.Budget).status()).quotas, [])
    }).pipe(run({}))
  )
})

describe("a refusal", () => {
  const refusals: ReadonlyArray<readonly [string, Guard.Options, Usage.Input]> = [
    ["BudgetExceeded", { ...limits, budget: { maxTokensPerMinute: 150 } }, { tokens: 100 }],
    ["RequestTooLarge", { ...limits, budget: { maxTokensPerRequest: 50 } }, { tokens: 100 }],
    ["RequestTooLarge", { ...limits, rateLimiter: { tokensPerMinute: 50 } }, { tokens: 100 }],
    ["RateLimitExceeded", { ...limits, rateLimiter: { tokensPerMinute: 150, onExceeded: "fail" } }, { tokens: 100 }],
    ["RateLimitExceeded", { ...limits, rateLimiter: { tokensPerMinute: 150, maxWait: "5 seconds" } }, { tokens: 100 }],
    ["InvalidUsage", limits, { tokens: -1 }]
  ]
  it.effect.each(refusals)("%s makes no call, takes nothing and is not asked again", ([tag, options, estimate]) =>
    Effect.gen(function* () {
      yield* Effect.exit(guard(answer(100), call))
      const before = yield* counters
      const { ask, count } = yield* model(answer(1))
      assert.strictEqual((yield* Effect.flip(guard(ask, { ...call, estimate })))._tag, tag)
      assert.deepStrictEqual(yield* counters, before)
      assert.strictEqual(yield* count, 0)
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    }).pipe(run(options))
  )

  it.effect("BudgetThrottled is left to the caller", () =>
    Effect.gen(function* () {
      yield* Effect.flip(Effect.andThen(guard(answer(80), call), guard(answer(80), call)))
      const throttled = yield* Effect.flip(guard(answer(1), { ...call, estimate: { tokens: 1 } }))
      assert(throttled._tag === "BudgetThrottled")
      assert.strictEqual(Duration.toMillis(throttled.retryAfter), 5000)
      yield* Effect.sleep(throttled.retryAfter)
      yield* guard(answer(1), { ...call, estimate: { tokens: 1 } })
    }).pipe(run({ budget: { maxTokensPerMinute: 150, autoThrottle: true, throttleDelay: "5 seconds" } }))
  )

  it.effect("by the limiter after a failed attempt keeps what that attempt took", () =>
    Effect.gen(function* () {
      const { ask, count } = yield* model(Effect.fail({ status: 500, usage: { tokens: 40 } }), answer(1))
      const refused = yield* Effect.flip(guard(ask, call))
      assert("_tag" in refused && refused._tag === "RateLimitExceeded")
      assert.deepStrictEqual(yield* counters, { ...at(40, 1, 40), tokens: undefined, underWay: undefined })
      assert.strictEqual(yield* count, 1)
    }).pipe(run({ ...limits, rateLimiter: { requestsPerMinute: 1, onExceeded: "fail" } }))
  )
})

describe("retries", () => {
  it.effect("add up what the attempts took, and hold for the next one beside it", () =>
    Effect.gen(function* () {
      const failure = Effect.fail({ status: 503, usage: { inputTokens: 20, outputTokens: 10 } })
      const { ask, count } = yield* model(failure, failure, Effect.delay(answer(50), "10 seconds"))
      const fiber = yield* Effect.forkChild(guard(ask, call), { startImmediately: true })
      yield* Effect.sleep("4 seconds")
      assert.deepStrictEqual(yield* counters, { ...at(0, 3, 30 + 30 + 100), held: 160, underWay: 1 })
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(yield* counters, at(110, 3, 110))
      assert.strictEqual(yield* count, 3)
    }).pipe(run())
  )

  it.effect("every attempt pays its own way: without money for it there is none", () =>
    Effect.gen(function* () {
      const { ask, count } = yield* model(Effect.fail({ status: 503, usage: { tokens: 80 } }))
      const refused = yield* Effect.flip(guard(ask, call))
      assert("_tag" in refused && refused._tag === "BudgetExceeded")
      assert.deepStrictEqual([refused.held, refused.requested, refused.remaining], [100, 80, 50])
      assert.strictEqual((yield* counters).spent, 80)
      assert.strictEqual((yield* counters).held, 0)
      assert.strictEqual(yield* count, 1)
    }).pipe(run({ ...limits, budget: { maxTokensPerMinute: 150 } }))
  )

  it.effect("do not keep a place in the limiter while they wait", () =>
    Effect.gen(function* () {
      const { ask } = yield* model(Effect.fail({ status: 503 }), answer(10))
      const fiber = yield* Effect.forkChild(guard(ask, call), { startImmediately: true })
      yield* Effect.sleep("500 millis")
      assert.deepStrictEqual(yield* counters, { ...at(0, 1, 0), held: 100 })
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(yield* counters, at(10, 2, 10))
    }).pipe(run())
  )

  it.effect("end with the last error", () =>
    Effect.gen(function* () {
      const { ask, count } = yield* model<unknown>(Effect.fail("odd"), Effect.fail({ status: 503 }))
      assert.strictEqual(yield* Effect.flip(guard(ask, call)), "odd")
      assert.deepStrictEqual(yield* Effect.flip(guard(ask, call)), { status: 503 })
      assert.strictEqual(yield* count, 1 + 4)
      assert.deepStrictEqual(yield* counters, at(0, 5, 0))
    }).pipe(run())
  )
})

const http = (reason: "decode" | "status") => {
  const request = HttpClientRequest.get("https://model.example")
  const response = HttpClientResponse.fromWeb(request, new Response("{", { status: reason === "decode" ? 200 : 400 }))
  const { DecodeError, HttpClientError: ClientError, StatusCodeError } = HttpClientError
  return new ClientError({
    reason: reason === "decode" ? new DecodeError({ request, response }) : new StatusCodeError({ request, response })
  })
}
const ai = (reason: AiError.AiErrorReason) => AiError.make({ module: "Model", method: "generateText", reason })
const usage = { promptTokens: 15, completionTokens: 5, totalTokens: 20 }

const endOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isSuccess(exit) ? exit.value : Exit.hasInterrupts(exit) ? "interrupted" : Cause.squash(exit.cause)

describe("what an attempt counts as", () => {
  const once = { ...limits, retry: { maxRetries: 0 } }
  const throwing = () => {
    throw new Error("a bug of the caller")
  }
  const fails = (error: unknown): Effect.Effect<Reply, unknown> => Effect.fail(error)
  const slow = Effect.timeout(Effect.never, "1 second")
  const cases: ReadonlyArray<readonly [string, Effect.Effect<Reply, unknown>, Partial<Guard.Call<Reply>>, number]> = [
    ["an answer: what it says", answer(7), {}, 7],
    ["an answer of nothing: nothing", answer(0), {}, 0],
    ["an answer beyond the estimate: all of it", answer(700), {}, 700],
    ["a usage that is no usage: the estimate", answer(Number.NaN), {}, 100],
    ["a usage that cannot be read: the estimate", answer(7), { actual: throwing }, 100],
    ["a refusal by the provider: nothing", fails({ status: 429 }), {}, 0],
    ["a refusal in an HttpClientError: nothing", fails(http("status")), {}, 0],
    ["an error of one's own: nothing", fails(new Error("before the call")), {}, 0],
    ["an error with usage: that", fails({ status: 500, usage: { tokens: 12 } }), {}, 12],
    ["an error with a usage of nothing: nothing", fails({ code: "ECONNRESET", usage: { tokens: 0 } }), {}, 0],
    ["an error with a wrong usage: the estimate", fails({ usage: { tokens: -1 } }), {}, 100],
    ["an AiError with usage: that", fails(ai(new AiError.InvalidOutputError({ description: "", usage }))), {}, 20],
    [
      "output that was billed and is of no use: the estimate",
      fails(ai(new AiError.InvalidOutputError({ description: "" }))),
      {},
      100
    ],
    ["a reply of status 200 that cannot be decoded: the estimate", fails(http("decode")), {}, 100],
    [
      "a reply that is no reply, in an AiError: the estimate",
      fails(ai(new AiError.InvalidResponseError({ description: "" }))),
      {},
      100
    ],
    ["what actualOnError says", fails("odd"), { actualOnError: () => ({ tokens: 33 }) }, 33],
    [
      "what actualOnError says before what the error says",
      fails({ usage: { tokens: 1 } }),
      { actualOnError: () => ({ tokens: 0 }) },
      0
    ],
    [
      "an actualOnError that says nothing: as without it",
      fails({ usage: { tokens: 1 } }),
      { actualOnError: () => undefined },
      1
    ],
    ["an actualOnError that throws: the estimate", fails("odd"), { actualOnError: throwing }, 100],
    ["a timeout: the estimate", slow, {}, 100],
    ["a timeout, told to release: nothing", slow, { onUnknown: "release" }, 0],
    ["a connection that broke: the estimate", fails({ code: "ECONNRESET" }), {}, 100],
    ["a connection that broke, told to release: nothing", fails({ code: "ECONNRESET" }), { onUnknown: "release" }, 0],
    ["an abort in the client: the estimate", fails(new DOMException("aborted", "AbortError")), {}, 100],
    [
      "an abort in the client, told to release: nothing",
      fails(new DOMException("aborted", "AbortError")),
      { onUnknown: "release" },
      0
    ],
    ["a connection that was never made: nothing", fails({ code: "ECONNREFUSED" }), {}, 0],
    ["a defect: the estimate", Effect.die("bug"), {}, 100],
    ["a defect, told to release: nothing", Effect.die("bug"), { onUnknown: "release" }, 0],
    ["an interruption from inside: the estimate", Effect.interrupt, {}, 100],
    ["an interruption from inside, told to release: nothing", Effect.interrupt, { onUnknown: "release" }, 0]
  ]
  it.effect.each(cases)("%s", ([_, ask, how, tokens]) =>
    Effect.gen(function* () {
      const guarded = yield* Effect.exit(guard(ask, { ...call, ...how }))
      assert.deepStrictEqual(endOf(guarded), endOf(yield* Effect.exit(ask)), "as it would end without a guard")
      assert.deepStrictEqual(yield* counters, at(tokens, 1, tokens))
    }).pipe(run(once))
  )

  it.effect.each(["charge", "release"] as const)("an interruption from outside, told to %s", (onUnknown) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(guard(Effect.never, { ...call, onUnknown }), { startImmediately: true })
      yield* Effect.sleep("1 second")
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      const tokens = onUnknown === "charge" ? 100 : 0
      assert.deepStrictEqual(yield* counters, at(tokens, 1, tokens))
    }).pipe(run(once))
  )

  it.effect("an attempt that counts as its estimate has the next one pay anew", () =>
    Effect.gen(function* () {
      const { ask } = yield* model<unknown>(slow, answer(10))
      yield* guard(ask, call)
      assert.deepStrictEqual(yield* counters, at(110, 2, 110))
    }).pipe(run())
  )
})

describe("by hand", () => {
  const record = new UsageRecord({
    timestamp: DateTime.makeUnsafe(0),
    tokens: 70,
    cost: Money.usd(0.01),
    model: "gpt-5.6",
    requestId: "r-1"
  })

  it.effect("preCheck asks the budget and takes a place, recordUsage books once", () =>
    Effect.gen(function* () {
      yield* Guard.preCheck({ tokens: 100 })
      assert.deepStrictEqual(yield* counters, at(0, 1, 100))
      yield* Guard.recordUsage(record)
      yield* Guard.recordUsage(record)
      assert.deepStrictEqual(yield* counters, at(70, 1, 100))
      assert.strictEqual((yield* Effect.flip(Guard.preCheck({ tokens: 931 })))._tag, "BudgetExceeded")
      assert.deepStrictEqual(yield* counters, at(70, 1, 100))
    }).pipe(run())
  )
})

describe("a store in trouble", () => {
  const withStore = (change: (store: QuotaStore.Service) => Partial<QuotaStore.Service>) =>
    Guard.layer(limits).pipe(
      Layer.provide(
        Layer.effect(QuotaStore.QuotaStore)(
          Effect.map(QuotaStore.makeMemory, (store) => ({ ...store, ...change(store) }))
        )
      ),
      Layer.provide(Alerts.layer)
    )
  const down = Effect.fail(new StoreError({ operation: "x", outcome: "unknown", cause: "down" }))

  it.effect("makes no call where it cannot reserve", () =>
    Effect.gen(function* () {
      const { ask, count } = yield* model(answer(1))
      assert.strictEqual((yield* Effect.flip(guard(ask, call)))._tag, "StoreError")
      assert.strictEqual(yield* count, 0)
    }).pipe(Effect.provide(withStore(() => ({ reserve: () => down }))))
  )

  it.effect("keeps the answer where it cannot settle", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* guard(answer(5), call), { tokens: 5 })
    }).pipe(Effect.provide(withStore(() => ({ settle: () => down }))))
  )
})
