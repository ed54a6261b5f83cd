// Clocks that are wrong: those of clients by an hour, the store's back by an hour and ahead by a day.
import { assert } from "@effect/vitest"
import { Clock, Duration, Effect } from "effect"
import { sharedSlots } from "../../src/internal/ledger/windows.ts"
import { grain } from "../../src/redis/deadlines.ts"
import { Choices, seedOf } from "../internal/support.ts"
import { services } from "./connect.ts"
import { fault } from "./fault.ts"
import { missing, type Name, targets } from "./targets.ts"

const hour = 3_600_000
const minute = 60_000
/** A slot of a window of a minute counts until it has left it. */
const longest = minute + minute / sharedSlots

interface Use {
  readonly at: number
  readonly tokens: number
}

/**
 * The most that was used in any span of a minute, and on any day, by a time that the store's may lag behind by a tick: what
 * was used in the first one of a day may belong to the day before.
 */
const most = (uses: ReadonlyArray<Use>, tick: number) => {
  let inMinute = 0
  const days = new Map<number, number>()
  for (const [index, { at, tokens }] of uses.entries()) {
    let sum = 0
    for (let before = index; before >= 0 && uses[before]!.at > at - minute + tick; before--) sum += uses[before]!.tokens
    inMinute = Math.max(inMinute, sum)
    const day = Math.floor(at / (24 * hour))
    if (at - day * 24 * hour < tick) continue
    days.set(day, (days.get(day) ?? 0) + tokens)
  }
  return { inMinute, inDay: Math.max(0, ...days.values()) }
}

export const clocks = (target: Name, short: { readonly steps: number }, full: typeof short) =>
  fault({
    name: target === "Redis" ? "clocks" : `clocks-${target === "SQLite" ? "sqlite" : "postgres"}`,
    fault: `client clock ± 1 h, store clock backwards 1 h, forward 24 h, and forward 24 h and back again (${target})`,
    mustHold: "never over in any window by the store's time; nobody sleeps longer than a window",
    missing: missing[target],
    short,
    full,
    run: ({ steps }) =>
      Effect.gen(function* () {
        const { address, clock, setClock } = yield* targets[target]
        const choices = new Choices(seedOf(`clocks of ${target}`))
        const limit = 200
        const tick = target === "Redis" ? 0 : 1000
        const timeout = 20_000
        const real = yield* Clock.Clock
        let now = Date.UTC(2026, 2, 4, 5, 6, 7)
        const goTo = (time: number) => {
          now = time
          return setClock("clocks", time)
        }
        yield* goTo(now)
        let slept = 0
        let sleeps = 0
        // Who sleeps lets the store's time go on by as much. Only a store's own deadline is real.
        const offBy = (offset: number): Clock.Clock => ({
          ...real,
          currentTimeMillisUnsafe: () => now + offset,
          currentTimeMillis: Effect.sync(() => now + offset),
          currentTimeNanosUnsafe: () => real.currentTimeNanosUnsafe() + BigInt(offset) * 1_000_000n,
          monotonicTimeNanosUnsafe: () => real.monotonicTimeNanosUnsafe(),
          sleep: (duration) => {
            const millis = Duration.toMillis(duration)
            if (millis === timeout || duration === grain) return real.sleep(duration)
            sleeps++
            slept = Math.max(slept, millis)
            // Who wakes does so late: while the store's time stands still it asks once a second, which takes long for a day.
            return Effect.andThen(goTo(now + Math.max(5_000, Math.ceil(millis))), Effect.yieldNow)
          }
        })
        const options = { prefix: "clocks", quotas: "clocks", limit, ttl: 10 * minute, timeout, clock } as const
        const clients = yield* Effect.forEach([-hour, 0, hour], (offset) =>
          Effect.map(services(address, options), (one) => ({ ...one, clock: offBy(offset) }))
        )
        let seen = 0
        const uses = { budget: [] as Array<Use>, limiter: [] as Array<Use> }
        const note = (of: keyof typeof uses, tokens: number) => {
          seen = Math.max(now, seen)
          if (tokens > 0) uses[of].push({ at: seen, tokens })
        }
        const jumps = { back: 0, ahead: 0, both: 0 }
        let returnsAt = -1
        let refused = 0
        for (let step = 0; step < steps; step++) {
          const jump = choices.next()
          if (step === returnsAt) yield* goTo(now - 24 * hour)
          else if (step % 100 === 50) {
            jumps.both++
            returnsAt = step + choices.between(1, 20)
            yield* goTo(now + 24 * hour)
          } else if (jump < 0.03) {
            jumps.back++
            yield* goTo(now - hour)
          } else if (jump < 0.06) {
            jumps.ahead++
            yield* goTo(now + 24 * hour)
          } else yield* goTo(now + choices.between(0, 4000))
          const { budget, clock, limiter } = choices.of(clients)
          // Now and then more comes at once than a minute has.
          const rush = step % 20 === 19 ? 8 : 0
          const tokens = rush > 0 ? 30 : choices.between(1, 30)
          const call = Effect.gen(function* () {
            if (rush === 0 && choices.chance(0.3)) {
              yield* Effect.andThen(
                limiter.acquire({ tokens }),
                Effect.sync(() => note("limiter", tokens))
              )
              return
            }
            const reservation = yield* budget.reserve({ tokens })
            const actual = rush > 0 ? tokens : choices.between(1, tokens)
            yield* budget.settle(reservation, { tokens: actual })
            note("budget", actual)
          }).pipe(
            Effect.catchTag("BudgetExceeded", (error) =>
              Effect.sync(() => {
                refused++
                note("budget", 0)
                const window = error.quota === "minute" ? longest : 24 * hour
                assert.isAtMost(Duration.toMillis(error.retryAfter), window)
              })
            )
          )
          yield* Effect.provideService(Effect.repeat(call, { times: rush }), Clock.Clock, clock)
          const counters = [...(yield* budget.status()).quotas, ...(yield* limiter.status()).quotas]
          for (const { held, limit, name, used } of counters) assert.isAtMost(used + held, limit, name)
        }
        const spent = most(uses.budget, tick)
        const limited = most(uses.limiter, tick)
        assert.isAtMost(spent.inMinute, limit)
        assert.isAtMost(spent.inDay, 2 * limit)
        assert.isAtMost(limited.inMinute, limit)
        assert.isAtMost(slept, longest)
        assert.isAbove(Math.min(refused, sleeps), 0, `nobody came to a limit: ${refused} refused, ${sleeps} sleeps`)
        return `${steps.toLocaleString("en")} calls, ${jumps.back} times back, ${jumps.ahead} ahead and ${jumps.both} ahead and back by as much, at most ${Math.max(spent.inMinute, limited.inMinute)} of ${limit} in a minute and ${spent.inDay} of ${2 * limit} in a day, ${refused} refused, ${sleeps} sleeps of at most ${slept / 1000} s`
      })
  })
