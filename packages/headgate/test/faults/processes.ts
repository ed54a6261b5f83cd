// Many processes on one budget: spending it to its end, being killed in mid-call, being told.
import { assert } from "@effect/vitest"
import { Clock, Effect, Random } from "effect"
import { eachOnce } from "./audit.ts"
import { services } from "./connect.ts"
import { fault } from "./fault.ts"
import { missing, type Name, targets } from "./targets.ts"
import { counter, isSumOverIds, neverOver, nothingHeld, percent } from "./watch.ts"
import type { Work } from "./worker.ts"
import { startWorker, type Worker } from "./workers.ts"

const suffix = { Redis: "", PostgreSQL: "-postgres", SQLite: "-sqlite" }
const where = { Redis: "", PostgreSQL: " on PostgreSQL", SQLite: " on SQLite" }

const settledBy = (workers: ReadonlyArray<Worker>) => eachOnce(workers.flatMap(({ settled }) => settled))

interface Spend {
  readonly processes: number
  readonly fibers: number
  readonly calls: number
}

export const processes = (target: Name, short: Spend, full: Spend) =>
  fault({
    name: `processes${suffix[target]}`,
    fault: `${full.processes} processes x ${full.fibers} workers, ${full.calls.toLocaleString("en")} calls on one budget, actual ≤ reserved${where[target]}`,
    mustHold: "never over; ≥ 99.5 % of the budget used; sum over ids = counters",
    missing: missing[target],
    short,
    full,
    run: ({ calls, fibers, processes }) =>
      Effect.gen(function* () {
        const { address, audit } = yield* targets[target]
        // A call takes 30 on average, so the budget ends some calls before the calls do.
        const limit = calls * 27
        const options = { address, prefix: "spend", quotas: "spend", limit, ttl: 600_000, timeout: 20_000 } as const
        const { budget } = yield* services(address, options)
        const today = Effect.map(Clock.currentTimeMillis, (now) => Math.floor(now / 86_400_000))
        const day = yield* today
        const work: Work = {
          ...options,
          fibers,
          calls: Math.ceil(calls / processes),
          lasts: 0,
          estimate: [20, 99],
          takes: "some",
          onUnknown: "charge"
        }
        const workers = yield* Effect.all(Array.from({ length: processes }, () => startWorker(work)))
        const { looks, result } = yield* neverOver(
          budget,
          Effect.all(
            workers.map(({ ended }) => ended),
            { concurrency: "unbounded" }
          )
        )
        const sum = (of: (told: (typeof result)[number]) => number) => result.reduce((sum, one) => sum + of(one), 0)
        const { quotas } = yield* budget.status()
        const [total, hour, days] = quotas
        for (const { held, limit, name, used } of quotas) {
          assert.isAtMost(used, limit, name)
          assert.strictEqual(held, 0, name)
        }
        assert.isAtLeast(total!.used, limit * 0.995)
        assert.strictEqual(hour!.used, total!.used)
        if (day === (yield* today)) assert.strictEqual(days!.used, total!.used)
        assert.strictEqual(
          sum(({ failed }) => failed),
          0
        )
        assert.isAtLeast(
          sum(({ calls }) => calls),
          calls
        )
        const settled = settledBy(workers)
        const found = yield* audit("spend")
        found.has(settled)
        assert.deepStrictEqual(found.unheard(settled), [])
        assert.strictEqual(found.open, 0)
        yield* isSumOverIds(budget, found)
        // Each once over all processes, although two windows and all processes reach them together.
        const alerts = workers.flatMap(({ alerts }) => alerts.map(({ alert }) => alert)).toSorted()
        assert.deepStrictEqual(alerts, [...new Set(alerts)])
        for (const share of [0.5, 0.8]) assert.include(alerts, `ThresholdReached total ${share}`)
        return `${settled.size.toLocaleString("en")} of ${sum(({ calls }) => calls).toLocaleString("en")} calls admitted, ${percent(total!.used / limit)} used, over in 0 of ${looks} looks, ${found.entries.size.toLocaleString("en")} ids sum up`
      })
  })

interface Kill {
  readonly processes: number
  readonly fibers: number
  readonly millis: number
}

