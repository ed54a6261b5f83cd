import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber } from "effect"
import { Alerts, QuotaStore, RateLimiter, StoreError, Window } from "headgate"
import { VirtualClock } from "headgate/testing"

// A slot that is free while everybody waits for it is as good as leaked (litellm #20256, #27955). Here the store takes
// time, as a shared one does, so that something can happen between its decision and the moment we hear of it.
describe("wake-ups that could be lost (litellm #20256)", () => {
  const distant = (
    delay: (store: QuotaStore.Service) => Partial<QuotaStore.Service>,
    options: RateLimiter.Options = { concurrency: 1 }
  ) =>
    Effect.gen(function* () {
      const store = yield* QuotaStore.makeMemory
      return yield* Effect.provideService(RateLimiter.make(options), QuotaStore.QuotaStore, {
        ...store,
        ...delay(store)
      })
    }).pipe(Effect.provide(Alerts.layer))

  const onTheWay = Effect.sleep("10 millis")

  it.effect("wakes who was refused while tryAcquire passed through", () =>
    Effect.gen(function* () {
      const limiter = yield* distant((store) => ({
        settle: (hold, actual) => Effect.andThen(onTheWay, store.settle(hold, actual))
      }))
      const trying = yield* Effect.forkChild(limiter.tryAcquire(), { startImmediately: true })
      const { waited } = yield* limiter.acquire()
      assert.isTrue(yield* Fiber.join(trying))
      assert.strictEqual(Duration.toMillis(waited), 10)
    }).pipe(VirtualClock.run())
  )

  it.effect("is woken by what was given back while its refusal was on the way", () =>
    Effect.gen(function* () {
      const limiter = yield* distant((store) => ({
        reserve: (command) => Effect.tap(store.reserve(command), () => onTheWay)
      }))
      const permit = yield* limiter.acquire()
      const second = yield* Effect.forkChild(limiter.acquire(), { startImmediately: true })
      yield* Effect.sleep("5 millis")
      yield* limiter.settle(permit, {})
      yield* Fiber.join(second)
      assert.isAtMost(yield* Clock.currentTimeMillis, 1000)
    }).pipe(VirtualClock.run())
  )

  it.effect("is woken by what was given back while it moved from one line to another", () =>
    Effect.gen(function* () {
      const limiter = yield* distant(
        (store) => ({ reserve: (command) => Effect.tap(store.reserve(command), () => onTheWay) }),
        {
          concurrency: 1,
          per: { user: { quotas: [{ unit: "requests", limit: 1, window: Window.fixed("1 minute") }] } }
        }
      )
      yield* limiter.settle(yield* limiter.acquire({}, { user: "a" }), {})
      const moving = yield* Effect.forkChild(limiter.acquire({}, { user: "a" }), { startImmediately: true })
      yield* Effect.sleep("30 seconds")
      const permit = yield* limiter.acquire({}, { user: "b" })
      // Its refusal came 10 ms late, so it asks again 10 ms after the minute, and hears 10 ms later that the place is taken.
      yield* Effect.sleep(60_015 - (yield* Clock.currentTimeMillis))
      yield* limiter.settle(permit, {})
      yield* Fiber.join(moving)
      assert.isAtMost(yield* Clock.currentTimeMillis, 61_000)
    }).pipe(VirtualClock.run())
  )

  it.effect("the next in line is woken when the store fails the first one", () =>
    Effect.gen(function* () {
      let down = false
      const limiter = yield* distant(
        (store) => ({
          reserve: (command) =>
            Effect.suspend(() =>
              down
                ? Effect.fail(new StoreError({ operation: "reserve", outcome: "notApplied", cause: "down" }))
                : store.reserve(command)
            )
        }),
        { concurrency: 1 }
      )
      const permit = yield* limiter.acquire()
      const first = yield* Effect.forkChild(Effect.flip(limiter.acquire()), { startImmediately: true })
      const second = yield* Effect.forkChild(limiter.acquire(), { startImmediately: true })
      yield* Effect.sleep("1 second")
      down = true
      yield* limiter.settle(permit, {})
      assert.strictEqual((yield* Fiber.join(first))._tag, "StoreError")
      down = false
      yield* Fiber.join(second)
      assert.strictEqual(yield* Clock.currentTimeMillis, 1000)
    }).pipe(VirtualClock.run())
  )

  it.effect("is woken by what another process gave back, also while its refusal was on the way", () =>
    Effect.gen(function* () {
      const memory = yield* QuotaStore.makeMemory
      const listeners = new Set<(isFor: (account: QuotaStore.Account) => boolean) => void>()
      const awaited = new Set<string>()
      // A store that tells, as a shared one does: of accounts for which somebody waits, once.
      const process = (): QuotaStore.Service => ({
        ...memory,
        reserve: (command) =>
          Effect.tap(memory.reserve(command), (answer) => {
            if (answer._tag === "Refused" && command.waits === true) awaited.add(answer.account.plan.id)
            return onTheWay
          }),
        settle: (hold, actual) =>
          Effect.tap(memory.settle(hold, actual), () =>
            Effect.sync(() => {
              const told = new Set(awaited)
              awaited.clear()
              for (const called of listeners) called(({ plan }) => told.has(plan.id))
            })
          ),
        listen: (called) =>
          Effect.asVoid(
            Effect.acquireRelease(
              Effect.sync(() => listeners.add(called)),
              () => Effect.sync(() => listeners.delete(called))
            )
          )
      })
      const limiterOf = (store: QuotaStore.Service) =>
        Effect.provideService(RateLimiter.make({ concurrency: 1 }), QuotaStore.QuotaStore, store)
      const [one, two, three] = [yield* limiterOf(process()), yield* limiterOf(process()), yield* limiterOf(process())]
      const permit = yield* one.acquire()
      const second = yield* Effect.forkChild(two.acquire(), { startImmediately: true })
      yield* Effect.sleep("5 millis")
      yield* one.settle(permit, {})
      const taken = yield* Fiber.join(second)
      assert.isAtMost(Duration.toMillis(taken.waited), 100)
      const third = yield* Effect.forkChild(three.acquire(), { startImmediately: true })
      const fourth = yield* Effect.forkChild(one.acquire(), { startImmediately: true })
      yield* Effect.sleep("30 seconds")
      yield* two.settle(taken, {})
      const [winner, limiter, loser] =
        (yield* Effect.raceFirst(Effect.as(Fiber.await(third), "third"), Effect.as(Fiber.await(fourth), "fourth"))) ===
        "third"
          ? [third, three, fourth]
          : [fourth, one, third]
      yield* limiter.settle(yield* Fiber.join(winner), {})
      assert.isAtMost(Duration.toMillis((yield* Fiber.join(loser)).waited), 31_000)
    }).pipe(Effect.provide(Alerts.layer), VirtualClock.run())
  )
})
