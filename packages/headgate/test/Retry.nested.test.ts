import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Logger, References } from "effect"
import { Guard, guard, policy, Retry } from "headgate"
import { VirtualClock } from "headgate/testing"
import { Attempt, none } from "../src/internal/retry/attempt.ts"

const busy: Effect.Effect<never, { readonly status: number }> = Effect.fail({ status: 503 })

/** What is logged while a program runs. */
const toldBy = <A, E>(program: Effect.Effect<A, E, Guard.Guard | Retry.Retry>) => {
  const told: Array<string> = []
  const logger = Logger.make(({ message }) => {
    told.push(String(message))
  })
  return Effect.ignore(program).pipe(
    Effect.provide([Guard.layerMemory({ retry: { maxRetries: 1, budget: "none" } }), Logger.layer([logger])]),
    Effect.provideService(References.MinimumLogLevel, "Warn"),
    VirtualClock.run(),
    Effect.map(() => told)
  )
}

const call = { estimate: {}, actual: () => ({}) }

describe("a retry within a retry", () => {
  it.effect.each<readonly [string, Effect.Effect<unknown, unknown, Guard.Guard | Retry.Retry>]>([
    ["Retry.run in Retry.run", Retry.run(Retry.run(busy))],
    ["a guarded call in Retry.run", Retry.run(guard(busy, call))],
    ["a guarded call in a guarded call", guard(guard(busy, call), call)],
    ["Retry.run in a guarded call", guard(Retry.run(busy), call)],
    ["the schedule in a guarded call", guard(Effect.retry(busy, policy), call)],
    ["another policy in Retry.run", Retry.run(Effect.retry(busy, Retry.schedule({ maxRetries: 1, budget: "none" })))],
    ["one in a fiber of its own", Retry.run(Effect.flatMap(Effect.forkChild(Retry.run(busy)), Fiber.join))]
  ])("is told of once: %s", ([_, program]) =>
    Effect.gen(function* () {
      const told = yield* toldBy(Effect.andThen(Effect.exit(program), program))
      assert.strictEqual(told.length, 1)
      assert.match(told[0]!, /^A retry within a retry: their attempts multiply/)
    })
  )

  it.effect.each<readonly [string, Effect.Effect<unknown, unknown, Guard.Guard | Retry.Retry>]>([
    ["a guarded call", guard(busy, call)],
    ["one call after another", Effect.andThen(Effect.exit(Retry.run(busy)), guard(busy, call))],
    ["the schedule alone", Effect.retry(busy, policy)],
    ["calls side by side", Effect.all([Retry.run(busy), guard(busy, call)], { concurrency: 2 })],
    ["what is no part of the attempt", guard(Effect.provideService(Retry.run(busy), Attempt, none), call)]
  ])("is not %s", ([_, program]) => Effect.map(toldBy(program), (told) => assert.deepStrictEqual(told, [])))
})
