import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Stream } from "effect"
import { Alerts, Budget, Guard, guard, guardStream, QuotaStore, RateLimiter } from "headgate"
import { Steps } from "./steps.ts"

type Services = Guard.Guard | Budget.Budget | RateLimiter.RateLimiter

/** Takes a step aside before and after each verb, as a store at a distance would. */
const distant = Effect.map(QuotaStore.makeMemory, (store): QuotaStore.Service => {
  const aside = <A, E>(self: Effect.Effect<A, E>) =>
    Effect.sleep(1).pipe(
      Effect.andThen(self),
      Effect.tap(() => Effect.sleep(1))
    )
  return {
    ...store,
    reserve: (command) => aside(store.reserve(command)),
    extend: (hold, more, step) => aside(store.extend(hold, more, step)),
    settle: (hold, actual) => aside(store.settle(hold, actual)),
    release: (hold) => aside(store.release(hold))
  }
})

const stores = { "in memory": QuotaStore.makeMemory, "at a distance": distant }

const build = (options: Guard.Options, store: Effect.Effect<QuotaStore.Service>) =>
  Effect.map(
    Layer.build(
      Guard.layer(options).pipe(Layer.provide(Layer.effect(QuotaStore.QuotaStore)(store)), Layer.provide(Alerts.layer))
    ),
    (context): Context.Context<Services> => context
  )

const options: Guard.Options = {
  budget: { maxTokensPerMinute: 1000, per: { user: { maxTokensPerMinute: 900 } } },
  rateLimiter: { requestsPerMinute: 100, concurrency: 1, per: { user: { tokensPerMinute: 900 } }, permitTtl: "1 day" },
  retry: { jitter: "none" }
}

const subject = { user: "a" }
const spec = { estimate: { tokens: 100 }, actual: () => ({ tokens: 60 }), subject }

/** Fails once with usage and once without, then gives what it is asked for. */
const provider = <A>(answer: A) => {
  let attempts = 0
  return Effect.sleep("1 second").pipe(
    Effect.andThen(
      Effect.suspend(() => {
        attempts++
        if (attempts === 1) return Effect.fail({ status: 503, usage: { tokens: 10 } })
        return attempts === 2 ? Effect.fail({ status: 429 }) : Effect.succeed(answer)
      })
    )
  )
}

/** Reserve, wait, call, retry delay, extend, call, settle. */
const call = Effect.suspend(() => guard(provider("answer"), spec))

/** The same, then the elements of a stream, and an extension for each but the first. */
const streamedCall = Effect.suspend(() => {
  const elements = Stream.fromIterable([40, 40, 40]).pipe(
    Stream.rechunk(1),
    Stream.tap(() => Effect.sleep("1 second"))
  )
  const usage = Stream.succeed("usage" as const).pipe(Stream.tap(() => Effect.sleep("1 second")))
  return Stream.unwrap(provider(Stream.concat(elements, usage))).pipe(
    guardStream({
      estimate: { tokens: 60 },
      chunk: { tokens: 40 },
      delivered: (element: number | "usage") => ({ tokens: element === "usage" ? 0 : element }),
      actual: (element) => (element === "usage" ? { tokens: 90 } : undefined),
      subject
    }),
    Stream.runDrain
  )
})

/** What each call may have spent, when it is interrupted. */
const calls = {
  // Nothing; an attempt under way; the first one's usage; that and an attempt; that and the answer.
  "a guarded call": { call, spends: [0, 10, 70, 100, 110] },
  // The same; that and one, two, three elements; the usage that the stream told of, once it has come to its end.
  "a guarded stream": { call: streamedCall, spends: [0, 10, 60, 70, 100, 110, 150, 190] }
} as const

const idle = Effect.gen(function* () {
  const budget = yield* Budget.Budget
  const limiter = yield* RateLimiter.RateLimiter
  const { quotas: money } = yield* budget.status(subject)
  const { quotas: places, waiting } = yield* limiter.status(subject)
  return {
    held: money.map(({ held }) => held),
    underWay: places.map(({ held }) => held),
    waiting,
    spent: money.map(({ used }) => used),
    tokens: places.find(({ unit }) => unit === "tokens")?.used
  }
})

/** One world: somebody before the call has the only place for three seconds, somebody behind it waits for it. */
const play = (
  context: Context.Context<Services>,
  call: Effect.Effect<unknown, unknown, Guard.Guard>,
  stride: number,
  interruptAt: number
) => {
  const steps = new Steps(stride)
  const fork = <A, E>(effect: Effect.Effect<A, E, Services>) =>
    Effect.runForkWith(Context.add(context, Clock.Clock, steps))(effect, { scheduler: steps })
  const neighbour = RateLimiter.withLimit({ tokens: 1 }, { user: "b" })(Effect.sleep("3 seconds"))
  const before = fork(neighbour)
  const fiber = fork(Effect.andThen(Effect.sleep("1 second"), call))
  const behind = fork(Effect.andThen(Effect.sleep("2 seconds"), neighbour))
  let taken = 0
  while (taken < interruptAt && fiber.pollUnsafe() === undefined && steps.step()) taken++
  const interrupted = fiber.pollUnsafe() === undefined
  fiber.interruptUnsafe()
  const all = [before, fiber, behind]
  for (let more = 0; more < 10_000 && all.some((fiber) => fiber.pollUnsafe() === undefined) && steps.step(); more++);
  return { taken, interrupted, ended: all.map((fiber) => fiber.pollUnsafe()), steps }
}

const cases = Object.entries(stores).flatMap(([where, store]) =>
  Object.entries(calls).flatMap(([what, { call, spends }]) =>
    [1, 2, 3].map((stride) => ({ where, store, what, call, spends, stride }))
  )
)

describe("leaves nothing held", () => {
  it.effect.each(cases)(
    "$what that is interrupted between any $stride of its operations, with a store $where",
    ({ call, spends, store, stride }) =>
      Effect.gen(function* () {
        const all = play(yield* build(options, store), call, stride, Infinity)
        assert.isFalse(all.interrupted)
        assert.strictEqual(all.ended[1]?._tag, "Success")
        assert.isAbove(all.taken, 60)
        const spent = new Set<number | undefined>()
        for (let at = 0; at < all.taken; at++) {
          const context = yield* build(options, store)
          const { ended, interrupted, steps, taken } = play(context, call, stride, at)
          const where = `interrupted at step ${at}`
          assert.isTrue(interrupted, where)
          assert.strictEqual(taken, at, where)
          assert.isTrue(
            ended.every((exit) => exit !== undefined),
            `${where}: somebody waits for ever`
          )
          assert.strictEqual(ended[2]?._tag, "Success", `${where}: who came behind is served`)
          assert.isBelow(steps.now, 20_000, `${where}: nobody waited for an expiry`)
          const left = yield* Effect.provideService(idle, Clock.Clock, steps).pipe(Effect.provide(context))
          assert.deepStrictEqual([left.held, left.underWay, left.waiting], [[0, 0], [0, 0, 0], 0], where)
          assert.strictEqual(left.spent[0], left.spent[1], where)
          assert.strictEqual(left.spent[0], left.tokens, where)
          spent.add(left.spent[0])
        }
        assert.deepStrictEqual(
          [...spent].toSorted((a = 0, b = 0) => a - b),
          [...spends]
        )
      }),
    20_000
  )
})
