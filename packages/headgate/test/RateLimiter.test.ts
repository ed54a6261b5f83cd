import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Layer } from "effect"
import { Alerts, Quota, QuotaStore, RateLimiter, StoreError, Window } from "headgate"
import { VirtualClock } from "headgate/testing"

/** A program on a limiter of its own, on a virtual clock that starts at 0. */
const withLimiter = <A, E, R>(
  options: RateLimiter.Options,
  program: (limiter: RateLimiter.Service) => Effect.Effect<A, E, R>
) =>
  VirtualClock.run(
    Effect.provide(Effect.flatMap(RateLimiter.RateLimiter, program), RateLimiter.layerMemory(options), { local: true })
  )

const quotaOf = (limiter: RateLimiter.Service, name: string, subject = {}) =>
  Effect.map(limiter.status(subject), ({ quotas }) => {
    const quota = quotas.find((quota) => quota.name === name)
    return { used: quota?.used, held: quota?.held }
  })

const refusedBy = <A, R>(self: Effect.Effect<A, RateLimiter.AcquireError, R>) =>
  Effect.map(Effect.flip(self), (error) => {
    assert(error._tag === "RateLimitExceeded", error.message)
    return { ...error, retryAfter: Duration.toMillis(error.retryAfter) }
  })

const perMinute = (limit: number, unit: Quota.Unit = "requests") =>
  Quota.make({ unit, limit, window: Window.fixed("1 minute"), name: `${unit} a minute` })

