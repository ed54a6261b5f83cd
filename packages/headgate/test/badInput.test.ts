// Law 12: bad input of any kind changes no state, and gets the typed error of the contract.
import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Effect, Layer } from "effect"
import { Alerts, Budget, Money, QuotaStore, RateLimiter, type Subject, type Usage, UsageRecord, Window } from "headgate"

/** Lets the tests say what the types do not allow. */
const untyped = (value: unknown) => value as never

const numbers: ReadonlyArray<unknown> = [NaN, Infinity, -Infinity, -1, 1.5, 2 ** 53, -(2 ** 53), 5e-324]
const others: ReadonlyArray<unknown> = ["", "5", "NaN", true, {}, [], [5], 5n, Symbol("5"), () => 5]
const counts = ["requests", "inputTokens", "outputTokens", "cachedInputTokens", "tokens"]
const costs: ReadonlyArray<unknown> = [...numbers, ...others, null, "$-1", "1$", "$", `$${"9".repeat(10_000_000)}`]

const usages: ReadonlyArray<readonly [field: string, usage: unknown]> = [
  ...counts.flatMap((field) => [...numbers, ...others].map((value) => [field, { [field]: value }] as const)),
  ...costs.map((cost) => ["cost", { cost }] as const),
  ...[null, 5, "tokens", true].map((usage) => ["usage", usage] as const),
  ["cachedInputTokens", { inputTokens: 5, cachedInputTokens: 6 }],
  ["tokens", { inputTokens: 2 ** 52, outputTokens: 2 ** 52 }]
]

const huge = "x".repeat(10_000_000)
const many = Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`d${index}`, "v"]))

const subjects: ReadonlyArray<readonly [field: string, subject: unknown]> = [
  ["subject.user", { user: "" }],
  ["subject.user", { user: huge }],
  ["subject.user", { user: "x".repeat(257) }],
  ["subject.user", { user: "__proto__" }],
  ["subject.user", { user: 42 }],
  ["subject.user", { user: null }],
  ["subject.user", { user: undefined }],
  ["subject.user", { user: { toString: () => "42" } }],
  ["subject", JSON.parse(`{ "__proto__": "42" }`)],
  ["subject", { "": "42" }],
  ["subject", { [huge]: "42" }],
  ["subject", many],
  ["subject", null],
  ["subject", "42"],
  ["subject", 42]
]

/** A value in a few characters, for messages; objects by their first level. */
const show = (value: unknown): string => {
  const shown =
    typeof value === "object" && value !== null
      ? Object.entries(value).map(([name, part]) => `${name}: ${String(part)}`)
      : [String(value)]
  return shown.join(", ").slice(0, 60)
}

const total = { unit: "tokens", limit: 1_000, window: Window.lifetime, name: "total" } as const
const options = { quotas: [total], per: { user: { quotas: [total] } } }

const services = Layer.mergeAll(Budget.layer(options), RateLimiter.layer({ ...options, onExceeded: "fail" })).pipe(
  Layer.provide(QuotaStore.layerMemory),
  Layer.provideMerge(Alerts.layer)
)

interface Services {
  readonly budget: Budget.Service
  readonly limiter: RateLimiter.Service
}

/** Checks that an effect fails with `InvalidUsage` of this field, and that the counters are as before. */
const refuses = (
  field: string,
  { budget, limiter }: Services,
  name: string,
  effect: () => Effect.Effect<unknown, unknown>
) =>
  Effect.gen(function* () {
    const state = Effect.all([budget.status({ user: "42" }), limiter.status({ user: "42" })])
    const before = yield* state
    const error = yield* Effect.flip(Effect.suspend(effect))
    assert.deepInclude(error, { _tag: "InvalidUsage" }, name)
    const { bound, field: named, message, value } = error as { [name: string]: unknown }
    assert.strictEqual(named, field, name)
    assert.isAbove(String(bound).length, 0, name)
    assert.include(["string", "number"], typeof value, name)
    assert.isBelow(String(message).length, 500, name)
    assert.deepStrictEqual(yield* state, before, name)
  })

const withServices = (test: (services: Services) => Effect.Effect<void, unknown>) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(services)
    const budget = Context.get(context, Budget.Budget)
    const limiter = Context.get(context, RateLimiter.RateLimiter)
    // Something is used and something held, so that a change would show.
    yield* budget.settle(yield* budget.reserve({ tokens: 10 }, { user: "42" }), { tokens: 7 })
    yield* budget.reserve({ tokens: 20 }, { user: "42" })
    yield* limiter.acquire({ tokens: 30 }, { user: "42" })
    yield* test({ budget, limiter })
  }).pipe(Effect.scoped)

