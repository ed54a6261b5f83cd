import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Layer, Random, Ref, Stream } from "effect"
import {
  Alerts,
  Budget,
  Guard,
  guard,
  guardStream,
  QuotaStore,
  RateLimiter,
  StoreError,
  type Usage,
  Window
} from "headgate"
import { VirtualClock } from "headgate/testing"

/** So much output, and perhaps what the whole call took. */
interface Part {
  readonly out: number
  readonly usage?: Usage.Input
}

const limits = {
  budget: { maxTokensPerMinute: 1000 },
  rateLimiter: { requestsPerMinute: 10, tokensPerMinute: 1000, concurrency: 5 },
  retry: { jitter: "none" }
} as const satisfies Guard.Options

const call = {
  estimate: { inputTokens: 100 },
  chunk: { outputTokens: 50 },
  delivered: ({ out }: Part) => ({ outputTokens: out }),
  actual: ({ usage }: Part) => usage
} satisfies Guard.StreamCall<Part>

const ten: Part = { out: 10 }
const usage = (tokens: number): Part => ({ out: 0, usage: { tokens } })

/** Parts that arrive one a second, each by itself. */
const parts = (...parts: ReadonlyArray<Part>) =>
  Stream.fromIterable(parts).pipe(
    Stream.rechunk(1),
    Stream.tap(() => Effect.sleep("1 second"))
  )

/** What is used and held: tokens of the budget; requests, tokens and calls under way of the limiter. */
const counters = Effect.gen(function* () {
  const budget = (yield* (yield* Budget.Budget).status()).quotas[0]
  const { quotas } = yield* (yield* RateLimiter.RateLimiter).status()
  const of = (name: string) => quotas.find((quota) => quota.name === name)
  return {
    spent: budget?.used,
    held: budget?.held,
    requests: of("requestsPerMinute")?.used,
    tokens: of("tokensPerMinute")?.used,
    underWay: of("concurrency")?.held
  }
})

const at = (spent: number, requests = 1) => ({ spent, held: 0, requests, tokens: spent, underWay: 0 })

type Services = Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Alerts.Alerts

const run =
  (options: Guard.Options = limits) =>
  <A, E>(program: Effect.Effect<A, E, Services>): Effect.Effect<A, E | VirtualClock.Deadlock> =>
    VirtualClock.run(Effect.provide(program, Guard.layerMemory(options), { local: true }))

/** The parts that came out, and how it ended. */
const collect = <E, R>(stream: Stream.Stream<Part, E, R>) =>
  Effect.gen(function* () {
    const out: Array<number> = []
    const exit = yield* Effect.exit(Stream.runForEach(stream, (part) => Effect.sync(() => out.push(part.out))))
    return {
      out,
      end: Exit.isSuccess(exit) ? "done" : Exit.hasInterrupts(exit) ? "interrupted" : Cause.squash(exit.cause)
    }
  })

const tagOf = (end: unknown) => (end as { readonly _tag?: string })._tag

