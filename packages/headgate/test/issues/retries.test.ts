import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect } from "effect"
import { Guard, guard, RateLimiter, Retry } from "headgate"
import { VirtualClock } from "headgate/testing"

/** The seconds at which a call is tried that fails with `errors`, one after the other, and then answers. */
const triesOf = (errors: ReadonlyArray<unknown>, options: Retry.Options = {}) =>
  Effect.gen(function* () {
    const times: Array<number> = []
    const call = Effect.flatMap(Clock.currentTimeMillis, (now) => {
      times.push(now / 1000)
      return times.length > errors.length ? Effect.void : Effect.fail(errors[times.length - 1])
    })
    const exit = yield* Effect.exit(Effect.retry(call, Retry.schedule(options)))
    return { times, exit }
  }).pipe(VirtualClock.run())

const asks = (retryAfter: string) => ({ status: 429, headers: new Headers({ "retry-after": retryAfter }) })

describe("retries", () => {
  it.effect("wait as the last error asks, not an earlier one (litellm #20722)", () =>
    Effect.gen(function* () {
      const { times } = yield* triesOf([asks("9"), asks("107")], { maxRetryAfter: "2 minutes", jitter: "none" })
      assert.deepStrictEqual(times, [0, 9, 116])
    })
  )

  it.effect("heed Retry-After (bifrost #6971, vercel #7247)", () =>
    Effect.map(triesOf([asks("20")]), ({ times }) => assert.deepStrictEqual(times, [0, 20]))
  )

  it.effect("told to wait five minutes never come back in seconds (openai-node)", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* triesOf([asks("300")])).times, [0])
      assert.deepStrictEqual((yield* triesOf([asks("300")], { maxRetryAfter: "5 minutes" })).times, [0, 300])
    })
  )

  it.effect("do not wait 84 hours because a server says so (oh-my-pi #7003)", () =>
    Effect.map(triesOf([asks("302539")]), ({ times }) => assert.deepStrictEqual(times, [0]))
  )

  it.effect("are no reason to refuse healthy calls for 84 hours because of one server's word (oh-my-pi #7003)", () =>
    Effect.gen(function* () {
      const call = { estimate: {}, actual: () => ({}), subject: { model: "gpt-5.6" } }
      const sick = { status: 503, headers: { "retry-after": "302539" } }
      yield* Effect.flip(guard(Effect.fail(sick), call))
      const refused = yield* Effect.flip(guard(Effect.void, call))
      assert.deepInclude(refused, { _tag: "RateLimitExceeded", retryAfter: Duration.minutes(5) })
      yield* Effect.sleep("5 minutes")
      const calls = Array.from({ length: 20 }, () => guard(Clock.currentTimeMillis, call))
      const answered = yield* Effect.all(calls, { concurrency: "unbounded" })
      assert.deepStrictEqual(
        answered,
        calls.map(() => 300_000)
      )
    }).pipe(Effect.provide(Guard.layerMemory({})), VirtualClock.run())
  )

  it.effect("wait the 60 seconds that the limit allows, with nothing added to it (gsd-2 #773)", () =>
    Effect.map(triesOf([asks("60")]), ({ times }) => assert.deepStrictEqual(times, [0, 60]))
  )

  it.effect("do not take a date that cannot be read for now (Anthropic SDK)", () =>
    Effect.map(triesOf([asks("Tomorrow, 32 Foo 2026")], { jitter: "none" }), ({ times }) =>
      assert.deepStrictEqual(times, [0, 1])
    )
  )

  it.effect("of many calls do not come back together (Vercel AI SDK)", () =>
    Effect.gen(function* () {
      const moments = new Set<number>()
      yield* Effect.forEach(Array.from({ length: 100 }), () =>
        Effect.map(triesOf([{ status: 503 }]), ({ times }) => moments.add(times[1]!))
      )
      assert.isAbove(moments.size, 50)
    })
  )

  it.effect("are not wasted on a 429 that no waiting cures (cognee #4679, LightRAG #3736, langchainjs #1929)", () =>
    Effect.gen(function* () {
      for (const code of ["insufficient_quota", "budget_exceeded", "billing_hard_limit_reached"]) {
        const error = { status: 429, headers: new Headers({ "retry-after": "1" }), error: { code } }
        assert.deepStrictEqual((yield* triesOf([error])).times, [0])
      }
    })
  )

  it.effect("do not multiply where one policy stands inside another (code_puppy #317, nanobot #2759)", () =>
    Effect.gen(function* () {
      let calls = 0
      const call = Effect.suspend(() => {
        calls++
        return Effect.fail({ status: 503 })
      })
      yield* Effect.flip(Retry.run(Retry.run(Retry.run(call))))
      assert.strictEqual(calls, 4)
      // Where the inner one gives the last error instead, as Effect.retry does, their shared budget ends it.
      const { retry } = yield* Retry.Retry
      for (let round = 0; round < 20; round++) yield* Effect.flip(retry(retry(retry(call))))
      assert.isAtMost(calls, 4 + 20 + 36)
    }).pipe(Effect.provide(Retry.layer()), VirtualClock.run())
  )

  it.effect("count each request, not each call (caura #859)", () =>
    Effect.gen(function* () {
      yield* Effect.flip(guard(Effect.fail({ status: 503 }), { estimate: {}, actual: () => ({}) }))
      const { quotas } = yield* (yield* RateLimiter.RateLimiter).status()
      assert.strictEqual(quotas[0]?.used, 3)
    }).pipe(
      Effect.provide(Guard.layerMemory({ rateLimiter: { requestsPerMinute: 10 }, retry: { maxRetries: 2 } })),
      VirtualClock.run()
    )
  )
})
