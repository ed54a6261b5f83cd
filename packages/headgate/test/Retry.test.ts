import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Random } from "effect"
import { Budget, policy, RateLimitExceeded, Retry, type RetryExhausted } from "headgate"
import { VirtualClock } from "headgate/testing"

/** A random number that is always the same. */
const draws = (draw: number) =>
  Effect.provideService(Random.Random, { nextDoubleUnsafe: () => draw, nextIntUnsafe: () => 0 })

const busy = { status: 503 }

/** The milliseconds between the attempts of a call that fails with `errors` one after the other, and then answers. */
const delaysOf = (
  options: Retry.Options,
  errors: ReadonlyArray<unknown>,
  how: (retry: Retry.Service) => Retry.Service["retry"] = (retry) => retry.retry
) =>
  Effect.gen(function* () {
    const retry = yield* Retry.make(options)
    const times: Array<number> = []
    const call = Effect.flatMap(Clock.currentTimeMillis, (now) => {
      times.push(now)
      return times.length > errors.length ? Effect.succeed("answer") : Effect.fail(errors[times.length - 1])
    })
    const exit = yield* Effect.exit(how(retry)(call))
    return { delays: times.slice(1).map((time, index) => time - times[index]!), exit }
  }).pipe(VirtualClock.run())

const failing = (times: number) => Array.from({ length: times }, () => busy)

describe("backoff", () => {
  it.effect("doubles from one second, three times", () =>
    Effect.gen(function* () {
      const { delays, exit } = yield* delaysOf({ jitter: "none" }, failing(9))
      assert.deepStrictEqual(delays, [1000, 2000, 4000])
      assert.deepStrictEqual(exit, Exit.fail(busy))
    })
  )

  it.effect("grows by the multiplier up to the cap", () =>
    Effect.gen(function* () {
      const options = { initialBackoff: "100 millis", multiplier: 3, maxBackoff: "2 seconds", maxRetries: 5 } as const
      const { delays } = yield* delaysOf({ ...options, jitter: "none" }, failing(5))
      assert.deepStrictEqual(delays, [100, 300, 900, 2000, 2000])
    })
  )

  it.effect("makes no retries when told so", () =>
    Effect.map(delaysOf({ maxRetries: 0 }, failing(1)), ({ delays, exit }) => {
      assert.deepStrictEqual(delays, [])
      assert.deepStrictEqual(exit, Exit.fail(busy))
    })
  )

  const capped = [1000, 2000, 4000, 5000, 5000]
  it.effect.each([
    { jitter: "full", lowest: [0, 0, 0, 0, 0], highest: capped },
    { jitter: "equal", lowest: [500, 1000, 2000, 2500, 2500], highest: capped },
    { jitter: "decorrelated", lowest: [1000, 1000, 1000, 1000, 1000], highest: [3000, 5000, 5000, 5000, 5000] },
    { jitter: 0.2, lowest: [800, 1600, 3200, 4000, 4000], highest: [1200, 2400, 4800, 5000, 5000] },
    { jitter: 0, lowest: capped, highest: capped },
    { jitter: "none", lowest: capped, highest: capped }
  ] as const)("spreads with jitter $jitter over its range and never beyond the cap", ({ highest, jitter, lowest }) =>
    Effect.gen(function* () {
      const options = { jitter, maxBackoff: "5 seconds", maxRetries: 5 } as const
      const low = yield* delaysOf(options, failing(5)).pipe(draws(0))
      const high = yield* delaysOf(options, failing(5)).pipe(draws(1 - Number.EPSILON))
      assert.deepStrictEqual(low.delays, lowest)
      assert.deepStrictEqual(high.delays, highest)
      for (let seed = 0; seed < 100; seed++) {
        const { delays } = yield* delaysOf(options, failing(5)).pipe(Random.withSeed(`${jitter} ${seed}`))
        delays.forEach((delay, index) => {
          assert.isAtLeast(delay, lowest[index]!)
          assert.isAtMost(delay, highest[index]!)
        })
      }
    })
  )

  it.effect("goes on from the last delay when decorrelated", () =>
    Effect.map(delaysOf({ jitter: "decorrelated" }, failing(3)).pipe(draws(0.5)), ({ delays }) => {
      // 1000 + (3 * 1000 - 1000) / 2, then 1000 + (3 * 2000 - 1000) / 2, …
      assert.deepStrictEqual(delays, [2000, 3500, 5750])
    })
  )

  it.effect("is the same for the same seed", () =>
    Effect.gen(function* () {
      const once = (seed: string) =>
        Effect.map(delaysOf({}, failing(3)).pipe(Random.withSeed(seed)), ({ delays }) => delays)
      assert.deepStrictEqual(yield* once("a"), yield* once("a"))
      assert.notDeepEqual(yield* once("a"), yield* once("b"))
    })
  )
})

