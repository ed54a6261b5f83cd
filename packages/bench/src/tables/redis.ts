import { type Contest, fixed, type Peer, type Side, type Table } from "../Contest.ts"
import type { Kind } from "../peers/redis.ts"

const names: { readonly [K in Kind]: string } = {
  headgate: "headgate",
  headgateSettled: "headgate",
  union: "rate-limiter-flexible, union of 8",
  effect: "Effect's RateLimiter × 8",
  trivial: "an EVALSHA that reads one key"
}

const commands = (kind: Kind): Side => ({
  name: names[kind],
  load: () => import("../peers/redis.ts").then((peer) => peer.commands(kind)())
})

const latency = (kind: Kind, share: number): Side => ({
  name: names[kind],
  load: (effort) => import("../peers/redis.ts").then((peer) => peer.latency(kind, share)(effort))
})

const inFlight = (kind: Kind, fibers: number): Side => ({
  name: names[kind],
  load: (effort) => import("../peers/redis.ts").then((peer) => peer.inFlight(kind, fibers)(effort))
})

const goal = (side: Side, goal: number | undefined): Peer => (goal === undefined ? side : { ...side, goal })

const throughput = (fibers: number, best?: number): Contest => ({
  name: `Redis, reserve, 8 quotas, ${fibers} in flight`,
  unit: "µs",
  ours: inFlight("headgate", fibers),
  peers: [goal(inFlight("union", fibers), best), goal(inFlight("effect", fibers), best), inFlight("trivial", fibers)],
  ...(best === undefined
    ? {}
    : {
        limits:
          "The server is the bottleneck, at some 35 µs for a decision that leaves a hold behind. On two cores the union takes 58 to " +
          "88 µs from run to run, as client and server come to share a core or not."
      })
})

export const redis: Table = {
  title: "A decision in Redis",
  how:
    "A `redis-server` on loopback for each side, on the same machine and without persistence. 8 quotas: ours in one script, the unions " +
    "in 8, sent at once. One after another, or the time per decision with so many in flight. In turns: ours, then the trivial script, " +
    "then ours again, on one connection to one server, so that what else the machine does hits both alike.",
  contests: [
    {
      name: "Redis, commands per decision, 8 quotas",
      unit: "commands",
      rounds: 2,
      ours: commands("headgate"),
      peers: [{ ...fixed("one command", 1), goal: 1 }, commands("union"), commands("effect")]
    },
    {
      name: "Redis, reserve, 8 quotas, p50 in turns",
      unit: "× as much",
      ours: {
        name: names.headgate,
        load: (effort) => import("../peers/redis.ts").then((peer) => peer.latencyInTurns(0.5)(effort))
      },
      peers: [{ ...fixed(names.trivial, 1), goal: 1.3 }],
      limits:
        "It takes some 30 µs more than the trivial script, 8 of them in the client: reading the records of 8 quotas and deciding, and " +
        "three writes, the hold, its expiry and the counters. Where a round trip takes half as long, the ratio is 1.7. A journal of open " +
        "holds behind an account's record, instead of a sorted set, took as long."
    },
    {
      name: "Redis, reserve, 8 quotas, p50",
      unit: "µs",
      ours: latency("headgate", 0.5),
      peers: [latency("trivial", 0.5), latency("union", 0.5), latency("effect", 0.5)]
    },
    {
      name: "Redis, reserve, 8 quotas, p99",
      unit: "µs",
      ours: latency("headgate", 0.99),
      peers: [latency("trivial", 0.99), latency("union", 0.99), latency("effect", 0.99)]
    },
    throughput(64, 0.5),
    throughput(256),
    {
      name: "Redis, reserve + settle, 8 quotas, 64 in flight",
      unit: "µs",
      ours: inFlight("headgateSettled", 64),
      peers: [inFlight("union", 64)]
    }
  ]
}
