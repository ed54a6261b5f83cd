import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { ScriptedModel, VirtualClock } from "headgate/testing"

describe("ScriptedModel", () => {
  it.effect("plays its steps in the order of the calls and records them", () =>
    VirtualClock.run(
      Effect.gen(function* () {
        const model = yield* ScriptedModel.make<string, string, string>([
          { fail: "busy", after: "1 second" },
          { answer: "yes", after: "2 seconds", usage: { tokens: 5 } }
        ])
        assert.strictEqual(yield* Effect.flip(model.call("a")), "busy")
        assert.deepStrictEqual(yield* model.call("a"), { answer: "yes", usage: { tokens: 5 } })
        assert.deepStrictEqual(yield* model.calls, [
          { request: "a", attempt: 1, startedAt: 0, endedAt: 1000, outcome: "failed" },
          { request: "a", attempt: 2, startedAt: 1000, endedAt: 3000, outcome: "answered" }
        ])
      })
    )
  )

  it.effect("asks a function with the request, its attempt, the index and the time", () =>
    VirtualClock.run(
      Effect.gen(function* () {
        const asked: Array<ScriptedModel.Attempt<string>> = []
        const model = yield* ScriptedModel.make((attempt: ScriptedModel.Attempt<string>) => {
          asked.push(attempt)
          return { answer: attempt.request.length, after: "1 second" }
        })
        yield* model.call("a")
        yield* model.call("bb")
        assert.strictEqual((yield* model.call("a")).answer, 1)
        assert.deepStrictEqual(asked, [
          { request: "a", attempt: 1, index: 0, now: 0 },
          { request: "bb", attempt: 1, index: 1, now: 1000 },
          { request: "a", attempt: 2, index: 2, now: 2000 }
        ])
      })
    )
  )

  it.effect("stays silent until it is interrupted", () =>
    VirtualClock.run(
      Effect.gen(function* () {
        const model = yield* ScriptedModel.make<string, string>(["silent"])
        const result = yield* Effect.timeoutOption(model.call("a"), "1 minute")
        assert.strictEqual(result._tag, "None")
        assert.deepStrictEqual(yield* model.calls, [
          { request: "a", attempt: 1, startedAt: 0, endedAt: 60_000, outcome: "interrupted" }
        ])
      })
    )
  )

  it.effect("dies when its steps are used up", () =>
    Effect.gen(function* () {
      const model = yield* ScriptedModel.make<string, string>([{ answer: "only" }])
      yield* model.call("a")
      const exit = yield* Effect.exit(model.call("a"))
      assert.isTrue(Exit.hasDies(exit))
      assert.strictEqual((yield* model.calls).length, 1)
    })
  )
})
