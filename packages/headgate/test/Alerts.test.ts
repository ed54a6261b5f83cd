import { assert, describe, it } from "@effect/vitest"
import { Clock, DateTime, Deferred, Effect, Exit, Fiber, Logger, PubSub, Scope, Stream } from "effect"
import { type Alert, Alerts, Budget } from "headgate"
import { VirtualClock } from "headgate/testing"

const alert = (message: string): Alert.Alert => ({
  _tag: "StoreDegraded",
  message,
  quota: "q",
  subject: {},
  threshold: 0,
  current: 0,
  timestamp: DateTime.makeUnsafe(0)
})

const alerts = (count: number, first = 1) => Array.from({ length: count }, (_, index) => alert(`${first + index}`))

/** A program on its own alerts, with what was logged. */
const withAlerts = <A, E>(
  program: (alerts: Alerts.Service, logged: Array<string>) => Effect.Effect<A, E, Scope.Scope>,
  options?: Parameters<typeof Alerts.make>[0]
) =>
  Effect.gen(function* () {
    const logged: Array<string> = []
    const logger = Logger.make(({ message }) => logged.push([message].flat().map(String).join(" | ")))
    return yield* Effect.flatMap(Alerts.make(options), (alerts) => program(alerts, logged)).pipe(
      Effect.provide(Logger.layer([logger]))
    )
  }).pipe(Effect.scoped, VirtualClock.run())

describe("listeners", () => {
  it.effect("each hears everything in order, on a stream, a subscription and the PubSub itself", () =>
    withAlerts((service) =>
      Effect.gen(function* () {
        const streamed = yield* Effect.forkChild(Stream.runCollect(Stream.take(service.stream, 3)), {
          startImmediately: true
        })
        const subscription = yield* service.subscribe
        const own = yield* PubSub.subscribe(service.pubsub)
        yield* Effect.forEach(alerts(3), service.publish)
        assert.deepStrictEqual(yield* Fiber.join(streamed), alerts(3))
        assert.deepStrictEqual(yield* PubSub.takeAll(subscription), alerts(3))
        assert.deepStrictEqual(yield* PubSub.takeAll(own), alerts(3))
      })
    )
  )

  it.effect("one that comes late is given the last ones again", () =>
    withAlerts(
      (service) =>
        Effect.gen(function* () {
          yield* Effect.forEach(alerts(5), service.publish)
          const seen: Array<string> = []
          yield* service.handle(({ message }) => Effect.sync(() => seen.push(message)))
          yield* service.drained
          assert.deepStrictEqual(seen, ["4", "5"])
        }),
      { replay: 2 }
    )
  )

  it.effect("one that falls behind loses the oldest, and holds nobody up", () =>
    withAlerts(
      (service) =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const slow: Array<string> = []
          const quick: Array<string> = []
          yield* service.handle(({ message }) =>
            Effect.andThen(
              Deferred.await(gate),
              Effect.sync(() => slow.push(message))
            )
          )
          yield* service.handle(({ message }) => Effect.sync(() => quick.push(message)))
          yield* service.publish(alert("0"))
          yield* Effect.yieldNow
          for (const each of alerts(10)) {
            yield* service.publish(each)
            yield* Effect.yieldNow
          }
          assert.strictEqual(yield* Clock.currentTimeMillis, 0, "publishing took no time")
          assert.strictEqual(quick.length, 11)
          yield* Deferred.succeed(gate, undefined)
          yield* service.drained
          assert.deepStrictEqual(slow, ["0", "7", "8", "9", "10"])
        }),
      { capacity: 4, replay: 0 }
    )
  )

  it.effect("a call goes on while a handler is stuck", () =>
    Effect.gen(function* () {
      const { handle } = yield* Alerts.Alerts
      const budget = yield* Budget.Budget
      yield* handle(() => Effect.never, { timeout: "1 hour" })
      for (let call = 0; call < 200; call++) {
        yield* Effect.ignore(budget.reserve({ tokens: 60 }, { user: `${call}` }))
        yield* Effect.ignore(budget.reserve({ tokens: 60 }, { user: `${call}` }))
      }
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    }).pipe(
      Effect.provide(Budget.layerMemory({ per: { user: { maxTokensPerMinute: 100 } } })),
      Effect.scoped,
      VirtualClock.run()
    )
  )
})