describe("RateLimiter limits", () => {
  it.effect.each([
    { option: { requestsPerMinute: 2 }, usage: {}, limit: 2, retryAfter: 61_000 },
    { option: { tokensPerMinute: 100 }, usage: { tokens: 50 }, limit: 100, retryAfter: 61_000 },
    {
      option: { inputTokensPerMinute: 100 },
      usage: { inputTokens: 50, outputTokens: 900 },
      limit: 100,
      retryAfter: 61_000
    },
    { option: { outputTokensPerMinute: 100 }, usage: { outputTokens: 50 }, limit: 100, retryAfter: 61_000 },
    { option: { requestsPerDay: 2 }, usage: {}, limit: 2, retryAfter: 61 * 1_440_000 },
    { option: { concurrency: 2 }, usage: {}, limit: 2, retryAfter: 600_000 },
    { option: { requestsPerMinute: 60, burst: 2 }, quota: "requestsPerMinute", usage: {}, limit: 2, retryAfter: 1000 }
  ])("$option admits its limit, and refuses until there is room again", ({ limit, option, quota, retryAfter, usage }) =>
    withLimiter({ ...option, onExceeded: "fail" }, (limiter) =>
      Effect.gen(function* () {
        yield* limiter.acquire(usage)
        yield* limiter.acquire(usage)
        const refused = yield* refusedBy(limiter.acquire(usage))
        assert.deepStrictEqual(refused.subject, {})
        assert.strictEqual(refused.quota, quota ?? Object.keys(option)[0])
        assert.strictEqual(refused.limit, limit)
        assert.strictEqual(refused.remaining, 0)
        assert.strictEqual(refused.retryAfter, retryAfter)
        yield* Effect.sleep(retryAfter - 1)
        assert.strictEqual((yield* refusedBy(limiter.acquire(usage))).retryAfter, 1)
        yield* Effect.sleep(1)
        yield* limiter.acquire(usage)
      })
    )
  )

  it.effect("takes all quotas together or none", () =>
    withLimiter({ requestsPerMinute: 10, tokensPerMinute: 100, concurrency: 5, onExceeded: "fail" }, (limiter) =>
      Effect.gen(function* () {
        yield* limiter.acquire({ tokens: 80 })
        assert.strictEqual((yield* refusedBy(limiter.acquire({ tokens: 30 }))).quota, "tokensPerMinute")
        assert.deepStrictEqual(yield* quotaOf(limiter, "requestsPerMinute"), { used: 1, held: 0 })
        assert.deepStrictEqual(yield* quotaOf(limiter, "tokensPerMinute"), { used: 80, held: 0 })
        assert.deepStrictEqual(yield* quotaOf(limiter, "concurrency"), { used: 0, held: 1 })
        yield* limiter.acquire({ tokens: 20 })
      })
    )
  )

  it.effect("names two quotas of one unit apart and asks both", () =>
    withLimiter({ quotas: [perMinute(5), perMinute(3)], onExceeded: "fail" }, (limiter) =>
      Effect.gen(function* () {
        yield* Effect.replicateEffect(limiter.acquire(), 3)
        assert.strictEqual((yield* refusedBy(limiter.acquire())).quota, "requests a minute (2)")
      })
    )
  )

  it.effect("gives a burst at once and then one at a time", () =>
    withLimiter({ requestsPerMinute: 60, burst: 3 }, (limiter) =>
      Effect.gen(function* () {
        const waits = yield* Effect.replicateEffect(limiter.acquire(), 6)
        assert.deepStrictEqual(
          waits.map(({ waited }) => Duration.toMillis(waited)),
          [0, 0, 0, 1000, 1000, 1000]
        )
        yield* Effect.sleep("10 seconds")
        assert.deepStrictEqual(yield* Effect.replicateEffect(limiter.tryAcquire(), 4), [true, true, true, false])
      })
    )
  )

  it.effect("limits nothing and asks nobody where nothing concerns the call", () =>
    withLimiter({ per: { user: { requestsPerMinute: 1 } } }, (limiter) =>
      Effect.gen(function* () {
        yield* Effect.replicateEffect(limiter.acquire({ tokens: 9 }, { model: "m" }), 5)
        assert.deepStrictEqual(yield* limiter.status(), { quotas: [], waiting: 0 })
      })
    )
  )

  it.effect("gives each value of a dimension its own limits, with overrides", () =>
    withLimiter(
      {
        onExceeded: "fail",
        per: { user: { requestsPerMinute: 1 } },
        overrides: { user: { vip: { requestsPerMinute: 3 } }, model: { big: { requestsPerMinute: 2 } } }
      },
      (limiter) =>
        Effect.gen(function* () {
          yield* limiter.acquire({}, { user: "a" })
          yield* limiter.acquire({}, { user: "b", model: "big" })
          const refused = yield* refusedBy(limiter.acquire({}, { user: "a", model: "big" }))
          assert.deepStrictEqual(refused.subject, { user: "a" })
          yield* limiter.acquire({}, { user: "vip", model: "big" })
          const second = yield* refusedBy(limiter.acquire({}, { user: "vip", model: "big" }))
          assert.deepStrictEqual(second.subject, { model: "big" })
          yield* limiter.acquire({}, { user: "vip" })
          yield* limiter.acquire({}, { user: "vip" })
          assert.strictEqual((yield* refusedBy(limiter.acquire({}, { user: "vip" }))).limit, 3)
        })
    )
  )

  it.effect("says RequestTooLarge at once, also for a limit of 0", () =>
    withLimiter({ tokensPerMinute: 100, per: { user: { requestsPerMinute: 0 } } }, (limiter) =>
      Effect.gen(function* () {
        const large = yield* Effect.flip(limiter.acquire({ tokens: 101 }))
        assert(large._tag === "RequestTooLarge")
        const { limit, quota, requested, unit } = large
        assert.deepStrictEqual(
          { limit, quota, requested, unit },
          { limit: 100, quota: "tokensPerMinute", requested: 101, unit: "tokens" }
        )
        assert.strictEqual((yield* Effect.flip(limiter.tryAcquire({ tokens: 101 })))._tag, "RequestTooLarge")
        assert.strictEqual((yield* Effect.flip(limiter.acquire({}, { user: "a" })))._tag, "RequestTooLarge")
        assert.deepStrictEqual(yield* quotaOf(limiter, "tokensPerMinute"), { used: 0, held: 0 })
      })
    )
  )

  it.effect.each([
    { usage: { tokens: -1 }, subject: {} },
    { usage: { tokens: 1.5 }, subject: {} },
    { usage: { requests: Number.NaN }, subject: {} },
    { usage: {}, subject: { user: "" } }
  ])("refuses $usage of $subject and takes nothing", ({ subject, usage }) =>
    withLimiter({ requestsPerMinute: 2, tokensPerMinute: 100 }, (limiter) =>
      Effect.gen(function* () {
        const permit = yield* limiter.acquire({ tokens: 10 })
        assert.strictEqual((yield* Effect.flip(limiter.acquire(usage, subject)))._tag, "InvalidUsage")
        assert.strictEqual((yield* Effect.flip(limiter.tryAcquire(usage, subject)))._tag, "InvalidUsage")
        if (!("user" in subject)) {
          assert.strictEqual((yield* Effect.flip(limiter.settle(permit, usage)))._tag, "InvalidUsage")
        }
        assert.deepStrictEqual(yield* quotaOf(limiter, "requestsPerMinute"), { used: 1, held: 0 })
        assert.deepStrictEqual(yield* quotaOf(limiter, "tokensPerMinute"), { used: 10, held: 0 })
      })
    )
  )

  it("names the option, the bound and the value of a wrong option", () => {
    const cases: ReadonlyArray<readonly [RateLimiter.Options, RegExp]> = [
      [{ requestsPerMinute: -1 }, /requestsPerMinute must be a whole number.*got -1/],
      [{ tokensPerMinute: 1.5 }, /tokensPerMinute .*got 1\.5/],
      [{ per: { user: { concurrency: Number.NaN } } }, /per\.user\.concurrency .*got NaN/],
      [
        { overrides: { user: { vip: { requestsPerDay: Infinity } } } },
        /overrides\.user\.vip\.requestsPerDay .*Infinity/
      ],
      [{ burst: 5 }, /burst must be at least 1 and given with requestsPerMinute, got 5/],
      [{ requestsPerMinute: 5, burst: 0 }, /burst must be at least 1.*got 0/],
      [{ maxWait: "0 seconds" }, /maxWait must be a duration.*got 0 seconds/],
      [{ permitTtl: Infinity }, /permitTtl must be a duration.*got Infinity/]
    ]
    for (const [options, message] of cases) assert.throws(() => RateLimiter.make(options), message)
  })
})

