import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Layer } from "effect"
import {
  Alerts,
  type Budget,
  Guard,
  guard,
  QuotaStore,
  RateLimiter,
  StoreError,
  type Subject,
  type Usage
} from "headgate"
import { VirtualClock } from "headgate/testing"
import { Paces } from "../src/internal/limiter/paces.ts"
import { feedbackOf } from "../src/internal/provider/signals.ts"

type Services = RateLimiter.RateLimiter | Alerts.Alerts

const run =
  (options: RateLimiter.Options = {}) =>
  <A, E>(program: Effect.Effect<A, E, Services>): Effect.Effect<A, E | VirtualClock.Deadlock> =>
    VirtualClock.run(Effect.provide(program, RateLimiter.layerMemory(options), { local: true }))

const limiter = RateLimiter.RateLimiter

const tell = (feedback: RateLimiter.Feedback, subject?: Subject.Subject, permit?: RateLimiter.Permit) =>
  limiter.use((limiter) => limiter.feedback(feedback, subject, permit))

const requests = (remaining: number, resetAfter: Duration.Input, more: Partial<RateLimiter.FeedbackLimit> = {}) => ({
  limits: [{ unit: "requests", remaining, resetAfter, ...more } as const]
})

const bucket = (remaining: number, limit: number, resetAfter: Duration.Input) =>
  requests(remaining, resetAfter, { limit, recovers: "gradually" })

const acquire = (usage?: Usage.Input, subject?: Subject.Subject) =>
  limiter.use((limiter) => limiter.acquire(usage, subject))

/** When each of so many calls that come at once gets its place. */
const times = (count: number, usage?: Usage.Input, subject?: Subject.Subject) =>
  Effect.forEach(
    Array.from({ length: count }, () => acquire(usage, subject)),
    (one) => Effect.andThen(one, Clock.currentTimeMillis),
    { concurrency: "unbounded" }
  )

const refusal = (usage?: Usage.Input, subject?: Subject.Subject) =>
  Effect.map(Effect.flip(acquire(usage, subject)), (error) => {
    assert(error._tag === "RateLimitExceeded")
    return {
      quota: error.quota,
      subject: error.subject,
      limit: error.limit,
      remaining: error.remaining,
      retryAfter: Duration.toMillis(error.retryAfter)
    }
  })

const gpt = { model: "gpt-5.6" }

