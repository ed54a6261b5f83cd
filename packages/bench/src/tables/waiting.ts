import type { Peer, Table } from "../Contest.ts"
import type * as Places from "../peers/places.ts"
import type * as Waiting from "../peers/waiting.ts"

const place = (name: string, side: Exclude<keyof typeof Places, "headgate">): Peer => ({
  name,
  load: (effort) => import("../peers/places.ts").then((peer) => peer[side](effort))
})

const queue = (name: string, side: Exclude<keyof typeof Waiting, "headgate">): Peer => ({
  name,
  load: (effort) => import("../peers/waiting.ts").then((peer) => peer[side](effort))
})

export const waiting: Table = {
  title: "A place in a rate limit, in memory",
  how:
    "There is room: one limit of requests per minute, one call after another. There is none: ten calls may be under way, a thousand " +
    "want to be, each gives its place up after one turn of the scheduler; the cost per call.",
  contests: [
    {
      name: "a place, there is room",
      unit: "µs",
      ours: { name: "headgate", load: (effort) => import("../peers/places.ts").then((peer) => peer.headgate(effort)) },
      peers: [
        place("rate-limiter-flexible", "rateLimiterFlexible"),
        place("limiter", "limiter"),
        place("bottleneck", "bottleneck"),
        place("p-queue", "pQueue"),
        place("Effect's RateLimiter", "effect")
      ]
    },
    {
      name: "a place, 10 at once, 1,000 want one",
      unit: "µs",
      ours: { name: "headgate", load: (effort) => import("../peers/waiting.ts").then((peer) => peer.headgate(effort)) },
      peers: [queue("p-queue", "pQueue"), queue("bottleneck", "bottleneck"), queue("Effect's Semaphore", "semaphore")]
    }
  ]
}
