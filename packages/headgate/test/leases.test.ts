// What is held stays held as long as its call goes on, and no longer.
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Alerts, Budget, Guard, guard, guardStream, QuotaStore, RateLimiter, Retry, StoreError, Window } from "headgate"
import { retryAfterOf } from "../src/internal/provider/providerError.ts"

const tokens = (tokens: number) => ({ tokens })
const hundred = { quotas: [{ unit: "tokens", limit: 100, window: Window.lifetime }] } as const

describe("a guarded call", () => {
  const spec = { estimate: tokens(100), actual: () => tokens(100), onUnknown: "release" } as const

  it.effect("keeps its reservation through a backoff that is longer than the time to live", () =>
    Effect.gen(function* () {
      let attempts = 0
      const model = Effect.suspend(() =>
        ++attempts === 1 ? Effect.fail({ status: 429, headers: { "retry-after": "50" } }) : Effect.succeed("answer")
      )
      const first = yield* Effect.forkChild(guard(model, spec))
      yield* TestClock.adjust("45 seconds")
      const second = yield* Effect.flip(guard(Effect.succeed("other"), spec))
      assert.strictEqual(second._tag, "BudgetExceeded")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(first), "answer")
      const { quotas } = yield* Budget.Budget.use((budget) => budget.status())
      assert.deepStrictEqual([quotas[0]?.used, quotas[0]?.held], [100, 0])
    }).pipe(Effect.provide(Guard.layerMemory({ budget: { ...hundred, reservationTtl: "30 seconds" } })))
  )

  it.effect("keeps its reservation and its allowance through a long wait and a long answer", () =>
    Effect.gen(function* () {
      const slow = Effect.delay(Effect.succeed("answer"), "5 minutes")
      const blocker = yield* Effect.forkChild(RateLimiter.withLimit()(Effect.sleep("5 minutes")))
      yield* TestClock.adjust(1)
      const calls = Effect.gen(function* () {
        const first = yield* Effect.forkChild(guard(slow, spec))
        yield* Effect.sleep("9 minutes")
        const second = yield* Effect.flip(guard(slow, spec))
        yield* Fiber.join(first)
        return second
      }).pipe(Budget.withAllowance({ tokens: 100 }))
      const fiber = yield* Effect.forkChild(calls)
      yield* TestClock.adjust(1)
      yield* TestClock.adjust("11 minutes")
      const refused = yield* Fiber.join(fiber)
      assert(refused._tag === "BudgetExceeded")
      assert.strictEqual(refused.quota, "allowance")
      yield* Fiber.join(blocker)
    }).pipe(
      Effect.provide(
        Guard.layerMemory({ budget: { reservationTtl: "1 minute" }, rateLimiter: { concurrency: 1 }, tracing: "none" })
      )
    )
  )

  it.effect("that died is held for the time to live and no longer", () =>
    Effect.gen(function* () {
      const budget = yield* Budget.Budget
      yield* budget.reserve(tokens(100), {}, { onUnknown: "release" })
      yield* TestClock.adjust("59 seconds")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(budget.check(tokens(1)))))
      yield* TestClock.adjust("1 second")
      yield* budget.check(tokens(100))
    }).pipe(Effect.provide(Budget.layerMemory({ ...hundred, reservationTtl: "1 minute" })))
  )
})

