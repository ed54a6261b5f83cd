import type { Contest, Table } from "../Contest.ts"
import type { Failures } from "../peers/retries.ts"

const retry = (name: string, ours: "headgate" | "headgatePolicy", failures: Failures, goal?: number): Contest => ({
  name,
  unit: "µs",
  ours: {
    name: "headgate",
    load: (effort) => import("../peers/retries.ts").then((peer) => peer[ours](failures)(effort))
  },
  peers: [
    {
      name: "Effect.retry",
      ...(goal === undefined ? {} : { goal }),
      load: (effort) => import("../peers/retries.ts").then((peer) => peer.effect(failures)(effort))
    },
    {
      name: "p-retry",
      load: (effort) => import("../peers/retries.ts").then((peer) => peer.pRetryOf(failures)(effort))
    },
    {
      name: "cockatiel",
      load: (effort) => import("../peers/retries.ts").then((peer) => peer.cockatiel(failures)(effort))
    }
  ],
  ...(goal === undefined
    ? {}
    : {
        limits:
          "A third is the promise itself. 0.2 µs mark the attempt, so that a retry within a retry is noticed, 0.14 are the match on " +
          "its end, 0.05 the clock. Next: nothing that would not give up the mark."
      })
})

export const retries: Table = {
  title: "A retry policy",
  how:
    "Around a promise that is kept (`Effect.tryPromise` on the Effect sides), one call after another; and around one that is broken " +
    "twice first, with a pause of a millisecond each, a thousand calls at once so that the pauses do not count.",
  contests: [
    retry("Retry.run around a success", "headgate", 0, 0.4),
    retry("Effect.retry(policy) around a success", "headgatePolicy", 0),
    retry("Retry.run after two failures", "headgate", 2)
  ]
}
