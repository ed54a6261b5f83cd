import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { QuotaStore } from "headgate"
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
