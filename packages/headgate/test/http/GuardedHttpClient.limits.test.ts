import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { chat, message, paced, paths, setUp, type Settings, streamed } from "./support.ts"

const limits = { requestsPerMinute: 20, tokensPerMinute: 20_000 }
const minutes = 60_000

/** An answer of 40 to 220 words, each a token, after two seconds. */
const script = ({ index }: { readonly index: number }) => {
  const answer = Array.from({ length: 40 + (index % 7) * 30 }, (_, word) => `w${word}`).join(" ")
  return { answer, after: "2 seconds" } as const
}

/** How 200 calls end that all want in at once, and what both sides have counted. */
const rush = Effect.fnUntraced(function* (settings: Settings, bodyOf: (index: number) => object, path = paths.chat) {
  const { booked, post, provider } = yield* setUp(settings)
  const outcomes = yield* paced(
    provider,
    Effect.forEach(
      Array(200).keys(),
      (index) =>
        post({ ...bodyOf(index), max_tokens: 400 + (index % 5) * 500, user: `${index}` }, path).pipe(
          Effect.flatMap(({ status, text }) => Effect.as(text, status)),
          Effect.catch((error) => Effect.succeed(error._tag))
        ),
      { concurrency: "unbounded" }
    )
  )
  const { rateLimited, requests, tokens } = yield* provider.totals
  const { held, tokens: settled } = yield* booked
  assert.strictEqual(held, 0)
  assert.strictEqual(settled, tokens)
  assert.isAtMost(rateLimited - 1, requests / 100)
  return {
    answered: outcomes.filter((outcome) => outcome === 200).length,
    refused: outcomes.filter((outcome) => outcome === "RateLimitExceeded").length,
    now: yield* Clock.currentTimeMillis
  }
})

describe("GuardedHttpClient, when 200 calls want in at 20 requests and 20,000 tokens a minute", () => {
  it.effect("brings them through or refuses them, with next to no 429, and counts as the provider does", () =>
    Effect.gen(function* () {
      const { answered, now, refused } = yield* rush(
        { rateLimiter: { ...limits, maxWait: "8 minutes" }, answers: { ...limits, script } },
        () => chat
      )
      assert.strictEqual(answered + refused, 200)
      // The provider charges 1,400 tokens for each on the average, which it gives away nine times.
      assert.isAtLeast(answered, 120)
      assert.isAtMost(now, 9 * minutes)
    })
  )

  it.effect("brings all through where nobody minds to wait", () =>
    Effect.gen(function* () {
      const { answered, now } = yield* rush({ rateLimiter: limits, answers: { ...limits, script } }, () => chat)
      assert.strictEqual(answered, 200)
      assert.isAtMost(now, 15 * minutes)
    })
  )

  it.effect("does so where each second one is a stream", () =>
    Effect.gen(function* () {
      const { answered } = yield* rush({ rateLimiter: limits, answers: { ...limits, script } }, (index) =>
        index % 2 === 0 ? streamed : chat
      )
      assert.strictEqual(answered, 200)
    })
  )

  it.effect("does so at a provider that settles as Anthropic does", () =>
    Effect.gen(function* () {
      const { answered } = yield* rush(
        { rateLimiter: limits, answers: { ...limits, script, tokenCharge: "settled" } },
        (index) => ({ ...message, stream: index % 2 === 0 }),
        paths.messages
      )
      assert.strictEqual(answered, 200)
    })
  )
})