describe("a guarded stream", () => {
  it.effect("holds its estimate and a chunk, another one whenever that is used up, and settles what it was told", () =>
    Effect.gen(function* () {
      const stream = parts(ten, { out: 40 }, ten, ten, { out: 200 }, usage(333)).pipe(guardStream(call))
      const fiber = yield* Effect.forkChild(Stream.runCollect(stream), { startImmediately: true })
      const held: Array<number | undefined> = []
      for (let second = 0; second < 6; second++) {
        yield* Effect.sleep(second === 0 ? 500 : "1 second")
        const { held: now, ...rest } = yield* counters
        held.push(now)
        assert.deepStrictEqual(rest, { spent: 0, requests: 1, tokens: 150, underWay: 1 })
      }
      // 10, 50, 60, 70 and 270 of output were held for in chunks of 50, the last part in one of its own.
      assert.deepStrictEqual(held, [150, 150, 150, 200, 200, 370])
      assert.strictEqual((yield* Fiber.join(fiber)).length, 6)
      assert.deepStrictEqual(yield* counters, at(333))
    }).pipe(run())
  )

  it.effect("without a chunk holds its estimate only", () =>
    Effect.gen(function* () {
      const stream = guardStream(parts(ten, { out: 500 }, usage(333)), {
        ...call,
        estimate: { inputTokens: 100, outputTokens: 50 },
        chunk: undefined
      })
      const fiber = yield* Effect.forkChild(Stream.runDrain(stream), { startImmediately: true })
      yield* Effect.sleep("2500 millis")
      assert.strictEqual((yield* counters).held, 150)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(yield* counters, at(333))
    }).pipe(run())
  )

  it.effect("extends what is held of every unit, by what is lacking where the chunk says nothing", () =>
    Effect.gen(function* () {
      const stream = parts(ten, ten).pipe(
        guardStream({
          estimate: { inputTokens: 100, cachedInputTokens: 90, cost: "$0.01" },
          chunk: { outputTokens: 15 },
          delivered: ({ out }: Part) => ({ outputTokens: out, cost: "$0.02" as const }),
          actual: () => undefined
        })
      )
      const fiber = yield* Effect.forkChild(Stream.runDrain(stream), { startImmediately: true })
      const held: Array<ReadonlyArray<number>> = []
      for (const wait of [500, 1000]) {
        yield* Effect.sleep(wait)
        held.push((yield* (yield* Budget.Budget).status()).quotas.map(({ held }) => held))
      }
      yield* Fiber.join(fiber)
      const { quotas } = yield* (yield* Budget.Budget).status()
      assert.deepStrictEqual(held, [
        [115, 10_000_000],
        [130, 30_000_000]
      ])
      assert.deepStrictEqual(
        quotas.map(({ held, used }) => [used, held]),
        [
          [120, 0],
          [50_000_000, 0]
        ]
      )
    }).pipe(run({ budget: { maxTokensPerMinute: 1000, maxCostPerDay: "$1" } }))
  )
})

