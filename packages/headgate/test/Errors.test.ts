import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Schema } from "effect"
import {
  BudgetExceeded,
  BudgetThrottled,
  InvalidUsage,
  Money,
  RateLimitExceeded,
  RequestTooLarge,
  RetryExhausted,
  StoreError
} from "headgate"

const subject = { user: "42" }
const retryAfter = Duration.seconds(5)

const exceeded = new BudgetExceeded({
  quota: "maxCostPerDay",
  subject,
  unit: "cost",
  limit: Money.usd(10),
  used: Money.usd(8),
  held: Money.usd(1),
  requested: Money.usd(2),
  remaining: Money.usd(1),
  retryAfter
})

const cases = [
  [BudgetExceeded, exceeded, "maxCostPerDay of user 42: $2.00 requested, $1.00 of $10.00 left, retry after 5s"],
  [
    BudgetThrottled,
    new BudgetThrottled({ until: DateTime.makeUnsafe("2026-11-24T10:00:00Z"), retryAfter }),
    "throttled, retry after 5s"
  ],
  [
    RateLimitExceeded,
    new RateLimitExceeded({ quota: "requestsPerMinute", subject, limit: 60, remaining: 0, retryAfter }),
    "requestsPerMinute of user 42: 0 of 60 left, retry after 5s"
  ],
  [
    RequestTooLarge,
    new RequestTooLarge({ quota: "maxTokensPerRequest", unit: "tokens", limit: 100, requested: 101 }),
    "maxTokensPerRequest: 101 tokens requested, the limit is 100 tokens"
  ],
  [
    InvalidUsage,
    new InvalidUsage({ field: "tokens", bound: "a whole number", value: -1 }),
    "tokens must be a whole number, got -1"
  ],
  [
    StoreError,
    new StoreError({ operation: "reserve", outcome: "unknown", cause: new Error("gone") }),
    "reserve: the outcome is unknown, gone"
  ],
  [
    RetryExhausted,
    new RetryExhausted({ attempts: 4, elapsed: Duration.seconds(7), cause: "down" }),
    "gave up after 4 attempts in 7s"
  ]
] as const

describe("errors", () => {
  for (const [schema, error, message] of cases) {
    it.effect(`${error._tag} says what is wrong, and round trips through JSON`, () =>
      Effect.gen(function* () {
        assert.strictEqual(error.message, message)
        assert.instanceOf(error, Error)
        const codec: Schema.Codec<unknown, unknown> = Schema.toCodecJson(schema)
        const json = JSON.parse(JSON.stringify(yield* Schema.encodeUnknownEffect(codec)(error)))
        const read = yield* Schema.decodeUnknownEffect(codec)(json)
        assert.isTrue(read instanceof schema)
        assert.strictEqual((read as Error).message, message)
      })
    )
  }

  it.effect("tell not now from never by a retryAfter", () =>
    Effect.sync(() => {
      const later = cases.filter(([, error]) => "retryAfter" in error).map(([, error]) => error._tag)
      assert.deepStrictEqual(later, ["BudgetExceeded", "BudgetThrottled", "RateLimitExceeded"])
    })
  )

  it("say that no later time will do", () => {
    const { message } = new BudgetExceeded({ ...exceeded, retryAfter: Duration.infinity })
    assert.include(message, "no later time will do")
  })

  it("of a store have the words of whoever noticed first, without a secret", () => {
    const told = (cause: unknown) =>
      new StoreError({ operation: "reserve", outcome: "notApplied", cause }).message.replace("reserve: not applied", "")
    const wrapped = (cause: unknown) => new Error("Failed to execute statement", { cause })
    const cases = [
      [
        wrapped(wrapped(new Error("cannot execute INSERT in a read-only transaction"))),
        ", cannot execute INSERT in a read-only transaction"
      ],
      [wrapped(undefined), ", Failed to execute statement"],
      [wrapped({ message: "", code: "ECONNREFUSED" }), ", ECONNREFUSED"],
      ["down", ", down"],
      [undefined, ""],
      [{}, ""],
      [
        new Error("no answer of redis://app:s3c@ret/5@db:6379, which\nhas gone"),
        ", no answer of redis://<redacted>@db:6379, which"
      ],
      [new Error("host=db password=s3cret sslmode=require"), ", host=db password=<redacted> sslmode=require"],
      [
        new Error('password authentication failed for user "app"'),
        ", password authentication failed for user <redacted>"
      ],
      [
        new Error("NOPERM User app has no permissions to run the 'evalsha' command"),
        ", NOPERM User <redacted> has no permissions to run the 'evalsha' command"
      ],
      [new Error("x".repeat(500)), `, ${"x".repeat(160)}…`]
    ] as const
    for (const [cause, words] of cases) assert.strictEqual(told(cause), words)
    const circle: { message: string; cause?: unknown } = { message: "round" }
    circle.cause = circle
    assert.strictEqual(told(circle), ", round")
  })

  it.effect("are caught by their tags", () =>
    Effect.gen(function* () {
      const caught = yield* Effect.fail(exceeded).pipe(
        Effect.catchTag("BudgetExceeded", (error) => Effect.succeed(error.quota))
      )
      assert.strictEqual(caught, "maxCostPerDay")
    })
  )

  // litellm #14144, tensorzero #3647: which budget, and whose?
  it("name the quota and whose it is", () => {
    assert.deepStrictEqual([exceeded.quota, exceeded.subject, exceeded.unit], ["maxCostPerDay", subject, "cost"])
  })
})
