import type { Contest, Table } from "../Contest.ts"

const guard = (tracing: "spans" | "none", goal?: number): Contest => ({
  name: `guard around a no-op, ${tracing === "spans" ? "one span" : "no span"}`,
  unit: "µs",
  ours: {
    name: "headgate",
    load: (effort) => import("../peers/guards.ts").then((peer) => peer.headgate(tracing)(effort))
  },
  peers: [
    {
      name: "Effect's RateLimiter × 2 + Effect.retry",
      ...(goal === undefined ? {} : { goal }),
      load: (effort) => import("../peers/guards.ts").then((peer) => peer.effect(tracing)(effort))
    }
  ]
})

export const guards: Table = {
  title: "A guarded call in memory",
  how:
    "Ours: 4 quotas of a budget are held and settled, 2 of a rate limiter are taken and settled, inside of a retry policy. Effect's: " +
    "`consume` × 2 inside of `Effect.retry({ schedule: exponential, times, while })`, without any budget.",
  contests: [guard("none", 1), guard("spans")]
}