describe("what a stream counts as", () => {
  const once = { ...limits, retry: { maxRetries: 0 } }
  const throwing = () => {
    throw new Error("a bug of the caller")
  }
  const breaks = (error: unknown, ...before: ReadonlyArray<Part>): Stream.Stream<Part, unknown> =>
    Stream.concat(parts(...before), Stream.fail(error))
  const whole = { chunk: undefined, estimate: { tokens: 150 } }
  const take = (n: number) => (stream: Stream.Stream<Part, unknown, Guard.Guard>) => Stream.take(stream, n)
  const timeout = (stream: Stream.Stream<Part, unknown, Guard.Guard>) =>
    Stream.fromEffect(Effect.timeout(Stream.runDrain(stream), "2500 millis")).pipe(Stream.drain)
  type Case = readonly [
    name: string,
    stream: Stream.Stream<Part, unknown>,
    how: Partial<Guard.StreamCall<Part, unknown>>,
    tokens: number,
    consume?: (stream: Stream.Stream<Part, unknown, Guard.Guard>) => Stream.Stream<Part, unknown, Guard.Guard>
  ]
  const cases: ReadonlyArray<Case> = [
    ["its usage", parts(ten, usage(77)), {}, 77],
    ["its last usage, where it tells of several", parts(usage(500), ten, usage(77), ten), {}, 77],
    ["a usage beyond all that was held: all of it", parts(ten, usage(800)), {}, 800],
    ["an explicit zero usage: nothing (litellm #37992)", parts(ten, usage(0)), {}, 0],
    ["no usage: the estimate and what was delivered (envoy #2394)", parts(ten, ten), {}, 120],
    ["no usage and much output: that too", parts({ out: 300 }), {}, 400],
    ["no usage, without a chunk: the estimate", parts(ten), whole, 150],
    ["no usage and more output than the estimate, without a chunk: the output", parts({ out: 300 }), whole, 300],
    [
      "no usage, without a chunk, told to release: the estimate, for it was answered",
      parts(ten),
      { ...whole, onUnknown: "release" },
      150
    ],
    ["no elements: the estimate", Stream.empty, {}, 100],
    ["a usage that is no usage: the estimate and what was delivered", parts(ten, usage(Number.NaN)), {}, 110],
    ["a usage that cannot be read: the same", parts(ten), { actual: throwing }, 110],
    ["an element whose size is none: a chunk", parts(ten, { out: -1 }), {}, 160],
    ["an element whose size is beyond all counting: a chunk", parts(ten, { out: Number.MAX_SAFE_INTEGER }), {}, 160],
    ["elements whose size cannot be read: a chunk each", parts(ten, ten), { delivered: throwing }, 200],
    [
      "an element whose size cannot be read, without a chunk: the estimate",
      parts(ten),
      { ...whole, delivered: throwing },
      150
    ],
    ["one left by its consumer: what had arrived (litellm #14457)", parts(ten, ten, usage(7)), {}, 110, take(1)],
    ["one left by its consumer with its usage: the larger", parts(ten, usage(7), ten), {}, 110, take(2)],
    ["one left by its consumer with a larger usage: that", parts(ten, usage(170), ten), {}, 170, take(2)],
    ["one left by its consumer among elements that came together: these", Stream.make(ten, ten, ten), {}, 130, take(1)],
    ["one left by its consumer, without a chunk: the estimate", parts(ten, ten), whole, 150, take(1)],
    ["the same, told to release: what had arrived", parts(ten, ten), { ...whole, onUnknown: "release" }, 10, take(1)],
    ["one whose consumer did not want any of it: nothing", parts(ten), {}, 0, take(0)],
    ["a timeout of the consumer: what had arrived", parts(ten, ten, ten), {}, 120, timeout],
    ["the same, told to release: what had arrived", parts(ten, ten, ten), { onUnknown: "release" }, 120, timeout],
    ["a timeout before any element: the estimate", Stream.never, {}, 100, timeout],
    ["a timeout before any element, told to release: nothing", Stream.never, { onUnknown: "release" }, 0, timeout],
    ["a failure in its middle: what had arrived", breaks({ status: 529 }, ten), {}, 110],
    ["a connection that broke in its middle: what had arrived", breaks({ code: "ECONNRESET" }, ten, ten), {}, 120],
    ["a failure with less usage: what had arrived", breaks({ status: 500, usage: { tokens: 5 } }, ten), {}, 110],
    ["a failure with more usage: that", breaks({ status: 500, usage: { tokens: 190 } }, ten), {}, 190],
    ["a failure with what actualOnError says", breaks("odd", ten), { actualOnError: () => ({ tokens: 180 }) }, 180],
    [
      "a failure with an actualOnError that throws: what had arrived",
      breaks("odd", ten),
      { actualOnError: throwing },
      110
    ],
    ["a defect in its middle: what had arrived", Stream.concat(parts(ten), Stream.die("bug")), {}, 110],
    [
      "an interruption in its middle: what had arrived",
      Stream.concat(parts(ten), Stream.fromEffect(Effect.interrupt)),
      {},
      110
    ],
    ["a refusal by the provider: nothing", breaks({ status: 429 }), {}, 0],
    ["an error with usage before any element: that", breaks({ status: 500, usage: { tokens: 12 } }), {}, 12],
    ["a connection that broke before any element: the estimate", breaks({ code: "ECONNRESET" }), {}, 100],
    ["a connection that was never made: nothing", breaks({ code: "ECONNREFUSED" }), {}, 0],
    ["a defect before any element: the estimate", Stream.die("bug"), {}, 100]
  ]
  it.effect.each(cases)("%s", ([_name, stream, how, tokens, consume = (stream) => stream]) =>
    Effect.gen(function* () {
      const guarded = yield* collect(consume(guardStream(stream, { ...call, ...how })))
      const unguarded = yield* collect(consume(guardless(stream)))
      assert.deepStrictEqual(guarded, unguarded, "it comes out as it would without a guard")
      const { requests, ...rest } = yield* counters
      assert.deepStrictEqual(rest, { spent: tokens, held: 0, tokens, underWay: 0 })
      assert.isAtMost(requests ?? 0, 1)
    }).pipe(run(once))
  )
  const guardless = (stream: Stream.Stream<Part, unknown>): Stream.Stream<Part, unknown, Guard.Guard> => stream

  it.effect.each([0, 1, 2, 3, 4, 5])("an interruption from outside after %i elements: these", (count) =>
    Effect.gen(function* () {
      const stream = parts(ten, ten, ten, ten, ten, ten).pipe(guardStream(call))
      const fiber = yield* Effect.forkChild(Stream.runDrain(stream), { startImmediately: true })
      yield* Effect.sleep(500 + 1000 * count)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(yield* counters, at(100 + 10 * count))
    }).pipe(run())
  )
})