describe("what remains of a limit", () => {
  it.effect("is let through before the reset, and no more; after it, all who wait", () =>
    Effect.gen(function* () {
      yield* tell(requests(2, "10 seconds"))
      assert.deepStrictEqual(yield* times(5), [0, 0, 10_000, 10_000, 10_000])
    }).pipe(run())
  )

  it.effect("is a whole limit after the reset where that is known, until there is news", () =>
    Effect.gen(function* () {
      yield* tell(requests(1, "10 seconds", { limit: 2 }))
      assert.deepStrictEqual(yield* times(5), [0, 10_000, 10_000, 70_000, 70_000])
    }).pipe(run())
  )

  it.effect("comes back evenly where the provider has a bucket, and all of it by the reset", () =>
    Effect.gen(function* () {
      yield* tell(bucket(2, 13, "11 seconds"))
      // Of 11 that are missing 10 are certain to come back in 11 seconds; the rest is there at the reset.
      const expected = [0, 0, 1100, 2200, 3300, 4400, 5500, 6600, 7700, 8800, 9900, 11_000, 11_000, 12_100, 13_200]
      assert.deepStrictEqual(yield* times(15), expected)
    }).pipe(run())
  )

  it.effect("comes back as fast as is known for certain: from the word that missed most", () =>
    Effect.gen(function* () {
      yield* tell(bucket(0, 3, "20 seconds"))
      // Of the one that is missing most may be there already.
      yield* tell(bucket(2, 3, "3 millis"))
      assert.deepStrictEqual(yield* times(5), [0, 0, 3, 10_003, 20_003])
    }).pipe(run())
  )

  it.effect("counts in its own unit", () =>
    Effect.gen(function* () {
      yield* tell({
        limits: [
          { unit: "inputTokens", remaining: 100, resetAfter: "10 seconds" },
          { unit: "outputTokens", remaining: 50, resetAfter: "20 seconds" }
        ]
      })
      const call = (inputTokens: number, outputTokens: number) =>
        Effect.andThen(acquire({ inputTokens, outputTokens }), Clock.currentTimeMillis)
      assert.strictEqual(yield* call(100, 40), 0)
      assert.strictEqual(yield* call(0, 10), 0)
      assert.strictEqual(yield* call(1, 0), 10_000)
      assert.strictEqual(yield* call(500, 1), 20_000)
    }).pipe(run())
  )

  it.effect("holds back the calls of its model only, or everyone where no model is named", () =>
    Effect.gen(function* () {
      yield* tell(requests(0, "10 seconds"), gpt)
      assert.deepStrictEqual(yield* times(1, {}, { model: "other" }), [0])
      assert.deepStrictEqual(yield* times(1), [0])
      assert.deepStrictEqual(yield* times(1, {}, { ...gpt, user: "a" }), [10_000])
      yield* tell(requests(0, "10 seconds"))
      assert.deepStrictEqual(yield* times(1, {}, gpt), [20_000])
    }).pipe(run())
  )

  it.effect("waits for a whole bucket with what is larger than that: the provider says whether it is too large", () =>
    Effect.gen(function* () {
      const limits = [
        { unit: "tokens", remaining: 0, limit: 101, resetAfter: "1 second", recovers: "gradually" }
      ] as const
      yield* tell({ limits })
      assert.deepStrictEqual(yield* times(2, { tokens: 500 }), [1000, 1000 + 5000])
    }).pipe(run())
  )

  it.effect.each([
    ["has begun", 500, [30_000, 90_000]],
    ["is used up", 0, [30_000, 90_000]],
    ["is untouched", 1000, [0, 30_000]]
  ] as const)("waits for a whole window with what is larger than that, where it %s", ([_, remaining, expected]) =>
    Effect.gen(function* () {
      yield* tell({ limits: [{ unit: "tokens", remaining, limit: 1000, resetAfter: "30 seconds" }] })
      assert.deepStrictEqual(yield* times(2, { tokens: 2000 }), [...expected])
    }).pipe(run())
  )

  it.effect("has no effect once it has expired", () =>
    Effect.gen(function* () {
      yield* tell(requests(0, 0))
      yield* tell(bucket(0, 5, 0))
      assert.deepStrictEqual(
        yield* times(50),
        Array.from({ length: 50 }, () => 0)
      )
      yield* tell(requests(0, "1 second"))
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual(
        yield* times(50),
        Array.from({ length: 50 }, () => 1000)
      )
    }).pipe(run())
  )

  it.effect("is forgotten when nobody has said anything for ten minutes after a bucket's reset", () =>
    Effect.gen(function* () {
      yield* tell(bucket(0, 3, "1 minute"))
      yield* Effect.sleep("10 minutes")
      assert.deepStrictEqual(yield* times(5), [600_000, 600_000, 600_000, 630_000, 660_000])
    }).pipe(run())
  )

  it.effect("is lifted by later word, and those who wait go at once", () =>
    Effect.gen(function* () {
      yield* tell(requests(0, "1 hour", { limit: 100 }), gpt)
      const waiting = yield* Effect.forkChild(times(5, {}, gpt), { startImmediately: true })
      yield* Effect.sleep("3 seconds")
      yield* tell(requests(3, "10 seconds", { limit: 100 }), gpt)
      assert.deepStrictEqual(yield* Fiber.join(waiting), [3000, 3000, 3000, 13_000, 13_000])
    }).pipe(run({ maxProviderWait: "1 day" }))
  )

  it.effect("leaves our own limits as they are", () =>
    Effect.gen(function* () {
      yield* tell(requests(1000, "10 seconds", { limit: 1000 }))
      assert.deepStrictEqual(yield* times(3), [0, 0, 61_000])
    }).pipe(run({ requestsPerMinute: 2 }))
  )
})