describe("RateLimiter permits", () => {
  it.effect("gives back what a call did not take, and takes what it took beyond its estimate", () =>
    withLimiter({ tokensPerMinute: 100, onExceeded: "fail" }, (limiter) =>
      Effect.gen(function* () {
        const permit = yield* limiter.acquire({ tokens: 80 })
        yield* limiter.settle(permit, { tokens: 30 })
        assert.deepStrictEqual(yield* quotaOf(limiter, "tokensPerMinute"), { used: 30, held: 0 })
        const other = yield* limiter.acquire({ tokens: 70 })
        yield* limiter.settle(other, { tokens: 170 })
        assert.deepStrictEqual(yield* quotaOf(limiter, "tokensPerMinute"), { used: 200, held: 0 })
        assert.strictEqual((yield* refusedBy(limiter.acquire({ tokens: 1 }))).remaining, 0)
      })
    )
  )

  it.effect("ends a permit once", () =>
    withLimiter({ tokensPerMinute: 100, concurrency: 3 }, (limiter) =>
      Effect.gen(function* () {
        const permit = yield* limiter.acquire({ tokens: 50 })
        yield* limiter.settle(permit, { tokens: 20 })
        yield* limiter.settle(permit, { tokens: 20 })
        assert.strictEqual((yield* Effect.flip(limiter.settle(permit, { tokens: 21 })))._tag, "InvalidUsage")
        assert.strictEqual((yield* Effect.flip(limiter.release(permit)))._tag, "InvalidUsage")
        const released = yield* limiter.acquire({ tokens: 50 })
        yield* limiter.release(released)
        yield* limiter.release(released)
        assert.strictEqual((yield* Effect.flip(limiter.settle(released, { tokens: 50 })))._tag, "InvalidUsage")
        const foreign = { subject: {}, usage: permit.usage, waited: Duration.zero }
        assert.strictEqual((yield* Effect.flip(limiter.settle(foreign, {})))._tag, "InvalidUsage")
        assert.strictEqual((yield* Effect.flip(limiter.release(foreign)))._tag, "InvalidUsage")
        assert.deepStrictEqual(yield* quotaOf(limiter, "tokensPerMinute"), { used: 20, held: 0 })
        assert.deepStrictEqual(yield* quotaOf(limiter, "concurrency"), { used: 0, held: 0 })
      })
    )
  )

  it.effect("counts a call as under way until it is settled, or its permit expires", () =>
    withLimiter({ concurrency: 1, permitTtl: "30 seconds" }, (limiter) =>
      Effect.gen(function* () {
        const first = yield* limiter.acquire()
        const second = yield* Effect.forkChild(limiter.acquire(), { startImmediately: true })
        const third = yield* Effect.forkChild(limiter.acquire(), { startImmediately: true })
        yield* Effect.sleep("7 seconds")
        yield* limiter.settle(first, {})
        assert.strictEqual(Duration.toMillis((yield* Fiber.join(second)).waited), 7000)
        assert.strictEqual(Duration.toMillis((yield* Fiber.join(third)).waited), 37_000)
      })
    )
  )

  it.effect("tryAcquire takes a place that does not count as under way", () =>
    withLimiter({ concurrency: 1, requestsPerMinute: 2 }, (limiter) =>
      Effect.gen(function* () {
        assert.isTrue(yield* limiter.tryAcquire())
        const permit = yield* limiter.acquire()
        assert.isFalse(yield* limiter.tryAcquire())
        yield* limiter.settle(permit, {})
        assert.isFalse(yield* limiter.tryAcquire())
        assert.deepStrictEqual(yield* quotaOf(limiter, "concurrency"), { used: 0, held: 0 })
        assert.deepStrictEqual(yield* quotaOf(limiter, "requestsPerMinute"), { used: 2, held: 0 })
      })
    )
  )

  it.effect.each(["success", "failure", "defect", "interruption"] as const)(
    "withLimit keeps the place used on %s",
    (end) =>
      withLimiter({ concurrency: 1, tokensPerMinute: 100 }, (limiter) =>
        Effect.gen(function* () {
          const ends = {
            success: Effect.succeed("answer"),
            failure: Effect.fail("no"),
            defect: Effect.die("bug"),
            interruption: Effect.interrupt
          }
          const exit = yield* Effect.exit(
            RateLimiter.withLimit({ tokens: 40 })(ends[end]).pipe(
              Effect.provideService(RateLimiter.RateLimiter, limiter)
            )
          )
          assert.strictEqual(Exit.isSuccess(exit), end === "success")
          assert.deepStrictEqual(yield* quotaOf(limiter, "concurrency"), { used: 0, held: 0 })
          assert.deepStrictEqual(yield* quotaOf(limiter, "tokensPerMinute"), { used: 40, held: 0 })
        })
      )
  )
})

