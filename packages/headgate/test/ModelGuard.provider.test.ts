import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Stream } from "effect"
import { ModelGuard, RateLimiter } from "headgate"
import { VirtualClock } from "headgate/testing"

const prices = { m: { input: "$10/M", output: "$100/M" } } as const

const run = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  VirtualClock.run(
    Effect.provide(program, ModelGuard.layerMemory({ prices, retry: { maxRetries: 0 } }), {
      local: true
    })
  )

const at = (provider?: string) => ({ model: "m", input: "How deep is the sea?", maxOutputTokens: 10, provider })
const limited = { status: 429, headers: { "retry-after": "120" } }

/** When a call goes, as one of the ways of a guard. */
const ways = {
  run: (provider?: string) => ModelGuard.run(Clock.currentTimeMillis, at(provider)),
  stream: (provider?: string) =>
    Effect.map(
      Stream.runCollect(ModelGuard.stream(Stream.fromEffect(Clock.currentTimeMillis), at(provider))),
      ([time]) => time
    )
}

/** What fails at a provider, as one of the ways of a guard. */
const failing = {
  run: (provider?: string) => ModelGuard.run(Effect.fail(limited), at(provider)),
  stream: (provider?: string) => Stream.runDrain(ModelGuard.stream(Stream.fail(limited), at(provider)))
}

describe.each(["run", "stream"] as const)("what a provider says, through %s,", (way) => {
  const times = (...providers: ReadonlyArray<string | undefined>) =>
    Effect.forEach(providers, ways[way], { concurrency: "unbounded" })

  it.effect("holds up its own calls of the model, and nobody else's", () =>
    Effect.gen(function* () {
      yield* Effect.flip(failing[way]("openai"))
      assert.deepStrictEqual(yield* times("azure", undefined, "openai"), [0, 0, 120_000])
    }).pipe(run)
  )

  it.effect("holds up all calls of the model where it is not known who says it", () =>
    Effect.gen(function* () {
      yield* Effect.flip(failing[way]())
      assert.deepStrictEqual(yield* times("azure", undefined, "openai"), [120_000, 120_000, 120_000])
    }).pipe(run)
  )

  it.effect("is lifted by the same provider only", () =>
    Effect.gen(function* () {
      yield* Effect.flip(failing[way]("openai"))
      yield* Effect.flip(failing[way]("azure"))
      const waiting = yield* Effect.forkChild(times("azure", "openai"), { startImmediately: true })
      yield* Effect.sleep("1 second")
      // A word of the call that runs; it is of another model, so that it need not wait.
      yield* ModelGuard.run(
        RateLimiter.RateLimiter.use(({ feedback }) => feedback({ retryAfter: 0 }, { model: "m" })),
        { ...at("azure"), subject: { model: "other" } }
      )
      assert.deepStrictEqual(yield* Fiber.join(waiting), [1000, 120_000])
    }).pipe(run)
  )

  it.effect("is told by the status of the model", () =>
    Effect.gen(function* () {
      yield* Effect.flip(failing[way]("openai"))
      yield* Effect.flip(failing[way]("azure"))
      const { quotas } = yield* RateLimiter.RateLimiter.use(({ status }) => status({ model: "m" }))
      const subject = { model: "m" }
      assert.deepStrictEqual(
        quotas.map(({ name, subject }) => ({ name, subject })),
        [
          { name: "provider", subject },
          { name: "provider", subject }
        ]
      )
    }).pipe(run)
  )

  it.effect("is nothing to a call within, of which it is not known where it goes", () =>
    Effect.gen(function* () {
      yield* Effect.flip(failing[way]("openai"))
      const inner = yield* ModelGuard.run(ways[way](), { ...at("openai"), subject: { model: "other" } })
      assert.strictEqual(inner, 0)
    }).pipe(run)
  )
})