describe("handlers", () => {
  it.effect("deal with one alert after another", () =>
    withAlerts((service) =>
      Effect.gen(function* () {
        const log: Array<string> = []
        yield* service.handle(({ message }) =>
          Effect.gen(function* () {
            log.push(`${message} begins ${yield* Clock.currentTimeMillis}`)
            yield* Effect.sleep("1 second")
            log.push(`${message} ends ${yield* Clock.currentTimeMillis}`)
          })
        )
        yield* Effect.forEach(alerts(2), service.publish)
        yield* service.drained
        assert.deepStrictEqual(log, ["1 begins 0", "1 ends 1000", "2 begins 1000", "2 ends 2000"])
      })
    )
  )

  it.effect.each([
    ["is slow", Effect.sleep("1 minute"), /Alert handler cut after 2s \| 1/],
    ["fails", Effect.fail("no"), /Alert handler failed/],
    ["dies", Effect.die(new Error("bug")), /Alert handler failed/],
    ["interrupts itself", Effect.interrupt, /Alert handler failed/]
  ] as const)("a run that %s is logged and cut, and the next alert follows", ([_, first, logs]) =>
    withAlerts((service, logged) =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        yield* service.handle(({ message }) => (message === "1" ? first : Effect.sync(() => seen.push(message))), {
          timeout: "2 seconds"
        })
        yield* Effect.forEach(alerts(3), service.publish)
        yield* service.drained
        assert.deepStrictEqual(seen, ["2", "3"])
        assert.strictEqual(logged.length, 1)
        assert.match(logged[0]!, logs)
        assert.isAtMost(yield* Clock.currentTimeMillis, 2000)
      })
    )
  )

  it.effect("a handler that throws is logged and cut", () =>
    withAlerts((service, logged) =>
      Effect.gen(function* () {
        yield* service.handle((): Effect.Effect<void> => {
          throw new Error("before the effect")
        })
        yield* service.publish(alert("1"))
        yield* service.drained
        assert.match(logged.join(), /Alert handler failed/)
      })
    )
  )

  it.effect("are cut after five seconds unless told otherwise", () =>
    withAlerts((service, logged) =>
      Effect.gen(function* () {
        yield* service.handle(() => Effect.never)
        yield* service.publish(alert("1"))
        yield* service.drained
        assert.strictEqual(yield* Clock.currentTimeMillis, 5000)
        assert.match(logged.join(), /cut after 5s/)
      })
    )
  )

  it.effect("end with their scope, in the middle of an alert", () =>
    withAlerts((service) =>
      Effect.gen(function* () {
        const ends: Array<string> = []
        const scope = yield* Scope.make()
        const handling = service.handle(({ message }) =>
          Effect.onExit(Effect.sleep("3 seconds"), (exit) =>
            Effect.sync(() => ends.push(`${message} ${Exit.isSuccess(exit) ? "done" : "cut"}`))
          )
        )
        yield* Effect.provideService(handling, Scope.Scope, scope)
        yield* Effect.forEach(alerts(3), service.publish)
        yield* Effect.sleep("4 seconds")
        const draining = yield* Effect.forkChild(service.drained, { startImmediately: true })
        yield* Effect.yieldNow
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(draining)
        assert.deepStrictEqual(ends, ["1 done", "2 cut"])
        yield* service.publish(alert("4"))
        yield* service.drained
        assert.strictEqual(yield* Clock.currentTimeMillis, 4000)
        assert.strictEqual(ends.length, 2)
      })
    )
  )
})

describe("drained", () => {
  it.effect("waits for all that was told before, by all handlers, and for nothing that comes later", () =>
    withAlerts((service) =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const slowly = (name: string, millis: number) =>
          service.handle(({ message }) =>
            Effect.andThen(
              Effect.sleep(millis),
              Effect.sync(() => seen.push(`${name}${message}`))
            )
          )
        yield* slowly("a", 100)
        yield* slowly("b", 300)
        yield* Effect.forEach(alerts(2), service.publish)
        const draining = yield* Effect.forkChild(service.drained, { startImmediately: true })
        yield* Effect.yieldNow
        yield* Effect.sleep(1)
        yield* Effect.forEach(alerts(5, 3), service.publish)
        yield* Fiber.join(draining)
        assert.strictEqual(yield* Clock.currentTimeMillis, 600)
        assert.deepStrictEqual(
          seen.filter((name) => name.startsWith("b")),
          ["b1", "b2"]
        )
        yield* service.drained
        assert.strictEqual(yield* Clock.currentTimeMillis, 2100)
        assert.strictEqual(seen.length, 14)
      })
    )
  )

  it.effect("waits at once, right after an alert, and not at all when nothing was told or nobody listens", () =>
    withAlerts((service) =>
      Effect.gen(function* () {
        yield* service.drained
        yield* service.publish(alert("0"))
        yield* service.drained
        const seen: Array<string> = []
        yield* service.handle(({ message }) => Effect.sync(() => seen.push(message)))
        yield* service.drained
        assert.deepStrictEqual(seen, ["0"])
        for (let round = 1; round <= 20; round++) {
          yield* service.publish(alert(`${round}`))
          yield* service.drained
          assert.strictEqual(seen.length, round + 1)
        }
      })
    )
  )

  it.effect("can be asked by many at once and be interrupted", () =>
    withAlerts((service) =>
      Effect.gen(function* () {
        yield* service.handle(() => Effect.sleep("1 second"))
        yield* Effect.forEach(alerts(3), service.publish)
        const impatient = yield* Effect.forkChild(service.drained, { startImmediately: true })
        yield* Effect.sleep(1)
        yield* Fiber.interrupt(impatient)
        yield* Effect.all([service.drained, service.drained, service.drained], { concurrency: "unbounded" })
        assert.strictEqual(yield* Clock.currentTimeMillis, 3000)
      })
    )
  )
})
