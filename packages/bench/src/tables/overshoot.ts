import { fixed, type Side, type Table } from "../Contest.ts"

const headgate: Side = {
  name: "headgate",
  load: () => import("../peers/overshoots.ts").then((peer) => peer.headgate)
}

export const overshoot: Table = {
  title: "Overshoot under concurrency",
  how:
    "1,000 calls of 1,000 tokens each arrive at once at a budget of 100,000 tokens; each is answered after 5 ms. Spent ÷ limit. *Check, " +
    "then record* is how the Go package that headgate began from does it; rate-limiter-flexible is used as people use it for tokens, " +
    "which are known, and consumed, after the reply.",
  contests: [
    {
      name: "spent, 1,000 calls at once, a budget for 100",
      unit: "× the limit",
      ours: headgate,
      peers: [
        { ...fixed("the limit", 1), goal: 1 },
        {
          name: "check, then record",
          load: () => import("../peers/overshoots.ts").then((peer) => peer.checkThenRecord)
        },
        {
          name: "rate-limiter-flexible, consume after the reply",
          load: () => import("../peers/overshoots.ts").then((peer) => peer.consumeAfterReply)
        }
      ]
    }
  ]
}