describe("limits of retries", () => {
  it.effect("maxElapsed counts the coming delay", () =>
    Effect.gen(function* () {
      const options = { jitter: "none", maxRetries: 9 } as const
      assert.deepStrictEqual(
        (yield* delaysOf({ ...options, maxElapsed: "6999 millis" }, failing(9))).delays,
        [1000, 2000]
      )
      assert.deepStrictEqual(
        (yield* delaysOf({ ...options, maxElapsed: "7 seconds" }, failing(9))).delays,
        [1000, 2000, 4000]
      )
    })
  )

  it.effect("maxElapsed counts the time the attempts take", () =>
    Effect.gen(function* () {
      let attempts = 0
      const call = Effect.sync(() => attempts++).pipe(
        Effect.andThen(Effect.sleep("4 seconds")),
        Effect.andThen(Effect.fail(busy))
      )
      const options = { jitter: "none", maxElapsed: "10 seconds" } as const
      yield* Effect.flip(Effect.retry(call, Retry.schedule(options)))
      yield* Effect.flip(Effect.flatMap(Retry.make(options), (retry) => retry.retry(call)))
      assert.strictEqual(attempts, 4)
      assert.strictEqual(yield* Clock.currentTimeMillis, 18_000)
    }).pipe(VirtualClock.run())
  )

  it.effect("only what `while` says is retried", () =>
    Effect.gen(function* () {
      const options = { jitter: "none", while: (error: unknown) => error === "again" } as const
      const { delays, exit } = yield* delaysOf(options, ["again", busy, "again"])
      assert.deepStrictEqual(delays, [1000])
      assert.deepStrictEqual(exit, Exit.fail(busy))
    })
  )

  it.effect("an error that is not worth it passes through run as it is", () =>
    Effect.map(
      delaysOf({}, [{ status: 400 }], (retry) => retry.run as Retry.Service["retry"]),
      ({ delays, exit }) => {
        assert.deepStrictEqual(delays, [])
        assert.deepStrictEqual(exit, Exit.fail({ status: 400 }))
      }
    )
  )

  it.effect("run tells how often, how long and why it gave up", () =>
    Effect.gen(function* () {
      const call = Effect.andThen(Effect.sleep("500 millis"), Effect.fail(busy))
      const error = yield* Effect.flip(Retry.run(call))
      assert(!("status" in error))
      const { attempts, cause, elapsed }: RetryExhausted<typeof busy> = error
      assert.deepStrictEqual([attempts, Duration.toMillis(elapsed), cause], [3, 4500, busy])
      assert.strictEqual(error._tag, "RetryExhausted")
      assert.match(error.message, /gave up after 3 attempts in 4s 500ms/)
    }).pipe(Effect.provide(Retry.layer({ maxRetries: 2, jitter: "none" })), VirtualClock.run())
  )

  it("names the option, the bound and the value of a wrong option", () => {
    const cases: ReadonlyArray<readonly [Retry.Options, RegExp]> = [
      [{ maxRetries: -1 }, /maxRetries must be a whole number from 0, got -1/],
      [{ maxRetries: 1.5 }, /maxRetries .*got 1\.5/],
      [{ maxRetries: Infinity }, /maxRetries .*got Infinity/],
      [{ initialBackoff: "-1 seconds" }, /initialBackoff must be a duration/],
      [{ maxBackoff: Number.NaN }, /maxBackoff must be a duration/],
      [{ multiplier: 0.5 }, /multiplier must be at least 1, got 0\.5/],
      [{ multiplier: Number.NaN }, /multiplier .*got NaN/],
      [{ jitter: 1.5 }, /jitter must be .*got 1\.5/],
      [{ jitter: Number.NaN }, /jitter must be .*got NaN/],
      [{ maxRetryAfter: 0 }, /maxRetryAfter must be a duration/],
      [{ maxElapsed: 0 }, /maxElapsed must be a duration/]
    ]
    for (const [options, message] of cases) assert.throws(() => Retry.make(options), message)
    assert.throws(() => Retry.schedule({ maxRetries: -1 }), RangeError)
    for (const wrong of [{ capacity: 0 }, { cost: Number.NaN }, { refund: -1 }]) {
      assert.throws(() => Retry.makeBudget(wrong), /Retry\.makeBudget: \w+ must be above 0/)
    }
  })
})