describe("a wait the provider asks for", () => {
  it.effect("holds everyone of its model back until then", () =>
    Effect.gen(function* () {
      yield* tell({ retryAfter: "20 seconds" }, gpt)
      assert.deepStrictEqual(yield* times(3, {}, gpt), [20_000, 20_000, 20_000])
      assert.deepStrictEqual(yield* times(1, {}, { model: "other" }), [20_000])
    }).pipe(run())
  )

  it.effect("is a floor: it is not shortened by another, nor by what remains, but ended by word that it is over", () =>
    Effect.gen(function* () {
      yield* tell({ retryAfter: "20 seconds" })
      yield* tell({ retryAfter: "5 seconds", ...requests(50, "1 second") })
      const waiting = yield* Effect.forkChild(times(1), { startImmediately: true })
      yield* Effect.sleep("6 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      yield* tell({ retryAfter: 0 })
      assert.deepStrictEqual(yield* Fiber.join(waiting), [6000])
    }).pipe(run())
  )

  it.effect("of 3.5 days stalls nobody unnoticed: it is a refusal at once, with the wait in it (cognee #4679)", () =>
    Effect.gen(function* () {
      const days = 3.5 * 86_400_000
      const waiting = yield* Effect.forkChild(Effect.exit(times(2, {}, gpt)), { startImmediately: true })
      yield* tell({ retryAfter: days }, gpt)
      yield* Fiber.join(waiting)
      const refused = { quota: "provider", subject: gpt, limit: 0, remaining: 0 }
      assert.deepStrictEqual(yield* refusal({}, gpt), { ...refused, retryAfter: 300_000 })
      yield* Effect.sleep(299_999)
      assert.deepStrictEqual(yield* refusal({}, gpt), { ...refused, retryAfter: 1 })
      yield* Effect.sleep(1)
      assert.deepStrictEqual(yield* times(1, {}, gpt), [300_000])
    }).pipe(run())
  )

  it.effect("refuses those who wait already, one after the other", () =>
    Effect.gen(function* () {
      yield* tell({ retryAfter: "1 minute" })
      const waiting = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 20 }, () => refusal()),
          { concurrency: "unbounded" }
        ),
        { startImmediately: true }
      )
      yield* Effect.sleep("1 second")
      yield* tell({ retryAfter: "1 hour" })
      for (const refused of yield* Fiber.join(waiting)) assert.strictEqual(refused.retryAfter, 300_000)
      assert.strictEqual(yield* Clock.currentTimeMillis, 1000)
    }).pipe(run())
  )
})