describe("a place among the calls under way", () => {
  const options = { concurrency: 1, tokensPerMinute: 1_000, permitTtl: "30 seconds", onExceeded: "fail" } as const
  const underWay = Effect.map(
    RateLimiter.RateLimiter.use((limiter) => limiter.status()),
    ({ quotas }) => quotas.find(({ unit }) => unit === "concurrency")?.held
  )

  for (const [name, call] of [
    ["withLimit", RateLimiter.withLimit(tokens(1))(Effect.sleep("5 minutes"))],
    ["guard", guard(Effect.sleep("5 minutes"), { estimate: tokens(1), actual: () => tokens(1) })],
    [
      "guardStream",
      Stream.make("a", "b", "c").pipe(
        // The first comes at once: from then on the stream is in the hands of whoever reads it.
        Stream.mapEffect((element) => Effect.as(element === "a" ? Effect.void : Effect.sleep("150 seconds"), element), {
          concurrency: 1
        }),
        guardStream({ estimate: tokens(1), delivered: () => tokens(1), actual: () => undefined }),
        Stream.runDrain
      )
    ]
  ] as const) {
    it.effect(`is kept by ${name} as long as its call goes on, and not longer`, () =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(call)
        yield* TestClock.adjust("299 seconds")
        const refused = yield* Effect.flip(RateLimiter.withLimit(tokens(1))(Effect.void))
        assert.strictEqual(refused._tag, "RateLimitExceeded")
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(fiber)
        assert.strictEqual(yield* underWay, 0)
        yield* RateLimiter.withLimit(tokens(1))(Effect.void)
      }).pipe(Effect.provide(Guard.layerMemory({ budget: hundred, rateLimiter: options })))
    )
  }

  it.effect("is given up by a call that was interrupted", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(RateLimiter.withLimit(tokens(1))(Effect.never))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* underWay, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* underWay, 0)
    }).pipe(Effect.provide(RateLimiter.layerMemory(options)))
  )

  it.effect("taken by hand is given up after permitTtl", () =>
    Effect.gen(function* () {
      const limiter = yield* RateLimiter.RateLimiter
      yield* limiter.acquire(tokens(1))
      yield* TestClock.adjust("29999 millis")
      assert.strictEqual(yield* underWay, 1)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* underWay, 0)
    }).pipe(Effect.provide(RateLimiter.layerMemory(options)))
  )

  it.effect("is not renewed any more where the store cannot be told that its call is over", () =>
    Effect.gen(function* () {
      const memory = yield* QuotaStore.makeMemory
      const down = Effect.fail(new StoreError({ operation: "settle", outcome: "notApplied", cause: "down" }))
      let renewals = 0
      const store: QuotaStore.Service = {
        ...memory,
        settle: () => down,
        extend: (...args) => Effect.tap(memory.extend(...args), () => Effect.sync(() => renewals++))
      }
      const limiter = yield* Effect.provideService(RateLimiter.make(options), QuotaStore.QuotaStore, store)
      const call = RateLimiter.withLimit(tokens(1))(Effect.sleep("1 minute"))
      const fiber = yield* Effect.forkChild(Effect.provideService(call, RateLimiter.RateLimiter, limiter))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      const seen = renewals
      assert.isAtLeast(seen, 3)
      yield* TestClock.adjust("3 minutes")
      assert.strictEqual(renewals, seen)
      assert.strictEqual((yield* limiter.status()).quotas.find(({ unit }) => unit === "concurrency")?.held, 0)
    }).pipe(Effect.provide(Alerts.layer))
  )
})

describe("an allowance", () => {
  it.effect("is drawn on once by reservations of one id", () =>
    Effect.gen(function* () {
      const budget = yield* Budget.Budget
      const first = yield* budget.reserve(tokens(60), {}, { id: "a" })
      const again = yield* budget.reserve(tokens(60), {}, { id: "a" })
      assert.strictEqual(again.id, first.id)
      yield* budget.settle(again, tokens(10))
      yield* budget.settle(first, tokens(10))
      yield* budget.check(tokens(90))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(budget.check(tokens(91)))))
    }).pipe(Budget.withAllowance({ tokens: 100 }), Effect.provide(Budget.layerMemory({})))
  )

  it.effect("holds nothing for an id that the budget refused, and holds it when the budget has room", () =>
    Effect.gen(function* () {
      const budget = yield* Budget.Budget
      const other = yield* budget.reserve(tokens(50))
      assert.strictEqual((yield* Effect.flip(budget.reserve(tokens(60), {}, { id: "a" })))._tag, "BudgetExceeded")
      yield* budget.release(other)
      yield* budget.reserve(tokens(60), {}, { id: "a" })
      const refused = yield* Effect.flip(budget.reserve(tokens(60)))
      assert.strictEqual(refused._tag, "BudgetExceeded")
    }).pipe(Budget.withAllowance({ tokens: 110 }), Effect.provide(Budget.layerMemory(hundred)))
  )

  it.effect("keeps what was spent when the answer of a settlement was lost and it is settled again", () =>
    Effect.gen(function* () {
      const memory = yield* QuotaStore.makeMemory
      let lost = false
      const store: QuotaStore.Service = {
        ...memory,
        settle: (hold, actual) =>
          Effect.flatMap(memory.settle(hold, actual), (answer) => {
            if (lost) return Effect.succeed(answer)
            lost = true
            return Effect.fail(new StoreError({ operation: "settle", outcome: "unknown", cause: "cut" }))
          })
      }
      const budget = yield* Effect.provideService(Budget.make({}), QuotaStore.QuotaStore, store)
      yield* Effect.gen(function* () {
        const reservation = yield* budget.reserve(tokens(90))
        assert.strictEqual((yield* Effect.flip(budget.settle(reservation, tokens(90))))._tag, "StoreError")
        yield* budget.settle(reservation, tokens(90))
        assert.strictEqual((yield* Effect.flip(budget.reserve(tokens(20))))._tag, "BudgetExceeded")
      }).pipe(Budget.withAllowance({ tokens: 100 }))
    }).pipe(Effect.provide(Alerts.layer))
  )

  it.effect("of nothing in particular is refused", () =>
    Effect.gen(function* () {
      for (const amount of [{}, { tokens: undefined }]) {
        const error = yield* Effect.flip(Budget.withAllowance(Effect.void, amount))
        assert.strictEqual(error.field, "allowance")
      }
    })
  )
})

