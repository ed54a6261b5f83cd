import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, PubSub, Schedule, Stream } from "effect"
import { VirtualClock } from "headgate/testing"

/** Forks a sleeper per entry, in order, and gives the names in the order in which they woke. */
const wakingOrder = (sleepers: ReadonlyArray<readonly [name: string, millis: number]>) =>
  Effect.gen(function* () {
    const woken: Array<string> = []
    yield* Effect.forEach(
      sleepers,
      ([name, millis]) =>
        Effect.andThen(
          Effect.sleep(millis),
          Effect.sync(() => woken.push(name))
        ),
      { concurrency: "unbounded", discard: true }
    )
    return woken
  })

describe("VirtualClock.run", () => {
  it.effect("wakes sleepers by time, then in the order in which they lay down", () =>
    Effect.gen(function* () {
      const woken = yield* VirtualClock.run(
        wakingOrder([
          ["c", 30],
          ["a", 10],
          ["d", 30],
          ["b", 20],
          ["e", 30]
        ])
      )
      assert.deepStrictEqual(woken, ["a", "b", "c", "d", "e"])
    })
  )

  it.effect("lets everything a sleeper starts come to rest before the next one wakes", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const say = (what: string) => Effect.sync(() => seen.push(what))
      const sleeper = (name: string) =>
        Effect.sleep(10).pipe(
          Effect.andThen(Effect.forkChild(Effect.andThen(Effect.yieldNow, say(`${name} child`)))),
          Effect.flatMap(Fiber.join)
        )
      yield* VirtualClock.run(Effect.all([sleeper("a"), sleeper("b")], { concurrency: "unbounded" }))
      assert.deepStrictEqual(seen, ["a child", "b child"])
    })
  )

  it.effect("starts at the given time and moves in whole milliseconds, never waking early", () =>
    Effect.gen(function* () {
      const now = yield* VirtualClock.run(Effect.andThen(Effect.sleep("1500 micros"), Clock.currentTimeMillis), {
        start: "2026-01-01T00:00:00Z"
      })
      assert.strictEqual(now, Date.UTC(2026, 0, 1) + 2)
    })
  )

  it.effect("tells every time it moves to", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      yield* VirtualClock.run(
        wakingOrder([
          ["a", 5],
          ["b", 5],
          ["c", 9]
        ]),
        { onAdvance: (now) => times.push(now) }
      )
      assert.deepStrictEqual(times, [5, 9])
    })
  )

  it.effect("forgets an interrupted sleeper", () =>
    Effect.gen(function* () {
      const now = yield* VirtualClock.run(
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(Effect.sleep("1 hour"))
          yield* Effect.sleep("1 second")
          yield* Fiber.interrupt(fiber)
          const timedOut = yield* Effect.timeoutOption(Effect.sleep("1 day"), "1 minute")
          assert.strictEqual(timedOut._tag, "None")
          yield* Effect.sleep("1 second")
          return yield* Clock.currentTimeMillis
        })
      )
      assert.strictEqual(now, 62_000)
    })
  )

  it.effect("keeps the order of those who sleep on while others are interrupted", () =>
    Effect.gen(function* () {
      const wakeAt = (index: number) => 1_000 + ((index * 379) % 97)
      const interruptAt = (index: number) => (index % 3 === 0 ? (index * 31) % 900 : undefined)
      const woken = yield* VirtualClock.run(
        Effect.gen(function* () {
          const woken: Array<number> = []
          for (let index = 0; index < 300; index++) {
            const sleeper = yield* Effect.forkChild(
              Effect.andThen(
                Effect.sleep(wakeAt(index)),
                Effect.sync(() => woken.push(index))
              )
            )
            const at = interruptAt(index)
            if (at !== undefined) yield* Effect.forkChild(Effect.delay(Fiber.interrupt(sleeper), at))
          }
          yield* Effect.sleep("1 minute")
          return woken
        })
      )
      const expected = Array.from({ length: 300 }, (_, index) => index)
        .filter((index) => interruptAt(index) === undefined)
        .sort((a, b) => wakeAt(a) - wakeAt(b) || a - b)
      assert.deepStrictEqual(woken, expected)
    })
  )

  it.effect("passes on failures, defects and services", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Effect.flip(VirtualClock.run(Effect.fail("no"))), "no")
      const exit = yield* Effect.exit(VirtualClock.run(Effect.die("broken")))
      assert.isTrue(Exit.hasDies(exit))
      const pubsub = yield* Effect.scoped(VirtualClock.run(Effect.acquireRelease(PubSub.unbounded(), PubSub.shutdown)))
      assert.isDefined(pubsub)
    })
  )

  it.effect("runs schedules and streams", () =>
    Effect.gen(function* () {
      const program = Stream.fromSchedule(Schedule.spaced("1 second")).pipe(
        Stream.mapEffect(() => Clock.currentTimeMillis),
        Stream.take(3),
        Stream.runCollect
      )
      assert.deepStrictEqual([...(yield* VirtualClock.run(program))], [1000, 2000, 3000])
    })
  )

  it.effect("reports fibers that wait for something that never comes, and lets them clean up", () =>
    Effect.gen(function* () {
      let released = 0
      const stuck = (name: string) =>
        Effect.flatMap(Deferred.make<void>(), Deferred.await).pipe(
          Effect.onInterrupt(() =>
            Effect.andThen(
              Effect.sleep("1 second"),
              Effect.sync(() => released++)
            )
          ),
          Effect.withSpan(name)
        )
      const error = yield* VirtualClock.run(
        Effect.andThen(Effect.sleep("1 minute"), Effect.all([stuck("left"), stuck("right")], { concurrency: 2 }))
      ).pipe(Effect.flip)
      assert.strictEqual(error._tag, "Deadlock")
      assert.strictEqual(error.now, 60_000)
      assert.strictEqual(error.count, 3)
      assert.include(error.message, "at 1970-01-01T00:01:00.000Z nothing can run")
      assert.include(error.message, "(left)")
      assert.include(error.message, "(right)")
      assert.strictEqual(released, 2)
    })
  )

  it.effect("reports a real promise as something that never comes", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(VirtualClock.run(Effect.promise(() => Promise.resolve(1))))
      assert.strictEqual(error._tag, "Deadlock")
    })
  )

  it.effect("is interrupted from outside between turns, and lets the program clean up", () =>
    Effect.gen(function* () {
      let released: number | undefined
      const forever = Effect.repeat(Effect.void, Schedule.spaced("1 minute")).pipe(
        Effect.onInterrupt(() =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            released = now
          })
        )
      )
      const fiber = yield* Effect.forkChild(VirtualClock.run(forever))
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      assert.isAbove(released ?? 0, 0)
    })
  )

  it.effect("stops at its limit when only a background fiber goes on", () =>
    Effect.gen(function* () {
      const program = Effect.andThen(
        Effect.forkChild(Effect.repeat(Effect.void, Schedule.spaced("1 minute"))),
        Effect.never
      )
      const error = yield* Effect.flip(VirtualClock.run(program, { limit: "1 hour" }))
      assert.strictEqual(error.now, 60 * 60_000)
    })
  )

  it.effect("replays 100,000 sleeping fibers in order", () =>
    Effect.gen(function* () {
      const count = 100_000
      const woken: Array<number> = []
      const at = (index: number) => 1 + ((index * 7_919) % 50_000)
      const last = yield* VirtualClock.run(
        Effect.gen(function* () {
          for (let index = 0; index < count; index++) {
            yield* Effect.forkChild(
              Effect.andThen(
                Effect.sleep(at(index)),
                Effect.sync(() => woken.push(index))
              )
            )
          }
          yield* Effect.sleep(50_000)
          return yield* Clock.currentTimeMillis
        })
      )
      assert.strictEqual(last, 50_000)
      assert.strictEqual(woken.length, count)
      const expected = Array.from({ length: count }, (_, index) => index).sort((a, b) => at(a) - at(b) || a - b)
      assert.deepStrictEqual(woken, expected)
    })
  )
})