describe("RateLimiter and its store", () => {
  const broken = Layer.effect(QuotaStore.QuotaStore)(
    Effect.map(QuotaStore.makeMemory, (store) => ({
      ...store,
      reserve: () => Effect.fail(new StoreError({ operation: "reserve", outcome: "unknown", cause: "down" }))
    }))
  )
  const on = (options: RateLimiter.Options) =>
    RateLimiter.layer(options).pipe(Layer.provide(broken), Layer.provideMerge(Alerts.layer))

  it.effect("fails with the store's error unless told otherwise", () =>
    Effect.gen(function* () {
      const limiter = yield* RateLimiter.RateLimiter
      assert.strictEqual((yield* Effect.flip(limiter.acquire()))._tag, "StoreError")
      assert.strictEqual((yield* Effect.flip(limiter.tryAcquire()))._tag, "StoreError")
    }).pipe(Effect.provide(on({ requestsPerMinute: 1 })))
  )

  it.effect("lets calls through a failing store if told so, and tells of it", () =>
    Effect.gen(function* () {
      const limiter = yield* RateLimiter.RateLimiter
      const alerts = yield* Alerts.Alerts
      const told: Array<string> = []
      yield* alerts.handle((alert) =>
        Effect.sync(() => told.push(`${alert._tag} ${alert.quota} ${alert.subject.user}`))
      )
      const permit = yield* limiter.acquire({ tokens: 5 }, { user: "a" })
      assert.isTrue(yield* limiter.tryAcquire({}, { user: "b" }))
      yield* limiter.settle(permit, { tokens: 7 })
      yield* limiter.release(permit)
      yield* alerts.drained
      assert.deepStrictEqual(told, ["StoreDegraded calls a", "StoreDegraded calls b"])
    }).pipe(Effect.provide(on({ name: "calls", requestsPerMinute: 1, onStoreError: "allow" })))
  )

  it.effect("tells thresholds of its quotas once, however the place was taken", () =>
    Effect.gen(function* () {
      const limiter = yield* RateLimiter.RateLimiter
      const alerts = yield* Alerts.Alerts
      const told: Array<string> = []
      yield* alerts.handle((alert) => Effect.sync(() => told.push(`${alert._tag} ${alert.threshold}`)))
      yield* limiter.tryAcquire()
      yield* limiter.tryAcquire()
      yield* limiter.acquire()
      yield* limiter.acquire()
      assert.isFalse(yield* limiter.tryAcquire())
      yield* alerts.drained
      assert.deepStrictEqual(told, ["ThresholdReached 0.5", "ThresholdReached 0.75"])
    }).pipe(Effect.provide(RateLimiter.layerMemory({ quotas: [{ ...perMinute(4), alertAt: [0.5, 0.75] }] })))
  )

  it.effect("shares counters with those of the same name on one store, and with no others", () =>
    Effect.gen(function* () {
      const make = (name: string) => RateLimiter.make({ name, requestsPerMinute: 1 })
      const [a, again, b] = [yield* make("a"), yield* make("a"), yield* make("b")]
      assert.isTrue(yield* a.tryAcquire())
      assert.isFalse(yield* again.tryAcquire())
      assert.isTrue(yield* b.tryAcquire())
    }).pipe(Effect.provide(Layer.merge(QuotaStore.layerMemory, Alerts.layer)))
  )
})
