import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber } from "effect"
import { type Alerts, Budget, Guard, guard, Money, RateLimiter, Retry, type Usage, Window } from "headgate"
import { VirtualClock } from "headgate/testing"

type Services = Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Retry.Retry | Alerts.Alerts

const on = <A, E>(options: Guard.Options, program: Effect.Effect<A, E, Services>) =>
  VirtualClock.run(
    Effect.provide(program, Guard.layerMemory({ retry: { jitter: "none" }, ...options }), { local: true })
  )

const money = Effect.flatMap(Budget.Budget, (budget) =>
  Effect.map(budget.status(), ({ quotas }) => ({ used: quotas[0]?.used, held: quotas[0]?.held }))
)

const call = { estimate: { tokens: 100 }, actual: (usage: Usage.Input) => usage }
const limit = { budget: { maxTokensPerMinute: 1000 } }

describe("guarded calls", () => {
  it.effect("that come at once do not pass a limit together (litellm #18730, #34732, #40095)", () =>
    on(
      limit,
      Effect.gen(function* () {
        const ask = guard(Effect.as(Effect.sleep("1 second"), { tokens: 100 }), call)
        const exits = yield* Effect.replicateEffect(Effect.exit(ask), 500, { concurrency: "unbounded" })
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 10)
        assert.deepStrictEqual(yield* money, { used: 1000, held: 0 })
      })
    )
  )

  it.effect("that failed do not keep their estimate (TensorZero, litellm #30460)", () =>
    on(
      limit,
      Effect.gen(function* () {
        yield* Effect.replicateEffect(Effect.flip(guard(Effect.fail({ status: 400 }), call)), 50)
        assert.deepStrictEqual(yield* money, { used: 0, held: 0 })
      })
    )
  )

  it.effect("that tell what was cached, but not of what input, are settled like others", () =>
    on(
      limit,
      Effect.gen(function* () {
        yield* guard(Effect.succeed({ tokens: 80, cachedInputTokens: 50 }), call)
        assert.deepStrictEqual(yield* money, { used: 80, held: 0 })
      })
    )
  )

  it.effect("that were cancelled do not keep their hold (litellm PR #30519)", () =>
    on(
      limit,
      Effect.gen(function* () {
        const ask = guard(Effect.never, { ...call, onUnknown: "release" })
        for (let round = 0; round < 50; round++) {
          yield* Fiber.interrupt(yield* Effect.forkChild(ask, { startImmediately: true }))
        }
        assert.deepStrictEqual(yield* money, { used: 0, held: 0 })
      })
    )
  )

  it.effect("that were cancelled are not for free unless told so (litellm #14457)", () =>
    on(
      limit,
      Effect.gen(function* () {
        yield* Fiber.interrupt(yield* Effect.forkChild(guard(Effect.never, call), { startImmediately: true }))
        assert.deepStrictEqual(yield* money, { used: 100, held: 0 })
      })
    )
  )

  it.effect("count what they took, not that and what was held (litellm #40050, #35569)", () =>
    on(
      limit,
      Effect.gen(function* () {
        yield* Effect.replicateEffect(guard(Effect.succeed({ tokens: 10 }), call), 90)
        assert.deepStrictEqual(yield* money, { used: 900, held: 0 })
        yield* guard(Effect.succeed({ tokens: 10 }), call)
        assert.strictEqual((yield* Effect.flip(guard(Effect.succeed({}), call)))._tag, "BudgetExceeded")
      })
    )
  )

  it.effect("take a usage of nothing for nothing (litellm #37992)", () =>
    on(
      limit,
      Effect.gen(function* () {
        yield* guard(Effect.succeed({ tokens: 0, inputTokens: 0, outputTokens: 0, cost: Money.zero }), call)
        assert.deepStrictEqual(yield* money, { used: 0, held: 0 })
      })
    )
  )

  it.effect("that the budget refuses take no place in the limiter (the Go package)", () =>
    on(
      { budget: { maxTokensPerMinute: 100 }, rateLimiter: { requestsPerMinute: 5 } },
      Effect.gen(function* () {
        yield* guard(Effect.succeed({ tokens: 100 }), call)
        yield* Effect.replicateEffect(Effect.flip(guard(Effect.succeed({}), call)), 20)
        const { quotas } = yield* (yield* RateLimiter.RateLimiter).status()
        assert.strictEqual(quotas[0]?.used, 1)
      })
    )
  )

  it.effect("that wait in line longer than reservationTtl keep what they hold", () =>
    on(
      {
        budget: { ...limit.budget, reservationTtl: "30 seconds" },
        rateLimiter: { quotas: [{ unit: "requests", limit: 1, window: Window.fixed("10 minutes") }] }
      },
      Effect.gen(function* () {
        const ask = guard(Effect.succeed({ tokens: 10 }), { ...call, onUnknown: "release" })
        yield* ask
        const waiting = yield* Effect.forkChild(Effect.all([ask, ask], { concurrency: "unbounded" }))
        for (let minute = 1; minute < 10; minute++) {
          yield* Effect.sleep("1 minute")
          assert.strictEqual((yield* money).held, 200)
        }
        yield* Fiber.join(waiting)
        assert.deepStrictEqual(yield* money, { used: 10, held: 0 })
      })
    )
  )
})

