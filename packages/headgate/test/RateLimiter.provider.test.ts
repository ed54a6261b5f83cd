// The limiter against providers that count for themselves: it has no limits but those that their replies tell.
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Random } from "effect"
import { RateLimiter } from "headgate"
import { VirtualClock } from "headgate/testing"

const minute = 60_000

interface Limit {
  readonly unit: "requests" | "tokens"
  readonly limit: number
}

interface Counted {
  readonly take: (amount: number, now: number) => boolean
  readonly giveBack: (amount: number, now: number) => void
  readonly said: (now: number) => RateLimiter.FeedbackLimit
  readonly retryAfter: (amount: number, now: number) => number
}

/** Refilled evenly, in units of a minute's parts, so that nothing is rounded. */
const bucket = ({ limit, unit }: Limit): Counted => {
  let level = limit * minute
  let at = 0
  const refill = (now: number) => {
    level = Math.min(limit * minute, level + limit * (now - at))
    at = now
  }
  return {
    take: (amount, now) => {
      refill(now)
      if (level < amount * minute) return false
      level -= amount * minute
      return true
    },
    giveBack: (amount, now) => {
      refill(now)
      level = Math.min(limit * minute, level + amount * minute)
    },
    said: (now) => {
      refill(now)
      const remaining = Math.floor(level / minute)
      return { unit, limit, remaining, resetAfter: Math.ceil((limit * minute - level) / limit), recovers: "gradually" }
    },
    retryAfter: (amount, now) => {
      refill(now)
      return Math.max(0, Math.ceil((amount * minute - level) / limit))
    }
  }
}

/** Counts each minute by itself. */
const window = ({ limit, unit }: Limit): Counted => {
  let used = 0
  let current = 0
  const turn = (now: number) => {
    const index = Math.floor(now / minute)
    if (index > current) used = 0
    current = Math.max(current, index)
  }
  return {
    take: (amount, now) => {
      turn(now)
      if (used + amount > limit) return false
      used += amount
      return true
    },
    giveBack: () => undefined,
    said: (now) => {
      turn(now)
      return { unit, limit, remaining: limit - used, resetAfter: minute - (now % minute) }
    },
    retryAfter: (_, now) => minute - (now % minute)
  }
}

interface World {
  readonly kind: (limit: Limit) => Counted
  readonly limits: readonly [requests: Limit, tokens: Limit]
  /** How long a request takes to the provider: requests arrive in the order in which they leave. */
  readonly latency: Effect.Effect<number>
  /** How long a reply takes: replies come in any order. */
  readonly delay: Effect.Effect<number>
  /** Whether the provider gives back what a reply did not need. */
  readonly settles: boolean
  /** After what pause, and within what time, 200 calls come that follow the first. */
  readonly pause: Effect.Effect<number>
  readonly within: number
}

const subject = { model: "gpt-5.6" }

/** Asks once, and then 200 times. */
const play = ({ delay, kind, latency, limits, pause, settles, within }: World) =>
  Effect.gen(function* () {
    const limiter = yield* RateLimiter.RateLimiter
    const [requests, tokens] = limits.map(kind) as [Counted, Counted]
    const seen = { answered: 0, refused: 0, tokens: 0, order: [] as Array<number>, end: 0 }
    let arrived = 0

    const process = (amount: number, now: number): RateLimiter.Feedback => {
      const fits = requests.retryAfter(1, now) === 0 || requests.said(now).remaining > 0
      if (!fits || !tokens.take(amount, now)) {
        seen.refused++
        const retryAfter = Math.max(requests.retryAfter(1, now), tokens.retryAfter(amount, now))
        return { limits: [requests.said(now), tokens.said(now)], retryAfter }
      }
      assert.isTrue(requests.take(1, now))
      seen.answered++
      seen.tokens += amount
      return { limits: [requests.said(now), tokens.said(now)] }
    }

    const call = (index: number, amount: number) =>
      Effect.gen(function* () {
        seen.order.push(index)
        const sent = yield* Clock.currentTimeMillis
        arrived = Math.max(arrived, sent + (yield* latency))
        yield* Effect.sleep(arrived - sent)
        const told = process(amount, yield* Clock.currentTimeMillis)
        yield* Effect.sleep(yield* delay)
        if (settles) tokens.giveBack(amount >> 1, yield* Clock.currentTimeMillis)
        yield* limiter.feedback(told, subject)
        seen.end = yield* Clock.currentTimeMillis
      }).pipe(RateLimiter.withLimit({ tokens: amount }, subject))

    yield* call(-1, 500)
    yield* Effect.sleep(yield* pause)
    const calls = yield* Effect.forEach(
      Array.from({ length: 200 }, (_, index) => index),
      (index) => Effect.all([Effect.succeed(index), Random.nextIntBetween(100, 3000), Random.nextIntBetween(0, within)])
    )
    const inOrder = calls.toSorted(([, , a], [, , b]) => a - b).map(([_, amount, at], index) => ({ index, amount, at }))
    const start = yield* Clock.currentTimeMillis
    yield* Effect.forEach(inOrder, ({ amount, at, index }) => Effect.andThen(Effect.sleep(at), call(index, amount)), {
      concurrency: "unbounded"
    })
    return { ...seen, elapsed: seen.end - start }
  }).pipe(Effect.provide(RateLimiter.layerMemory({}), { local: true }), VirtualClock.run())

