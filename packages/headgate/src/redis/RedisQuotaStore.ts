/**
 * A `QuotaStore` in Redis: one budget for many processes and machines, which survives their restarts.
 *
 * Each verb is one `EVALSHA` whatever the number of quotas, and decides by the server's time. Any client will do that
 * Effect's `Redis` service stands for; Node's is `NodeRedis` of `@effect/platform-node`.
 *
 * A rate limiter that lets calls wait listens on one more connection: what another process gives back early is told there
 * (`PUBLISH`), and only while somebody waits for it. Where that connection is lost for a moment, so may be such a call.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import type * as Alerts from "../Alerts.ts"
import * as QuotaStore from "../QuotaStore.ts"
import { StoreError } from "../Errors.ts"
import { makeStore } from "./store.ts"

/**
 * How the store is set up.
 *
 * - `prefix`: what all its keys begin with, as a hash tag, so that they are in one slot of a Redis Cluster. Stores of one
 *   prefix are one store. Default `"headgate"`.
 * - `timeout`: how long a call may take before it fails with a `StoreError`. A call that was cut, or not answered in half
 *   of that time, is sent again by its id, which changes nothing if it was applied. Default 1 second.
 * - `rememberIds`: for how long an id given by a caller is known. Default 1 day.
 * - `wait`: lets each write wait until so many replicas have it (`WAIT`), on a connection of its own. If they have not in
 *   time, the call fails with the outcome `"unknown"`. Its `timeout` must be less than half of the store's: by then the call
 *   would be sent again, and never say that there are too few.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly prefix?: string | undefined
  readonly timeout?: Duration.Input | undefined
  readonly rememberIds?: Duration.Input | undefined
  readonly wait?: { readonly replicas: number; readonly timeout: Duration.Input } | undefined
}

/**
 * Makes the store. Throws a `RangeError` on options out of bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: (
  options?: Options
) => Effect.Effect<QuotaStore.Service, never, Redis.Redis | Alerts.Alerts | Scope.Scope> = (options) =>
  makeStore({ ...options, clock: "server" })

/**
 * The store as a layer. Throws a `RangeError` on options out of bounds.
 *
 * **Example** (One budget for all machines)
 *
 * ```ts no-run
 * import { NodeRedis } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import { Alerts, Budget } from "headgate"
 * import { RedisQuotaStore } from "headgate/redis"
 *
 * const live = Budget.layer({ maxCostPerDay: "$1000" }).pipe(
 *   Layer.provide(RedisQuotaStore.layer({ prefix: "my-app" })),
 *   Layer.provide(NodeRedis.layer({ url: "redis://localhost:6379" })),
 *   Layer.provideMerge(Alerts.layer)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<QuotaStore.QuotaStore, never, Redis.Redis | Alerts.Alerts> =>
  Layer.effect(QuotaStore.QuotaStore)(make(options))

/**
 * As `layer`, but decides by the time that it is given, in milliseconds since 1970, instead of the server's: for replaying
 * traffic faster than it came.
 *
 * **Gotchas**
 *
 * Not for real spending: clients whose clocks differ would not keep a limit together. Its keys expire in the server's
 * time, so the time given must not pass much slower than that.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSimulated = (
  now: () => number,
  options?: Options
): Layer.Layer<QuotaStore.QuotaStore, never, Redis.Redis | Alerts.Alerts> => {
  const making = makeStore({ ...options, clock: "key" })
  return Layer.effect(QuotaStore.QuotaStore)(
    Effect.gen(function* () {
      const redis = yield* Redis.Redis
      const store = yield* making
      const key = `{${options?.prefix ?? "headgate"}}:store:now`
      let told = NaN
      const then = <A>(operation: string, verb: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
        Effect.suspend(() => {
          const time = Math.floor(now())
          if (time === told) return verb
          return redis.send("SET", key, String(time)).pipe(
            Effect.timeout(options?.timeout ?? "1 second"),
            Effect.mapError((cause) => new StoreError({ operation, outcome: "notApplied", cause })),
            Effect.andThen(() => {
              told = time
              return verb
            })
          )
        })
      return {
        reserve: (command) => then("reserve", store.reserve(command)),
        extend: (hold, more, step) => then("extend", store.extend(hold, more, step)),
        settle: (hold, actual) => then("settle", store.settle(hold, actual)),
        release: (hold) => then("release", store.release(hold)),
        record: (accounts, usage, id) => then("record", store.record(accounts, usage, id)),
        status: (accounts) => then("status", store.status(accounts)),
        reset: (target) => then("reset", store.reset(target))
      }
    })
  )
}