describe("a wait that is longer than one has patience for", () => {
  const hour = { retryAfter: "1 hour" } as const

  /** The provider has asked to stay away for an hour, and for as long as it is believed nobody has come. */
  const after = <A, E, R>(options: RateLimiter.Options, then: Effect.Effect<A, E, R | Services>) =>
    Effect.gen(function* () {
      yield* tell(hour, gpt, yield* acquire({}, gpt))
      yield* Effect.sleep("5 minutes")
      return yield* then
    }).pipe(Effect.provide(RateLimiter.layerMemory(options), { local: true }), VirtualClock.run())

  const waiting = (count: number) => Effect.forkChild(times(count, {}, gpt), { startImmediately: true })

  it.effect("ends when the one that asks again is answered, for all who wait", () =>
    after(
      {},
      Effect.gen(function* () {
        const probe = yield* acquire({}, gpt)
        const others = yield* waiting(3)
        yield* Effect.sleep("7 seconds")
        assert.isUndefined(others.pollUnsafe())
        yield* limiter.use(({ settle }) => settle(probe, {}))
        assert.deepStrictEqual(yield* Fiber.join(others), [307_000, 307_000, 307_000])
        assert.deepStrictEqual((yield* limiter.use(({ status }) => status(gpt))).quotas, [])
      })
    )
  )

  it.effect("goes on when the one that asks again is told so", () =>
    after(
      {},
      Effect.gen(function* () {
        const probe = yield* acquire({}, gpt)
        const others = yield* Effect.forkChild(Effect.all([refusal({}, gpt), refusal({}, gpt)], { concurrency: 2 }), {
          startImmediately: true
        })
        yield* Effect.sleep("7 seconds")
        yield* tell(hour, gpt, probe)
        yield* limiter.use(({ settle }) => settle(probe, {}))
        for (const { retryAfter } of yield* Fiber.join(others)) assert.strictEqual(retryAfter, 300_000)
        assert.strictEqual(yield* Clock.currentTimeMillis, 307_000)
        yield* Effect.sleep("5 minutes")
        assert.deepStrictEqual(yield* times(1, {}, gpt), [607_000])
      })
    )
  )

  it.effect("is as long as the one that asks again is told", () =>
    after(
      {},
      Effect.gen(function* () {
        const probe = yield* acquire({}, gpt)
        yield* tell({ retryAfter: "3 seconds" }, gpt, probe)
        yield* limiter.use(({ settle }) => settle(probe, {}))
        assert.deepStrictEqual(yield* times(3, {}, gpt), [303_000, 303_000, 303_000])
      })
    )
  )

  it.effect("lets another go every half minute as long as none of them is over", () =>
    after(
      {},
      Effect.map(times(4, {}, gpt), (at) => assert.deepStrictEqual(at, [300_000, 330_000, 360_000, 390_000]))
    )
  )

  it.effect("lets the next go at once where the one that was to ask did not go", () =>
    after(
      {},
      Effect.gen(function* () {
        const probe = yield* acquire({}, gpt)
        const others = yield* waiting(2)
        yield* Effect.sleep("2 seconds")
        yield* limiter.use(({ release }) => release(probe))
        assert.deepStrictEqual(yield* Fiber.join(others), [302_000, 332_000])
      })
    )
  )

  it.effect("refuses the others meanwhile where nobody waits, and for no longer", () =>
    after(
      { onExceeded: "fail" },
      Effect.gen(function* () {
        assert.isTrue(yield* limiter.use(({ tryAcquire }) => tryAcquire({}, gpt)))
        assert.strictEqual((yield* refusal({}, gpt)).retryAfter, 30_000)
        yield* Effect.sleep("29 seconds")
        assert.isFalse(yield* limiter.use(({ tryAcquire }) => tryAcquire({}, gpt)))
        yield* Effect.sleep("1 second")
        yield* acquire({}, gpt)
      })
    )
  )

  it.effect("is not ended by calls that went before it was told", () =>
    Effect.gen(function* () {
      const [first, second, third] = [yield* acquire({}, gpt), yield* acquire({}, gpt), yield* acquire({}, gpt)]
      yield* tell(hour, gpt, first)
      const { settle } = yield* limiter
      yield* settle(second, {})
      assert.strictEqual((yield* refusal({}, gpt)).retryAfter, 300_000)
      yield* Effect.sleep("5 minutes")
      yield* acquire({}, gpt)
      yield* settle(third, {})
      assert.deepStrictEqual(yield* times(1, {}, gpt), [330_000])
    }).pipe(run())
  )

  it.effect("lets one go at a time where our own limits are at a store that is far away", () =>
    Effect.gen(function* () {
      const store = yield* QuotaStore.makeMemory
      const far: QuotaStore.Service = {
        ...store,
        reserve: (command) => Effect.andThen(Effect.sleep(20), store.reserve(command))
      }
      const layer = RateLimiter.layer({ requestsPerMinute: 100 }).pipe(
        Layer.provide(Layer.succeed(QuotaStore.QuotaStore)(far)),
        Layer.provide(Alerts.layer)
      )
      yield* Effect.gen(function* () {
        yield* tell(hour)
        yield* Effect.sleep("5 minutes")
        assert.deepStrictEqual(yield* times(3), [300_020, 330_040, 360_060])
      }).pipe(Effect.provide(layer, { local: true }))
    }).pipe(VirtualClock.run())
  )

  it.effect("is forgotten with its model", () =>
    Effect.sync(() => {
      const paces = new Paces("limiter", 60_000)
      for (let index = 0; index < 1000; index++) {
        const now = index * 60_000
        paces.tell({ limits: [], retryAfter: 3e11 }, { model: `m${index}` }, undefined, now, 60_000)
        assert.isAtMost(paces.size, 4)
      }
    })
  )
})