describe("a stream that cannot extend", () => {
  const lifetime = (limit: number, more: Budget.Options = {}) => ({
    ...limits,
    budget: { quotas: [{ unit: "tokens", limit, window: Window.lifetime }], ...more } as const
  })

  it.effect("passes on what has arrived up to what does not fit, and ends with BudgetExceeded", () =>
    Effect.gen(function* () {
      let closedAt = Infinity
      const arrived: Array<number> = []
      const stream = parts(ten, ten, ten, { out: 30 }, { out: 41 }, ten, usage(1)).pipe(
        Stream.tap((part) => Effect.sync(() => arrived.push(part.out))),
        Stream.ensuring(Effect.sync(() => (closedAt = arrived.length)))
      )
      const { end, out } = yield* collect(guardStream(stream, call))
      assert.deepStrictEqual(out, [10, 10, 10, 30, 41])
      assert.strictEqual(tagOf(end), "BudgetExceeded")
      assert.deepStrictEqual([arrived.length, closedAt], [5, 5], "it is closed at once")
      assert.deepStrictEqual(yield* counters, at(201))
      const refused = yield* Effect.flip(guard(Effect.void, { estimate: { tokens: 1 }, actual: () => ({}) }))
      assert.strictEqual(refused._tag, "BudgetExceeded")
    }).pipe(run(lifetime(200)))
  )

  it.effect("drops what came together with it and did not fit either, but for what it tells of the whole call", () =>
    Effect.gen(function* () {
      const { end, out } = yield* collect(guardStream(Stream.make(ten, { out: 60 }, ten, usage(190)), call))
      assert.deepStrictEqual([out, tagOf(end)], [[10, 60], "BudgetExceeded"])
      assert.deepStrictEqual(yield* counters, at(190))
    }).pipe(run(lifetime(150)))
  )

  it.effect("is closed and settled before its consumer has seen the end of it", () =>
    Effect.gen(function* () {
      const seen = parts(ten, { out: 60 }, ten).pipe(
        guardStream(call),
        Stream.tap(({ out }) =>
          out === 60 ? Effect.map(counters, (now) => assert.deepStrictEqual(now, at(170))) : Effect.void
        )
      )
      assert.deepStrictEqual((yield* collect(seen)).out, [10, 60])
    }).pipe(run(lifetime(150)))
  )

  it.effect("ends with RequestTooLarge where the limit of a request is reached", () =>
    Effect.gen(function* () {
      const { end, out } = yield* collect(parts(ten, ten, ten, ten, ten, ten, ten).pipe(guardStream(call)))
      assert.deepStrictEqual([out.length, tagOf(end)], [6, "RequestTooLarge"])
      assert.deepStrictEqual(yield* counters, at(160))
    }).pipe(run({ ...limits, budget: { maxTokensPerRequest: 180, maxTokensPerMinute: 1000 } }))
  )

  it.effect("is not asked of the provider again, though the error is one of ours that can pass", () =>
    Effect.gen(function* () {
      const starts = yield* Ref.make(0)
      const stream = Stream.unwrap(
        Effect.as(
          Ref.update(starts, (n) => n + 1),
          parts({ out: 60 }, ten)
        )
      )
      assert.strictEqual(tagOf((yield* collect(guardStream(stream, call))).end), "BudgetExceeded")
      assert.strictEqual(yield* Ref.get(starts), 1)
    }).pipe(run({ ...lifetime(150), retry: { while: () => true } }))
  )

  it.effect("is not throttled by the refusal of another: it was admitted", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(collect(parts({ out: 60 }, { out: 60 }).pipe(guardStream(call))), {
        startImmediately: true
      })
      const large = guard(Effect.void, { estimate: { tokens: 900 }, actual: () => ({}) })
      assert.strictEqual((yield* Effect.flip(large))._tag, "BudgetExceeded")
      assert.strictEqual((yield* Effect.flip(large))._tag, "BudgetThrottled")
      assert.deepStrictEqual(yield* Fiber.join(fiber), { out: [60, 60], end: "done" })
    }).pipe(run({ ...limits, budget: { maxTokensPerMinute: 1000, autoThrottle: true, throttleDelay: "1 minute" } }))
  )

  it.effect("ends with the store's error where the store cannot be asked", () =>
    Effect.gen(function* () {
      const { end, out } = yield* collect(parts(ten, { out: 60 }, ten).pipe(guardStream(call)))
      assert.deepStrictEqual([out, tagOf(end)], [[10, 60], "StoreError"])
      assert.deepStrictEqual(yield* counters, at(170))
    }).pipe(
      Effect.provide(
        Guard.layer(limits).pipe(
          Layer.provide(
            Layer.effect(QuotaStore.QuotaStore)(
              Effect.map(QuotaStore.makeMemory, (store) => ({
                ...store,
                extend: () => Effect.fail(new StoreError({ operation: "extend", outcome: "unknown", cause: "down" }))
              }))
            )
          ),
          Layer.provideMerge(Alerts.layer)
        )
      ),
      VirtualClock.run()
    )
  )

  it.effect("goes on in shadow mode, and is told of", () =>
    Effect.gen(function* () {
      const { pubsub } = yield* Alerts.Alerts
      const { end, out } = yield* collect(parts({ out: 60 }, { out: 60 }, ten).pipe(guardStream(call)))
      assert.deepStrictEqual([out, end], [[60, 60, 10], "done"])
      assert.deepStrictEqual(yield* counters, at(230))
      const told = yield* Stream.fromPubSub(pubsub).pipe(Stream.take(1), Stream.runCollect)
      assert.include(["LimitHit", "ThresholdReached"], told[0]?._tag)
    }).pipe(run(lifetime(150, { mode: "shadow" })))
  )

  it.effect("is cut by its allowance, and leaves the rest of it to others", () =>
    Effect.gen(function* () {
      const { end, out } = yield* collect(parts({ out: 50 }, ten, ten).pipe(guardStream(call)))
      assert.deepStrictEqual([out, tagOf(end)], [[50, 10], "BudgetExceeded"])
      assert.strictEqual((end as { readonly quota: string }).quota, "allowance")
      assert.deepStrictEqual(yield* counters, at(160))
      yield* guard(Effect.void, { estimate: { tokens: 20 }, actual: () => ({ tokens: 20 }) })
      const refused = yield* Effect.flip(guard(Effect.void, { estimate: { tokens: 1 }, actual: () => ({}) }))
      assert.strictEqual(refused._tag, "BudgetExceeded")
    }).pipe(Budget.withAllowance({ tokens: 180 }), run())
  )
})

