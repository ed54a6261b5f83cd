import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Layer } from "effect"
import { Alerts, Budget, Quota, QuotaStore, RateLimiter, StoreError, Window } from "headgate"
import { VirtualClock } from "headgate/testing"

const on = <A, E>(options: RateLimiter.Options, program: (limiter: RateLimiter.Service) => Effect.Effect<A, E>) =>
  VirtualClock.run(
    Effect.provide(Effect.flatMap(RateLimiter.RateLimiter, program), RateLimiter.layerMemory(options), { local: true })
  )

const usedOf = (limiter: RateLimiter.Service) =>
  Effect.map(limiter.status(), ({ quotas }) => quotas.map(({ used }) => used))

const bucket = (unit: Quota.Unit, limit: number) =>
  Quota.make({ unit, limit, window: Window.bucket({ refill: "1 minute" }) })

describe("rate limits", () => {
  it.effect("keep an earlier limit's permit when a later one refuses (agentgateway)", () =>
    on({ requestsPerMinute: 2, tokensPerMinute: 100, onExceeded: "fail" }, (limiter) =>
      Effect.gen(function* () {
        yield* limiter.acquire({ tokens: 90 })
        yield* Effect.replicateEffect(Effect.flip(limiter.acquire({ tokens: 20 })), 10)
        yield* limiter.acquire({ tokens: 10 })
        assert.deepStrictEqual(yield* usedOf(limiter), [2, 100])
      })
    )
  )

  it.effect("are not emptied by denials and probes (Portkey)", () =>
    on({ quotas: [bucket("tokens", 60)], onExceeded: "fail" }, (limiter) =>
      Effect.gen(function* () {
        yield* limiter.acquire({ tokens: 60 })
        for (let second = 1; second <= 30; second++) {
          assert.isFalse(yield* limiter.tryAcquire({ tokens: 40 }))
          yield* Effect.flip(limiter.acquire({ tokens: 40 }))
          yield* limiter.status()
          yield* Effect.sleep("1 second")
        }
        assert.isTrue(yield* limiter.tryAcquire({ tokens: 30 }))
      })
    )
  )

  it.effect("do not forgive what a call took beyond its estimate (TensorZero)", () =>
    on({ quotas: [bucket("tokens", 100)], onExceeded: "fail" }, (limiter) =>
      Effect.gen(function* () {
        yield* limiter.settle(yield* limiter.acquire({ tokens: 100 }), { tokens: 180 })
        const error = yield* Effect.flip(limiter.acquire({ tokens: 100 }))
        assert(error._tag === "RateLimitExceeded")
        assert.strictEqual(Duration.toSeconds(error.retryAfter), 108)
      })
    )
  )

  it.effect("can be two windows of one unit on one subject (TensorZero)", () =>
    on(
      {
        per: { user: { quotas: [bucket("tokens", 10), { unit: "tokens", limit: 15, window: Window.fixed("1 hour") }] } }
      },
      (limiter) =>
        Effect.gen(function* () {
          yield* limiter.acquire({ tokens: 10 }, { user: "a" })
          yield* Effect.sleep("1 minute")
          assert.isFalse(yield* limiter.tryAcquire({ tokens: 10 }, { user: "a" }))
          assert.isTrue(yield* limiter.tryAcquire({ tokens: 5 }, { user: "a" }))
        })
    )
  )

  it.effect("do not send away for later what never fits (litellm #28805, #29191)", () =>
    on({ tokensPerMinute: 100, per: { user: { requestsPerMinute: 0 } } }, (limiter) =>
      Effect.gen(function* () {
        const large = yield* Effect.flip(limiter.acquire({ tokens: 101 }))
        const denied = yield* Effect.flip(limiter.acquire({}, { user: "a" }))
        assert.deepStrictEqual([large._tag, denied._tag], ["RequestTooLarge", "RequestTooLarge"])
        assert.notProperty(large, "retryAfter")
      })
    )
  )

  it.effect("say at once what never fits, also to who comes while others wait, and it holds nobody up", () =>
    on({ tokensPerMinute: 100 }, (limiter) =>
      Effect.gen(function* () {
        yield* limiter.acquire({ tokens: 100 })
        const before = yield* Effect.forkChild(limiter.acquire({ tokens: 50 }), { startImmediately: true })
        assert.strictEqual((yield* Effect.flip(limiter.acquire({ tokens: 200 })))._tag, "RequestTooLarge")
        const behind = yield* Effect.forkChild(limiter.acquire({ tokens: 50 }), { startImmediately: true })
        yield* Fiber.joinAll([before, behind])
        assert.strictEqual(yield* Clock.currentTimeMillis, 61_000)
      })
    )
  )

  it.effect("of concurrency hold for a thousand at once (litellm #16011)", () =>
    on({ concurrency: 7 }, (limiter) =>
      Effect.gen(function* () {
        let underWay = 0
        let most = 0
        const call = Effect.acquireUseRelease(
          Effect.sync(() => (most = Math.max(most, ++underWay))),
          () => Effect.sleep("1 second"),
          () => Effect.sync(() => underWay--)
        )
        const limited = RateLimiter.withLimit()(call).pipe(Effect.provideService(RateLimiter.RateLimiter, limiter))
        yield* Effect.replicateEffect(limited, 1000, { concurrency: "unbounded", discard: true })
        assert.strictEqual(most, 7)
      })
    )
  )

  it.effect("of concurrency are not used up by calls that were cancelled (litellm #20256, #27955)", () =>
    on({ concurrency: 2 }, (limiter) =>
      Effect.gen(function* () {
        const call = RateLimiter.withLimit()(Effect.never).pipe(Effect.provideService(RateLimiter.RateLimiter, limiter))
        for (let round = 0; round < 50; round++) {
          const fibers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(call, { startImmediately: true }))
          yield* Effect.forEach(fibers, Fiber.interrupt)
        }
        const { quotas, waiting } = yield* limiter.status()
        assert.deepStrictEqual([quotas[0]?.held, waiting], [0, 0])
      })
    )
  )
})

describe("a store that fails", () => {
  it.effect("is told of each time and asked again, not written off at the first failure (litellm #42653, #32232)", () =>
    Effect.gen(function* () {
      let down = true
      const flaky = Effect.map(QuotaStore.makeMemory, (store) => ({
        ...store,
        reserve: (command: QuotaStore.Reserve) =>
          down
            ? Effect.fail(new StoreError({ operation: "reserve", outcome: "notApplied", cause: "down" }))
            : store.reserve(command)
      }))
      yield* Effect.gen(function* () {
        const limiter = yield* RateLimiter.make({ requestsPerMinute: 1, onStoreError: "allow" })
        const budget = yield* Budget.make({ maxTokensPerMinute: 10, onStoreError: "allow" })
        const { drained, handle } = yield* Alerts.Alerts
        let degraded = 0
        yield* handle(({ _tag }) => Effect.sync(() => (degraded += _tag === "StoreDegraded" ? 1 : 0)))
        yield* limiter.acquire()
        yield* budget.reserve({ tokens: 10 })
        yield* drained
        assert.strictEqual(degraded, 2)
        down = false
        assert.isTrue(yield* limiter.tryAcquire())
        assert.isFalse(yield* limiter.tryAcquire())
        yield* budget.reserve({ tokens: 10 })
        assert.strictEqual((yield* Effect.flip(budget.reserve({ tokens: 1 })))._tag, "BudgetExceeded")
      }).pipe(Effect.provide(Layer.merge(Layer.effect(QuotaStore.QuotaStore)(flaky), Alerts.layer)))
    })
  )
})