describe("a refusal by the provider's word", () => {
  it.effect("has the exact wait: refused until then, admitted at it", () =>
    Effect.gen(function* () {
      yield* tell(bucket(1, 11, "10 seconds"), gpt)
      yield* acquire({}, gpt)
      const refused = yield* refusal({}, gpt)
      assert.deepStrictEqual(refused, { quota: "provider", subject: gpt, limit: 11, remaining: 0, retryAfter: 1112 })
      yield* Effect.sleep(1111)
      assert.strictEqual((yield* refusal({}, gpt)).retryAfter, 1)
      yield* Effect.sleep(1)
      yield* acquire({}, gpt)
    }).pipe(run({ onExceeded: "fail" }))
  )

  it.effect("has the longer wait where our own limits refuse too", () =>
    Effect.gen(function* () {
      yield* acquire()
      yield* tell(requests(0, "10 seconds"))
      assert.deepInclude(yield* refusal(), { quota: "requestsPerMinute", retryAfter: 61_000 })
      yield* tell({ retryAfter: "2 minutes" })
      assert.deepInclude(yield* refusal(), { quota: "provider", retryAfter: 120_000 })
    }).pipe(run({ onExceeded: "fail", requestsPerMinute: 1 }))
  )

  it.effect("comes at once where the wait passes maxWait", () =>
    Effect.gen(function* () {
      yield* tell(requests(0, "10 seconds"))
      assert.deepInclude(yield* refusal(), { quota: "provider", retryAfter: 10_000 })
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
      yield* Effect.sleep("5 seconds")
      assert.deepStrictEqual(yield* times(1), [10_000])
    }).pipe(run({ maxWait: "5 seconds" }))
  )

  it.effect("costs nothing of our own limits, and theirs cost nothing of the provider's", () =>
    Effect.gen(function* () {
      const service = yield* limiter
      yield* tell({ limits: [{ unit: "tokens", remaining: 100, resetAfter: "10 seconds" }] })
      yield* refusal({ tokens: 101 })
      assert.strictEqual((yield* service.status()).quotas[0]?.used, 0)
      yield* service.tryAcquire({ tokens: 40 })
      const used = () => Effect.map(service.status(), ({ quotas }) => quotas.map(({ used }) => used))
      assert.deepStrictEqual(yield* used(), [1, 40])
      yield* refusal({ tokens: 50 })
      assert.isFalse(yield* service.tryAcquire({ tokens: 50 }))
      assert.deepStrictEqual(yield* used(), [1, 40])
    }).pipe(run({ onExceeded: "fail", requestsPerMinute: 1 }))
  )

  it.effect("is told by status", () =>
    Effect.gen(function* () {
      yield* tell({ ...bucket(3, 8, "10 seconds"), retryAfter: "1 second" }, gpt)
      yield* acquire({}, { model: "other" })
      const { quotas } = yield* limiter.use((limiter) => limiter.status(gpt))
      assert.deepStrictEqual(
        quotas.map(({ resetAfter, ...rest }) => ({ ...rest, resetAfter: Duration.toMillis(resetAfter) })),
        [
          {
            name: "provider",
            unit: "requests",
            limit: 8,
            used: 5,
            held: 0,
            remaining: 3,
            utilization: 5 / 8,
            resetAfter: 10_000,
            subject: gpt
          },
          {
            name: "provider",
            unit: "requests",
            limit: 0,
            used: 0,
            held: 0,
            remaining: 0,
            utilization: 0,
            resetAfter: 1000,
            subject: gpt
          }
        ]
      )
      assert.deepStrictEqual((yield* limiter.use((limiter) => limiter.status())).quotas, [])
    }).pipe(run())
  )

  it.effect("holds where the store fails and calls are let through", () =>
    Effect.gen(function* () {
      yield* tell(requests(1, "10 seconds"))
      assert.deepStrictEqual(yield* times(2), [0, 10_000])
    }).pipe(
      Effect.provide(
        RateLimiter.layer({ requestsPerMinute: 1, onStoreError: "allow" }).pipe(
          Layer.provide(
            Layer.effect(QuotaStore.QuotaStore)(
              Effect.map(QuotaStore.makeMemory, (store) => ({
                ...store,
                reserve: () => Effect.fail(new StoreError({ operation: "reserve", outcome: "unknown", cause: "down" }))
              }))
            )
          ),
          Layer.provide(Alerts.layer)
        )
      ),
      VirtualClock.run()
    )
  )
})

