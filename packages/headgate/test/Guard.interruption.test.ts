import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Duration, Effect, type Fiber, Layer, type Scheduler } from "effect"
import { Alerts, Budget, Guard, guard, QuotaStore, RateLimiter } from "headgate"

/**
 * A scheduler that lets a fiber do `stride` operations and then asks for the next ones, and a clock that moves only when nobody has
 * anything to do: whoever drives it can stop a program between any two of its steps.
 */
class Steps implements Scheduler.Scheduler, Scheduler.SchedulerDispatcher, Clock.Clock {
  readonly executionMode = "sync"
  private tasks: Array<() => void> = []
  private sleepers: Array<{ readonly at: number; readonly wake: () => void }> = []
  now = 0
  private readonly stride: number

  constructor(stride: number) {
    this.stride = stride
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    // Coming back from a yield takes two.
    return fiber.currentOpCount >= this.stride + 2
  }
  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return this
  }
  scheduleTask(task: () => void): void {
    this.tasks.push(task)
  }
  flush(): void {
    while (this.tasks.length > 0) this.tasks.shift()!()
  }
  /** One step of somebody, or the next moment at which somebody wakes. False when all is still. */
  step(): boolean {
    const task = this.tasks.shift()
    if (task !== undefined) {
      task()
      return true
    }
    const sleeper = this.sleepers.toSorted((a, b) => a.at - b.at)[0]
    if (sleeper === undefined) return false
    this.sleepers = this.sleepers.filter((other) => other !== sleeper)
    this.now = Math.max(this.now, sleeper.at)
    sleeper.wake()
    return true
  }
  currentTimeMillisUnsafe = () => this.now
  currentTimeNanosUnsafe = () => BigInt(this.now) * BigInt(1_000_000)
  monotonicTimeNanosUnsafe = () => this.currentTimeNanosUnsafe()
  readonly currentTimeMillis = Effect.sync(this.currentTimeMillisUnsafe)
  readonly currentTimeNanos = Effect.sync(this.currentTimeNanosUnsafe)
  readonly monotonicTimeNanos = Effect.sync(this.currentTimeNanosUnsafe)
  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const sleeper = { at: this.now + Duration.toMillis(duration), wake: () => resume(Effect.void) }
      this.sleepers.push(sleeper)
      return Effect.sync(() => {
        this.sleepers = this.sleepers.filter((other) => other !== sleeper)
      })
    })
  }
}

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

/** Fails once with usage and once without, then answers: reserve, wait, call, retry delay, extend, call, settle. */
const call = Effect.suspend(() => {
  let attempts = 0
  const model = Effect.sleep("1 second").pipe(
    Effect.andThen(
      Effect.suspend(() => {
        attempts++
        if (attempts === 1) return Effect.fail({ status: 503, usage: { tokens: 10 } })
        return attempts === 2 ? Effect.fail({ status: 429 }) : Effect.succeed("answer")
      })
    )
  )
  return guard(model, spec)
})

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
const play = (context: Context.Context<Services>, stride: number, interruptAt: number) => {
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

describe.each(Object.entries(stores))("with a store %s", (_, store) => {
  it.effect.each([1, 2, 3])(
    "a guarded call that is interrupted between any %i of its operations leaves nothing held",
    (stride) =>
      Effect.gen(function* () {
        const all = play(yield* build(options, store), stride, Infinity)
        assert.isFalse(all.interrupted)
        assert.isAbove(all.taken, 60)
        const spent = new Set<number | undefined>()
        for (let at = 0; at < all.taken; at++) {
          const context = yield* build(options, store)
          const { ended, interrupted, steps, taken } = play(context, stride, at)
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
        // Nothing; an attempt under way; the first one's usage; that and an attempt; that and the answer.
        assert.deepStrictEqual(
          [...spent].toSorted((a = 0, b = 0) => a - b),
          [0, 10, 70, 100, 110]
        )
      }),
    20_000
  )
})
