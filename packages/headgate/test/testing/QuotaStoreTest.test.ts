import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { QuotaStore, StoreError } from "headgate"
import { QuotaStoreTest } from "headgate/testing"

describe("QuotaStore", () => {
  QuotaStoreTest.suite("memory", QuotaStore.layerMemory, it.effect)
})

describe("QuotaStoreTest", () => {
  // A store with one thing wrong each: the suite must notice.
  const mutants: Record<string, (store: QuotaStore.Service) => Partial<QuotaStore.Service>> = {
    "settles nothing": (store) => ({ settle: (hold) => store.release(hold) }),
    "forgets the second account": (store) => ({
      reserve: (command) => store.reserve({ ...command, accounts: command.accounts.slice(0, 1) })
    }),
    "admits everything": (store) => ({ reserve: (command) => store.reserve({ ...command, mode: "force" }) }),
    "ignores ids": (store) => ({
      record: (accounts, usage) => store.record(accounts, usage, undefined)
    }),
    "waits a millisecond too long": (store) => ({
      reserve: (command) =>
        Effect.map(store.reserve(command), (answer) =>
          answer._tag === "Refused" ? { ...answer, retryAfter: answer.retryAfter + 1 } : answer
        )
    }),
    "raises no alert": (store) => ({
      record: (...args) =>
        Effect.map(store.record(...args), (answer) => (answer._tag === "Booked" ? { ...answer, alerts: [] } : answer))
    }),
    "resets what is held": (store) => ({ reset: () => Effect.void, release: store.release })
  }

  for (const operation of ["reserve", "QuotaStore.reserve"]) {
    it.effect(`notices a store that says ${operation} of whatever fails`, () => {
      let down = false
      const orFail = <A>(verb: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
        Effect.suspend(() =>
          down ? Effect.fail(new StoreError({ operation, outcome: "notApplied", cause: "down" })) : verb
        )
      const layer = Layer.effect(QuotaStore.QuotaStore)(
        Effect.map(QuotaStore.makeMemory, (store) => ({
          reserve: (command) => orFail(store.reserve(command)),
          extend: (...args) => orFail(store.extend(...args)),
          settle: (...args) => orFail(store.settle(...args)),
          release: (hold) => orFail(store.release(hold)),
          record: (...args) => orFail(store.record(...args)),
          status: (accounts) => orFail(store.status(accounts)),
          reset: (target) => orFail(store.reset(target))
        }))
      )
      const failing = Effect.acquireRelease(
        Effect.sync(() => void (down = true)),
        () => Effect.sync(() => (down = false))
      )
      const tests = QuotaStoreTest.make(Effect.sleep, failing)
      const error = Effect.flip(Effect.provide(tests.at(-1)!.effect, layer))
      return Effect.map(error, ({ message }) => assert.include(message, "an error names the verb that failed"))
    })
  }

  for (const [name, mutate] of Object.entries(mutants)) {
    it.effect(`notices a store that ${name}`, () =>
      Effect.gen(function* () {
        const layer = Layer.effect(QuotaStore.QuotaStore)(
          Effect.map(QuotaStore.makeMemory, (store) => ({ ...store, ...mutate(store) }))
        )
        const failed: Array<string> = []
        const tests: Array<Effect.Effect<unknown>> = []
        QuotaStoreTest.suite("mutant", layer, (name, test) => {
          tests.push(Effect.catch(test(), () => Effect.sync(() => failed.push(name))))
        })
        yield* Effect.all(tests)
        assert.isAbove(failed.length, 0)
      })
    )
  }
})
