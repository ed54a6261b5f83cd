// The contract on a Redis Cluster of three masters: all keys of a store are in one slot.
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Context, Duration, Effect, Fiber, Layer, ManagedRuntime } from "effect"
import { Redis } from "effect/persistence"
import { Alerts, RateLimiter } from "headgate"
import { RedisQuotaStore } from "headgate/redis"
import { QuotaStoreTest } from "headgate/testing"
import { makeStore } from "../../src/redis/store.ts"
import { account, command, tokens } from "../internal/support.ts"
import { describeRedis, type Server } from "../servers/redis.ts"
import { layerCluster, startCluster } from "../servers/redisCluster.ts"
import { start, storeLayer } from "./support.ts"

describeRedis("QuotaStore in a Redis Cluster", () => {
  let servers: ReadonlyArray<Server> = []
  const layer = layerCluster(() => servers.map(({ url }) => url))
  const runtime = ManagedRuntime.make(layer)
  const send = (command: string, ...args: ReadonlyArray<string>) =>
    Effect.promise(() => runtime.runPromise(Redis.Redis.use((redis) => redis.send(command, ...args))))
  beforeAll(async () => {
    servers = await startCluster()
    await Effect.runPromise(send("SET", "{cluster}:store:now", String(start)))
  }, 60_000)
  afterAll(async () => {
    await runtime.dispose()
    await Promise.all(servers.map((server) => server.end()))
  })

  const context = Layer.effectContext(Effect.promise(() => runtime.context()))
  QuotaStoreTest.suite(
    "Redis Cluster",
    storeLayer({ prefix: "cluster", clock: "key" }).pipe(Layer.provide(context)),
    it.live,
    { advance: (duration) => Effect.asVoid(send("INCRBY", "{cluster}:store:now", String(Duration.toMillis(duration)))) }
  )

  it.live("stores of several prefixes live on several masters, and find their script on each", () =>
    Effect.gen(function* () {
      const accounts = [account([{ unit: "concurrency", limit: 5 }])]
      for (let index = 0; index < 12; index++) {
        const store = yield* makeStore({ prefix: `tenant-${index}` })
        assert.strictEqual((yield* store.reserve(command(accounts, tokens(1))))._tag, "Hold")
        yield* send("SCRIPT", "FLUSH")
        assert.strictEqual((yield* store.reserve(command(accounts, tokens(1))))._tag, "Hold")
        assert.strictEqual((yield* store.status(accounts)).quotas[0]!.held, 2)
      }
    }).pipe(Effect.scoped, Effect.provide([Alerts.layer, context], { local: true }))
  )

  it.live("who waits is called when another process gives back a place", () =>
    Effect.gen(function* () {
      const limiterOf = Effect.map(
        Layer.build(
          RateLimiter.layer({ concurrency: 1 }).pipe(
            Layer.provide(Layer.fresh(RedisQuotaStore.layer({ prefix: "waits" }))),
            Layer.provide(Alerts.layer),
            Layer.provide(Layer.fresh(layer))
          )
        ),
        Context.get(RateLimiter.RateLimiter)
      )
      const [one, two] = yield* Effect.all([limiterOf, limiterOf])
      const permit = yield* one.acquire()
      const waiting = yield* Effect.forkChild(two.acquire())
      while ((yield* two.status()).waiting === 0) yield* Effect.sleep("5 millis")
      yield* one.settle(permit, {})
      // A place is held for ten minutes: without being called, nobody would look again before that.
      assert.isBelow(Duration.toMillis((yield* Fiber.join(waiting)).waited), 10_000)
    }).pipe(Effect.scoped)
  )
})
