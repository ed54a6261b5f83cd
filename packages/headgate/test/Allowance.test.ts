import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Fiber, Schema } from "effect"
import { Budget, Guard, guard, Money, type Usage, UsageRecord } from "headgate"
import { VirtualClock } from "headgate/testing"

const budgets = { maxCostPerDay: "$1000", maxTokensPerMinute: 100_000 } as const

const run = <A, E>(program: Effect.Effect<A, E, Budget.Budget | Guard.Guard>, budget: Budget.Options = budgets) =>
  VirtualClock.run(
    Effect.provide(program, Guard.layerMemory({ budget, retry: { maxRetries: 1, jitter: "none" } }), { local: true })
  )

const reserve = (estimate: Usage.Input) => Budget.Budget.use((budget) => budget.reserve(estimate))

/** Whether something of this size still fits: held, and given back at once. */
const fits = (estimate: Usage.Input) =>
  Budget.Budget.use((budget) =>
    budget.reserve(estimate).pipe(
      Effect.flatMap(budget.release),
      Effect.as(true),
      Effect.catchTag(["BudgetExceeded", "RequestTooLarge"], () => Effect.succeed(false))
    )
  )

const spend = (cost: Money.Input) =>
  Budget.Budget.use((budget) =>
    Effect.flatMap(budget.reserve({ cost }), (reservation) => budget.settle(reservation, { cost }))
  )

describe("an allowance", () => {
  it.effect("is drawn on beside the budgets, and says that it was the one that refused", () =>
    run(
      Effect.gen(function* () {
        yield* spend("$1.50")
        const refused = yield* Effect.flip(reserve({ cost: "$0.51" }))
        assert(refused._tag === "BudgetExceeded")
        const { held, limit, quota, remaining, requested, subject, unit, used } = refused
        assert.deepStrictEqual(
          { held, quota, subject, unit },
          { held: 0, quota: "allowance", subject: {}, unit: "cost" }
        )
        assert.deepStrictEqual([limit, used, remaining, requested], [2e9, 1.5e9, 0.5e9, 0.51e9])
        assert.isFalse(Duration.isFinite(refused.retryAfter), "no time will bring it back")
        const large = yield* Effect.flip(reserve({ cost: "$2.01" }))
        assert.strictEqual(large._tag, "RequestTooLarge")
        yield* spend("$0.50")
      }).pipe(Budget.withAllowance("$2"))
    )
  )

  it.effect("limits only the units that it is given in", () =>
    run(
      Effect.gen(function* () {
        assert.isTrue(yield* fits({ cost: "$500", tokens: 10 }))
        assert.isFalse(yield* fits({ tokens: 11 }))
        assert.isFalse(yield* fits({ tokens: 1, requests: 3 }))
      }).pipe(Budget.withAllowance({ tokens: 10, requests: 2 }))
    )
  )

  it.effect("of nothing denies everything, and one that is no amount is InvalidUsage", () =>
    run(
      Effect.gen(function* () {
        assert.isFalse(yield* Budget.withAllowance(fits({ cost: "$0.01" }), "$0"))
        for (const amount of [{ tokens: -1 }, { tokens: 1.5 }, { cost: Money.usd(1), requests: Number.NaN }]) {
          const error = yield* Effect.flip(Budget.withAllowance(Effect.die("must not run"), amount))
          assert.strictEqual(error._tag, "InvalidUsage")
        }
      })
    )
  )

  it.effect("ends with its effect, and another run has its own", () =>
    run(
      Effect.gen(function* () {
        const once = Budget.withAllowance(spend("$2"), "$2")
        yield* once
        yield* once
        assert.isTrue(yield* fits({ cost: "$900" }))
        assert.isFalse(yield* fits({ cost: "$997" }), "the budget has seen it all")
      })
    )
  )

  it.effect("a refusal by the budget gives back what was drawn, and one by the allowance leaves the budget alone", () =>
    run(
      Effect.gen(function* () {
        const budget = yield* Budget.Budget
        yield* Effect.flip(budget.reserve({ cost: "$1", tokens: 100_001 }))
        assert.isTrue(yield* fits({ cost: "$2" }))
        yield* Effect.flip(budget.reserve({ cost: "$3" }))
        assert.isTrue((yield* budget.status()).quotas.every(({ held, used }) => held === 0 && used === 0))
      }).pipe(Budget.withAllowance("$2"))
    )
  )

  it.effect("follows settle, release, extend and record", () =>
    run(
      Effect.gen(function* () {
        const budget = yield* Budget.Budget
        const first = yield* budget.reserve({ cost: "$6" })
        assert.isFalse(yield* fits({ cost: "$5" }))
        yield* budget.settle(first, { cost: "$1" })
        yield* budget.settle(first, { cost: "$1" })
        assert.isTrue(yield* fits({ cost: "$9" }))
        assert.isFalse(yield* fits({ cost: "$9.01" }))

        const second = yield* budget.reserve({ cost: "$5" })
        yield* budget.extend(second, { cost: "$3" })
        assert.isFalse(yield* fits({ cost: "$1.01" }))
        const refused = yield* Effect.flip(budget.extend(second, { cost: "$2" }))
        assert(refused._tag === "BudgetExceeded")
        assert.strictEqual(refused.quota, "allowance")
        yield* budget.release(second)
        yield* budget.release(second)
        assert.isTrue(yield* fits({ cost: "$9" }))

        const third = yield* budget.reserve({ cost: "$2" })
        yield* budget.extend(third, { cost: "$2" })
        yield* budget.settle(third, { cost: "$5" })
        assert.isTrue(yield* fits({ cost: "$4" }))
        assert.isFalse(yield* fits({ cost: "$4.01" }), "an overrun is booked in full")

        const record = new UsageRecord({
          timestamp: DateTime.makeUnsafe(0),
          tokens: 1,
          cost: Money.usd(3),
          model: "",
          requestId: "r"
        })
        yield* budget.record(record)
        yield* budget.record(record)
        assert.isTrue(yield* fits({ cost: "$1" }))
        assert.isFalse(yield* fits({ cost: "$1.01" }))
      }).pipe(Budget.withAllowance("$10"))
    )
  )

  it.effect("a check asks it too, and draws nothing", () =>
    run(
      Effect.gen(function* () {
        const budget = yield* Budget.Budget
        yield* Effect.replicateEffect(budget.check({ cost: "$2" }), 10)
        const refused = yield* Effect.flip(budget.check({ cost: "$2.01" }))
        assert.strictEqual(refused._tag, "RequestTooLarge")
        yield* spend("$2")
        assert.strictEqual((yield* Effect.flip(budget.check({ cost: "$0.01" })))._tag, "BudgetExceeded")
      }).pipe(Budget.withAllowance("$2"))
    )
  )

  it.effect("stays with the reservation that drew on it, wherever that is ended", () =>
    run(
      Effect.gen(function* () {
        const budget = yield* Budget.Budget
        yield* Effect.gen(function* () {
          const reservation = yield* Budget.withAllowance(budget.reserve({ cost: "$1" }), "$100")
          assert.isFalse(yield* fits({ cost: "$1.01" }))
          yield* budget.settle(reservation, { cost: "$0.50" })
          assert.isTrue(yield* fits({ cost: "$1.50" }))
        }).pipe(Budget.withAllowance("$2"))
      })
    )
  )
})