describe("the order of reserve, wait and retry", () => {
  it.effect("waits inside of the retries: 60 requests a minute, not 240", () =>
    Effect.gen(function* () {
      const begunIn = (
        minutes: number,
        how: (ask: Effect.Effect<never, unknown>) => Effect.Effect<unknown, unknown, Services>
      ) =>
        on(
          { rateLimiter: { requestsPerMinute: 60 } },
          Effect.gen(function* () {
            let begun = 0
            const ask = Effect.andThen(
              Effect.map(Clock.currentTimeMillis, (now) => (begun += now < minutes * 60_000 ? 1 : 0)),
              Effect.fail({ status: 503 })
            )
            yield* Effect.replicateEffect(Effect.exit(how(ask)), 60, { concurrency: "unbounded", discard: true })
            return begun
          })
        )
      const outside = (ask: Effect.Effect<never, unknown>) =>
        RateLimiter.withLimit()(Effect.flatMap(Retry.Retry, ({ retry }) => retry(ask)))
      assert.strictEqual(yield* begunIn(1, (ask) => guard(ask, { estimate: {}, actual: () => ({}) })), 60)
      // The retry budget of 500 tokens is what ends it at 60 + 35.
      assert.strictEqual(yield* begunIn(1, outside), 60 + 35)
    })
  )

  it.effect("reserves outside of the retries: who has begun can end", () =>
    Effect.gen(function* () {
      const answeredOf = (how: (ask: Effect.Effect<void, unknown>) => Effect.Effect<void, unknown, Services>) =>
        on(
          { budget: { maxTokensPerMinute: 1000 } },
          Effect.gen(function* () {
            // Each call fails at first. Between its two attempts, as many others come.
            const ask = () => {
              let attempts = 0
              const model = Effect.suspend(() => (attempts++ === 0 ? Effect.fail({ status: 503 }) : Effect.void))
              return Effect.as(Effect.exit(how(Effect.andThen(Effect.sleep("1 second"), model))), undefined).pipe(
                Effect.map(() => attempts === 2)
              )
            }
            const group = Effect.forEach(Array.from({ length: 10 }), ask, { concurrency: "unbounded" })
            const first = yield* Effect.forkChild(group)
            yield* Effect.sleep("1500 millis")
            const second = yield* Effect.forkChild(group)
            const count = (ended: ReadonlyArray<boolean>) => ended.filter(Boolean).length
            return [count(yield* Fiber.join(first)), count(yield* Fiber.join(second))]
          })
        )
      const estimate = { tokens: 100 }
      const inside = (ask: Effect.Effect<void, unknown>) =>
        Effect.flatMap(Retry.Retry, ({ retry }) => retry(Budget.withReservation(estimate, () => estimate)(ask)))
      assert.deepStrictEqual(yield* answeredOf((ask) => guard(ask, { estimate, actual: () => estimate })), [10, 0])
      assert.deepStrictEqual(yield* answeredOf(inside), [0, 10])
    })
  )
})