describe("a word answers a call", () => {
  it.effect("and is held against what was let through since that one", () =>
    Effect.gen(function* () {
      const [, second] = [yield* acquire({}, gpt), yield* acquire({}, gpt), yield* acquire({}, gpt)]
      // The provider has counted two. It has not seen the third yet, which is under way.
      yield* tell(requests(3, "10 seconds"), gpt, second)
      assert.deepStrictEqual(yield* times(3, {}, gpt), [0, 0, 10_000])
    }).pipe(run())
  )

  it.effect("known from the call that runs, where no permit is given", () =>
    Effect.gen(function* () {
      const call = RateLimiter.withLimit(
        {},
        gpt
      )(Effect.andThen(Effect.sleep("1 second"), tell(requests(3, "10 seconds"), gpt)))
      const first = yield* Effect.forkChild(call, { startImmediately: true })
      yield* acquire({}, gpt)
      yield* Fiber.join(first)
      assert.deepStrictEqual(yield* times(3, {}, gpt), [1000, 1000, 11_000])
    }).pipe(run())
  )

  it.effect("that nobody knows: then against all that is under way", () =>
    Effect.gen(function* () {
      const service = yield* limiter
      const permits = [yield* acquire(), yield* acquire(), yield* acquire()]
      yield* service.settle(permits[0]!, {})
      yield* tell(requests(3, "10 seconds"))
      assert.deepStrictEqual(yield* times(2), [0, 10_000])
    }).pipe(run())
  )

  it.effect("and is no news when a later call has been answered", () =>
    Effect.gen(function* () {
      const [early, late] = [yield* acquire(), yield* acquire()]
      yield* tell(requests(5, "10 seconds"), {}, late)
      yield* tell(requests(0, "1 minute"), {}, early)
      assert.deepStrictEqual(yield* times(5), [0, 0, 0, 0, 0])
      yield* tell(requests(6, "1 minute"), {}, early)
      assert.deepStrictEqual(yield* times(1), [10_000])
    }).pipe(run())
  )

  it.effect("whose own use beyond its estimate is held against it", () =>
    Effect.gen(function* () {
      const service = yield* limiter
      const tokens = (remaining: number) =>
        ({ limits: [{ unit: "tokens", remaining, resetAfter: "10 seconds" }] }) as const
      const [early, other] = [yield* acquire({ tokens: 10 }), yield* acquire({ tokens: 10 })]
      yield* tell(tokens(100), {}, early)
      yield* service.settle(other, { tokens: 60 })
      yield* service.settle(other, { tokens: 60 })
      assert.deepStrictEqual(yield* times(2, { tokens: 30 }), [0, 10_000])
    }).pipe(run())
  )

  it.effect("of which nothing was taken where its place was given back", () =>
    Effect.gen(function* () {
      const service = yield* limiter
      yield* tell(requests(2, "10 seconds"))
      const [one] = [yield* acquire(), yield* acquire()]
      const waiting = yield* Effect.forkChild(times(1), { startImmediately: true })
      yield* Effect.sleep("1 second")
      yield* service.release(one)
      assert.deepStrictEqual(yield* Fiber.join(waiting), [1000])
      yield* service.release(one)
      assert.deepStrictEqual(yield* times(1), [10_000])
    }).pipe(run())
  )

  it.effect("of another limiter's is unknown here, and no permit at all is refused", () =>
    Effect.gen(function* () {
      const other = yield* Effect.provide(acquire(), RateLimiter.layerMemory({ name: "other" }), { local: true })
      yield* acquire()
      yield* tell(requests(2, "10 seconds"), {}, other)
      assert.deepStrictEqual(yield* times(2), [0, 10_000])
      const error = yield* Effect.flip(tell(requests(0, "1 hour"), {}, { ...other }))
      assert.deepStrictEqual([error._tag, error.field], ["InvalidUsage", "permit"])
      assert.deepStrictEqual(yield* times(1), [10_000])
    }).pipe(run())
  )
})

