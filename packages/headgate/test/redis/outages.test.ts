// A server that is gone, and one that says nothing: what their calls say, and what is left behind.
import { NodeRedis } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { type Duration, Effect, Fiber, Layer, References, type Scope } from "effect"
import { Alerts, Budget, QuotaStore, type StoreError, Window } from "headgate"
import { makeStore } from "../../src/redis/store.ts"
import { account, command, tokens } from "../internal/support.ts"
import { describeRedis } from "../servers/redis.ts"
import { useServer } from "./support.ts"

describeRedis("an outage of the server", () => {
  const { send, server } = useServer()
  const total = [account([{ unit: "tokens", limit: 1_000, window: Window.lifetime }])]

  /** A store whose client does not queue what it cannot send. */
  const withStore = <A, E>(
    prefix: string,
    timeout: Duration.Input,
    test: (store: QuotaStore.Service) => Effect.Effect<A, E, Alerts.Alerts | Scope.Scope>
  ) =>
    Effect.flatMap(makeStore({ prefix, timeout }), test).pipe(
      Effect.scoped,
      Effect.provide(Alerts.layer),
      Effect.provide(
        Layer.unwrap(
          Effect.sync(() => {
            const socket = { host: "127.0.0.1", port: server().port, reconnectStrategy: () => 20 }
            return NodeRedis.layer({ disableOfflineQueue: true, socket })
          })
        ).pipe(Layer.provide(Layer.succeed(References.MinimumLogLevel)("None"))),
        { local: true }
      )
    )

  it.live("is no unknown outcome where nothing was sent", () =>
    withStore("gone", "200 millis", (store) =>
      Effect.gen(function* () {
        yield* store.status(total)
        yield* Effect.promise(() => server().kill())
        // The first one finds out that the connection is lost.
        yield* Effect.exit(store.status(total))
        const verbs: ReadonlyArray<Effect.Effect<unknown, StoreError>> = [
          store.reserve(command(total, tokens(1))),
          store.record(total, tokens(1), undefined)
        ]
        for (const verb of verbs) {
          const { cause, outcome } = yield* Effect.flip(verb)
          assert.deepStrictEqual([String(cause), outcome], ["Error: The client is offline", "notApplied"])
        }
        yield* Effect.promise(() => server().start())
      })
    )
  )

  it.live("leaves none of many holds behind of which nobody was told", () =>
    withStore("silent", "100 millis", (store) =>
      Effect.gen(function* () {
        yield* store.record(total, tokens(0), undefined)
        server().signal("SIGSTOP")
        const calls = Array.from({ length: 200 }, () => Effect.flip(store.reserve(command(total, tokens(1)))))
        const errors = yield* Effect.all(calls, { concurrency: "unbounded" })
        assert.deepStrictEqual(new Set(errors.map(({ outcome }) => outcome)), new Set(["unknown"]))
        server().signal("SIGCONT")
        const held = Effect.map(store.status(total), ({ quotas }) => quotas[0]?.held)
        let tries = 0
        while ((yield* Effect.orElseSucceed(held, () => 1)) !== 0) {
          if (++tries > 300) assert.fail("not within 3 s")
          yield* Effect.sleep("10 millis")
        }
        // All of them had been made.
        assert.isAbove(Number(yield* send("DBSIZE")), 200)
      })
    )
  )

  it.live("is told once how a call ended of which nobody heard, with what that brings", () =>
    withStore("told", "300 millis", (store) =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const alerts = yield* Alerts.Alerts
        yield* alerts.handle(({ _tag }) => Effect.sync(() => told.push(_tag)))
        const quota = { unit: "tokens", limit: 1_000, window: Window.lifetime, alertAt: [0.5] } as const
        const budget = yield* Effect.provideService(Budget.make({ quotas: [quota] }), QuotaStore.QuotaStore, store)
        const reservation = yield* budget.reserve({ tokens: 700 })
        server().signal("SIGSTOP")
        const settle = budget.settle(reservation, { tokens: 900 })
        assert.strictEqual((yield* Effect.flip(settle))._tag, "StoreError")
        // Asked for again by its caller, while it is being told.
        const again = yield* Effect.forkChild(Effect.retry(settle, { times: 10 }), { startImmediately: true })
        yield* Effect.sleep("50 millis")
        server().signal("SIGCONT")
        yield* Fiber.join(again)
        yield* Effect.sleep("100 millis")
        yield* alerts.drained
        assert.deepStrictEqual(told, ["Overrun", "ThresholdReached"])
        assert.deepStrictEqual(
          (yield* budget.status()).quotas.map(({ held, used }) => [used, held]),
          [[900, 0]]
        )
      })
    )
  )
})