describe("nested allowances", () => {
  it.effect("a child never spends more than any ancestor has left", () =>
    run(
      Effect.gen(function* () {
        yield* spend("$1")
        yield* Effect.gen(function* () {
          assert.isTrue(yield* fits({ cost: "$1" }))
          assert.isFalse(yield* fits({ cost: "$1.01" }), "the parent has one dollar left")
          yield* Budget.withAllowance(spend("$0.75"), "$1000")
          assert.isFalse(yield* fits({ cost: "$0.26" }))
        }).pipe(Budget.withAllowance("$5"))
        assert.isTrue(yield* fits({ cost: "$0.25" }))
        assert.isFalse(yield* fits({ cost: "$0.26" }), "what a child spends is spent")
      }).pipe(Budget.withAllowance("$2"))
    )
  )

  it.effect("a refusal by an ancestor gives back what was drawn from those below", () =>
    run(
      Effect.gen(function* () {
        const inner = Effect.gen(function* () {
          yield* Effect.flip(reserve({ cost: "$3" }))
          yield* Effect.flip(reserve({ tokens: 200_000, cost: "$1" }))
          assert.isTrue(yield* fits({ cost: "$2" }))
        })
        yield* Budget.withAllowance(Budget.withAllowance(inner, "$9"), "$4")
        assert.isTrue(yield* fits({ cost: "$2" }))
      }).pipe(Budget.withAllowance("$2"))
    )
  )

  it.effect("forked fibers and their own children draw on it, and together cannot pass it", () =>
    run(
      Effect.gen(function* () {
        const agent = (depth: number): Effect.Effect<number, never, Budget.Budget> =>
          Effect.gen(function* () {
            const reservation = yield* Effect.option(reserve({ cost: "$0.10" }))
            yield* Effect.yieldNow
            const children =
              depth === 0
                ? []
                : yield* Effect.forEach([1, 2, 3, 4], () =>
                    Effect.forkChild(Budget.withAllowance(agent(depth - 1), "$50"))
                  )
            const spent = yield* Effect.forEach(children, (child) => Effect.orDie(Fiber.join(child)))
            if (reservation._tag === "Some") {
              yield* Effect.orDie(Budget.Budget.use((budget) => budget.settle(reservation.value, { cost: "$0.10" })))
            }
            return spent.reduce((sum, count) => sum + count, reservation._tag === "Some" ? 1 : 0)
          })
        // 85 agents for 1.25 dollars: twelve get their ten cents, five cents are left.
        assert.strictEqual(yield* agent(3), 12)
        assert.isTrue(yield* fits({ cost: "$0.05" }))
        assert.isFalse(yield* fits({ cost: "$0.06" }))
      }).pipe(Budget.withAllowance("$1.25"))
    )
  )

  const Tree = Schema.Struct({
    allowances: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 }))).check(
      Schema.isMinLength(1),
      Schema.isMaxLength(4)
    ),
    calls: Schema.Array(
      Schema.Struct({
        level: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3 })),
        estimate: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 60 })),
        share: Schema.Literals([0, 0.5, 1])
      })
    ).check(Schema.isMaxLength(30))
  })

  it.effect.prop(
    "concurrent calls at any depth never overshoot, and never miss what is there",
    [Tree],
    ([{ allowances, calls }]) =>
      run(
        Effect.gen(function* () {
          const budget = yield* Budget.Budget
          const spent = allowances.map(() => 0)
          const held = allowances.map(() => 0)
          const at = (level: number): Effect.Effect<void> =>
            Effect.gen(function* () {
              const mine = calls.filter((call) => Math.min(call.level, allowances.length - 1) === level)
              const each = mine.map(({ estimate, share }) =>
                Effect.gen(function* () {
                  const room = Math.min(
                    ...allowances.slice(0, level + 1).map((limit, i) => limit - spent[i]! - held[i]!)
                  )
                  const reservation = yield* Effect.option(budget.reserve({ tokens: estimate }))
                  assert.strictEqual(reservation._tag === "Some", estimate <= room, `${estimate} of ${room}`)
                  if (reservation._tag === "None") return
                  for (let i = 0; i <= level; i++) held[i]! += estimate
                  yield* Effect.sleep(estimate)
                  const actual = estimate * share
                  const tokens = Math.floor(actual)
                  yield* Effect.orDie(budget.settle(reservation.value, { tokens }))
                  for (let i = 0; i <= level; i++) {
                    held[i]! -= estimate
                    spent[i]! += tokens
                  }
                })
              )
              const deeper = level + 1 < allowances.length ? [at(level + 1)] : []
              yield* Effect.all([...each, ...deeper], { concurrency: "unbounded", discard: true })
            }).pipe(Budget.withAllowance({ tokens: allowances[level]! }), Effect.orDie)
          yield* at(0)
          assert.isTrue(spent.every((tokens, level) => tokens <= allowances[level]!))
        })
      ),
    { arbitrary: { runs: 200 } }
  )
})

