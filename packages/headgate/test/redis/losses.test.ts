// What a process tells of a store that has lost what it knew.
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Alerts, Window } from "headgate"
import { makeStore } from "../../src/redis/store.ts"
import { account, command, tokens } from "../internal/support.ts"
import { describeRedis } from "../servers/redis.ts"
import { start, useServer } from "./support.ts"

describeRedis("a loss of the store in Redis", () => {
  const { layer, send, setClock } = useServer()
  const day = [account([{ unit: "tokens", limit: 100, window: Window.calendar("day") }])]

  it.live.each(["status", "record", "refusal"])("is told once, where the first call after it is a %s", (first) =>
    Effect.gen(function* () {
      const { drained, handle } = yield* Alerts.Alerts
      const told: Array<string> = []
      yield* handle(({ _tag, message }) => Effect.sync(() => _tag === "StoreDegraded" && told.push(message)))
      yield* setClock(first, start)
      const store = yield* makeStore({ prefix: first, clock: "key" })
      const verbs = [
        store.status(day),
        store.reserve(command(day, tokens(200))),
        store.record(day, tokens(10), undefined)
      ]
      yield* Effect.all(verbs)
      yield* send("FLUSHALL")
      yield* setClock(first, start + 1_000)
      yield* Effect.all(first === "status" ? verbs : first === "record" ? verbs.toReversed() : verbs.slice(1))
      yield* Effect.all(verbs)
      yield* drained
      assert.deepStrictEqual(told, [
        "Redis has lost what it knew: it was flushed, or another server took over without its data"
      ])
    }).pipe(Effect.scoped, Effect.provide([layer, Alerts.layer], { local: true }))
  )
})