export const killed = (target: Name, short: Kill, full: Kill) =>
  fault({
    name: `killed${suffix[target]}`,
    fault: `kill -9 of a random worker of ${full.processes} every 200 ms for ${full.millis / 1000} s in mid-call${where[target]}`,
    mustHold: "never over; nothing held after reservationTtl + 1 s; nothing settled twice",
    missing: missing[target],
    short,
    full,
    run: ({ fibers, millis, processes }) =>
      Effect.gen(function* () {
        const { address, audit } = yield* targets[target]
        const ttl = 1000
        // Half of what they would spend: the window is full whenever it matters.
        const limit = 200 * fibers * processes
        const options = { address, prefix: "killed", quotas: "crowded", limit, ttl, timeout: 10_000 } as const
        const { budget } = yield* services(address, options)
        const work: Work = { ...options, fibers, lasts: 100, estimate: [20, 99], takes: "some", onUnknown: "either" }
        const all: Array<Worker> = []
        const start = Effect.tap(startWorker(work), (worker) => Effect.sync(() => all.push(worker)))
        const alive = yield* Effect.all(Array.from({ length: processes }, () => start))
        const working = () => alive.filter(({ settled }) => settled.length > 0)
        while (working().length < alive.length) yield* Effect.sleep("10 millis")
        let kills = 0
        const killing = Effect.gen(function* () {
          const begin = yield* Clock.currentTimeMillis
          for (let due = 200; due <= millis; due += 200) {
            yield* Effect.sleep(Math.max(0, begin + due - (yield* Clock.currentTimeMillis)))
            const victims = working()
            if (victims.length === 0) continue
            const victim = victims[(yield* Random.nextIntBetween(1, victims.length)) - 1]!
            yield* victim.kill
            kills++
            alive[alive.indexOf(victim)] = yield* start
          }
          yield* Effect.all(
            alive.map(({ kill }) => kill),
            { concurrency: "unbounded" }
          )
        })
        const { looks, most } = yield* neverOver(budget, killing)
        const { held } = yield* counter(budget, "total")
        yield* nothingHeld(budget, ttl)
        const found = yield* audit("killed")
        const settled = settledBy(all)
        found.has(settled)
        // Each fiber of a process that was killed may have been about to hear of one.
        const unheard = found.unheard(settled)
        assert.isAtMost(unheard.length, fibers * all.length, unheard.join(", "))
        assert.isAbove(found.open, 0)
        const used = yield* isSumOverIds(budget, found)
        return `${kills} kills of ${all.length} processes, at most ${percent(most)} of a window in ${looks} looks, ${held} tokens held at the end and 0 after ${ttl / 1000 + 1} s, ${settled.size.toLocaleString("en")} settlements once each, ${found.open} left open, ${found.entries.size.toLocaleString("en")} ids = ${used.toLocaleString("en")}`
      })
  })

interface Windows {
  readonly processes: number
  readonly fibers: number
  readonly windows: number
}

export const alerts = (target: Name, short: Windows, full: Windows) =>
  fault({
    name: `alerts${suffix[target]}`,
    fault: `alerts at 50, 80, 100 % with ${full.processes} processes${where[target]}`,
    mustHold: "exactly one each per window",
    missing: missing[target],
    short,
    full,
    run: ({ fibers, processes, windows }) =>
      Effect.gen(function* () {
        const { address, clock, setClock } = yield* targets[target]
        const limit = 10 * fibers * processes * 4
        const options = {
          address,
          prefix: "alerts",
          quotas: "daily",
          limit,
          ttl: 600_000,
          timeout: 20_000,
          clock
        } as const
        const start = Date.UTC(2026, 2, 4, 5, 6, 7)
        const day = 86_400_000
        yield* setClock("alerts", start)
        const { budget } = yield* services(address, options)
        const work: Work = { ...options, fibers, lasts: 0, estimate: [10, 10], takes: "all", onUnknown: "charge" }
        const workers = yield* Effect.all(Array.from({ length: processes }, () => startWorker(work)))
        const expected = ["day", "hour"].flatMap((quota) => [
          `LimitHit ${quota} 1`,
          ...[0.5, 0.8, 1].map((share) => `ThresholdReached ${quota} ${share}`)
        ])
        const told = () => {
          const at = (time: number) => Math.floor((time - start) / day)
          return workers
            .flatMap(({ alerts }) => alerts.map(({ alert, at: time }) => `${at(time)}: ${alert}`))
            .toSorted()
        }
        const all: Array<string> = []
        for (let window = 0; window < windows; window++) {
          yield* setClock("alerts", start + window * day)
          all.push(...expected.map((alert) => `${window}: ${alert}`))
          while (new Set(told()).size < all.length) {
            for (const { held, used } of (yield* budget.status()).quotas) assert.isAtMost(used + held, limit)
            yield* Effect.sleep("20 millis")
          }
        }
        yield* Effect.all(
          workers.map(({ stop }) => stop),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(told(), all.toSorted())
        assert.strictEqual(
          workers.reduce((sum, { settled }) => settled.reduce((sum, [, tokens]) => sum + tokens, sum), 0),
          limit * windows
        )
        return `${windows} windows, two quotas: ${told().length} alerts told, each once by one of ${processes} processes`
      })
  })
