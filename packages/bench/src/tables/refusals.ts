import type { Table } from "../Contest.ts"

export const refusals: Table = {
  title: "A refusal in memory",
  how:
    "The refusal is caught: ours as the typed error `BudgetExceeded` with the exact `retryAfter`, the peers' as the promise's rejection " +
    "or the typed error they give.",
  contests: [
    {
      name: "a refusal, 1 quota",
      unit: "µs",
      ours: {
        name: "headgate",
        load: (effort) => import("../peers/headgate.ts").then((peer) => peer.refusal(1)(effort))
      },
      peers: [
        {
          name: "rate-limiter-flexible",
          goal: 1,
          load: (effort) => import("../peers/rateLimiterFlexible.ts").then((peer) => peer.refusal(effort))
        },
        {
          name: "Effect's RateLimiter",
          load: (effort) => import("../peers/effectRateLimiter.ts").then((peer) => peer.refusal(effort))
        }
      ],
      limits:
        "Making an `Error` that keeps no stack takes 0.5 µs, its fields and the steps of Effect that carry and catch it another 1.3; " +
        "the peer rejects with an object that is no `Error`. Next: nothing that would not give up typed errors."
    },
    {
      name: "a refusal, 4 quotas",
      unit: "µs",
      ours: {
        name: "headgate",
        load: (effort) => import("../peers/headgate.ts").then((peer) => peer.refusal(4)(effort))
      },
      peers: [
        {
          name: "rate-limiter-flexible, union of 4",
          goal: 1,
          load: (effort) => import("../peers/rateLimiterFlexible.ts").then((peer) => peer.unionRefusal(4)(effort))
        }
      ]
    }
  ]
}