describe("bad input", () => {
  it.effect(
    `is refused as a usage, ${usages.length} of them`,
    () =>
      withServices((services) =>
        Effect.gen(function* () {
          const { budget, limiter } = services
          const reservation = yield* budget.reserve({ tokens: 1 }, { user: "42" })
          const permit = yield* limiter.acquire({ tokens: 1 }, { user: "42" })
          for (const [field, bad] of usages) {
            const usage: Usage.Input = untyped(bad)
            const verbs: { readonly [verb: string]: () => Effect.Effect<unknown, unknown> } = {
              check: () => budget.check(usage),
              reserve: () => budget.reserve(usage, { user: "42" }),
              extend: () => budget.extend(reservation, usage),
              settle: () => budget.settle(reservation, usage),
              acquire: () => limiter.acquire(usage, { user: "42" }),
              tryAcquire: () => limiter.tryAcquire(usage),
              settlePermit: () => limiter.settle(permit, usage),
              withAllowance: () => Effect.void.pipe(Budget.withAllowance(usage)),
              withReservation: () =>
                Effect.void.pipe(
                  Budget.withReservation(usage, () => ({})),
                  Effect.provideService(Budget.Budget, budget)
                )
            }
            for (const [verb, effect] of Object.entries(verbs)) {
              // An allowance may be said as money alone.
              if (verb === "withAllowance" && field === "usage") continue
              yield* refuses(field, services, `${verb} ${show(bad)}`, effect)
            }
          }
        })
      ),
    30_000
  )

  it.effect("is refused as an allowance of money", () =>
    withServices((services) =>
      Effect.gen(function* () {
        for (const amount of [NaN, -1, 1.5, 2 ** 53, "", "5", "$-1", true]) {
          const effect = Effect.void.pipe(Budget.withAllowance(untyped(amount)))
          yield* refuses("cost", services, show(amount), () => effect)
        }
      })
    )
  )

  it.effect(`is refused as a subject, ${subjects.length} of them`, () =>
    withServices((services) =>
      Effect.gen(function* () {
        const { budget, limiter } = services
        for (const [field, bad] of subjects) {
          const subject: Subject.Subject = untyped(bad)
          const verbs: { readonly [verb: string]: () => Effect.Effect<unknown, unknown> } = {
            check: () => budget.check({ tokens: 1 }, subject),
            reserve: () => budget.reserve({ tokens: 1 }, subject),
            status: () => budget.status(subject),
            reset: () => budget.reset(subject),
            acquire: () => limiter.acquire({ tokens: 1 }, subject),
            tryAcquire: () => limiter.tryAcquire({ tokens: 1 }, subject),
            statusOfLimiter: () => limiter.status(subject)
          }
          for (const [verb, effect] of Object.entries(verbs)) {
            yield* refuses(field, services, `${verb} ${show(bad)}`, effect)
          }
        }
      })
    )
  )

  it.effect("is refused as an id, a reservation or a permit", () =>
    withServices((services) =>
      Effect.gen(function* () {
        const { budget, limiter } = services
        for (const id of ["", huge, 5, null, {}]) {
          yield* refuses("id", services, show(id), () => budget.reserve({ tokens: 1 }, {}, { id: untyped(id) }))
        }
        const real = yield* budget.reserve({ tokens: 1 })
        for (const bad of [
          null,
          undefined,
          {},
          "hold-1",
          { ...real },
          { id: real.id, subject: real.subject, estimate: real.estimate }
        ]) {
          const reservation = untyped(bad)
          yield* refuses("reservation", services, show(bad), () => budget.settle(reservation, { tokens: 1 }))
          yield* refuses("reservation", services, show(bad), () => budget.release(reservation))
          yield* refuses("reservation", services, show(bad), () => budget.extend(reservation, { tokens: 1 }))
          yield* refuses("permit", services, show(bad), () => limiter.settle(reservation, { tokens: 1 }))
          yield* refuses("permit", services, show(bad), () => limiter.release(reservation))
        }
      })
    )
  )

  it.effect("is refused as what becomes of a reservation that nobody ends", () =>
    withServices((services) => {
      const onUnknown = untyped("keep")
      return refuses("onUnknown", services, "keep", () => services.budget.reserve({ tokens: 1 }, {}, { onUnknown }))
    })
  )

  it.effect("is refused as a record", () =>
    withServices((services) =>
      Effect.gen(function* () {
        const good = { timestamp: DateTime.makeUnsafe(0), tokens: 1, cost: Money.zero, model: "m", requestId: "r" }
        const record = (bad: object) => Object.assign(Object.create(UsageRecord.prototype), good, bad)
        const bad: ReadonlyArray<readonly [field: string, record: object]> = [
          ...[...numbers, ...others].map((tokens) => ["tokens", { tokens }] as const),
          ...[...numbers, "$-1", ""].map((cost) => ["cost", { cost }] as const),
          ["subject.user", { userId: "" }],
          ["subject.user", { userId: huge }],
          ["subject.user", { userId: "__proto__" }],
          ["subject.agent", { agentId: 42 }],
          ["subject.model", { model: huge }],
          ["id", { requestId: huge }]
        ]
        for (const [field, fields] of bad) {
          yield* refuses(field, services, show(fields), () => services.budget.record(record(fields)))
        }
      })
    )
  )

  it.effect("as a dimension that every object has means nothing", () =>
    withServices(({ budget }) =>
      Effect.gen(function* () {
        for (const name of ["constructor", "toString", "hasOwnProperty", "valueOf"]) {
          yield* budget.reserve({ tokens: 1 }, { [name]: "x", user: name })
          assert.strictEqual((yield* budget.status({ user: name })).quotas[1]?.held, 1)
        }
      })
    )
  )

  const wrongOptions: ReadonlyArray<readonly [option: string, budget: object]> = [
    ...["maxTokensPerRequest", "maxTokensPerMinute", "maxTokensPerHour", "maxTokensPerDay"].flatMap((option) =>
      [...numbers, ...others, "$5", null].map((value) => [option, { [option]: value }] as const)
    ),
    ...["maxCostPerRequest", "maxCostPerDay"].flatMap((option) =>
      costs.map((value) => [option, { [option]: value }] as const)
    ),
    ...[NaN, 0, -1, 1.01, Infinity, "0.8", [0.5, NaN]].map(
      (value) => ["alertThreshold", { maxTokensPerMinute: 1, alertThreshold: value }] as const
    ),
    ...["throttleDelay", "reservationTtl"].flatMap((option) =>
      [0, -1, NaN, Infinity, "", "soon", {}, "4000 days"].map((value) => [option, { [option]: value }] as const)
    ),
    ["timeZone", { maxTokensPerDay: 1, timeZone: "Mars/Olympus" }],
    ["timeZone", { maxTokensPerDay: 1, timeZone: "" }],
    ["onStoreError", { onStoreError: "panic" }],
    ["mode", { mode: "" }],
    ["per.user.maxTokensPerDay", { per: { user: { maxTokensPerDay: -1 } } }],
    ["overrides.user.42.maxCostPerDay", { overrides: { user: { "42": { maxCostPerDay: "$-1" } } } }],
    ["unit", { quotas: [{ unit: "bananas", limit: 1, window: Window.lifetime }] }],
    ["limit", { quotas: [{ unit: "tokens", limit: NaN, window: Window.lifetime }] }],
    ["window", { quotas: [{ unit: "tokens", limit: 1, window: { _tag: "Sliding", length: -1 } }] }],
    ["window", { per: { user: { quotas: [{ unit: "tokens", limit: 1 }] } } }]
  ]
  it(`is refused as an option of a budget, with option, bound and value, ${wrongOptions.length} of them`, () => {
    for (const [option, bad] of wrongOptions) {
      const make = () => Budget.layerMemory(untyped(bad))
      assert.throws(make, RangeError, undefined, show(bad))
      assert.throws(make, new RegExp(`${option.replaceAll(".", "\\.")} must be .+got `), show(bad))
      assert.throws(make, /^.{0,300}$/, show(bad))
    }
  })

  const perMinute = ["requestsPerMinute", "tokensPerMinute", "inputTokensPerMinute", "outputTokensPerMinute"]
  const wrongLimits: ReadonlyArray<readonly [option: string, limiter: object]> = [
    ...[...perMinute, "requestsPerDay", "concurrency"].flatMap((option) =>
      [...numbers, ...others, "$5", null].map((value) => [option, { [option]: value }] as const)
    ),
    ...[0, ...numbers, "5"].map((burst) => ["burst", { requestsPerMinute: 60, burst }] as const),
    ["burst", { burst: 5 }],
    ...["maxWait", "permitTtl"].flatMap((option) =>
      [0, -1, NaN, Infinity, "", "soon", {}].map((value) => [option, { [option]: value }] as const)
    ),
    ["onExceeded", { onExceeded: "shout" }],
    ["onStoreError", { onStoreError: 5 }],
    ["per.model.tokensPerMinute", { per: { model: { tokensPerMinute: -1 } } }],
    ["unit", { quotas: [{ unit: "", limit: 1, window: Window.lifetime }] }]
  ]
  it(`is refused as an option of a rate limiter, ${wrongLimits.length} of them`, () => {
    for (const [option, bad] of wrongLimits) {
      const make = () => RateLimiter.layerMemory(untyped(bad))
      assert.throws(make, RangeError, undefined, show(bad))
      assert.throws(make, new RegExp(`${option.replaceAll(".", "\\.")} must be .+got `), show(bad))
    }
  })
})
