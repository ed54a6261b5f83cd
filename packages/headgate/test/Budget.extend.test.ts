// Extensions whose answers are lost, late or out of order: none is held twice, and none is taken for another.
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer } from "effect"
import { Alerts, Budget, QuotaStore, StoreError, Window } from "headgate"

type Extend = QuotaStore.Service["extend"]

const total = { unit: "tokens", limit: 200, window: Window.lifetime, name: "total" } as const

/** A budget with a reservation of 50, over a store whose extensions are as given. */
const within = <A, E>(
  extend: (apply: Extend) => Extend,
  run: (budget: Budget.Service, reservation: Budget.Reservation) => Effect.Effect<A, E>,
  options?: Budget.Options
) => {
  const store = Effect.map(QuotaStore.makeMemory, (memory) => ({ ...memory, extend: extend(memory.extend) }))
  return Budget.Budget.use((budget) =>
    Effect.flatMap(budget.reserve({ tokens: 50 }), (reservation) => run(budget, reservation))
  ).pipe(
    Effect.provide(
      Budget.layer({ quotas: [total], ...options }).pipe(
        Layer.provide(Layer.effect(QuotaStore.QuotaStore)(store)),
        Layer.provide(Alerts.layer)
      )
    )
  )
}

const held = (budget: Budget.Service) => Effect.map(budget.status(), ({ quotas }) => quotas[0]!.held)

const failure = (outcome: StoreError["outcome"]) =>
  new StoreError({ operation: "extend", outcome, cause: new Error("the line was cut") })

/** A store that does with the first extensions as it is told, and then answers. */
const at =
  (...faults: ReadonlyArray<"lost on the way" | "lost answer" | "not applied" | "answered">) =>
  (apply: Extend): Extend => {
    let sent = 0
    return (...args) =>
      Effect.suspend(() => {
        switch (faults[sent++]) {
          case "lost on the way":
            return Effect.fail(failure("unknown"))
          case "lost answer":
            return Effect.andThen(apply(...args), Effect.fail(failure("unknown")))
          case "not applied":
            return Effect.fail(failure("notApplied"))
          default:
            return apply(...args)
        }
      })
  }

describe("Budget.extend", () => {
  for (const fault of ["lost answer", "lost on the way", "not applied"] as const) {
    it.effect(`holds once what is asked for again: ${fault}`, () =>
      within(at(fault, "not applied", fault), (budget, reservation) =>
        Effect.gen(function* () {
          for (let times = 0; times < 3; times++) yield* Effect.flip(budget.extend(reservation, { tokens: 30 }))
          yield* budget.extend(reservation, { tokens: 30 })
          assert.strictEqual(yield* held(budget), 80)
          // The same after an answer is more of it.
          yield* budget.extend(reservation, { tokens: 30 })
          assert.strictEqual(yield* held(budget), 110)
          assert.strictEqual((yield* budget.settle(reservation, { tokens: 100 })).returned.tokens, 10)
        })
      )
    )

    it.effect(`holds at least what is asked for where it is another amount: ${fault}`, () =>
      within(at(fault), (budget, reservation) =>
        Effect.gen(function* () {
          yield* Effect.flip(budget.extend(reservation, { tokens: 30 }))
          yield* budget.extend(reservation, { tokens: 20 })
          const first = fault === "lost answer" ? 30 : 0
          assert.strictEqual(yield* held(budget), 70 + first)
          // What was left behind is over: this is more.
          yield* budget.extend(reservation, { tokens: 30 })
          assert.strictEqual(yield* held(budget), 100 + first)
          yield* budget.release(reservation)
          assert.strictEqual(yield* held(budget), 0)
        })
      )
    )
  }

  it.effect("is another one each time where a failure of the store lets it through", () =>
    within(
      at("lost answer", "answered"),
      (budget, reservation) =>
        Effect.gen(function* () {
          yield* budget.extend(reservation, { tokens: 30 })
          yield* budget.extend(reservation, { tokens: 30 })
          assert.strictEqual(yield* held(budget), 110)
        }),
      { onStoreError: "allow" }
    )
  )

  it.effect("is another one after a refusal", () =>
    within(at("lost on the way"), (budget, reservation) =>
      Effect.gen(function* () {
        const other = yield* budget.reserve({ tokens: 130 })
        yield* Effect.flip(budget.extend(reservation, { tokens: 30 }))
        assert.strictEqual((yield* Effect.flip(budget.extend(reservation, { tokens: 30 })))._tag, "BudgetExceeded")
        yield* budget.release(other)
        yield* budget.extend(reservation, { tokens: 30 })
        yield* budget.extend(reservation, { tokens: 20 })
        assert.strictEqual(yield* held(budget), 100)
      })
    )
  )

  it.effect("holds once what is asked for again after its caller was interrupted", () =>
    Effect.gen(function* () {
      const applied = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<void>()
      const late =
        (apply: Extend): Extend =>
        (...args) =>
          Effect.uninterruptible(
            Effect.tap(apply(...args), () =>
              Effect.andThen(Deferred.succeed(applied, undefined), Deferred.await(answer))
            )
          )
      yield* within(late, (budget, reservation) =>
        Effect.gen(function* () {
          const extension = yield* Effect.forkChild(budget.extend(reservation, { tokens: 30 }))
          yield* Deferred.await(applied)
          const interrupted = yield* Effect.forkChild(Fiber.interrupt(extension))
          yield* Effect.yieldNow
          yield* Deferred.succeed(answer, undefined)
          yield* Fiber.join(interrupted)
          assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(extension)))
          yield* budget.extend(reservation, { tokens: 30 })
          assert.strictEqual(yield* held(budget), 80)
        })
      )
    })
  )

  it.effect("holds all that fibers ask for at once, where the first is late", () =>
    Effect.gen(function* () {
      const go = yield* Deferred.make<void>()
      let sent = 0
      const late =
        (apply: Extend): Extend =>
        (...args) =>
          Effect.suspend(() => (sent++ === 0 ? Effect.andThen(Deferred.await(go), apply(...args)) : apply(...args)))
      yield* within(late, (budget, reservation) =>
        Effect.gen(function* () {
          const extensions = yield* Effect.forEach([30, 20, 20], (tokens) =>
            Effect.forkChild(budget.extend(reservation, { tokens }))
          )
          for (let turn = 0; turn < 10; turn++) yield* Effect.yieldNow
          yield* Deferred.succeed(go, undefined)
          yield* Effect.forEach(extensions, Fiber.join)
          assert.strictEqual(yield* held(budget), 120)
          assert.strictEqual((yield* budget.settle(reservation, { tokens: 70 })).returned.tokens, 50)
        })
      )
    })
  )
})
