/**
 * Which quotas services keep, and for whom: what they themselves ask their store about when they are asked for their
 * status. No option of a policy is read a second time.
 */
import * as Effect from "effect/Effect"
import { Budget, type QuotaStore, RateLimiter, type Subject } from "headgate"

export interface Accounts {
  readonly budget: ReadonlyArray<QuotaStore.Account>
  readonly rateLimiter: ReadonlyArray<QuotaStore.Account>
}

export interface Observed {
  /** The store to build the services on. */
  readonly store: QuotaStore.Service
  /** Asks the services that were built on it. */
  readonly accountsOf: (
    subjects: ReadonlyArray<Subject.Subject>
  ) => Effect.Effect<Accounts, never, Budget.Budget | RateLimiter.RateLimiter>
}

const nothing: QuotaStore.Status = { quotas: [], throttledUntil: 0 }

/** A store that is as `store`, and sees whose counters it is asked for. */
export const observe = (store: QuotaStore.Service): Observed => {
  let asked: ReadonlyArray<QuotaStore.Account> | undefined
  const askedBy = <E>(status: Effect.Effect<unknown, E>): Effect.Effect<ReadonlyArray<QuotaStore.Account>> =>
    Effect.suspend(() => {
      asked = []
      return Effect.map(Effect.orDie(status), () => {
        const accounts = asked ?? []
        asked = undefined
        return accounts
      })
    })
  return {
    store: {
      ...store,
      status: (accounts) =>
        Effect.suspend(() => {
          if (asked === undefined) return store.status(accounts)
          asked = accounts
          return Effect.succeed(nothing)
        })
    },
    accountsOf: Effect.fnUntraced(function* (subjects) {
      const budget = yield* Budget.Budget
      const limiter = yield* RateLimiter.RateLimiter
      return {
        budget: distinct(yield* Effect.forEach(subjects, (subject) => askedBy(budget.status(subject)))),
        rateLimiter: distinct(yield* Effect.forEach(subjects, (subject) => askedBy(limiter.status(subject))))
      }
    })
  }
}

/** Each account once, those of a plan together. */
const distinct = (accounts: ReadonlyArray<ReadonlyArray<QuotaStore.Account>>): ReadonlyArray<QuotaStore.Account> =>
  [...Map.groupBy(accounts.flat(), ({ plan }) => plan).values()].flatMap((ofPlan) => [
    ...new Map(ofPlan.map((account) => [account.value, account])).values()
  ])
