import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Budget, Money } from "headgate"

it.effect("children draw on their parent's allowance, whatever they open themselves (nodetool #5489)", () =>
  Effect.gen(function* () {
    const step = Budget.withReservation({ cost: "$0.25" }, () => ({ cost: "$0.25" }))(Effect.yieldNow)
    const child = Effect.replicateEffect(step, 4).pipe(Budget.withAllowance("$1"))
    const children = Effect.all([Effect.exit(child), Effect.exit(child)], { concurrency: "unbounded" })
    yield* Budget.withAllowance(children, "$1.25")
    const { costUsedDay } = yield* (yield* Budget.Budget).status()
    // Not the $2.00 that two allowances of $1 make.
    assert.strictEqual(Money.toUsd(costUsedDay), 1.25)
  }).pipe(Effect.provide(Budget.layerMemory({ maxCostPerDay: "$100" })))
)