describe("together", () => {
  const limit = 12_000
  const element = 7

  /** A store in memory that is looked at after each verb, and what its holds were passed by. */
  const watched = Effect.gen(function* () {
    const store = yield* QuotaStore.makeMemory
    const seen = { looks: 0, overruns: [] as Array<number> }
    let accounts: ReadonlyArray<QuotaStore.Account> = []
    const look = Effect.suspend(() =>
      Effect.map(store.status(accounts), ({ quotas: [quota] }) => {
        seen.looks++
        const overrun = seen.overruns.reduce((sum, tokens) => sum + tokens, 0)
        assert.isAtMost(quota!.used + quota!.held, limit + overrun)
      })
    )
    const service: QuotaStore.Service = {
      ...store,
      reserve: (command) => {
        accounts = command.accounts
        return Effect.tap(store.reserve(command), () => look)
      },
      extend: (hold, more, step) => Effect.tap(store.extend(hold, more, step), () => look),
      settle: (hold, actual) =>
        Effect.tap(store.settle(hold, actual), (booked) => {
          assert(booked._tag === "Booked")
          if (actual.tokens > booked.reserved.tokens) seen.overruns.push(actual.tokens - booked.reserved.tokens)
          return look
        })
    }
    return { seen, service }
  })

  it.effect("fifty streams never hold more than there is, and pass it by an element at most where one is cut", () =>
    Effect.gen(function* () {
      const { seen, service } = yield* watched
      const layer = Guard.layer({ budget: { quotas: [{ unit: "tokens", limit, window: Window.lifetime }] } }).pipe(
        Layer.provide(Layer.succeed(QuotaStore.QuotaStore)(service)),
        Layer.provide(Alerts.layer)
      )
      const one = Effect.gen(function* () {
        const count = yield* Random.nextIntBetween(1, 80)
        const pause = yield* Random.nextIntBetween(1, 50)
        const stream = Stream.range(1, count).pipe(
          Stream.rechunk(1 + (pause % 3)),
          Stream.tap(() => Effect.sleep(pause)),
          Stream.map((): Part => ({ out: element })),
          guardStream(call)
        )
        const { end, out } = yield* collect(stream)
        if (end === "done") assert.strictEqual(out.length, count)
        else assert.strictEqual(tagOf(end), "BudgetExceeded")
        return { passed: out.length, cut: end !== "done" && out.length > 0 }
      })
      yield* Effect.gen(function* () {
        const ends = yield* Effect.all(
          Array.from({ length: 50 }, () => one),
          { concurrency: "unbounded" }
        )
        const cuts = ends.filter(({ cut }) => cut).length
        assert.isAbove(cuts, 5)
        assert.isBelow(cuts, 50)
        assert.isAtMost(seen.overruns.length, cuts)
        assert.isTrue(seen.overruns.every((tokens) => tokens <= element))
        assert.isAbove(seen.looks, 200)
        const { quotas } = yield* (yield* Budget.Budget).status()
        const admitted = ends.filter(({ passed }) => passed > 0)
        const delivered = admitted.reduce((sum, { passed }) => sum + 100 + passed * element, 0)
        assert.deepStrictEqual([quotas[0]?.used, quotas[0]?.held], [delivered, 0])
      }).pipe(Effect.provide(layer, { local: true }))
    }).pipe(Random.withSeed("fifty streams"), VirtualClock.run())
  )
})

