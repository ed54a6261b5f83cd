// What is checked in all faults alike: nothing is ever over, nothing is held for long, counters are the sum over ids.
import { assert } from "@effect/vitest"
import { Clock, Effect, Exit } from "effect"
import type { Budget } from "headgate"
import type { Audit } from "./audit.ts"
import type { Services } from "./connect.ts"

/** Reads the counters again and again while an effect runs: never more used and held than the limit. */
export const neverOver = <A, E, R>(budget: Budget.Service, during: Effect.Effect<A, E, R>) => {
  let most = 0
  let looks = 0
  const look = Effect.gen(function* () {
    const { quotas } = yield* budget.status()
    looks++
    for (const { held, limit, name, used } of quotas) {
      most = Math.max(most, (used + held) / limit)
      assert.isAtMost(used + held, limit, name)
    }
  })
  // A store that does not answer is what the test is about.
  const looking = Effect.forever(Effect.andThen(Effect.ignore(look), Effect.sleep("50 millis")))
  return Effect.map(Effect.raceFirst(during, looking as Effect.Effect<never>), (result) => {
    assert.isAbove(looks, 0, "nobody has looked")
    return { result, most, looks }
  })
}

export const counter = (budget: Budget.Service, name: string) =>
  Effect.map(budget.status(), ({ quotas }) => quotas.find((quota) => quota.name === name)!)

/** Waits for as long as anything may be held, the time to live and a second: then nothing is. */
export const nothingHeld = (budget: Budget.Service, ttl: number) =>
  Effect.gen(function* () {
    yield* Effect.sleep(ttl + 1000)
    for (const { held, name } of (yield* budget.status()).quotas) assert.strictEqual(held, 0, `${name} is held`)
  })

/** Each counter that forgets nothing while a fault lasts. */
export const isSumOverIds = (budget: Budget.Service, audit: Audit) =>
  Effect.map(budget.status(), ({ quotas }) => {
    for (const { name, used } of quotas) if (name === "total" || name === "hour") audit.isSum(used)
    return audit.used
  })

/** How often a store has told that it lost something, from now on. */
export const losses = ({ alerts }: Services) =>
  Effect.gen(function* () {
    let told = 0
    yield* alerts.handle((alert) => Effect.sync(() => alert._tag === "StoreDegraded" && told++))
    return Effect.andThen(
      alerts.drained,
      Effect.sync(() => told)
    )
  })

/** How long calls take, whatever comes of them. */
export class Stopwatch {
  longest = 0
  calls = 0
  failed = 0

  readonly time = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.gen({ self: this }, function* () {
      const clock = yield* Clock.Clock
      const start = clock.monotonicTimeNanosUnsafe()
      const exit = yield* Effect.exit(effect)
      this.longest = Math.max(this.longest, Number(clock.monotonicTimeNanosUnsafe() - start) / 1e6)
      this.calls++
      if (Exit.isFailure(exit)) this.failed++
      return yield* exit
    })
}

export const percent = (share: number): string => `${(share * 100).toFixed(2)} %`
