import * as NodeRedis from "@effect/platform-node/NodeRedis"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import { RedisQuotaStore } from "headgate/redis"
import type { Options } from "../Store.ts"
import type { Opened, Server, Temporary } from "./opened.ts"

/** A client that fails at once while it is not connected, since the store itself tries again; and notices a dead line. */
const client = (url: string) =>
  NodeRedis.layer({
    url,
    disableOfflineQueue: true,
    pingInterval: 10_000,
    socket: { connectTimeout: 5_000 }
  })

/** What is wrong with a server that answers: it would refuse some writes or all. Who may not ask finds out by them. */
const refusing = Effect.fnUntraced(function* (redis: Redis.Redis["Service"]) {
  const told = (...command: readonly [string, string]) =>
    Effect.orElseSucceed(Effect.map(redis.send(...command), String), () => "")
  const masters = /^cluster_size:(\d+)/m.exec(yield* told("CLUSTER", "INFO"))?.[1] ?? "1"
  if (masters !== "1")
    return "it is a node of a Cluster, for which RedisQuotaStore has to be given a client of the Cluster"
  return /^slave_read_only:1/m.test(yield* told("INFO", "replication")) ? "it is a read-only replica" : undefined
})

/**
 * Connecting says nothing of a server that asks for a password. And at the end, closing would wait for one that does not
 * answer any more.
 */
const answers = Layer.effectDiscard(
  Effect.gen(function* () {
    const redis = yield* Redis.Redis
    const { client } = yield* NodeRedis.NodeRedis
    yield* redis.send("PING")
    const refuses = yield* refusing(redis)
    if (refuses !== undefined) return yield* Effect.fail(refuses)
    yield* Effect.addFinalizer(() =>
      redis.send("PING").pipe(
        Effect.interruptible,
        Effect.timeout("1 second"),
        Effect.catch(() => Effect.sync(() => client.isOpen && client.destroy())),
        Effect.ignoreCause
      )
    )
  })
)

const removeKeys = Effect.fnUntraced(function* (redis: Redis.Redis["Service"], prefix: string) {
  let cursor = "0"
  do {
    const page = yield* redis.send<[string, ReadonlyArray<string>]>(
      "SCAN",
      cursor,
      "MATCH",
      `{${prefix}}:*`,
      "COUNT",
      "1000"
    )
    cursor = String(page[0])
    if (page[1].length > 0) yield* redis.send("UNLINK", ...page[1])
  } while (cursor !== "0")
})

export const open = ({ url }: Server, options?: Options): Opened =>
  RedisQuotaStore.layer({ prefix: options?.prefix }).pipe(Layer.provideMerge(answers), Layer.provide(client(url)))

export const openTemporary = ({ url }: Server, { now, prefix, remove }: Temporary): Opened =>
  RedisQuotaStore.layerSimulated(now, { prefix }).pipe(
    Layer.provideMerge(remove(Redis.Redis.use((redis) => Effect.succeed(removeKeys(redis, prefix))))),
    Layer.provideMerge(answers),
    Layer.provide(client(url))
  )
