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

const flat =
  "Nothing stands out. Of some 1.4 µs, 0.3 are the steps of Effect (two `withFiber` and a `flatMap`), 0.1 the clock, which is " +
  "read once per decision, 0.15 four metrics, 0.4 both decisions on four quotas; the rest are checks of what was given, and the " +
  "objects that are given back. Next: a call's metrics in one step."

const hot = (quotas: number, goal?: number): Contest => ({
  name: `reserve + settle, ${quotas} quota${quotas === 1 ? "" : "s"}, one hot subject`,
  unit: "µs",
  ours: ours(quotas, 1),
  peers: [{ ...union(quotas, 1), ...(goal === undefined ? {} : { goal }) }, effect(quotas, 1)],
  ...(goal === undefined ? {} : { limits: flat })
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
      peers: [{ ...union(4, 100_000), goal: 0.3 }, effect(4, 100_000)],
      limits:
        "What comes on top of the hot subject are misses of the cache: an account is an object, a list and four cells, whose " +
        "numbers above 2^31 V8 keeps in objects of their own. Next: all numbers of an account in one array."
    },
    hot(1),
    hot(8),
    hot(12)
  ]
}
