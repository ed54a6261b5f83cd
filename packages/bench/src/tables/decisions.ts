import type { Contest, Side, Table } from "../Contest.ts"

const ours = (quotas: number, subjects: number): Side => ({
  name: "headgate",
  load: (effort) => import("../peers/headgate.ts").then((peer) => peer.reserveAndSettle(quotas, subjects)(effort))
})

const union = (quotas: number, subjects: number): Side => ({
  name: `rate-limiter-flexible, union of ${quotas}`,
  load: (effort) => import("../peers/rateLimiterFlexible.ts").then((peer) => peer.consume(quotas, subjects)(effort))
})

const effect = (quotas: number, subjects: number): Side => ({
  name: `Effect's RateLimiter × ${quotas}`,
  load: (effort) => import("../peers/effectRateLimiter.ts").then((peer) => peer.consume(quotas, subjects)(effort))
})

const hot = (quotas: number, goal?: number): Contest => ({
  name: `reserve + settle, ${quotas} quota${quotas === 1 ? "" : "s"}, one hot subject`,
  unit: "µs",
  ours: ours(quotas, 1),
  peers: [{ ...union(quotas, 1), ...(goal === undefined ? {} : { goal }) }, effect(quotas, 1)]
})

export const decisions: Table = {
  title: "A decision in memory",
  how:
    "Ours holds an estimate on all quotas and replaces it by what was used, which is two decisions; the peers `consume` once. " +
    "One call after another, awaited, in one fiber or one async function.",
  contests: [
    hot(4, 0.7),
    {
      name: "reserve + settle, 4 quotas, 100,000 subjects in shuffled order",
      unit: "µs",
      ours: ours(4, 100_000),
      peers: [{ ...union(4, 100_000), goal: 0.3 }, effect(4, 100_000)]
    },
    hot(1),
    hot(8),
    hot(12)
  ]
}
