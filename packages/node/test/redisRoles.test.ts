// A Redis server that would refuse writes is told when the store opens.
import { NodeRedis } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Store, StoreUnreachable } from "@headgate/node"
import { Context, Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { Alerts, QuotaStore, Usage } from "headgate"
import { describeRedis, startServer } from "../../headgate/test/servers/redis.ts"
import { startCluster } from "../../headgate/test/servers/redisCluster.ts"

const started = (...options: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.promise(() => startServer(...options)),
    (server) => Effect.promise(() => server.end())
  )

const send = (url: string, ...command: readonly [string, ...ReadonlyArray<string>]) =>
  Redis.Redis.use((redis) => redis.send(...command)).pipe(Effect.provide(NodeRedis.layer({ url }), { local: true }))

/** Opens the store and writes to it, as an application and as a simulation. */
const used = (url: string) =>
  Effect.forEach([Store.fromUrl(url), Store.temporary(url, () => 1_800_000_000_000)], (layer) =>
    Effect.scoped(
      Effect.flatMap(Layer.build(Layer.provide(layer, Alerts.layer)), (context) => {
        const plan = { id: "p", dimension: undefined, quotas: [], throttle: 0, alerts: "all" } as const
        return Context.get(context, QuotaStore.QuotaStore).record([{ plan, value: "" }], Usage.zero, undefined)
      })
    )
  )

describeRedis("a Redis server", () => {
  it.live("that is a node of a Cluster does not open, whichever slots it has", () =>
    Effect.gen(function* () {
      const servers = yield* Effect.acquireRelease(
        Effect.promise(() => startCluster()),
        (servers) => Effect.promise(() => Promise.all(servers.map((server) => server.end())))
      )
      for (const { url } of servers) {
        for (const layer of [Store.fromUrl(url), Store.temporary(url, () => 0)]) {
          const error = yield* Effect.flip(Effect.scoped(Layer.build(Layer.provide(layer, Alerts.layer))))
          assert.instanceOf(error, StoreUnreachable)
          assert.strictEqual(
            error.reason,
            "it is a node of a Cluster, for which RedisQuotaStore has to be given a client of the Cluster"
          )
        }
      }
    })
  )

  it.live("that is a whole Cluster by itself opens", () =>
    Effect.gen(function* () {
      const { url } = yield* started("--cluster-enabled", "yes")
      yield* send(url, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
      yield* Effect.repeat(send(url, "CLUSTER", "INFO"), { until: (info) => /cluster_state:ok/.test(String(info)) })
      yield* used(url)
    })
  )

  it.live("that is a read-only replica does not open, one that takes writes does", () =>
    Effect.gen(function* () {
      const { port } = yield* started()
      const { url } = yield* started("--replicaof", `127.0.0.1 ${port}`)
      const error = yield* Effect.flip(used(url))
      assert.instanceOf(error, StoreUnreachable)
      assert.strictEqual(error.reason, "it is a read-only replica")
      yield* send(url, "CONFIG", "SET", "replica-read-only", "no")
      yield* used(url)
    })
  )

  it.live("whose user may not ask what it is opens", () =>
    Effect.gen(function* () {
      const { port, url } = yield* started()
      yield* send(url, "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info", "-cluster", "-role")
      yield* used(`redis://app:pw@127.0.0.1:${port}`)
    })
  )
})
