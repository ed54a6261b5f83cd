// Writes that wait for a replica, and a failover to one that has not got them.
import { assert } from "@effect/vitest"
import { Effect, Option } from "effect"
import type { Budget } from "headgate"
import { Proxy } from "../servers/proxy.ts"
import { services } from "./connect.ts"
import { fault } from "./fault.ts"
import { missing, redisWith } from "./targets.ts"
import { losses, Stopwatch } from "./watch.ts"

export const replicas = (short: { readonly calls: number }, full: typeof short) =>
  fault({
    name: "replicas",
    fault: "a replica stopped (SIGSTOP), then cut off, then made master (WAIT 1)",
    mustHold: 'with WAIT the outcome is "unknown", in time, and nothing acknowledged is lost; what others lost is told',
    missing: missing.Redis,
    short,
    full,
    run: ({ calls }) =>
      Effect.gen(function* () {
        const proxyTo = (port: number) =>
          Effect.acquireRelease(
            Effect.promise(() => Proxy.start(port)),
            (proxy) => Effect.promise(() => proxy.stop())
          )
        const master = yield* redisWith("--repl-diskless-sync-delay", "0")
        const link = yield* proxyTo(master.port)
        const replica = yield* redisWith("--replicaof", "127.0.0.1", String(link.port))
        while (!(yield* master.send<string>("INFO", "replication")).includes("state=online")) {
          yield* Effect.sleep("10 millis")
        }
        const proxy = yield* proxyTo(master.port)
        const timeout = 4000
        const address = `redis://127.0.0.1:${proxy.port}`
        const options = { prefix: "p", quotas: "spend", limit: 1_000_000_000, ttl: 600_000, timeout } as const
        const waiting = yield* services(address, { ...options, replicas: 1 })
        const plain = yield* services(address, options)
        const told = yield* losses(plain)
        const watch = new Stopwatch()
        const safe = new Map<string, number>()
        const spend = (budget: Budget.Service, reservation: Budget.Reservation) =>
          Effect.as(budget.settle(reservation, { tokens: 7 }), [reservation.id, 7] as const)
        const reserve = (budget: Budget.Service) => budget.reserve({ tokens: 10 })

        for (let call = 0; call < calls; call++) {
          const [id, used] = yield* spend(waiting.budget, yield* watch.time(reserve(waiting.budget)))
          safe.set(id, used)
        }
        const open = yield* Effect.all(Array.from({ length: calls }, () => reserve(waiting.budget)))

        // It hangs: each write is applied, and nobody knows whether it will last.
        replica.server.signal("SIGSTOP")
        const doubtful = yield* Effect.forEach(
          open,
          (reservation) => watch.time(Effect.flip(spend(waiting.budget, reservation))),
          { concurrency: 16 }
        ).pipe(Effect.ensuring(Effect.sync(() => replica.server.signal("SIGCONT"))))
        let tooFew = 0
        for (const error of doubtful) {
          if (error._tag !== "StoreError") return yield* Effect.die(error)
          assert.strictEqual(error.outcome, "unknown")
          // Or it has not even got a connection in time: each waits on one of its own.
          if (String(error.cause).includes("0 of 1 replicas")) tooFew++
        }
        assert.isAbove(tooFew, 0)
        // Asked again once the replica goes on, each is acknowledged, and was booked once.
        for (const reservation of open) safe.set(...(yield* spend(waiting.budget, reservation)))
        assert.deepStrictEqual([...safe.values()].length * 7, (yield* plain.budget.status()).quotas[0]!.used)

        // It is cut off, and its master dies with what it told alone.
        const last = yield* reserve(waiting.budget)
        link.to = 1
        link.cut()
        const cut = yield* Effect.flip(spend(waiting.budget, last))
        assert.strictEqual(cut._tag === "StoreError" && cut.outcome, "unknown")
        yield* Effect.sleep("2 millis")
        for (let call = 0; call < calls; call++) yield* spend(plain.budget, yield* reserve(plain.budget))
        assert.strictEqual(yield* told, 0)
        yield* Effect.promise(() => master.server.kill())
        yield* replica.send("REPLICAOF", "NO", "ONE")
        proxy.to = replica.port
        proxy.cut()

        const found = yield* replica.audit("p")
        found.has(safe)
        assert.deepStrictEqual(found.unheard(safe), [], "what was not acknowledged, or without WAIT, is gone")
        yield* spend(plain.budget, yield* reserve(plain.budget))
        yield* reserve(plain.budget)
        assert.strictEqual(yield* told, 1)
        // The new master has no replica: a call says so, and ends.
        const alone = yield* watch.time(Effect.option(reserve(waiting.budget)))
        assert.isTrue(Option.isNone(alone))
        assert.isAtMost(watch.longest, timeout + 100)
        // What the old master was told alone can be told again: the hold had reached the new one.
        yield* spend(plain.budget, last)
        const status = (yield* plain.budget.status()).quotas[0]!
        assert.strictEqual(status.used, (safe.size + 2) * 7)
        return `${safe.size} acknowledged with WAIT and none lost, ${doubtful.length + 1} unknown, ${calls} acknowledged without WAIT lost and told once, the longest call took ${Math.round(watch.longest)} of ${timeout} ms`
      })
  })
