import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Alerts, type Budget, Guard, guard } from "headgate"
import { VirtualClock } from "headgate/testing"

/** What was told during a program. */
const toldOn = <A, E>(budget: Budget.Options, program: Effect.Effect<A, E, Guard.Guard | Budget.Budget>) =>
  Effect.gen(function* () {
    const { drained, handle } = yield* Alerts.Alerts
    const told: Array<string> = []
    yield* handle((alert) =>
      Effect.sync(() => told.push(`${alert._tag} ${alert.threshold} ${alert.quota} ${alert.subject.user ?? ""}`.trim()))
    )
    yield* program
    yield* drained
    return told
  }).pipe(Effect.scoped, Effect.provide(Guard.layerMemory({ budget }), { local: true }), VirtualClock.run())

const spend = (tokens: number, user = "a") =>
  guard(Effect.void, { estimate: { tokens }, actual: () => ({ tokens }), subject: { user } })

describe("alerts", () => {
  it.effect("come once per threshold and window, not once per request (litellm #3738, #3113)", () =>
    Effect.gen(function* () {
      const often = Effect.andThen(spend(80), Effect.replicateEffect(spend(1), 20))
      assert.deepStrictEqual(yield* toldOn({ maxTokensPerMinute: 100 }, often), [
        "ThresholdReached 0.8 maxTokensPerMinute"
      ])
      const refused = Effect.andThen(spend(79), Effect.replicateEffect(Effect.flip(spend(30)), 20))
      assert.deepStrictEqual(yield* toldOn({ maxTokensPerMinute: 100 }, refused), ["LimitHit 1 maxTokensPerMinute"])
      const again = Effect.andThen(spend(80), Effect.andThen(Effect.sleep("2 minutes"), spend(90)))
      assert.strictEqual((yield* toldOn({ maxTokensPerMinute: 100 }, again)).length, 2)
    })
  )

  it.effect("are told apart by quota and subject (litellm #27398)", () =>
    Effect.gen(function* () {
      const budget = { maxTokensPerMinute: 200, per: { user: { maxTokensPerMinute: 100, maxTokensPerHour: 100 } } }
      const told = yield* toldOn(budget, Effect.andThen(spend(80, "a"), spend(80, "b")))
      assert.deepStrictEqual(told, [
        "ThresholdReached 0.8 maxTokensPerMinute a",
        "ThresholdReached 0.8 maxTokensPerHour a",
        "ThresholdReached 0.8 maxTokensPerMinute",
        "ThresholdReached 0.8 maxTokensPerMinute b",
        "ThresholdReached 0.8 maxTokensPerHour b"
      ])
    })
  )

  it.effect("come at each of several thresholds, also when one call passes them all (litellm #32597, #1612)", () =>
    Effect.gen(function* () {
      const budget = { maxTokensPerMinute: 100, alertThreshold: [1, 0.5, 0.8] }
      const expected = ["0.5", "0.8", "1"].map((share) => `ThresholdReached ${share} maxTokensPerMinute`)
      assert.deepStrictEqual(yield* toldOn(budget, Effect.replicateEffect(spend(10), 10)), expected)
      assert.deepStrictEqual(yield* toldOn(budget, spend(100)), expected)
    })
  )

  it.effect("tell what was used, not what is held (bifrost #5770)", () =>
    Effect.gen(function* () {
      const modest = guard(Effect.void, { estimate: { tokens: 95 }, actual: () => ({ tokens: 5 }) })
      assert.deepStrictEqual(yield* toldOn({ maxTokensPerMinute: 100 }, modest), [])
    })
  )
})