describe("those who wait for the provider", () => {
  it.effect("are served in order, whatever word comes meanwhile, and nobody else's line is held up", () =>
    Effect.gen(function* () {
      const served: Array<number> = []
      yield* tell(bucket(0, 21, "20 seconds"), gpt)
      const waiting = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 30 }, (_, index) => index),
          (index) =>
            Effect.andThen(
              acquire({ tokens: (index * 7) % 5 }, gpt),
              Effect.sync(() => served.push(index))
            ),
          { concurrency: "unbounded" }
        ),
        { startImmediately: true }
      )
      yield* Effect.sleep("3 seconds")
      assert.deepStrictEqual(yield* times(2, {}, { model: "other" }), [3000, 3000])
      yield* tell(bucket(1, 21, "19 seconds"), gpt)
      yield* Effect.sleep("2 seconds")
      yield* tell({ retryAfter: "4 seconds" }, gpt)
      yield* Effect.sleep("10 seconds")
      yield* tell(bucket(9, 21, "12 seconds"), gpt)
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(
        served,
        Array.from({ length: 30 }, (_, index) => index)
      )
    }).pipe(run())
  )

  it.effect("leave no debt when they are interrupted, and wake the next", () =>
    Effect.gen(function* () {
      yield* tell(requests(0, "10 seconds", { limit: 1 }))
      const first = yield* Effect.forkChild(acquire(), { startImmediately: true })
      const second = yield* Effect.forkChild(times(1), { startImmediately: true })
      yield* Effect.sleep("1 second")
      yield* Fiber.interrupt(first)
      assert.deepStrictEqual(yield* Fiber.join(second), [10_000])
      assert.strictEqual((yield* limiter.use((limiter) => limiter.status())).waiting, 0)
    }).pipe(run())
  )

  it.effect("come before those who come later, who are let through as they are served", () =>
    Effect.gen(function* () {
      yield* tell(requests(0, "10 seconds", { limit: 2 }))
      const first = yield* Effect.forkChild(times(3), { startImmediately: true })
      yield* Effect.sleep("10 seconds")
      assert.isFalse(yield* limiter.use((limiter) => limiter.tryAcquire()))
      assert.deepStrictEqual(yield* Fiber.join(first), [10_000, 10_000, 70_000])
    }).pipe(run())
  )

  it.effect("with our own limits at a store that is far away, pass neither", () =>
    Effect.gen(function* () {
      const store = yield* QuotaStore.makeMemory
      const far: QuotaStore.Service = {
        ...store,
        reserve: (command) =>
          Effect.andThen(
            Effect.sleep(20),
            Effect.tap(store.reserve(command), () => Effect.sleep(20))
          )
      }
      const layer = RateLimiter.layer({ requestsPerMinute: 7 }).pipe(
        Layer.provide(Layer.succeed(QuotaStore.QuotaStore)(far)),
        Layer.provide(Alerts.layer)
      )
      yield* Effect.gen(function* () {
        yield* tell(requests(5, "10 seconds"))
        const admitted = yield* times(9)
        assert.strictEqual(admitted.filter((time) => time < 10_000).length, 5)
        assert.strictEqual(admitted.filter((time) => time < 60_000).length, 7)
      }).pipe(Effect.provide(layer, { local: true }))
    }).pipe(VirtualClock.run())
  )
})

describe("what is no feedback", () => {
  const good = { unit: "requests", remaining: 0, resetAfter: "1 minute" }
  const limit = (change: object) => ({ retryAfter: "1 minute", limits: [good, { ...good, ...change }] })
  const wrong: ReadonlyArray<readonly [field: string, feedback: unknown]> = [
    ["feedback", null],
    ["feedback", "429"],
    ["limits", { limits: "none" }],
    ["limits", { limits: [null] }],
    ["limits", { limits: Array.from({ length: 17 }, () => good) }],
    ["unit", limit({ unit: "cost" })],
    ["unit", limit({ unit: undefined })],
    ...[NaN, -1, 1.5, Infinity, 2 ** 53, "5"].flatMap(
      (value) =>
        [
          ["remaining", limit({ remaining: value })],
          ["limit", limit({ limit: value })]
        ] as const
    ),
    ["recovers", limit({ recovers: "slowly" })],
    ...[NaN, -1, Infinity, -Infinity, "soon", 4e11, null].flatMap(
      (value) =>
        [
          ["resetAfter", limit({ resetAfter: value })],
          ["retryAfter", { limits: [good], retryAfter: value }]
        ] as const
    ),
    ["resetAfter", limit({ resetAfter: undefined })]
  ]
  it.effect.each(wrong)("changes nothing: %s of %j", ([field, feedback]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(tell(feedback as RateLimiter.Feedback))
      assert.deepStrictEqual([error._tag, error.field], ["InvalidUsage", field])
      assert.deepStrictEqual(yield* times(3), [0, 0, 0])
    }).pipe(run())
  )

  it.effect("a subject that is none", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(tell(requests(0, "1 minute"), { model: "" }))
      assert.strictEqual(error.field, "subject.model")
    }).pipe(run())
  )

  it("a wait that is none is a wrong option", () => {
    assert.throws(() => RateLimiter.make({ maxProviderWait: 0 }), /maxProviderWait must be a duration/)
  })
})

