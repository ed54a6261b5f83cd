import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer } from "effect"
import { SqlQuotaStore } from "headgate/sql"
import { sqlite } from "./support.ts"

describe("options of a SQL store", () => {
  const wrong = (options: object): Effect.Effect<string> =>
    Effect.suspend(() => Layer.build(SqlQuotaStore.layer(options).pipe(Layer.provide(sqlite(":memory:"))))).pipe(
      Effect.scoped,
      Effect.exit,
      Effect.map((exit) => {
        const thrown = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        return thrown instanceof RangeError ? thrown.message : `no RangeError, ${String(thrown)}`
      })
    )

  it.effect("are named with their bounds where they are out of them", () =>
    Effect.gen(function* () {
      for (const option of ["timeout", "retention"]) {
        for (const value of [0, 0.4, -1, NaN, Infinity, "soon", "100000 days"]) {
          assert.strictEqual(
            yield* wrong({ [option]: value }),
            `SqlQuotaStore: ${option} must be a duration of 1 millisecond to 3650 days, got ${value}`
          )
        }
      }
      for (const prefix of ["", "9ab", "_x", "A", "a-b", "a".repeat(33), "sqlite", "sqlite_mine"]) {
        assert.match(
          yield* wrong({ prefix }),
          /^SqlQuotaStore: prefix must be 1 to 32 of a-z, 0-9 and _, a letter first/
        )
      }
      for (const prefix of ["a", "sqlites", "a".repeat(32)]) assert.include(yield* wrong({ prefix }), "no RangeError")
    })
  )
})
