import { fixed, type Table } from "../Contest.ts"

export const simulations: Table = {
  title: "A replay",
  how:
    "`headgate simulate` in a process of its own: milliseconds per second of traffic, through the real guard on a virtual clock. Its " +
    "built-in hour, or the trace that HEADGATE_BENCH_TRACE names.",
  contests: [
    {
      name: "simulate, per second of traffic",
      unit: "ms",
      rounds: 3,
      ours: { name: "headgate", load: () => import("../peers/programs.ts").then((peer) => peer.simulating()) },
      peers: [{ ...fixed("real time", 1000), goal: 1 / 500 }]
    }
  ]
}
