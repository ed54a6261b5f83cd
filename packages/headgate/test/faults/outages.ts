// A server that is killed and started again, that hangs, or whose answers are lost: every call ends in time, and what was
// acknowledged is there, once.
import { assert } from "@effect/vitest"
import { DateTime, Effect, Fiber, Random } from "effect"
import { type Budget, Money, UsageRecord } from "headgate"
import { Proxy } from "../servers/proxy.ts"
import type { Audit } from "./audit.ts"
import { services } from "./connect.ts"
import { fault } from "./fault.ts"
import { missing, targets } from "./targets.ts"
import { counter, isSumOverIds, losses, nothingHeld, Stopwatch } from "./watch.ts"

const limit = 1_000_000_000

const record = (requestId: string, tokens: number): UsageRecord =>
  new UsageRecord({ requestId, tokens, model: "", cost: Money.zero, timestamp: DateTime.makeUnsafe(0) })

/** Calls of many fibers until they are stopped. Each settlement that fails is kept, to be asked for again. */
class Load {
  readonly acknowledged = new Map<string, number>()
  readonly doubtful = new Map<Budget.Reservation, number>()
  readonly watch = new Stopwatch()
  isStopped = false
  private readonly budget: Budget.Service

  constructor(budget: Budget.Service) {
    this.budget = budget
  }

  private readonly call = Effect.gen({ self: this }, function* () {
    const estimate = yield* Random.nextIntBetween(20, 99)
    const reservation = yield* this.watch.time(this.budget.reserve({ tokens: estimate }))
    const actual = yield* Random.nextIntBetween(1, estimate)
    yield* this.settle(reservation, actual)
  })

  private settle(reservation: Budget.Reservation, actual: number) {
    return this.watch.time(this.budget.settle(reservation, { tokens: actual })).pipe(
      Effect.tap(() => Effect.sync(() => this.acknowledged.set(reservation.id, actual))),
      Effect.tapError(() => Effect.sync(() => this.doubtful.set(reservation, actual)))
    )
  }

  run(fibers: number) {
    // Failures are typed; anything else ends the test.
    const fiber = Effect.whileLoop({
      while: () => !this.isStopped,
      body: () => Effect.catchTag(this.call, "StoreError", () => Effect.sleep("1 millis")),
      step: () => {}
    })
    return Effect.all(
      Array.from({ length: fibers }, () => fiber),
      { concurrency: "unbounded", discard: true }
    )
  }

  /** Asks again for what is in doubt, now that the store answers: each is booked then, and was booked once. */
  readonly resolve = Effect.suspend(() => {
    const doubtful = [...this.doubtful]
    return Effect.forEach(doubtful, ([reservation, actual]) => this.settle(reservation, actual), { discard: true })
  })

  inTime(timeout: number): void {
    assert.isAtMost(this.watch.longest, timeout + 100, "a call took longer than its deadline and 100 ms")
  }
}

const audited = (load: Load, budget: Budget.Service, audit: Effect.Effect<Audit>) =>
  Effect.gen(function* () {
    const found = yield* audit
    found.has(load.acknowledged)
    yield* isSumOverIds(budget, found)
    return found
  })

interface Restarts {
  readonly times: number
  readonly fibers: number
}

export const restarted = (target: "Redis" | "PostgreSQL", short: Restarts, full: Restarts) =>
  fault({
    name: target === "Redis" ? "restarted" : "restarted-postgres",
    fault:
      target === "Redis"
        ? `Redis killed and restarted ${full.times} times (AOF always) under load`
        : `PostgreSQL killed or shut down and restarted ${full.times} times under load`,
    mustHold: "no acknowledged settlement lost; each call ends within its deadline + 100 ms; sum over ids = counters",
    missing: missing[target],
    short,
    full,
    run: ({ fibers, times }) =>
      Effect.gen(function* () {
        const { address, audit, restart } = yield* targets[target]
        const ttl = 2000
        const timeout = target === "Redis" ? 3000 : 8000
        const all = yield* services(address, { prefix: "restarted", quotas: "spend", limit, ttl, timeout })
        const { budget } = all
        const told = yield* losses(all)
        const load = new Load(budget)
        const running = yield* Effect.forkChild(load.run(fibers))
        const goesOn = Effect.gen(function* () {
          const before = load.acknowledged.size
          yield* Effect.sleep("100 millis")
          while (load.acknowledged.size < before + 2 * fibers) yield* Effect.sleep("5 millis")
        })
        for (let round = 0; round < times; round++) {
          yield* goesOn
          yield* restart(round)
        }
        yield* goesOn
        load.isStopped = true
        yield* Fiber.join(running)
        load.inTime(timeout)
        yield* load.resolve
        yield* nothingHeld(budget, ttl)
        const found = yield* audited(load, budget, audit("restarted"))
        assert.isAtLeast(load.acknowledged.size, 2 * fibers * times)
        assert.strictEqual(yield* told, 0)
        return `${times} restarts, ${load.acknowledged.size.toLocaleString("en")} settlements acknowledged and none lost, ${load.watch.failed} calls failed, the longest took ${Math.round(load.watch.longest)} of ${timeout} ms, ${found.entries.size.toLocaleString("en")} ids sum up`
      })
  })

