import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Ledger } from "./ledger.ts"

const ledgers = new WeakMap<object, Ledger>()

/** Makes it known that a store does nothing but ask this ledger. One that is made of its verbs is another store. */
export const answeredBy = <S extends object>(store: S, ledger: Ledger): S => {
  ledgers.set(store, ledger)
  return store
}

/**
 * The ledger that a store does nothing but ask, if there is one. A service may ask it itself, in the step of a fiber in
 * which it goes on with the answer: that costs half of one effect after another.
 */
export const ledgerOf = (store: object): Ledger | undefined => ledgers.get(store)

/** More operations of a fiber than can follow from one step before whoever asked for it goes on. */
const following = 64

/**
 * Decides in one step, and hands over before anyone else can run. A fiber that has run long enough yields between two
 * operations, and an interruption could come just then: such a fiber yields before the step instead.
 */
export const inOneStep = <A, E, R>(
  step: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) =>
    fiber.currentOpCount + following < fiber.cache.maxOpsBeforeYield
      ? step(fiber)
      : Effect.flatMap(Effect.yieldNow, () => Effect.withFiber(step))
  )
