/**
 * The contract of `QuotaStore` as tests: what every store must do, in memory or shared.
 *
 * **When to use**
 *
 * Use it in the tests of a store of one's own. Each test is an effect that fails with a `Violation`; `suite` hands them
 * to a test runner, which this module does not import.
 *
 * **Details**
 *
 * The tests speak to the port alone and move time by `advance`. Without one they run on a `VirtualClock`, for stores
 * that read the `Clock`. A store with a clock of its own is given an `advance` that moves that clock, which must stand
 * still otherwise: waits are checked to the millisecond. Each test has its own plans, subjects and ids, but a shared
 * store must start empty, or with a new prefix, in each run.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { StoreError } from "../Errors.ts"
import type * as QuotaStore from "../QuotaStore.ts"
import type { Advance, ContractTest, Violation } from "./internal/contract.ts"
import * as failures from "./internal/failureContract.ts"
import * as holds from "./internal/holdContract.ts"
import * as histories from "./internal/historyContract.ts"
import * as windows from "./internal/windowContract.ts"
import * as VirtualClock from "./VirtualClock.ts"

export {
  /**
   * What the store did is not what the contract says.
   *
   * @category errors
   * @since 0.1.0
   */
  Violation
} from "./internal/contract.ts"

/**
 * One test of the contract.
 *
 * @category models
 * @since 0.1.0
 */
export type Test = ContractTest

/**
 * How a test fails.
 *
 * @category models
 * @since 0.1.0
 */
export type TestError = Violation | StoreError | VirtualClock.Deadlock

/**
 * What the tests do to the store.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Moves the store's clock. Default: sleeps on a `VirtualClock`. */
  readonly advance?: ((duration: Duration.Input) => Effect.Effect<void>) | undefined
  /** Makes each call fail, until its scope is closed. Default: the store's errors are not tested. */
  readonly failing?: Effect.Effect<void, never, Scope.Scope> | undefined
}

/**
 * All tests of the contract, for a test runner that `suite` does not fit.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (advance: Advance, failing?: Options["failing"]): ReadonlyArray<Test> => [
  ...holds.make(advance),
  ...windows.make(advance),
  ...histories.make(advance),
  ...(failing === undefined ? [] : failures.make(failing))
]

/**
 * Registers all tests of the contract with a test runner, each on a store of its own.
 *
 * **Example** (With `@effect/vitest`)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { QuotaStore } from "headgate"
 * import { QuotaStoreTest } from "headgate/testing"
 *
 * // `it.effect` of "@effect/vitest" in the place of this one
 * const names: Array<string> = []
 * const it = (name: string, test: () => Effect.Effect<void, unknown>) => {
 *   names.push(name)
 * }
 *
 * QuotaStoreTest.suite("memory", QuotaStore.layerMemory, it)
 * names[0] // => "memory: holds on all accounts"
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const suite = <E>(
  name: string,
  layer: Layer.Layer<QuotaStore.QuotaStore, E>,
  it: (name: string, test: () => Effect.Effect<void, TestError | E>) => void,
  options?: Options
): void => {
  const advance = options?.advance
  for (const test of make(advance ?? Effect.sleep, options?.failing)) {
    it(`${name}: ${test.name}`, () => {
      const run = Effect.provide(test.effect, layer, { local: true })
      return advance === undefined ? VirtualClock.run(run, { start: "2026-03-04T05:06:07.891Z" }) : run
    })
  }
}
