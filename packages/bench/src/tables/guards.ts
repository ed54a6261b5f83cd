import type { Contest, Table } from "../Contest.ts"

const steps =
  "Half of it are the steps of Effect: two finalizers (0.25 µs each), two uninterruptible regions (0.12), the mark of the attempt " +
  "(0.2), the retry's match (0.14) and some twenty smaller ones; the rest are decisions on six quotas, twice, and seven metrics. " +
  "Next: a place that is settled in the step in which its attempt ends, without an effect of its own."

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
  ],
  ...(goal === undefined ? {} : { limits: steps })
})

export const guards: Table = {
  title: "A guarded call in memory",
  how:
    "Ours: 4 quotas of a budget are held and settled, 2 of a rate limiter are taken and settled, inside of a retry policy. Effect's: " +
    "`consume` × 2 inside of `Effect.retry({ schedule: exponential, times, while })`, without any budget.",
  contests: [guard("none", 1), guard("spans")]
}
