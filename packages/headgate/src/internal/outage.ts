import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { StoreError } from "../Errors.ts"
import { now } from "./answers.ts"
import type { Service } from "../QuotaStore.ts"

/** How long, in milliseconds, a store that has failed is not asked. */
const moment = 1000

/**
 * A store for those who go on without it when it fails: not each of them waits for its deadline. For a moment after a
 * failure it fails at once; then one asks it, and all do again as soon as it has answered.
 */
export const failingFast = (store: Service): Service => {
  let failure: { readonly error: StoreError; until: number } | undefined
  const ask = <A>(asked: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
    Effect.withFiber((fiber) => {
      const time = now(fiber)
      if (failure !== undefined) {
        if (time < failure.until) return Exit.fail(failure.error)
        failure.until = time + moment
      }
      return Effect.matchEffect(asked, {
        onSuccess: (answer) => {
          failure = undefined
          return Exit.succeed(answer)
        },
        onFailure: (error) => {
          failure = { error, until: now(fiber) + moment }
          return Exit.fail(error)
        }
      })
    })
  return {
    ...store,
    reserve: (command) => ask(store.reserve(command)),
    settle: (hold, actual) => ask(store.settle(hold, actual)),
    release: (hold) => ask(store.release(hold)),
    record: (accounts, usage, id) => ask(store.record(accounts, usage, id))
  }
}
