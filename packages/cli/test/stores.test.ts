// The commands that use a real store.
import { Store } from "@headgate/node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Schema } from "effect"
import { Redis } from "effect/persistence"
import { Alerts, Budget, RateLimiter, StoreError } from "headgate"
import { existsSync } from "node:fs"
import { describeRedis, startServer } from "../../headgate/test/servers/redis.ts"
import { describeStores } from "../../headgate/test/servers/stores.ts"
import { unusable } from "../src/store.ts"
import { StatusReport } from "../src/Status.ts"
import { decode, headgate, policyFile } from "./harness.ts"

const policy = {
  budget: {
    maxTokensPerDay: 1_000,
    maxCostPerDay: "$10",
    per: { user: { maxTokensPerDay: 500 } },
    overrides: { user: { vip: { maxTokensPerDay: 900 } } }
  },
  rateLimiter: { per: { model: { requestsPerMinute: 5 } } }
} as const

/** An application under this policy. */
const application = (url: string, prefix: string) =>
  Layer.merge(Budget.layer(policy.budget), RateLimiter.layer(policy.rateLimiter)).pipe(
    Layer.provide(Store.fromUrl(url, { prefix })),
    Layer.provide(Alerts.layer)
  )

const spend = (tokens: number, user: string) =>
  Budget.Budget.use((budget) =>
    Effect.flatMap(budget.reserve({ tokens, cost: "$1" }, { user }), (reservation) =>
      budget.settle(reservation, { tokens, cost: "$1" })
    )
  )

const statusOf = (stdout: string) =>
  Schema.decodeUnknownSync(Schema.fromJsonString(StatusReport))(stdout, { onExcessProperty: "error" })

const counters = (stdout: string) =>
  statusOf(stdout).quotas.map(({ held, limit, quota, remaining, service, subject, used }) => [
    service,
    Object.entries(subject).flat().join(" "),
    quota,
    limit,
    used,
    held,
    remaining
  ])