describe("a store at a distance", () => {
  it.effect("that could not be told of the end of a call holds it for the time to live and no longer", () =>
    Effect.gen(function* () {
      const memory = yield* QuotaStore.makeMemory
      const down = Effect.fail(new StoreError({ operation: "settle", outcome: "notApplied", cause: "down" }))
      const store: QuotaStore.Service = { ...memory, settle: () => down }
      const options = { ...hundred, reservationTtl: "1 minute" } as const
      const budget = yield* Effect.provideService(Budget.make(options), QuotaStore.QuotaStore, store)
      const call = Effect.succeed("answer").pipe(Budget.withReservation(tokens(90), () => tokens(50)))
      assert.strictEqual(yield* Effect.provideService(call, Budget.Budget, budget), "answer")
      yield* TestClock.adjust("3 minutes")
      const { quotas } = yield* budget.status()
      assert.deepStrictEqual([quotas[0]?.used, quotas[0]?.held], [90, 0])
    }).pipe(Effect.provide(Alerts.layer))
  )

  it.effect("holds nothing for a reserve that was interrupted while its answer was on the way", () =>
    Effect.gen(function* () {
      const memory = yield* QuotaStore.makeMemory
      const slow: QuotaStore.Service = {
        ...memory,
        reserve: (command) => Effect.tap(memory.reserve(command), () => Effect.sleep("50 millis"))
      }
      const budget = yield* Effect.provideService(Budget.make(hundred), QuotaStore.QuotaStore, slow)
      const fiber = yield* Effect.forkChild(Effect.timeout(budget.reserve(tokens(90)), "10 millis"))
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
      const { quotas } = yield* budget.status()
      assert.deepStrictEqual([quotas[0]?.used, quotas[0]?.held], [0, 0])
    }).pipe(Effect.provide(Alerts.layer))
  )

  it.effect("lets rate limiters of one name wake each other", () =>
    Effect.gen(function* () {
      const store = yield* QuotaStore.makeMemory
      const make = Effect.provideService(RateLimiter.make({ concurrency: 1 }), QuotaStore.QuotaStore, store)
      const [one, two] = [yield* make, yield* make]
      const permit = yield* one.acquire()
      const waiting = yield* Effect.forkChild(two.acquire())
      yield* TestClock.adjust("3 seconds")
      yield* one.settle(permit, {})
      assert.strictEqual(Duration.toMillis((yield* Fiber.join(waiting)).waited), 3000)
    }).pipe(Effect.provide(Alerts.layer))
  )
})

describe("small things", () => {
  it("a frozen error can be marked", () => {
    assert.isTrue(Retry.isRetryable(Retry.retryable(Object.freeze({ name: "Loading" }))))
  })

  it("an HTTP date without a zone is in GMT", () => {
    const now = Date.UTC(1994, 10, 6, 8, 49, 7)
    for (const date of [
      "Sun, 06 Nov 1994 08:49:37 GMT",
      "Sunday, 06-Nov-94 08:49:37 GMT",
      "Sun Nov  6 08:49:37 1994"
    ]) {
      assert.strictEqual(retryAfterOf({ headers: { "retry-after": date } }, now), 30_000, date)
    }
  })

  it.effect("a failed attempt with usage can be followed by another, though together they pass the limit of one", () =>
    Effect.gen(function* () {
      let attempts = 0
      const model = Effect.suspend(() =>
        ++attempts === 1 ? Effect.fail({ status: 503, usage: { tokens: 50 } }) : Effect.succeed("answer")
      )
      const fiber = yield* Effect.forkChild(guard(model, { estimate: tokens(60), actual: () => tokens(40) }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* Fiber.join(fiber), "answer")
    }).pipe(Effect.provide(Guard.layerMemory({ budget: { maxTokensPerRequest: 100, maxTokensPerHour: 1000 } })))
  )

  it.effect("an unannotated actualOnError knows the error of the pipe", () =>
    Effect.gen(function* () {
      const model: Effect.Effect<{ readonly tokens: number }, { readonly spent: number }> = Effect.fail({ spent: 7 })
      const program = model.pipe(
        guard({ estimate: tokens(10), actual: (reply) => reply, actualOnError: (error) => tokens(error.spent) }),
        Effect.ignore,
        Effect.andThen(Budget.Budget.use((budget) => budget.status()))
      )
      assert.strictEqual((yield* program).quotas[0]?.used, 7)
    }).pipe(Effect.provide(Guard.layerMemory({ budget: hundred })))
  )
})
