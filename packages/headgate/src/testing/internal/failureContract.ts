import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { StoreError } from "../../Errors.ts"
import * as Window from "../../Window.ts"
import { account, type ContractTest, makeTool, plan, same, tokens, Violation } from "./contract.ts"

/** What a store says that cannot answer. */
export const make = (failing: Effect.Effect<void, never, Scope.Scope>): ReadonlyArray<ContractTest> => [
  {
    name: "fails with an error that names the verb",
    effect: Effect.gen(function* () {
      const { admitted, ask, store } = yield* makeTool
      const accounts = [account(plan("failing", [{ unit: "tokens", limit: 100, window: Window.lifetime }]))]
      const hold = yield* admitted("a hold before it fails", accounts, tokens(10))
      const verbs: Record<string, Effect.Effect<unknown, StoreError>> = {
        reserve: ask(accounts, tokens(1)),
        extend: store.extend(hold, tokens(1), 0),
        settle: store.settle(hold, tokens(1)),
        release: store.release(hold),
        record: store.record(accounts, tokens(1), undefined),
        status: store.status(accounts),
        reset: store.reset({ accounts })
      }
      const law = "an error names the verb that failed"
      const fails = ([verb, call]: [string, Effect.Effect<unknown, StoreError>]) =>
        Effect.matchEffect(call, {
          onFailure: ({ operation }) => same(law, operation, verb),
          onSuccess: (actual) => Effect.fail(new Violation({ law, expected: `a StoreError of ${verb}`, actual }))
        })
      yield* Effect.scoped(Effect.andThen(failing, Effect.forEach(Object.entries(verbs), fails, { discard: true })))
    })
  }
]