export const stopped = (short: { readonly millis: number; readonly fibers: number }, full: typeof short) =>
  fault({
    name: "stopped",
    fault: `Redis stopped (SIGSTOP) ${full.millis / 1000} s under load of ${full.fibers} workers`,
    mustHold: "every call ends within its deadline + 100 ms; afterwards counters = sum over ids",
    missing: missing.Redis,
    short,
    full,
    run: ({ fibers, millis }) =>
      Effect.gen(function* () {
        const { address, audit, server } = yield* targets.Redis
        const ttl = 1000
        const timeout = 500
        const { budget } = yield* services(address, { prefix: "stopped", quotas: "spend", limit, ttl, timeout })
        const load = new Load(budget)
        const running = yield* Effect.forkChild(load.run(fibers))
        yield* Effect.sleep("300 millis")
        const held = yield* budget.reserve({ tokens: 10 })
        yield* Effect.acquireUseRelease(
          Effect.sync(() => server.signal("SIGSTOP")),
          () =>
            Effect.gen(function* () {
              // A caller that is interrupted waits for the outcome, and no longer than that.
              const fiber = yield* Effect.forkChild(budget.settle(held, { tokens: 5 }))
              yield* Effect.sleep("50 millis")
              const watch = new Stopwatch()
              yield* watch.time(Fiber.interrupt(fiber))
              assert.isAbove(watch.longest, timeout - 200)
              yield* watch.time(Effect.flip(budget.status()))
              yield* watch.time(Effect.flip(budget.record(record("hanging", 1000))))
              assert.isBelow(watch.longest, timeout + 100)
              yield* Effect.sleep(Math.max(0, millis - 1500))
            }),
          () => Effect.sync(() => server.signal("SIGCONT"))
        )
        yield* Effect.sleep("300 millis")
        load.isStopped = true
        yield* Fiber.join(running)
        load.inTime(timeout)
        assert.isAtLeast(load.watch.failed, fibers)
        // What was sent arrives in the end, and what nobody knows of is released.
        yield* Effect.sleep(2 * timeout)
        yield* budget.record(record("hanging", 1000))
        yield* load.resolve
        assert.deepStrictEqual(yield* budget.settle(held, { tokens: 5 }), yield* budget.settle(held, { tokens: 5 }))
        load.acknowledged.set(held.id, 5)
        yield* nothingHeld(budget, ttl)
        const found = yield* audited(load, budget, audit("stopped"))
        return `${load.watch.calls.toLocaleString("en")} calls, ${load.watch.failed} of them failed, the longest took ${Math.round(load.watch.longest)} of ${timeout} ms, ${found.entries.size.toLocaleString("en")} ids sum up`
      })
  })

export const lostAnswers = (target: "Redis" | "PostgreSQL", short: { readonly unknown: number }, full: typeof short) =>
  fault({
    name: target === "Redis" ? "lost-answers" : "lost-answers-postgres",
    fault: `a proxy before ${target} that delays, cuts, resets after the request and before the reply: ${full.unknown.toLocaleString("en")} unknown outcomes`,
    mustHold: "no double charge, no lost charge; sum over ids = counters",
    missing: missing[target],
    short,
    full,
    run: ({ unknown }) =>
      Effect.gen(function* () {
        const { address, audit, port } = yield* targets[target]
        const proxy = yield* Effect.acquireRelease(
          Effect.promise(() => Proxy.start(port)),
          (proxy) => Effect.promise(() => proxy.stop())
        )
        const ttl = 600_000
        const options = { prefix: "lost", quotas: "spend", limit, ttl, timeout: 20_000 } as const
        const { budget } = yield* services(address.replace(String(port), String(proxy.port)), options)
        // What happens behind the proxy is seen without it.
        const { budget: direct } = yield* services(address, options)
        let asked = 0
        proxy.fate = () => {
          asked++
          if (asked % 10 === 9) return "delay"
          return asked % 7 > 0 ? "pass" : asked % 2 === 0 ? "loseRequest" : "loseAnswer"
        }
        let charged = 0
        let calls = 0
        const call = Effect.gen(function* () {
          const number = calls++
          const kind = number % 3
          if (kind === 0) {
            const held = yield* budget.reserve({ tokens: 10 })
            yield* budget.extend(held, { tokens: 5 })
            yield* budget.settle(held, { tokens: 15 })
            charged += 15
          } else if (kind === 1) {
            const held = yield* budget.reserve({ tokens: 10 })
            yield* budget.release(held)
            yield* budget.record(record(`call-${number}`, 1))
            charged += 1
          } else {
            const held = yield* budget.reserve({ tokens: 10 })
            yield* budget.settle(held, { tokens: 7 })
            charged += 7
          }
        })
        const fiber = Effect.whileLoop({ while: () => proxy.lost < unknown, body: () => call, step: () => {} })
        yield* Effect.all(
          Array.from({ length: 32 }, () => fiber),
          { concurrency: "unbounded", discard: true }
        )
        const { held, used } = yield* counter(direct, "total")
        assert.deepStrictEqual([used, held], [charged, 0])
        const found = yield* audit("lost")
        assert.strictEqual(found.open, 0)
        yield* isSumOverIds(direct, found)
        return `${proxy.lost.toLocaleString("en")} outcomes unknown after ${proxy.cuts.toLocaleString("en")} cuts, ${calls.toLocaleString("en")} calls, ${charged.toLocaleString("en")} tokens charged = counters = sum over ${found.entries.size.toLocaleString("en")} ids`
      })
  })
