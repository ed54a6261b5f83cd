import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Schema } from "effect"
import { Alerts, Quota, QuotaStore, RateLimiter, type Usage, Window } from "headgate"
import { VirtualClock } from "headgate/testing"

const fixed = (limit: number, unit: Quota.Unit = "requests") =>
  Quota.make({ unit, limit, window: Window.fixed("1 minute"), name: `${unit} a minute` })

/** A program with `note`, which runs an effect in the background and writes down how it ended and when, in seconds. */
const watching = <A, E>(
  options: RateLimiter.Options,
  program: (tools: {
    readonly limiter: RateLimiter.Service
    readonly log: Array<string>
    readonly asked: () => number
    readonly note: <A2, E2>(name: string, effect: Effect.Effect<A2, E2>) => Effect.Effect<Fiber.Fiber<A2, E2>>
  }) => Effect.Effect<A, E>
) =>
  VirtualClock.run(
    Effect.gen(function* () {
      let asked = 0
      const store = yield* QuotaStore.makeMemory
      const counting: QuotaStore.Service = {
        ...store,
        reserve: (command) =>
          Effect.suspend(() => {
            asked++
            return store.reserve(command)
          })
      }
      const limiter = yield* RateLimiter.make(options).pipe(
        Effect.provideService(QuotaStore.QuotaStore, counting),
        Effect.provide(Alerts.layer)
      )
      const log: Array<string> = []
      const write = (name: string, exit: Exit.Exit<unknown, unknown>) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const end = Exit.isSuccess(exit) ? "" : Exit.hasInterrupts(exit) ? " interrupted" : " refused"
          log.push(`${name}${end} ${now / 1000}`)
        })
      const note = <A2, E2>(name: string, effect: Effect.Effect<A2, E2>) =>
        Effect.forkChild(
          Effect.onExit(effect, (exit) => write(name, exit)),
          { startImmediately: true }
        )
      return yield* program({ limiter, log, asked: () => asked, note })
    })
  )

const tokens = (tokens: number): Usage.Input => ({ tokens })

describe("waiting in order", () => {
  it.effect("serves first come first served, also where a later one would fit", () =>
    watching({ quotas: [fixed(100, "tokens")] }, ({ limiter, log, note }) =>
      Effect.gen(function* () {
        yield* note("a", limiter.acquire(tokens(60)))
        yield* note("b", limiter.acquire(tokens(70)))
        yield* note("c", limiter.acquire(tokens(10)))
        yield* note("d", limiter.acquire(tokens(30)))
        assert.isFalse(yield* limiter.tryAcquire(tokens(10)), "tryAcquire never overtakes")
        yield* Effect.sleep("3 minutes")
        assert.deepStrictEqual(log, ["a 0", "b 60", "c 60", "d 120"])
      })
    )
  )

  it.effect("asks the store once per place and once per wait, however long it takes", () =>
    watching({ quotas: [fixed(1)] }, ({ asked, limiter, note }) =>
      Effect.gen(function* () {
        yield* Effect.forEach(Array.from({ length: 50 }), (_, index) => note(`${index}`, limiter.acquire()), {
          discard: true
        })
        const before = asked()
        assert.strictEqual(before, 2, "the first was let in, the second refused, the others stood behind it")
        yield* Effect.sleep("59 seconds")
        assert.strictEqual(asked(), before)
        yield* Effect.sleep("10 minutes")
        // Each minute: the first in line is let in, and the next one looks and learns when to come.
        assert.strictEqual(asked() - before, 20)
        assert.strictEqual((yield* limiter.status()).waiting, 50 - 11)
      })
    )
  )

  it.effect("wakes the first in line when something is given back", () =>
    watching({ quotas: [fixed(100, "tokens")] }, ({ asked, limiter, log, note }) =>
      Effect.gen(function* () {
        const permit = yield* limiter.acquire(tokens(100))
        yield* note("a", limiter.acquire(tokens(50)))
        yield* note("b", limiter.acquire(tokens(50)))
        yield* Effect.sleep("5 seconds")
        yield* limiter.settle(permit, tokens(40))
        yield* Effect.sleep("2 minutes")
        assert.deepStrictEqual(log, ["a 5", "b 60"])
        assert.isAtMost(asked(), 5)
      })
    )
  )

  it.effect.each(["head", "middle", "tail", "all"] as const)("forgets interrupted waiters: %s", (who) =>
    watching({ quotas: [fixed(1)], concurrency: 10 }, ({ limiter, log, note }) =>
      Effect.gen(function* () {
        yield* limiter.acquire()
        const fibers = yield* Effect.forEach(["a", "b", "c", "d"], (name) => note(name, limiter.acquire()))
        yield* Effect.sleep("10 seconds")
        const gone = { head: [0], middle: [1, 2], tail: [3], all: [0, 1, 2, 3] }[who]
        yield* Effect.forEach(gone, (index) => Fiber.interrupt(fibers[index]!))
        assert.strictEqual((yield* limiter.status()).waiting, 4 - gone.length)
        yield* Effect.sleep("5 minutes")
        const served = ["a", "b", "c", "d"].filter((_, index) => !gone.includes(index))
        assert.deepStrictEqual(
          log.filter((line) => !line.includes("interrupted")),
          served.map((name, index) => `${name} ${60 + index * 60}`)
        )
        const { quotas, waiting } = yield* limiter.status()
        assert.strictEqual(waiting, 0)
        // The window is empty again: those who went away left no debt.
        assert.strictEqual(quotas.find(({ unit }) => unit === "requests")?.used, 0)
        assert.strictEqual(quotas.find(({ unit }) => unit === "concurrency")?.held, 1 + served.length)
      })
    )
  )

  it.effect("wakes the next when the head is interrupted by its own timeout", () =>
    watching({ quotas: [fixed(100, "tokens")] }, ({ limiter, log, note }) =>
      Effect.gen(function* () {
        yield* limiter.acquire(tokens(60))
        yield* note("large", Effect.timeout(limiter.acquire(tokens(90)), "5 seconds"))
        yield* note("small", limiter.acquire(tokens(40)))
        yield* Effect.sleep("1 minute")
        assert.deepStrictEqual(log, ["large refused 5", "small 5"])
      })
    )
  )
})