describe("retries", () => {
  /** A provider that begins each stream as told, in order, and counts them. */
  const provider = <E>(...streams: ReadonlyArray<Stream.Stream<Part, E>>) =>
    Effect.map(Ref.make(0), (count) => ({
      stream: Stream.unwrap(
        Effect.map(
          Ref.getAndUpdate(count, (n) => n + 1),
          (n) => streams[Math.min(n, streams.length - 1)]!
        )
      ),
      count: Ref.get(count)
    }))

  it.effect("add up what the attempts took, hold for the next one beside it, and take a place each", () =>
    Effect.gen(function* () {
      const failing = Stream.fail({ status: 503, usage: { inputTokens: 30, outputTokens: 0 } })
      const { count, stream } = yield* provider(failing, failing, parts(ten, usage(40)))
      const fiber = yield* Effect.forkChild(collect(guardStream(stream, call)), { startImmediately: true })
      yield* Effect.sleep("3500 millis")
      assert.deepStrictEqual(yield* counters, { spent: 0, held: 210, requests: 3, tokens: 30 + 30 + 150, underWay: 1 })
      assert.deepStrictEqual(yield* Fiber.join(fiber), { out: [10, 0], end: "done" })
      assert.deepStrictEqual(yield* counters, at(100, 3))
      assert.strictEqual(yield* count, 3)
    }).pipe(run())
  )

  it.effect("stop as soon as an element has passed: it is never given twice (Stream.retry would, for ever)", () =>
    Effect.gen(function* () {
      const { count, stream } = yield* provider<unknown>(
        Stream.fail({ status: 503 }),
        Stream.concat(parts(ten), Stream.fail({ status: 503 })),
        parts(ten, ten)
      )
      assert.deepStrictEqual(yield* collect(guardStream(stream, call)), { out: [10], end: { status: 503 } })
      assert.strictEqual(yield* count, 2)
      assert.deepStrictEqual(yield* counters, at(110, 2))
    }).pipe(run({ ...limits, retry: { jitter: "none", while: () => true } }))
  )

  it.effect("end with the last error, and with what cannot be paid for another attempt", () =>
    Effect.gen(function* () {
      const { count, stream } = yield* provider(Stream.fail({ status: 503 }))
      assert.deepStrictEqual(yield* collect(guardStream(stream, call)), { out: [], end: { status: 503 } })
      assert.strictEqual(yield* count, 4)
      const costly = yield* provider(Stream.fail({ status: 503, usage: { tokens: 500 } }))
      assert.strictEqual(tagOf((yield* collect(guardStream(costly.stream, call))).end), "BudgetExceeded")
      assert.strictEqual(yield* costly.count, 2)
      assert.strictEqual((yield* counters).spent, 1000)
    }).pipe(run({ ...limits, rateLimiter: {} }))
  )

  it.effect("close a failed attempt before the next begins", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const attempt = (name: string, end: Stream.Stream<Part, { status: number }>) =>
        Stream.suspend(() => {
          log.push(`open ${name}`)
          return end
        }).pipe(Stream.ensuring(Effect.sync(() => log.push(`close ${name}`))))
      const { stream } = yield* provider(attempt("a", Stream.fail({ status: 503 })), attempt("b", parts(ten)))
      yield* Stream.runForEach(guardStream(stream, call), () => Effect.sync(() => log.push("element")))
      assert.deepStrictEqual(log, ["open a", "close a", "open b", "element", "close b"])
    }).pipe(run())
  )
})

