// A Redis Cluster of three masters on loopback, and Effect's `Redis` over node-redis' cluster client.
import { Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { createClient, createCluster } from "redis"
import { type Server, startServer } from "./redis.ts"

const slots = 16_384

export const startCluster = async (): Promise<ReadonlyArray<Server>> => {
  const servers = await Promise.all([0, 1, 2].map(() => startServer("--cluster-enabled", "yes")))
  const clients = await Promise.all(
    servers.map(({ url }) =>
      createClient({ url })
        .on("error", () => {})
        .connect()
    )
  )
  const ask = (index: number, ...command: ReadonlyArray<string>) =>
    clients[index]!.sendCommand(["CLUSTER", ...command]) as Promise<unknown>
  const share = Math.ceil(slots / servers.length)
  for (const index of servers.keys()) {
    const own = Array.from({ length: Math.min(share, slots - index * share) }, (_, slot) =>
      String(index * share + slot)
    )
    await ask(index, "SET-CONFIG-EPOCH", String(index + 1))
    await ask(index, "ADDSLOTS", ...own)
    if (index > 0) await ask(0, "MEET", "127.0.0.1", String(servers[index]!.port))
  }
  for (const index of servers.keys()) {
    while (true) {
      const info = String(await ask(index, "INFO"))
      if (/cluster_state:ok/.test(info) && /cluster_known_nodes:3/.test(info)) break
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  await Promise.all(clients.map((client) => client.close()))
  return servers
}

const failed = (cause: unknown) => new Redis.RedisError({ cause })

/**
 * Routes by the first key, as all keys of a script are in one slot. Scripts are loaded on every master: a cluster has no
 * cache of its own, and a slot may move.
 */
export const layerCluster = (urls: () => ReadonlyArray<string>): Layer.Layer<Redis.Redis, Redis.RedisError> =>
  Layer.effect(Redis.Redis)(
    Effect.gen(function* () {
      const cluster = yield* Effect.acquireRelease(
        Effect.tryPromise({
          try: () =>
            createCluster({ rootNodes: urls().map((url) => ({ url })) })
              .on("error", () => {})
              .connect(),
          catch: failed
        }),
        (cluster) => Effect.promise(() => cluster.close())
      )
      const keyOf = (command: string, args: ReadonlyArray<string>): string | undefined =>
        command.startsWith("EVAL") ? args[2] : args[0]
      const send = <A>(command: string, ...args: ReadonlyArray<string>) =>
        Effect.tryPromise({
          try: async () => {
            if (command === "SCRIPT") {
              const loaded = await Promise.all(
                cluster.masters.map(async (node) => (await cluster.nodeClient(node)).sendCommand([command, ...args]))
              )
              return loaded[0] as A
            }
            return (await cluster.sendCommand(keyOf(command, args), false, [command, ...args])) as A
          },
          catch: failed
        })
      return yield* Redis.make({
        send,
        // Each node passes on what is published at any.
        subscribe: (channel, onMessage) => {
          const listener = (message: string | Buffer) => onMessage({ channel, message: String(message) })
          return Effect.acquireRelease(
            Effect.tryPromise({ try: () => cluster.subscribe(channel, listener), catch: failed }),
            () => Effect.ignore(Effect.tryPromise(() => cluster.unsubscribe(channel, listener)))
          ).pipe(Effect.as(Effect.never))
        },
        connect: Effect.fail(failed(new Error("not needed")))
      })
    })
  )