describeStores("headgate", (url, kind) => {
  let count = 0
  /** The flags for a store that nothing has used, and what an application does with it. */
  const fresh = Effect.gen(function* () {
    const prefix = `cli_${count++}`
    const file = yield* policyFile(policy)
    const env = { HEADGATE_STORE: url(), HEADGATE_STORE_PREFIX: prefix }
    const within = <A, E>(program: Effect.Effect<A, E, Budget.Budget | RateLimiter.RateLimiter>) =>
      Effect.provide(program, application(url(), prefix), { local: true })
    yield* within(Effect.void)
    return { env, flags: ["--store", url(), "--prefix", prefix, "--policy", file], within }
  })

  describe("status", () => {
    it.live("shows what an application has used and holds, for everyone and the subjects named", () =>
      Effect.gen(function* () {
        const { flags, within } = yield* fresh
        yield* within(
          Effect.gen(function* () {
            yield* spend(100, "42")
            yield* spend(200, "vip")
            yield* (yield* Budget.Budget).reserve({ tokens: 50 }, { user: "42" })
            yield* (yield* RateLimiter.RateLimiter).tryAcquire({}, { model: "small" })
            const ran = yield* headgate([
              "status",
              ...flags,
              ...["42", "vip", "nobody"].flatMap((user) => ["--subject", `user=${user}`]),
              "--subject",
              "model=small",
              "--json"
            ])
            assert.strictEqual(ran.code, 0)
            assert.deepStrictEqual(counters(ran.stdout), [
              ["budget", "", "maxTokensPerDay", 1_000, 300, 50, 650],
              ["budget", "", "maxCostPerDay", 10_000_000_000, 2_000_000_000, 0, 8_000_000_000],
              ["budget", "user 42", "maxTokensPerDay", 500, 100, 50, 350],
              ["budget", "user nobody", "maxTokensPerDay", 500, 0, 0, 500],
              ["budget", "user vip", "maxTokensPerDay", 900, 200, 0, 700],
              ["rateLimiter", "model small", "requestsPerMinute", 5, 1, 0, 4]
            ])
            const { quotas, store, throttledUntil } = statusOf(ran.stdout)
            assert.strictEqual(throttledUntil, null)
            assert.include(store, kind === "SQLite" ? "sqlite:/" : "://127.0.0.1:")
            for (const { resetAfter, unit, used } of quotas) {
              if (used === 0) assert.strictEqual(resetAfter, 0)
              else assert.isTrue(resetAfter !== null && resetAfter > 0 && resetAfter <= 86_400_000, unit)
            }
          })
        )
      })
    )

    it.live("is a table for people, which names the dimensions that were not asked for", () =>
      Effect.gen(function* () {
        const { flags, within } = yield* fresh
        yield* within(spend(250, "42"))
        const { stdout } = yield* headgate(["status", ...flags, "--subject", "user=42"])
        assert.match(stdout, /^headgate status: \S+, quotas of policy /)
        assert.match(stdout, /whose +quota +limit +used +held +remaining +of limit +unused again in/)
        assert.match(stdout, /everyone +maxCostPerDay +\$10\.00 +\$1\.00 +\$0\.00 +\$9\.00 +10\.0 % +██ +\S+ (h|min|s)/)
        assert.match(stdout, /user 42 +maxTokensPerDay +500 +250 +0 +250 +50\.0 %/)
        assert.match(stdout, /There are quotas per model too: --subject model=…\n$/)
      })
    )

    it.live("has the store and the quotas of the environment, where nothing else is named", () =>
      Effect.gen(function* () {
        const { env, within } = yield* fresh
        yield* within(spend(70, "42"))
        const limits = { HEADGATE_BUDGET_MAX_TOKENS_PER_DAY: "2000", HEADGATE_BUDGET_MAX_TOKENS_PER_MINUTE: "none" }
        const none = { HEADGATE_BUDGET_MAX_TOKENS_PER_HOUR: "none", HEADGATE_RATE_LIMITER_REQUESTS_PER_MINUTE: "60" }
        const { stdout } = yield* headgate(["status", "--json"], { env: { ...env, ...limits, ...none } })
        assert.strictEqual(statusOf(stdout).quotasOf, "the environment")
        // The same counters as those of the application: a limit is no part of what tells them apart.
        assert.deepStrictEqual(counters(stdout), [
          ["budget", "", "maxTokensPerDay", 2_000, 70, 0, 1_930],
          ["budget", "", "maxCostPerDay", 1_000_000_000_000, 1_000_000_000, 0, 999_000_000_000],
          ["rateLimiter", "", "requestsPerMinute", 60, 0, 0, 60]
        ])
      })
    )

    it.live("tells until when a budget is throttled", () =>
      Effect.gen(function* () {
        const { env } = yield* fresh
        const throttling = {
          HEADGATE_BUDGET_MAX_TOKENS_PER_DAY: "10",
          HEADGATE_BUDGET_AUTO_THROTTLE: "true",
          HEADGATE_BUDGET_THROTTLE_DELAY: "1 hour"
        }
        yield* Budget.Budget.use((budget) =>
          Effect.andThen(budget.reserve({ tokens: 10 }), Effect.flip(budget.reserve({ tokens: 1 })))
        ).pipe(
          Effect.provide(
            Budget.layer({
              ...Budget.defaults,
              maxTokensPerDay: 10,
              throttleDelay: "1 hour"
            }).pipe(
              Layer.provide(Store.fromUrl(url(), { prefix: env.HEADGATE_STORE_PREFIX })),
              Layer.provide(Alerts.layer)
            )
          )
        )
        const both = { env: { ...env, ...throttling } }
        assert.match(statusOf((yield* headgate(["status", "--json"], both)).stdout).throttledUntil ?? "", /^\d{4}-/)
        assert.match((yield* headgate(["status"], both)).stdout, /throttled until \d{4}-\d\d-\d\d .* after a refusal/)
      })
    )
  })

  describe("reset", () => {
    /** What user 42 and everyone have used, and hold. */
    const usedOf = (flags: ReadonlyArray<string>) =>
      Effect.map(
        headgate(["status", ...flags, "--subject", "user=42", "--subject", "user=vip", "--json"]),
        ({ stdout }) =>
          statusOf(stdout).quotas.flatMap(({ held, unit, used }) => (unit === "tokens" ? [[used, held]] : []))
      )

    const spent = Effect.gen(function* () {
      const app = yield* fresh
      yield* app.within(
        Effect.gen(function* () {
          yield* spend(100, "42")
          yield* spend(200, "vip")
          yield* (yield* Budget.Budget).reserve({ tokens: 50 }, { user: "42" }, { onUnknown: "charge" })
        })
      )
      return app.flags
    })
    const before = [
      [300, 50],
      [100, 50],
      [200, 0]
    ]

    it.live("asks at a terminal, and does nothing unless told yes", () =>
      Effect.gen(function* () {
        const flags = yield* spent
        for (const keys of [["n"], ["enter"]]) {
          const { code, stdout } = yield* headgate(["reset", ...flags], { keys })
          assert.strictEqual(code, 0)
          assert.match(stdout, /Reset what is used of the quotas of everyone, each user, each model in \S+\?/)
          assert.match(stdout, /nothing was reset\n$/)
        }
        assert.strictEqual((yield* headgate(["reset", ...flags], { keys: ["ctrl+c"] })).code, 130)
        assert.deepStrictEqual(yield* usedOf(flags), before)
        const { code, stdout } = yield* headgate(["reset", ...flags], { keys: ["y"] })
        assert.strictEqual(code, 0)
        assert.match(stdout, /reset what is used of the quotas of everyone, each user, each model in \S+\n$/)
        assert.deepStrictEqual(yield* usedOf(flags), [
          [0, 50],
          [0, 50],
          [0, 0]
        ])
      })
    )

    it.live("needs --yes where there is no terminal", () =>
      Effect.gen(function* () {
        const flags = yield* spent
        const refused = yield* headgate(["reset", ...flags])
        assert.strictEqual(refused.code, 2)
        assert.include(refused.stderr, "without a terminal to ask at, say --yes")
        assert.deepStrictEqual(yield* usedOf(flags), before)
        assert.strictEqual((yield* headgate(["reset", ...flags, "--yes"])).code, 0)
        assert.deepStrictEqual((yield* usedOf(flags))[0], [0, 50])
      })
    )

    it.live("resets the subjects named, and nobody else", () =>
      Effect.gen(function* () {
        const flags = yield* spent
        const { stdout } = yield* headgate(["reset", ...flags, "--subject", "user=vip", "--yes"])
        assert.match(stdout, /^reset what is used of the quotas of user vip in /)
        assert.deepStrictEqual(yield* usedOf(flags), [
          [300, 50],
          [100, 50],
          [0, 0]
        ])
      })
    )
  })

  describe("simulate --store", () => {
    const stdin = [
      "timestamp,input_tokens,output_tokens,user",
      ...Array.from({ length: 60 }, (_, index) => `${index * 2_500},${100 + index},${10 + (index % 7)},u${index % 3}`)
    ].join("\n")
    const tight = {
      budget: { maxTokensPerMinute: 2_000, maxTokensPerHour: 6_000 },
      rateLimiter: { requestsPerMinute: 20 }
    }

    it.live("decides there by the time of the replay, the same each time", () =>
      Effect.gen(function* () {
        const file = yield* policyFile(tight)
        const simulate = (...more: ReadonlyArray<string>) =>
          headgate(["simulate", "--trace", "-", "--policy", file, ...more], { stdin })
        const [first, again] = [
          yield* simulate("--store", url(), "--json"),
          yield* simulate("--store", url(), "--json")
        ]
        assert.strictEqual(first.code, 0, first.stderr)
        assert.strictEqual(again.stdout, first.stdout)
        const report = decode(first.stdout)
        assert.deepStrictEqual(report.violations, [])
        assert.isAbove(report.calls.delayed + report.calls.refused, 0)
        for (const { worst } of report.limits) assert.isAtMost(worst.share, 1)
        // Which store it was is all that differs between them.
        assert.deepStrictEqual(
          { ...report, store: "" },
          { ...decode((yield* simulate("--store", "sqlite::memory:", "--json")).stdout), store: "" }
        )
        assert.match((yield* simulate("--store", url())).stdout, /decided in \S+, under a prefix of its own/)
      })
    )

    it.live("leaves what others have used as it is", () =>
      Effect.gen(function* () {
        const { flags, within } = yield* fresh
        yield* within(spend(100, "42"))
        assert.strictEqual((yield* headgate(["simulate", "--trace", "-", "--store", url()], { stdin })).code, 0)
        const { stdout } = yield* headgate(["status", ...flags, "--json"])
        assert.deepStrictEqual(counters(stdout)[0], ["budget", "", "maxTokensPerDay", 1_000, 100, 0, 900])
      })
    )
  })
})

