import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { StoreError } from "../Errors.ts"
import { monotonicMillis } from "./answers.ts"
import type { Service } from "../QuotaStore.ts"

/** How long, in milliseconds, a store that is out of reach is not asked. */
const moment = 1000

/** A failure that took no longer than this many milliseconds costs nobody a deadline. */
const quick = 100

/**
 * A store for those who go on without it when it fails: not each of them waits for its deadline. Where a call has failed after
 * a while, and none that began with it or later was answered, the store is out of reach: for a moment each call fails at
 * once, then one asks it, and all do again as soon as it has answered.
 */
export const failingFast = (store: Service): Service => {
  let answeredAt = -Infinity
  let outage: { readonly error: StoreError; readonly clock: Clock.Clock; asksAt: number } | undefined

  const ask = <A>(operation: string, asked: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
    Effect.withFiber((fiber) => {
      const clock = fiber.getRef(Clock.Clock)
      const now = () => monotonicMillis(clock)
      const began = now()
      if (outage !== undefined && outage.clock === clock) {
        const { message: cause } = outage.error
        if (began < outage.asksAt) return Exit.fail(new StoreError({ operation, outcome: "notApplied", cause }))
        // Until it has an answer.
        outage.asksAt = Infinity
      }
      const probe = outage
      return Effect.onExit(asked, (exit) =>
        Effect.sync(() => {
          const error = Option.getOrUndefined(Exit.findErrorOption(exit))
          if (Exit.isSuccess(exit)) {
            answeredAt = now()
            outage = undefined
          } else if (error === undefined) {
            if (probe !== undefined && probe === outage) probe.asksAt = now()
          } else if (probe !== undefined && probe === outage) {
            outage = { error, clock, asksAt: now() + moment }
          } else if (outage === undefined && now() - began > quick && answeredAt < began) {
            outage = { error, clock, asksAt: now() + moment }
          }
        })
      )
    })

  return {
    reserve: (command) => ask("reserve", store.reserve(command)),
    extend: (hold, more, step) => ask("extend", store.extend(hold, more, step)),
    settle: (hold, actual) => ask("settle", store.settle(hold, actual)),
    release: (hold) => ask("release", store.release(hold)),
    record: (accounts, usage, id) => ask("record", store.record(accounts, usage, id)),
    status: (accounts) => store.status(accounts),
    reset: (target) => store.reset(target)
  }
}
