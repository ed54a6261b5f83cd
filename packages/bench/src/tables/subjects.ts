import type { Contest, Peer, Table } from "../Contest.ts"

const idle = (subjects: number, peers: ReadonlyArray<Peer>, rounds: number): Contest => ({
  name: `heap per idle subject, 4 quotas, ${subjects.toLocaleString("en-US")} subjects`,
  unit: "B",
  fresh: true,
  rounds,
  ours: {
    name: "headgate",
    load: (effort) => import("../peers/headgate.ts").then((peer) => peer.idleSubjects(subjects)(effort))
  },
  peers
})

const union = (subjects: number): Peer => ({
  name: "rate-limiter-flexible, union of 4",
  goal: 0.5,
  load: (effort) => import("../peers/rateLimiterFlexible.ts").then((peer) => peer.idleSubjects(subjects)(effort))
})

const effect = (subjects: number): Peer => ({
  name: "Effect's RateLimiter × 4",
  load: (effort) => import("../peers/effectRateLimiter.ts").then((peer) => peer.idleSubjects(subjects)(effort))
})

const growth = (subjects: number): Contest => ({
  name: `cost of a decision, 1 → ${subjects.toLocaleString("en-US")} subjects`,
  unit: "× as much",
  rounds: 5,
  ours: {
    name: "headgate",
    load: (effort) => import("../peers/headgate.ts").then((peer) => peer.growth(subjects)(effort))
  },
  peers: [
    {
      name: "Map lookup",
      goal: 1,
      load: (effort) => import("../peers/mapLookup.ts").then((peer) => peer.growth(subjects)(effort))
    }
  ]
})

export const subjects: Table = {
  title: "Many subjects",
  how:
    "Heap: `heapUsed` after garbage collection, before and after each subject was used once, names of subjects included; a process " +
    "for each round. Cost: reserve + settle with 4 quotas in shuffled order against one hot subject, and the same of a lookup of a " +
    "record in a `Map`.",
  contests: [
    idle(100_000, [union(100_000), effect(100_000)], 3),
    idle(1_000_000, [union(1_000_000)], 1),
    growth(1000),
    growth(1_000_000)
  ]
}
