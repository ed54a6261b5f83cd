/** The store that decides in a replay: this process's memory, or a real one that is given the time of the replay. */
import { type InvalidStore, Store, type StoreUnreachable } from "@headgate/node"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { Alerts, QuotaStore, type StoreError } from "headgate"
import { VirtualClock } from "headgate/testing"
import type { Unusable, UsageError } from "../errors.ts"
import { nameOf, unusable } from "../store.ts"

export interface Decider {
  /** What may be told of it. */
  readonly name: string
  readonly store: QuotaStore.Service
  /** Fails when the store does: a replay is over then. */
  readonly broken: Effect.Effect<never, Unusable>
}

/**
 * Opens the store, with a prefix of its own that is removed with the scope. `now` is the time of the replay, which stands
 * still while the store decides. It is asked one thing after the other, so that a replay goes the same way each time.
 */
export const open = Effect.fnUntraced(function* (
  url: Redacted.Redacted,
  now: () => number
): Effect.fn.Return<Decider, UsageError | InvalidStore | StoreUnreachable, Scope.Scope> {
  const name = yield* nameOf(url)
  if (name === "memory") {
    return { name, store: yield* QuotaStore.makeMemory, broken: Effect.never }
  }
  const context = yield* Layer.build(Store.temporary(url, now).pipe(Layer.provide(Alerts.layer)))
  const store = Context.get(context, QuotaStore.QuotaStore)
  const turn = yield* Semaphore.make(1)
  const failed = yield* Deferred.make<never, StoreError>()
  const asked = <A>(verb: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
    turn.withPermit(
      Effect.flatMap(Deferred.isDone(failed), (isOver) =>
        isOver
          ? Deferred.await(failed)
          : Effect.tapError(VirtualClock.outside(verb), (error) => Deferred.fail(failed, error))
      )
    )
  return {
    name,
    store: {
      reserve: (command) => asked(store.reserve(command)),
      extend: (hold, more, step) => asked(store.extend(hold, more, step)),
      settle: (hold, actual) => asked(store.settle(hold, actual)),
      release: (hold) => asked(store.release(hold)),
      record: (accounts, usage, id) => asked(store.record(accounts, usage, id)),
      status: (accounts) => asked(store.status(accounts)),
      reset: (target) => asked(store.reset(target))
    },
    broken: Effect.mapError(Deferred.await(failed), unusable)
  }
})