describe("maxWait", () => {
  it.effect("fails the head at once and those behind it at their deadline", () =>
    watching({ quotas: [fixed(1)], maxWait: "90 seconds" }, ({ limiter, log, note }) =>
      Effect.gen(function* () {
        yield* limiter.acquire()
        yield* note("a", limiter.acquire())
        yield* note("b", limiter.acquire())
        yield* Effect.sleep("10 seconds")
        yield* note("c", limiter.acquire())
        yield* Effect.sleep("4 minutes")
        // b becomes the head at 60 and would have to wait until 120: it is told at once. So is c.
        assert.deepStrictEqual(log, ["a 60", "b refused 60", "c refused 60"])
      })
    )
  )

  it.effect("says how long the rest of the wait would have been", () =>
    watching({ quotas: [fixed(1)], maxWait: "30 seconds" }, ({ limiter }) =>
      Effect.gen(function* () {
        yield* Effect.sleep("20 seconds")
        yield* limiter.acquire()
        const error = yield* Effect.flip(limiter.acquire())
        assert(error._tag === "RateLimitExceeded")
        assert.strictEqual(Duration.toMillis(error.retryAfter), 40_000)
        assert.strictEqual(yield* Clock.currentTimeMillis, 20_000)
      })
    )
  )

  it.effect("waits for a call under way no longer than that", () =>
    watching({ concurrency: 1, maxWait: "30 seconds" }, ({ limiter, log, note }) =>
      Effect.gen(function* () {
        const permit = yield* limiter.acquire()
        yield* note("a", limiter.acquire())
        yield* Effect.sleep("5 seconds")
        yield* note("b", limiter.acquire())
        yield* Effect.sleep("27 seconds")
        yield* limiter.settle(permit, {})
        yield* Effect.sleep("1 minute")
        assert.deepStrictEqual(log, ["a refused 30", "b 32"])
      })
    )
  )
})