describe("the retry budget", () => {
  const attemptsOf = (retry: Retry.Service, ...errors: ReadonlyArray<unknown>) =>
    Effect.gen(function* () {
      let attempts = 0
      yield* Effect.exit(
        retry.retry(
          Effect.suspend(() =>
            attempts < errors.length ? Effect.fail(errors[attempts++]) : Effect.sync(() => attempts++)
          )
        )
      )
      return attempts
    })

  it.effect("is shared by all calls, drains by retries and refills by clean successes", () =>
    Effect.gen(function* () {
      const budget = Retry.makeBudget({ capacity: 4, cost: 2, refund: 1 })
      const retry = yield* Retry.make({ budget, maxRetries: 5 })
      assert.strictEqual(yield* attemptsOf(retry, ...failing(9)), 3, "two retries for four tokens")
      assert.strictEqual(budget.tokens(), 0)
      assert.strictEqual(yield* attemptsOf(retry, busy), 1)
      assert.strictEqual(yield* attemptsOf(retry, { status: 400 }), 1)
      assert.strictEqual(budget.tokens(), 0, "failures earn nothing")
      yield* attemptsOf(retry)
      assert.strictEqual(yield* attemptsOf(retry, busy), 1)
      yield* attemptsOf(retry)
      assert.strictEqual(yield* attemptsOf(retry, busy), 2, "two successes pay for a retry")
      assert.strictEqual(budget.tokens(), 0, "a success after a retry is not a clean one")
      yield* Effect.replicateEffect(attemptsOf(retry), 10)
      assert.strictEqual(budget.tokens(), 4, "no more than its capacity")
    }).pipe(VirtualClock.run())
  )

  it.effect("counts the same in a schedule", () =>
    Effect.gen(function* () {
      const budget = Retry.makeBudget({ capacity: 3, cost: 1 })
      const schedule = Retry.schedule({ budget, maxRetries: 9 })
      let attempts = 0
      const call = Effect.suspend(() => {
        attempts++
        return Effect.fail(busy)
      })
      yield* Effect.flip(Effect.retry(call, schedule))
      assert.deepStrictEqual([attempts, budget.tokens()], [4, 0])
      yield* Effect.retry(Effect.void, schedule)
      assert.strictEqual(budget.tokens(), 1)
    }).pipe(VirtualClock.run())
  )

  it.effect("is one of its own for each layer, and can be turned off", () =>
    Effect.gen(function* () {
      const retry = yield* Retry.make({ maxRetries: 100, maxBackoff: "1 second" })
      const other = yield* Retry.make({ maxRetries: 100, maxBackoff: "1 second" })
      const unlimited = yield* Retry.make({ maxRetries: 100, maxBackoff: "1 second", budget: "none" })
      // 500 tokens, 14 per retry.
      assert.strictEqual(yield* attemptsOf(retry, ...failing(200)), 1 + 35)
      assert.strictEqual(yield* attemptsOf(other, ...failing(200)), 1 + 35)
      assert.strictEqual(yield* attemptsOf(unlimited, ...failing(200)), 1 + 100)
    }).pipe(VirtualClock.run())
  )

  it.effect("a call that ends in a defect or an interruption earns nothing", () =>
    Effect.gen(function* () {
      const budget = Retry.makeBudget({ capacity: 4, cost: 4 })
      const retry = yield* Retry.make({ budget })
      yield* attemptsOf(retry, ...failing(9))
      yield* Effect.exit(retry.retry(Effect.die("bug")))
      const fiber = yield* Effect.forkChild(retry.retry(Effect.never), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(budget.tokens(), 0)
    }).pipe(VirtualClock.run())
  )
})

describe("what is never retried", () => {
  it.effect.each([
    ["a defect", Effect.die(busy)],
    ["a failure with an interruption", Effect.onExit(Effect.fail(busy), () => Effect.interrupt)],
    ["a failure with a defect", Effect.onExit(Effect.fail(busy), () => Effect.die("bug"))]
  ] as const)("%s", ([_, end]) =>
    Effect.gen(function* () {
      const retry = yield* Retry.make()
      let attempts = 0
      const call = Effect.andThen(
        Effect.sync(() => attempts++),
        end
      )
      yield* Effect.exit(retry.retry(call))
      yield* Effect.exit(retry.run(call))
      assert.strictEqual(attempts, 2)
    }).pipe(VirtualClock.run())
  )

  it.effect("a call that is interrupted during its delay", () =>
    Effect.gen(function* () {
      const retry = yield* Retry.make({ jitter: "none" })
      let attempts = 0
      const call = Effect.andThen(
        Effect.sync(() => attempts++),
        Effect.fail(busy)
      )
      for (const effect of [retry.retry(call), retry.run(call), Effect.retry(call, retry.schedule)]) {
        const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
        yield* Effect.sleep("500 millis")
        yield* Fiber.interrupt(fiber)
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      }
      yield* Effect.sleep("1 minute")
      assert.strictEqual(attempts, 3)
    }).pipe(VirtualClock.run())
  )
})

describe("onRetry and the policy of a layer", () => {
  it.effect.each(["retry", "run", "schedule"] as const)("%s tells each retry once, before its delay", (how) =>
    Effect.gen(function* () {
      const told: Array<unknown> = []
      const retry = yield* Retry.make({
        jitter: "none",
        maxRetries: 2,
        onRetry: ({ attempt, delay, elapsed, error }) =>
          Effect.map(Clock.currentTimeMillis, (now) =>
            told.push([now, attempt, error, Duration.toMillis(delay), Duration.toMillis(elapsed)])
          )
      })
      const call = Effect.andThen(Effect.sleep("100 millis"), Effect.fail({ ...busy, retryAfter: 1.5 }))
      yield* Effect.exit(how === "schedule" ? Effect.retry(call, retry.schedule) : retry[how](call))
      const error = { status: 503, retryAfter: 1.5 }
      assert.deepStrictEqual(told, [
        [100, 1, error, 1500, 100],
        [1700, 2, error, 2000, 1700]
      ])
    }).pipe(VirtualClock.run())
  )

  it.effect("the policy of the card asks the layer", () =>
    Effect.gen(function* () {
      let attempts = 0
      const call: Effect.Effect<never, typeof busy> = Effect.suspend(() => Effect.fail(attempts++ < 99 ? busy : busy))
      const error = yield* Effect.flip(Effect.retry(call, policy))
      assert.deepStrictEqual([attempts, error], [3, busy])
    }).pipe(Effect.provide(Retry.layer({ maxRetries: 2 })), VirtualClock.run())
  )

  it.effect("waits as long as our own refusal says", () =>
    Effect.gen(function* () {
      const refused = new RateLimitExceeded({
        quota: "q",
        subject: {},
        limit: 1,
        remaining: 0,
        retryAfter: Duration.seconds(42)
      })
      assert.deepStrictEqual((yield* delaysOf({ jitter: "none" }, [refused])).delays, [42_000])
      const budget = Budget.Budget.use((budget) => budget.reserve({ tokens: 60 }))
      const twice = Effect.andThen(budget, Effect.retry(budget, Retry.schedule())).pipe(Effect.flip)
      const error = yield* Effect.provide(twice, Budget.layerMemory({ maxTokensPerMinute: 100 }))
      assert.strictEqual(error._tag, "BudgetExceeded")
    })
  )
})
