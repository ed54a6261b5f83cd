import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import type { Budget, RateLimiter, Retry } from "headgate"
import * as Policy from "../src/Policy.ts"
import type { PolicyFile } from "../src/policyFile.ts"

interface Options {
  readonly budget: Budget.Options
  readonly rateLimiter: RateLimiter.Options
  readonly retry: Omit<Retry.Options, "while" | "retryAfter" | "onRetry">
}
type InFile = Required<typeof PolicyFile.Type>
type Absent = { [Part in keyof Options]: Exclude<keyof Options[Part], keyof InFile[Part]> }[keyof Options]

const reasonOf = (file: unknown) =>
  Effect.map(
    Effect.flip(Policy.parse("test", typeof file === "string" ? file : JSON.stringify(file))),
    (error) => error.message
  )

describe("a policy file", () => {
  it.effect("has the library's defaults where it says nothing", () =>
    Effect.gen(function* () {
      const policy = yield* Policy.parse("test", "{}")
      assert.strictEqual(policy.budget.maxTokensPerMinute, 500_000)
      assert.deepStrictEqual(policy.rateLimiter, {})
      assert.strictEqual(policy.provider.errorShare, 0.01)
    })
  )

  it.effect("names the path of every error at once", () =>
    Effect.gen(function* () {
      const reason = yield* reasonOf({
        budget: { maxTokensPerMinute: -1, maxCostPerDay: "ten", per: { user: { maxTokensPerDay: 1.5 } }, timeZone: 3 },
        rateLimiter: { onExceeded: "wait", maxWait: "soon" },
        retry: { jitter: 2 },
        provider: { errorShare: 1.1 }
      })
      for (const path of [
        '["budget"]["maxTokensPerMinute"]',
        '["budget"]["maxCostPerDay"]',
        '["budget"]["per"]["user"]["maxTokensPerDay"]',
        '["budget"]["timeZone"]',
        '["rateLimiter"]["onExceeded"]',
        '["rateLimiter"]["maxWait"]',
        '["retry"]["jitter"]',
        '["provider"]["errorShare"]'
      ])
        assert.include(reason, path)
    })
  )

  it.effect("has no unknown names", () =>
    Effect.gen(function* () {
      assert.include(yield* reasonOf({ budgets: {} }), '["budgets"]')
      assert.include(yield* reasonOf({ budget: { maxTokensPerMinuet: 1 } }), '["maxTokensPerMinuet"]')
      assert.include(yield* reasonOf({ budget: { per: { user: { tokens: 1 } } } }), '["tokens"]')
    })
  )

  it.effect("takes money for costs and counts for the rest", () =>
    Effect.gen(function* () {
      const window = { _tag: "Lifetime" }
      const quotas = (quota: object) => ({ budget: { quotas: [{ window, ...quota }] } })
      const { budget } = yield* Policy.parse("test", JSON.stringify(quotas({ unit: "cost", limit: "$4" })))
      assert.strictEqual(budget.quotas?.[0]?.limit, 4_000_000_000)
      assert.include(yield* reasonOf(quotas({ unit: "tokens", limit: "$4" })), '["quotas"][0]["limit"]')
      assert.include(yield* reasonOf(quotas({ unit: "cost", limit: 4 })), '["quotas"][0]["limit"]')
      assert.include(yield* reasonOf(quotas({ unit: "words", limit: 4 })), '["quotas"][0]')
    })
  )

  it.effect("has all options of the layers that are no functions", () =>
    Effect.gen(function* () {
      const waits = { maxWait: "1 minute", maxProviderWait: "2 minutes", permitTtl: "3 minutes" }
      const file = { budget: { onStoreError: "allow" }, rateLimiter: { ...waits, onStoreError: "allow" } }
      const { budget, rateLimiter } = yield* Policy.parse("test", JSON.stringify(file))
      assert.strictEqual(budget.onStoreError, "allow")
      assert.strictEqual(rateLimiter.onStoreError, "allow")
      assert.deepStrictEqual(rateLimiter.maxProviderWait, Duration.minutes(2))
      assert.deepStrictEqual(rateLimiter.permitTtl, Duration.minutes(3))
      assert.include(yield* reasonOf({ budget: { onStoreError: "ignore" } }), '["budget"]["onStoreError"]')
      // An option that the file has no name for is an error of types here.
      const absent = (name: Absent): never => name
      assert.isFunction(absent)
    })
  )

  it.effect("is taken by the layers, or their reason is told", () =>
    Effect.gen(function* () {
      assert.include(yield* reasonOf({ rateLimiter: { burst: 5 } }), "burst must be at least 1 and given with")
      assert.include(yield* reasonOf({ budget: { timeZone: "Mars/Base" } }), "an IANA time zone")
    })
  )

  it.effect("is JSON, and is there", () =>
    Effect.gen(function* () {
      assert.include(yield* reasonOf("{"), "policy test: not JSON")
      assert.include(yield* reasonOf("[]"), "policy test: ")
    })
  )
})
