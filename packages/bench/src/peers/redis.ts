// Decisions in Redis, each side on a server of its own, through the client that its documentation names.
import { NodeRedis } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { RateLimiter, Redis } from "effect/persistence"
import { Alerts, Budget } from "headgate"
import { RedisQuotaStore } from "headgate/redis"
import { RateLimiterRedis, RateLimiterUnion } from "rate-limiter-flexible"
import { createClient } from "redis"
import { startRedis } from "../../test/servers.ts"
import type { Contestant, Effort } from "../Contest.ts"
import { quantile, timed } from "../measure.ts"
import { byFibers, serviceOf } from "./fibers.ts"
import { estimate, quotasOf } from "./headgate.ts"

/** A decision that is ready to be asked for. */
interface Decider {
  readonly decide: Effect.Effect<unknown, unknown>
  readonly end: () => Promise<unknown>
}

export type Kind = "headgate" | "headgateSettled" | "union" | "effect" | "trivial"

const quotas = 8
const limit = 9_000_000_000_000

const budgetLayer = Budget.layer({ quotas: quotasOf(quotas) }).pipe(
  Layer.provide(RedisQuotaStore.layer()),
  Layer.provide(Alerts.layer)
)

const budgetOf = (url: string) => serviceOf(Budget.Budget, budgetLayer.pipe(Layer.provide(NodeRedis.layer({ url }))))

/** The least that a script can do, through the client that ours uses. */
const trivialOn = (redis: Redis.Redis["Service"]) => {
  const script = Redis.script((key: string) => [key], { lua: "return redis.call('GET', KEYS[1])", numberOfKeys: 1 })
  const evaluate = redis.eval(script)
  return Effect.suspend(() => evaluate("quota"))
}

const deciders: { readonly [K in Kind]: (url: string) => Promise<Decider> } = {
  /** A reservation on 8 quotas. */
  headgate: async (url) => {
    const { end, service } = await budgetOf(url)
    return { decide: service.reserve(estimate), end }
  },
  /** A reservation and its settlement. */
  headgateSettled: async (url) => {
    const { end, service } = await budgetOf(url)
    return { decide: Effect.flatMap(service.reserve(estimate), (held) => service.settle(held, estimate)), end }
  },
  union: async (url) => {
    const storeClient = createClient({ url })
    await storeClient.connect()
    const union = new RateLimiterUnion(
      ...Array.from({ length: quotas }, (_, index) => {
        const duration = [60, 3600, 86_400, 604_800][index % 4]!
        return new RateLimiterRedis({
          storeClient,
          useRedisPackage: true,
          keyPrefix: `quota-${index}`,
          points: limit,
          duration
        })
      })
    )
    return { decide: Effect.promise(() => union.consume("42", 1200)), end: () => storeClient.close() }
  },
  effect: async (url) => {
    const { end, service } = await serviceOf(
      RateLimiter.RateLimiter,
      RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreRedis()), Layer.provide(NodeRedis.layer({ url })))
    )
    const consume = (index: number) =>
      service.consume({
        key: `quota-${index}`,
        limit,
        window: (["1 minute", "1 hour", "1 day", "30 days"] as const)[index % 4]!,
        tokens: 1200
      })
    const decide = Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7], consume, { concurrency: "unbounded", discard: true })
    return { decide, end }
  },
  trivial: async (url) => {
    const { end, service } = await serviceOf(Redis.Redis, NodeRedis.layer({ url }))
    return { decide: trivialOn(service), end }
  }
}

/** Microseconds that each of the effects took, all of them in turns, so that what disturbs one disturbs the others alike. */
const timesOf = <const Each extends ReadonlyArray<Effect.Effect<unknown, unknown>>>(times: number, each: Each) =>
  Effect.gen(function* () {
    const took = each.map((): Array<number> => [])
    for (let time = 0; time < times; time++) {
      for (const [index, effect] of each.entries()) {
        const start = performance.now()
        yield* effect
        took[index]!.push((performance.now() - start) * 1000)
      }
    }
    return took
  })

const start = async (kind: Kind) => {
  const server = await startRedis()
  const { decide, end } = await deciders[kind](server.url)
  await Effect.runPromise(decide)
  return {
    server,
    decide,
    end: async () => {
      await end()
      await server.end()
    }
  }
}

/** The time below which this share of the decisions lies, one after another, in microseconds. */
export const latency =
  (kind: Kind, share: number) =>
  async ({ subjects }: Effort): Promise<Contestant> => {
    const { decide, end } = await start(kind)
    const round = Effect.map(timesOf(subjects(2000), [decide]), ([times = []]) => quantile(times, share))
    await Effect.runPromise(round)
    return { round: () => Effect.runPromise(round), end }
  }

/** How many times as long as a trivial script a decision takes, in turns on one connection to one server. */
export const latencyInTurns =
  (share: number) =>
  async ({ subjects }: Effort): Promise<Contestant> => {
    const server = await startRedis()
    const { end, service } = await serviceOf(
      Effect.all({ budget: Budget.Budget, redis: Redis.Redis }),
      budgetLayer.pipe(Layer.provideMerge(NodeRedis.layer({ url: server.url })))
    )
    const inTurns = [service.budget.reserve(estimate), trivialOn(service.redis)] as const
    const round = Effect.map(
      timesOf(subjects(4000), inTurns),
      ([ours = [], trivial = []]) => quantile(ours, share) / quantile(trivial, share)
    )
    await Effect.runPromise(round)
    return {
      round: () => Effect.runPromise(round),
      end: async () => {
        await end()
        await server.end()
      }
    }
  }

/** Time per decision with so many in flight, in long rounds: who of client and server runs on which core differs between short ones. */
export const inFlight =
  (kind: Kind, fibers: number) =>
  async ({ millis, ...effort }: Effort): Promise<Contestant> => {
    const { decide, end } = await start(kind)
    const rounds = await timed((times) => byFibers(times, fibers, () => decide), { ...effort, millis: 5 * millis })
    return { ...rounds, end }
  }

/** Scripts that the server was sent per decision, as it counts them. */
export const commands = (kind: Kind) => async (): Promise<Contestant> => {
  const { decide, end, server } = await start(kind)
  const client = createClient({ url: server.url })
  await client.connect()
  const decisions = 100
  return {
    round: async () => {
      await client.configResetStat()
      await byFibers(decisions, 1, () => decide)
      const counts = [...(await client.info("commandstats")).matchAll(/cmdstat_(?:eval|fcall)[^:]*:calls=(\d+)/g)]
      return counts.reduce((sum, [, calls]) => sum + Number(calls), 0) / decisions
    },
    end: async () => {
      await client.close()
      await end()
    }
  }
}
