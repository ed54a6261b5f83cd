// Rate limiters of several processes on one Redis: who waits is called when another gives something back.
import { assert, it } from "@effect/vitest"
import { Context, Duration, Effect, Fiber, Layer } from "effect"
import { Alerts, RateLimiter, Window } from "headgate"
import { RedisQuotaStore } from "headgate/redis"
import { clientOf, describeRedis } from "../servers/redis.ts"
import { useServer } from "./support.ts"

describeRedis("what another process gives back", () => {
  const { port, send } = useServer()

  /** A limiter on a store and a connection of its own, as another process has. */
  const limiterOf = (prefix: string, options: RateLimiter.Options) =>
    Effect.map(
      Layer.build(
        RateLimiter.layer(options).pipe(
          Layer.provide(Layer.fresh(RedisQuotaStore.layer({ prefix, timeout: "10 seconds" }))),
          Layer.provide(Alerts.layer),
          Layer.provide(Layer.fresh(clientOf(port)))
        )
      ),
      Context.get(RateLimiter.RateLimiter)
    )

  const subscribers = Effect.map(send<Array<unknown>>("PUBSUB", "NUMSUB", "{p}:store:returns"), ([, many]) =>
    Number(many)
  )

  const published = Effect.map(send<string>("INFO", "commandstats"), (text) =>
    Number(/cmdstat_publish:calls=(\d+)/.exec(text)?.[1] ?? 0)
  )

  it.live("wakes who waits for a place among the calls under way, and tells nobody where nobody waits", () =>
    Effect.gen(function* () {
      const limiters = yield* Effect.all(
        Array.from({ length: 3 }, () => limiterOf("p", { concurrency: 1 })),
        { concurrency: "unbounded" }
      )
      const [one, two, three] = limiters as [RateLimiter.Service, RateLimiter.Service, RateLimiter.Service]
      while ((yield* subscribers) < 3) yield* Effect.sleep("5 millis")
      for (let call = 0; call < 20; call++) yield* one.settle(yield* one.acquire(), {})
      assert.strictEqual(yield* published, 0)
      const underWay = { calls: 0, most: 0 }
      const call = (limiter: RateLimiter.Service) =>
        Effect.flatMap(limiter.acquire(), (permit) =>
          Effect.gen(function* () {
            underWay.most = Math.max(underWay.most, ++underWay.calls)
            yield* Effect.sleep("5 millis")
            underWay.calls--
            yield* limiter.settle(permit, {})
            return Duration.toMillis(permit.waited)
          })
        )
      // A place is held for ten minutes: without being called, nobody would look again before that.
      const waits = yield* Effect.all(
        Array.from({ length: 30 }, (_, index) => call([one, two, three][index % 3]!)),
        { concurrency: "unbounded" }
      )
      assert.isBelow(Math.max(...waits), 10_000)
      assert.strictEqual(underWay.most, 1)
      const told = yield* published
      assert.isAtLeast(told, 10)
      assert.isAtMost(told, 30)
      // Nobody waits any more: what is given back is nobody's news, and calls go the short way again.
      yield* call(one)
      yield* send("CONFIG", "RESETSTAT")
      for (let more = 0; more < 5; more++) yield* call(two)
      assert.strictEqual(yield* published, 0)
    }).pipe(Effect.scoped)
  )

  it.live("wakes who waits for what a call had taken too much of", () =>
    Effect.gen(function* () {
      const options = { quotas: [{ unit: "tokens", limit: 100, window: Window.sliding("1 hour") }] } as const
      const [one, two] = yield* Effect.all([limiterOf("tokens", options), limiterOf("tokens", options)])
      const permit = yield* one.acquire({ tokens: 100 })
      const waiting = yield* Effect.forkChild(two.acquire({ tokens: 40 }))
      while ((yield* two.status()).waiting === 0) yield* Effect.sleep("5 millis")
      yield* one.settle(permit, { tokens: 60 })
      assert.isBelow(Duration.toMillis((yield* Fiber.join(waiting)).waited), 10_000)
    }).pipe(Effect.scoped)
  )

  it.live("serves those who waited before they could be called", () =>
    Effect.gen(function* () {
      const [one, two] = yield* Effect.all([
        limiterOf("late", { concurrency: 1 }),
        limiterOf("late", { concurrency: 1 })
      ])
      const permit = yield* one.acquire()
      const waiting = yield* Effect.forkChild(two.acquire())
      yield* one.settle(permit, {})
      assert.isBelow(Duration.toMillis((yield* Fiber.join(waiting)).waited), 10_000)
    }).pipe(Effect.scoped)
  )
})