const limits: World["limits"] = [
  { unit: "requests", limit: 20 },
  { unit: "tokens", limit: 20_000 }
]
const seeds = Array.from({ length: 12 }, (_, index) => `seed ${index}`)

describe("a provider's bucket", () => {
  const world: World = {
    kind: bucket,
    limits,
    latency: Effect.succeed(80),
    delay: Random.nextIntBetween(0, 30_000),
    settles: false,
    pause: Effect.succeed(0),
    within: 120_000
  }

  it.effect.each(seeds)("is never asked for more than it has, and used to nine tenths, %s", (seed) =>
    Effect.gen(function* () {
      const { answered, elapsed, order, refused, tokens } = yield* play(world)
      assert.deepStrictEqual([answered, refused], [201, 0])
      assert.deepStrictEqual(
        order,
        order.toSorted((a, b) => a - b)
      )
      const least = Math.max(200 / 20, tokens / 20_000) * minute
      assert.isAbove(elapsed, least - minute)
      assert.isBelow(elapsed, least / 0.9 + minute)
    }).pipe(Random.withSeed(seed))
  )

  it.effect.each(seeds)("that gives back what a reply did not need is not asked for more either, %s", (seed) =>
    Effect.gen(function* () {
      const { answered, refused } = yield* play({ ...world, settles: true })
      assert.deepStrictEqual([answered, refused], [201, 0])
    }).pipe(Random.withSeed(seed))
  )

  it.effect.each(seeds)(
    "to which the way is now long and now short refuses one call of a hundred at most, %s",
    (seed) =>
      Effect.gen(function* () {
        const { answered, refused } = yield* play({ ...world, latency: Random.nextIntBetween(1, 500) })
        assert.strictEqual(answered + refused, 201)
        assert.isAtMost(refused, 2)
      }).pipe(Random.withSeed(seed))
  )
})

describe("a provider's bucket, asked by all at once and slow to answer", () => {
  const world: World = {
    kind: bucket,
    limits,
    latency: Effect.succeed(80),
    delay: Random.nextIntBetween(30_000, 90_000),
    settles: false,
    pause: Random.nextIntBetween(0, 5000),
    within: 1
  }

  it.effect.each(seeds)("is never asked for more than it has, %s", (seed) =>
    Effect.gen(function* () {
      const { answered, refused } = yield* play({ ...world, delay: Effect.succeed(1) })
      assert.deepStrictEqual([answered, refused], [201, 0])
      const slow = yield* play(world)
      assert.deepStrictEqual([slow.answered, slow.refused], [201, 0])
    }).pipe(Random.withSeed(seed))
  )
})

describe("a provider's window", () => {
  it.effect.each(seeds)("is never asked for more than it has, %s", (seed) =>
    Effect.gen(function* () {
      const { answered, refused } = yield* play({
        kind: window,
        limits,
        latency: Effect.succeed(0),
        delay: Random.nextIntBetween(0, 20_000),
        settles: false,
        pause: Effect.succeed(0),
        within: 120_000
      })
      assert.deepStrictEqual([answered, refused], [201, 0])
    }).pipe(Random.withSeed(seed))
  )
})