describe("a slow consumer", () => {
  it.effect("keeps what is held for as long as it takes, and extends it then", () =>
    Effect.gen(function* () {
      const slow = parts(ten, { out: 45 }, ten).pipe(
        guardStream({ ...call, onUnknown: "release" }),
        Stream.tap(() => Effect.sleep("10 minutes"))
      )
      const fiber = yield* Effect.forkChild(collect(slow), { startImmediately: true })
      for (const held of [150, 200, 200]) {
        yield* Effect.sleep("9 minutes")
        const refused = yield* Effect.flip(
          guard(Effect.void, { estimate: { tokens: 1001 - held }, actual: () => ({}) })
        )
        assert(refused._tag === "BudgetExceeded")
        assert.strictEqual(refused.held, held)
        yield* Effect.sleep("70 seconds")
      }
      assert.deepStrictEqual(yield* Fiber.join(fiber), { out: [10, 45, 10], end: "done" })
      assert.strictEqual((yield* counters).spent, 165)
    }).pipe(
      run({
        budget: { quotas: [{ unit: "tokens", limit: 1000, window: Window.lifetime }], reservationTtl: "1 minute" }
      })
    )
  )

  it.effect("that buffers ahead is counted what has arrived", () =>
    Effect.gen(function* () {
      const buffered = parts(ten, ten, ten, ten).pipe(
        guardStream(call),
        Stream.buffer({ capacity: 16 }),
        Stream.tap(() => Effect.sleep("1 hour")),
        Stream.take(1)
      )
      assert.deepStrictEqual((yield* collect(buffered)).out, [10])
      assert.strictEqual((yield* counters).held, 0)
      assert.deepStrictEqual((yield* (yield* Budget.Budget).status()).quotas[0]?.used, 140)
    }).pipe(run({ budget: { quotas: [{ unit: "tokens", limit: 1000, window: Window.lifetime }] } }))
  )
})