describe("VirtualClock.runSync", () => {
  it("gives the exit", () => {
    assert.deepStrictEqual(VirtualClock.runSync(Effect.as(Effect.sleep("1 day"), 1)), Exit.succeed(1))
    assert.deepStrictEqual(VirtualClock.runSync(Effect.fail("no")), Exit.fail("no"))
  })
})

describe("VirtualClock.layer", () => {
  it.effect("wakes sleepers in order under a host", () =>
    Effect.gen(function* () {
      const woken = yield* wakingOrder([
        ["c", 30_000],
        ["a", 10_000],
        ["b", 20_000],
        ["d", 30_000]
      ])
      assert.deepStrictEqual(woken, ["a", "b", "c", "d"])
      assert.strictEqual(yield* Clock.currentTimeMillis, 30_000)
    }).pipe(Effect.provide(VirtualClock.layer()))
  )

  it.effect("lets settled promises in", () =>
    Effect.gen(function* () {
      yield* Effect.promise(() => Promise.resolve())
      yield* Effect.sleep("1 hour")
      yield* Effect.promise(() => Promise.resolve())
      assert.strictEqual(yield* Clock.currentTimeMillis, 3_600_000)
    }).pipe(Effect.provide(VirtualClock.layer()))
  )
})

describe("VirtualClock.outside", () => {
  /** Real work of two turns of the event loop. */
  const real = Effect.promise(() => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve))))

  it.live("takes no virtual time, and keeps the order in which things happen", () =>
    Effect.gen(function* () {
      const program = (step: Effect.Effect<unknown>) =>
        Effect.gen(function* () {
          const log: Array<string> = []
          const worker = Effect.fnUntraced(function* (name: string, pause: number) {
            for (let round = 0; round < 5; round++) {
              yield* Effect.sleep(pause)
              yield* step
              yield* Effect.yieldNow
              log.push(`${name}${round} ${yield* Clock.currentTimeMillis}`)
            }
          })
          const fibers = yield* Effect.forEach([7, 11, 13], (pause) => Effect.forkChild(worker(`${pause}.`, pause)))
          yield* Fiber.awaitAll(fibers)
          return log
        })
      const expected = yield* VirtualClock.run(program(Effect.void))
      assert.strictEqual(expected.length, 15)
      for (const step of [VirtualClock.outside(real), VirtualClock.outside(Effect.void)]) {
        assert.deepStrictEqual(yield* VirtualClock.run(program(step)), expected)
      }
    })
  )

  it.live("runs on the clock around it, and gives its result", () =>
    Effect.gen(function* () {
      const [time, failed] = yield* VirtualClock.run(
        Effect.all([
          VirtualClock.outside(Effect.andThen(Effect.sleep("1 millis"), Clock.currentTimeMillis)),
          Effect.exit(VirtualClock.outside(Effect.fail("no")))
        ])
      )
      assert.isAbove(time, Date.UTC(2020))
      assert.deepStrictEqual(failed, Exit.fail("no"))
      assert.strictEqual(yield* VirtualClock.outside(Effect.succeed(1)), 1)
    })
  )

  it.live("is interrupted with its fiber, and the run with it is waited for", () =>
    Effect.gen(function* () {
      const ended: Array<string> = []
      const work = VirtualClock.outside(Effect.never).pipe(
        Effect.onInterrupt(() => VirtualClock.outside(Effect.map(real, () => ended.push("inside"))))
      )
      yield* VirtualClock.run(
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(work)
          yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
        })
      )
      assert.deepStrictEqual(ended, ["inside"])
      const running = yield* Effect.forkChild(VirtualClock.run(work))
      yield* real
      yield* Fiber.interrupt(running)
      assert.deepStrictEqual(ended, ["inside", "inside"])
    })
  )

  it.live("still tells a program that can never end", () =>
    Effect.gen(function* () {
      const program = Effect.andThen(VirtualClock.outside(real), Effect.never)
      assert.strictEqual((yield* Effect.flip(VirtualClock.run(program)))._tag, "Deadlock")
      assert.isTrue(Exit.isFailure(VirtualClock.runSync(VirtualClock.outside(real))))
    })
  )

  it.live("lets time stand still under layer too", () =>
    Effect.gen(function* () {
      const program = Effect.gen(function* () {
        const sleeper = yield* Effect.forkChild(Effect.andThen(Effect.sleep("1 hour"), Clock.currentTimeMillis))
        yield* Effect.yieldNow
        yield* VirtualClock.outside(real)
        return [yield* Clock.currentTimeMillis, yield* Fiber.join(sleeper)]
      })
      assert.deepStrictEqual(yield* Effect.provide(program, VirtualClock.layer()), [0, 3_600_000])
    })
  )
})