describe("several lines", () => {
  const perUser = { per: { user: { quotas: [fixed(1)] } } }

  it.effect("waiters of one user do not hold up another", () =>
    watching({ ...perUser, concurrency: 100 }, ({ limiter, log, note }) =>
      Effect.gen(function* () {
        for (const name of ["a1", "b1", "a2", "a3", "b2", "c1"]) {
          yield* note(name, limiter.acquire({}, { user: name[0]! }))
        }
        assert.isTrue(yield* limiter.tryAcquire({}, { user: "d" }))
        assert.isFalse(yield* limiter.tryAcquire({}, { user: "a" }))
        yield* Effect.sleep("5 minutes")
        assert.deepStrictEqual(log, ["a1 0", "b1 0", "c1 0", "a2 60", "b2 60", "a3 120"])
      })
    )
  )

  it.effect("a waiter that moves to another line keeps the place of its arrival", () =>
    watching({ ...perUser, concurrency: 1 }, ({ limiter, log, note }) =>
      Effect.gen(function* () {
        yield* limiter.settle(yield* limiter.acquire({}, { user: "a" }), {})
        yield* note("a2", limiter.acquire({}, { user: "a" }))
        yield* Effect.sleep("10 seconds")
        const first = yield* limiter.acquire({}, { user: "b" })
        const c = yield* note("c1", limiter.acquire({}, { user: "c" }))
        const d = yield* note("d1", limiter.acquire({}, { user: "d" }))
        // At 60 the minute of user a is over. Now it waits for everyone's line, where c and d came later.
        yield* Effect.sleep("60 seconds")
        assert.deepStrictEqual(log, [])
        yield* limiter.settle(first, {})
        yield* Effect.sleep(1000)
        assert.deepStrictEqual(log, ["a2 70"])
        assert.isUndefined(c.pollUnsafe())
        yield* Effect.sleep("30 minutes")
        assert.deepStrictEqual(
          log.map((line) => line.slice(0, 2)),
          ["a2", "c1", "d1"]
        )
        yield* Fiber.join(d)
      })
    )
  )
})

describe("under load", () => {
  it.effect(
    "100,000 fibers wait on one limiter and are served in order",
    () =>
      Effect.gen(function* () {
        const calls = 100_000
        const limiter = yield* RateLimiter.RateLimiter
        const order: Array<number> = []
        const perMinute = new Map<number, number>()
        yield* VirtualClock.run(
          Effect.forEach(
            Array.from({ length: calls }, (_, index) => index),
            (index) =>
              Effect.andThen(
                limiter.acquire(),
                Effect.map(Clock.currentTimeMillis, (now) => {
                  order.push(index)
                  const minute = Math.floor(now / 60_000)
                  perMinute.set(minute, (perMinute.get(minute) ?? 0) + 1)
                })
              ),
            { concurrency: "unbounded", discard: true }
          )
        )
        assert.strictEqual(order.length, calls)
        assert.isTrue(order.every((index, place) => index === place))
        assert.deepStrictEqual(
          [...perMinute.values()],
          Array.from({ length: 10 }, () => 10_000)
        )
        assert.strictEqual((yield* limiter.status()).waiting, 0)
      }).pipe(Effect.provide(RateLimiter.layerMemory({ quotas: [fixed(10_000)] }))),
    15_000
  )

  const Arrival = Schema.Struct({
    after: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 20_000 })),
    tokens: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 })),
    user: Schema.Literals(["a", "b"]),
    patience: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 200_000 }))
  })

  it.effect.prop(
    "never passes a limit in any span and serves each line in order, whoever comes and goes",
    [Schema.Array(Arrival).check(Schema.isMaxLength(40))],
    ([arrivals]) =>
      VirtualClock.run(
        Effect.gen(function* () {
          const limiter = yield* RateLimiter.RateLimiter
          const served: Array<{
            readonly index: number
            readonly at: number
            readonly tokens: number
            readonly user: string
          }> = []
          const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
          for (const [index, { after, patience, tokens, user }] of arrivals.entries()) {
            yield* Effect.sleep(after)
            const call = Effect.andThen(
              limiter.acquire({ tokens }, { user }),
              Effect.map(Clock.currentTimeMillis, (at) => served.push({ index, at, tokens, user }))
            )
            fibers.push(yield* Effect.forkChild(Effect.timeoutOption(call, patience), { startImmediately: true }))
          }
          yield* Effect.forEach(fibers, Fiber.await)
          assert.strictEqual((yield* limiter.status()).waiting, 0)
          const spans = served.map(({ at }) => served.filter((other) => other.at >= at && other.at < at + 60_000))
          for (const span of spans) {
            assert.isAtMost(
              span.reduce((sum, { tokens }) => sum + tokens, 0),
              250
            )
            for (const user of ["a", "b"]) assert.isAtMost(span.filter((call) => call.user === user).length, 5)
          }
          for (const user of ["a", "b"]) {
            const order = served.filter((call) => call.user === user).map(({ index }) => index)
            assert.deepStrictEqual(
              order,
              order.toSorted((x, y) => x - y)
            )
          }
          yield* Effect.sleep("3 minutes")
          const { quotas } = yield* limiter.status()
          assert.isTrue(quotas.every(({ held, used }) => held === 0 && used === 0))
        }).pipe(
          Effect.provide(RateLimiter.layerMemory({ tokensPerMinute: 250, per: { user: { requestsPerMinute: 5 } } }), {
            local: true
          })
        )
      ),
    { arbitrary: { runs: 200 } }
  )
})