describe("allowances and those who spend", () => {
  it.effect("withReservation draws on it, and gives back what was not used", () =>
    run(
      Effect.gen(function* () {
        const call = Budget.withReservation({ cost: "$1" }, () => ({ cost: "$0.40" }))(Effect.void)
        yield* call
        yield* call
        yield* Effect.flip(call.pipe(Effect.andThen(call)))
      }).pipe(Budget.withAllowance("$2"))
    )
  )

  it.effect("a guarded call draws on it for each attempt", () =>
    run(
      Effect.gen(function* () {
        let attempts = 0
        const model = Effect.suspend(() =>
          attempts++ % 2 === 0 ? Effect.fail({ status: 503, usage: { tokens: 30 } }) : Effect.succeed(60)
        )
        const call = guard(model, { estimate: { tokens: 100 }, actual: (tokens) => ({ tokens }) })
        yield* call
        assert.isTrue(yield* fits({ tokens: 110 }))
        assert.isFalse(yield* fits({ tokens: 111 }))
        const refused = yield* Effect.flip(call)
        assert("_tag" in refused && refused._tag === "BudgetExceeded")
        assert.deepStrictEqual([refused.quota, refused.requested], ["allowance", 30])
        assert.isTrue(yield* fits({ tokens: 80 }))
        assert.isFalse(yield* fits({ tokens: 81 }))
      }).pipe(Budget.withAllowance({ tokens: 200 }))
    )
  )

  it.effect("an interrupted guarded call leaves nothing held on it", () =>
    run(
      Effect.gen(function* () {
        const call = guard(Effect.never, { estimate: { tokens: 100 }, actual: () => ({}), onUnknown: "release" })
        const fiber = yield* Effect.forkChild(call, { startImmediately: true })
        assert.isFalse(yield* fits({ tokens: 1 }))
        yield* Fiber.interrupt(fiber)
        assert.isTrue(yield* fits({ tokens: 100 }))
      }).pipe(Budget.withAllowance({ tokens: 100 }))
    )
  )
})