describe("memory", () => {
  it("keeps the models that are in use, and those that the provider has something to say of", () => {
    const paces = new Paces("limiter", 60_000)
    let most = 0
    for (let index = 0; index < 100_000; index++) {
      const now = index * 10
      const entry = paces.enter(paces.of({ model: `m${index}` }, now), { ...usage, requests: 1 }, now)
      assert(!("_tag" in entry))
      entry.confirm()
      paces.settle(entry, usage, now)
      if (index === 0) paces.tell({ limits: [], retryAfter: 999_000 }, { model: "m0" }, entry, now)
      most = Math.max(most, paces.size)
    }
    assert.isAtMost(most, 12_002)
    const refused = paces.enter(paces.of({ model: "m0" }, 998_999), usage, 998_999)
    assert(!("_tag" in refused), "time does not run backwards")
  })
  const usage = { requests: 1, tokens: 1, inputTokens: 1, outputTokens: 0, cachedInputTokens: 0, cost: 0 as never }

  it("does not forget a wait before its time", () => {
    const paces = new Paces("limiter", 60_000)
    paces.tell({ limits: [], retryAfter: 900_000 }, gpt, undefined, 0)
    for (let now = 0; now < 900_000; now += 10_000) {
      paces.of({ model: `m${now}` }, now)
      assert.isDefined(paces.refusal(paces.of(gpt, now), usage, now), String(now))
      for (let other = 0; other < 5; other++) paces.of({ model: `m${now}-${other}` }, now)
    }
    assert.isUndefined(paces.refusal(paces.of(gpt, 900_000), usage, 900_000))
    assert.isAtMost(paces.size, 100)
  })
})

describe("a guarded call", () => {
  const guarded =
    (options: Guard.Options) =>
    <A, E>(program: Effect.Effect<A, E, Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Alerts.Alerts>) =>
      VirtualClock.run(Effect.provide(program, Guard.layerMemory(options), { local: true }))
  const call = { estimate: { tokens: 10 }, actual: () => ({ tokens: 10 }), subject: gpt }
  const once = { retry: { maxRetries: 0 } }

  it.effect("tells the limiter of a 429: the others of its model stay away for so long", () =>
    Effect.gen(function* () {
      yield* Effect.flip(guard(Effect.fail({ status: 429, headers: { "retry-after": "30" } }), call))
      const other = yield* Effect.forkChild(guard(Clock.currentTimeMillis, { ...call, subject: { model: "other" } }))
      assert.strictEqual(yield* guard(Clock.currentTimeMillis, call), 30_000)
      assert.strictEqual(yield* Fiber.join(other), 0)
    }).pipe(guarded(once))
  )

  it.effect("is not let through by a date that is past by our clock", () =>
    Effect.gen(function* () {
      yield* tell({ retryAfter: "30 seconds" }, gpt)
      const late = { status: 429, headers: { "retry-after": "Thu, 01 Jan 1970 00:00:00 GMT" } }
      yield* tell(feedbackOf(late, 1000) ?? {}, gpt)
      assert.strictEqual(yield* guard(Clock.currentTimeMillis, call), 30_000)
    }).pipe(guarded(once))
  )

  it.effect("tells the limiter what its error says is left", () =>
    Effect.gen(function* () {
      const headers = {
        "x-ratelimit-limit-tokens": "21",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "20s"
      }
      yield* Effect.flip(guard(Effect.fail({ status: 400, headers }), call))
      assert.strictEqual(yield* guard(Clock.currentTimeMillis, call), 10_000)
      assert.strictEqual(yield* guard(Clock.currentTimeMillis, call), 20_000 + 0)
    }).pipe(guarded(once))
  )

  it.effect("waits no longer for its own retry than it was told", () =>
    Effect.gen(function* () {
      let attempts = 0
      const model = Effect.suspend(() =>
        attempts++ === 0 ? Effect.fail({ status: 429, headers: { "retry-after": "7" } }) : Clock.currentTimeMillis
      )
      assert.strictEqual(yield* guard(model, call), 7000)
    }).pipe(guarded({ retry: { jitter: "none" } }))
  )

  it.effect("does not take our own refusals for the provider's", () =>
    Effect.gen(function* () {
      const limited = Effect.provide(
        Effect.andThen(acquire(), acquire()),
        RateLimiter.layerMemory({ requestsPerMinute: 1, onExceeded: "fail", name: "inner" }),
        { local: true }
      )
      assert.strictEqual((yield* Effect.flip(guard(limited, call)))._tag, "RateLimitExceeded")
      assert.strictEqual(yield* guard(Clock.currentTimeMillis, call), 0)
    }).pipe(guarded(once))
  )

  it.effect("is paced by what its replies say", () =>
    Effect.gen(function* () {
      const ask = Effect.andThen(tell(bucket(0, 11, "10 seconds"), gpt), Clock.currentTimeMillis)
      assert.strictEqual(yield* guard(ask, call), 0)
      assert.strictEqual(yield* guard(ask, call), 1000)
    }).pipe(guarded(once))
  )
})
