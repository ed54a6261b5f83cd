// A row of the table of faults. Its code is run in two sizes: short by `npm test`, full by `npm run faults`.
import { afterAll, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { removeWorkers } from "./workers.ts"

export interface Fault {
  readonly name: string
  readonly fault: string
  readonly mustHold: string
  /** Why it cannot be run here, if it cannot. */
  readonly missing: string | undefined
  /** Ends with the figures that were seen; an assertion fails where something does not hold. */
  readonly short: Effect.Effect<string, unknown, Scope.Scope>
  readonly full: Effect.Effect<string, unknown, Scope.Scope>
}

export const fault = <Size>(row: {
  readonly name: string
  readonly fault: string
  readonly mustHold: string
  readonly missing?: string | undefined
  readonly short: Size
  readonly full: Size
  readonly run: (size: Size) => Effect.Effect<string, unknown, Scope.Scope>
}): Fault => ({
  name: row.name,
  fault: row.fault,
  mustHold: row.mustHold,
  missing: row.missing,
  short: Effect.suspend(() => row.run(row.short)),
  full: Effect.suspend(() => row.run(row.full))
})

/** The short form of each as a test. One that cannot be run is skipped by a name that says why, or fails in CI. */
export const testFaults = (name: string, faults: ReadonlyArray<Fault>): void => {
  describe(name, () => {
    afterAll(removeWorkers)
    for (const { fault, missing, mustHold, name, short } of faults) {
      const isSkipped = missing !== undefined && process.env["HEADGATE_REQUIRE_SERVERS"] !== "1"
      const title = `${name}: ${fault}: ${mustHold}${isSkipped ? ` (skipped: ${missing})` : ""}`
      const test = Effect.gen(function* () {
        if (missing !== undefined) return yield* Effect.die(new Error(missing))
        console.log(`${name}: ${yield* short}`)
      })
      if (isSkipped) it.skip(title, () => {})
      else it.live(title, () => test, 120_000)
    }
  })
}