describe("a refusal", () => {
  const refusals: ReadonlyArray<readonly [string, Guard.Options, Partial<Guard.StreamCall<Part>>]> = [
    ["BudgetExceeded", { ...limits, budget: { maxTokensPerMinute: 250 } }, {}],
    ["RequestTooLarge", { ...limits, budget: { maxTokensPerRequest: 149 } }, {}],
    ["RequestTooLarge", { ...limits, rateLimiter: { tokensPerMinute: 149 } }, {}],
    ["RateLimitExceeded", { ...limits, rateLimiter: { tokensPerMinute: 250, onExceeded: "fail" } }, {}],
    ["InvalidUsage", limits, { estimate: { tokens: -1 } }],
    ["InvalidUsage", limits, { chunk: { tokens: Number.NaN } }],
    ["InvalidUsage", limits, { chunk: { tokens: Number.MAX_SAFE_INTEGER } }],
    ["InvalidUsage", limits, { subject: { user: "" } }]
  ]
  it.effect.each(refusals)("%s makes no call and takes nothing", ([tag, options, how]) =>
    Effect.gen(function* () {
      yield* Effect.exit(guard(Effect.void, { estimate: { tokens: 110 }, actual: () => ({ tokens: 110 }) }))
      const before = yield* counters
      let started = 0
      const stream = Stream.suspend(() => {
        started++
        return parts(ten)
      })
      const { end, out } = yield* collect(guardStream(stream, { ...call, ...how }))
      assert.deepStrictEqual([out, tagOf(end), started], [[], tag, 0])
      assert.deepStrictEqual(yield* counters, before)
    }).pipe(run(options))
  )
})

describe("its place", () => {
  it.effect("counts as under way until it has ended, and is waited for", () =>
    Effect.gen(function* () {
      const stream = parts(ten, ten).pipe(guardStream(call), Stream.runDrain)
      const [took] = yield* Effect.timed(Effect.all([stream, stream, stream], { concurrency: "unbounded" }))
      assert.strictEqual(Duration.toSeconds(took), 6)
    }).pipe(run({ ...limits, rateLimiter: { concurrency: 1 } }))
  )

  it.effect("is given back when the stream's own finalizer is a bug", () =>
    Effect.gen(function* () {
      const { end, out } = yield* collect(
        parts(ten).pipe(Stream.ensuring(Effect.die("a bug")), guardStream(call), Stream.take(1))
      )
      assert.deepStrictEqual([out, end], [[10], "a bug"])
      assert.deepStrictEqual(yield* counters, at(110))
    }).pipe(run())
  )

  it.effect("may be run again and again, each time anew", () =>
    Effect.gen(function* () {
      const stream = parts(ten, usage(50)).pipe(guardStream(call))
      yield* Stream.runDrain(stream)
      yield* Stream.runDrain(stream)
      assert.deepStrictEqual(yield* counters, at(100, 2))
    }).pipe(run())
  )
})
