/**
 * The port behind budgets and rate limits: a few atomic verbs over quotas. Every store decides as the one in memory does;
 * `QuotaStoreTest` of `headgate/testing` holds it to that.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { StoreError } from "./Errors.ts"
import { answeredBy } from "./internal/ledger/atOnce.ts"
import { Ledger } from "./internal/ledger/ledger.ts"
import type { Account, Booked, Conflict, Hold, Plan, Refused, Reserve, Status } from "./internal/verbs.ts"
import type { Usage } from "./Usage.ts"

export type { Account, Booked, Conflict, Hold, Plan, QuotaStatus, Refused, Reserve, Status } from "./internal/verbs.ts"

/**
 * Atomic verbs over quotas. Each decides and applies in one step on all accounts of the call, by the store's own time,
 * which never runs backwards. Repeating a verb on the same hold, or with the same id, gives the same answer and changes
 * nothing.
 *
 * A verb that was sent is not interrupted, so each must end by itself: a store that goes over a wire sets a deadline, and
 * fails with a `StoreError` whose `outcome` says whether it may have been applied.
 *
 * @category services
 * @since 0.1.0
 */
export class QuotaStore extends Context.Service<
  QuotaStore,
  {
    /** Holds a usage on all accounts, or on none. */
    readonly reserve: (command: Reserve) => Effect.Effect<Hold | Refused | Conflict, StoreError>
    /**
     * Holds `more` on an open hold and starts its time to live anew; `step` numbers the extensions of a hold from 0. One
     * by nothing only renews, also the concurrency that a hold booked at once has.
     */
    readonly extend: (hold: Hold, more: Usage, step: number) => Effect.Effect<Booked | Refused | Conflict, StoreError>
    /** Replaces what was held by what was used. */
    readonly settle: (hold: Hold, actual: Usage) => Effect.Effect<Booked | Conflict, StoreError>
    /** Gives everything back. */
    readonly release: (hold: Hold) => Effect.Effect<Booked | Conflict, StoreError>
    /** Books a usage that was never reserved; an `id` is booked once. */
    readonly record: (
      accounts: ReadonlyArray<Account>,
      usage: Usage,
      id: string | undefined
    ) => Effect.Effect<Booked | Conflict, StoreError>
    /** Reads counters, and changes nothing. */
    readonly status: (accounts: ReadonlyArray<Account>) => Effect.Effect<Status, StoreError>
    /** Sets what is used to nothing, on some accounts or for all values of some plans. What is held stays held. */
    readonly reset: (
      target: { readonly accounts: ReadonlyArray<Account> } | { readonly plans: ReadonlyArray<Plan> }
    ) => Effect.Effect<void, StoreError>
    /**
     * Calls a process whose call was refused and waits (`Reserve.waits`) when any process has given something back early
     * since then. `isFor` says of an account whether it was there; of all, where calls may have been missed. A store that
     * cannot tell has none: its waiters look again when time alone may have made room.
     */
    readonly listen?: (
      called: (isFor: (account: Account) => boolean) => void
    ) => Effect.Effect<void, never, Scope.Scope>
  }
>()("headgate/QuotaStore") {}

/**
 * The service of a store.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = (typeof QuotaStore)["Service"]

/** Decides in one synchronous block, at the time of the fiber's clock. */
const atomically = <A>(decide: (now: number) => A): Effect.Effect<A> =>
  Effect.withFiber((fiber) => Exit.succeed(decide(fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())))

/**
 * Makes a store in this process's memory. Idle subjects are forgotten once no window can remember them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeMemory: Effect.Effect<Service> = Effect.sync(() => {
  const ledger = new Ledger()
  const store: Service = {
    reserve: (command) => atomically((now) => ledger.reserve(command, now)),
    extend: (hold, more, step) => atomically((now) => ledger.extend(hold, more, step, now)),
    settle: (hold, actual) => atomically((now) => ledger.settle(hold, actual, now)),
    release: (hold) => atomically((now) => ledger.release(hold, now)),
    record: (accounts, usage, id) => atomically((now) => ledger.record(accounts, usage, id, now)),
    status: (accounts) => atomically((now) => ledger.status(accounts, now)),
    reset: (target) => atomically((now) => ledger.reset(target, now))
  }
  return answeredBy(store, ledger)
})

/**
 * A store in this process's memory. Layers that are given the same layer share one store.
 *
 * **Example** (One store for two services)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Alerts, Budget, QuotaStore, RateLimiter } from "headgate"
 *
 * const live = Layer.mergeAll(
 *   Budget.layer({ maxCostPerDay: "$1000" }),
 *   RateLimiter.layer({ requestsPerMinute: 60 })
 * ).pipe(Layer.provide(QuotaStore.layerMemory), Layer.provide(Alerts.layer))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<QuotaStore> = Layer.effect(QuotaStore)(makeMemory)