describe("a store that cannot be used", () => {
  it.live("ends the command with 1 and says why, without a secret", () =>
    Effect.gen(function* () {
      const redis = "redis://app:hunter2@127.0.0.1:1"
      for (const args of [["status"], ["reset", "--yes"], ["simulate"]]) {
        const { code, stderr, stdout } = yield* headgate([...args, "--store", redis])
        assert.strictEqual(code, 1, args.join(" "))
        assert.include(stderr, "the store redis://127.0.0.1:1 cannot be opened: connect ECONNREFUSED")
        assert.notInclude(stderr + stdout, "hunter2")
      }
      const missing = yield* headgate(["status", "--store", "sqlite:no-such-file.db"])
      assert.strictEqual(missing.code, 1)
      assert.include(missing.stderr, "there is no such file")
      assert.isFalse(existsSync("no-such-file.db"))
      const env = { HEADGATE_STORE: "sqlite:x.db", HEADGATE_BUDGET_MODE: "dry" }
      const wrong = yield* headgate(["status"], { env })
      assert.strictEqual(wrong.code, 1)
      assert.include(wrong.stderr, "HEADGATE_BUDGET_MODE")
    })
  )

  it.live("ends the command with 2 where the command line is wrong", () =>
    Effect.gen(function* () {
      for (const [args, reason] of [
        [["status"], "--store"],
        [["status", "--store", "memory"], "memory is in another process"],
        [["status", "--store", "sqlite::memory:"], "is in another process"],
        [["status", "--store", "mysql://app:hunter2@db"], "--store must be redis://…"],
        [["reset", "--yes", "--store", "mysql://app:hunter2@db"], "--store must be redis://…"],
        [["status", "--store", "sqlite:x.db", "--prefix", "a-b"], "--prefix must be 1 to 32 of a-z"],
        [["simulate", "--store", "mysql://app:hunter2@db"], "--store must be memory, redis://…"],
        [["status", "--store", "redis://h", "--subject", "user"], "--subject must be DIMENSION=VALUE"],
        [["status", "--store", "redis://h", "--subject", "user="], "--subject must be DIMENSION=VALUE"],
        [["status", "--store", "redis://h", "--subject", "user=1"], "the environment has no quotas per user"],
        [["reset", "--store", "redis://h", "--policy", "agents", "--subject", "usr=1"], "there are some per"]
      ] as const) {
        const { code, stderr, stdout } = yield* headgate(args)
        assert.strictEqual(code, 2, args.join(" "))
        assert.include(stderr, reason)
        assert.notInclude(stderr + stdout, "hunter2")
      }
    })
  )

  it.live("ends the command with 1 where the environment is wrong, and names the variable", () =>
    Effect.gen(function* () {
      for (const [env, reason] of [
        [{ HEADGATE_STORE: "mysql://app:hunter2@db" }, "HEADGATE_STORE must be redis://…"],
        [{ HEADGATE_STORE: "redis://app:hunter2@db?db=1" }, "redis://… has no parameter db"],
        [{ HEADGATE_STORE: "memory" }, "HEADGATE_STORE must be shared: memory is in another process"],
        [
          { HEADGATE_STORE: "sqlite:x.db", HEADGATE_STORE_PREFIX: "redis://:hunter2@db" },
          "HEADGATE_STORE_PREFIX must be 1 to 32 of a-z"
        ]
      ] as const) {
        for (const command of [["status"], ["reset", "--yes"]]) {
          const { code, stderr, stdout } = yield* headgate(command, { env })
          assert.strictEqual(code, 1, stderr)
          assert.include(stderr, reason)
          assert.notInclude(stderr + stdout, "hunter2")
        }
      }
      // A flag comes before the variable, and is what is wrong then.
      const env = { HEADGATE_STORE: "mysql://db" }
      const { code, stderr } = yield* headgate(["status", "--store", "mysql://db"], { env })
      assert.strictEqual(code, 2)
      assert.include(stderr, "--store must be redis://…")
    })
  )

  it("is told in the words of whoever noticed it first", () => {
    const noticed = new Redis.RedisError({ cause: new Error("MOVED 1 127.0.0.1:2") })
    const failed = (cause: unknown) => unusable(new StoreError({ operation: "reserve", outcome: "notApplied", cause }))
    assert.strictEqual(failed(noticed).message, "the store failed: reserve: not applied, MOVED 1 127.0.0.1:2")
    assert.strictEqual(failed(undefined).message, "the store failed: reserve: not applied")
  })

  describeRedis("in the middle of a replay", () => {
    it.live("ends the replay", () =>
      Effect.gen(function* () {
        const server = yield* Effect.acquireRelease(
          Effect.promise(() => startServer()),
          (server) => Effect.promise(() => server.end())
        )
        const begun = yield* Deferred.make<void>()
        const killed = Effect.andThen(
          Deferred.await(begun),
          Effect.promise(() => server.kill())
        )
        yield* Effect.forkScoped(killed)
        const ran = yield* headgate(["simulate", "--store", server.url], {
          onProgress: Effect.asVoid(Deferred.succeed(begun, undefined))
        })
        assert.strictEqual(ran.code, 1)
        assert.match(ran.stderr, /the store failed: \w+: [a-z ]+, \S/)
        assert.strictEqual(ran.stdout, "")
      })
    )
  })
})
