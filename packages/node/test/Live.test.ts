// The layers of the environment over real servers. Each `machine` builds them anew, as another process would.
import { assert, describe, it } from "@effect/vitest"
import * as node from "@headgate/node"
import { Cause, ConfigProvider, Effect, Exit, Layer } from "effect"
import * as headgate from "headgate"
import { Alerts, Budget, RateLimiter } from "headgate"
import { inspect } from "node:util"
import { describeRedis, startServer } from "../../headgate/test/servers/redis.ts"
import { describeStores } from "../../headgate/test/servers/stores.ts"

const { AlertsLive, BudgetLive, GuardLive, QuotaStoreLive, RateLimiterLive, RetryLive, Store } = node

type Services = Layer.Success<typeof GuardLive>

const machine = <A, E>(env: Record<string, string>, program: Effect.Effect<A, E, Services>) =>
  Effect.provide(program, GuardLive, { local: true }).pipe(
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
  )

const reserve = (tokens: number) => Budget.Budget.use((budget) => budget.reserve({ tokens }))
const spend = (tokens: number) =>
  Budget.Budget.use((budget) =>
    Effect.flatMap(budget.reserve({ tokens }), (reservation) => budget.settle(reservation, { tokens }))
  )
const used = Budget.Budget.use((budget) => Effect.map(budget.status(), ({ tokensUsedDay }) => tokensUsedDay))

/** Everything that could be printed of a failure. */
const printed = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "success"
  const error = Cause.squash(exit.cause)
  return [String(error), inspect(error, { depth: 10 }), JSON.stringify(error), Cause.pretty(exit.cause)].join("\n")
}

it("has the names of headgate's layers", () => {
  for (const name of Object.keys(headgate).filter((name) => name.endsWith("Live"))) assert.property(node, name)
})

it.live("keeps everything in memory unless told otherwise", () =>
  Effect.gen(function* () {
    for (const env of [{}, { HEADGATE_STORE: "memory" }, { HEADGATE_STORE: "" }]) {
      assert.strictEqual(yield* machine(env, Effect.andThen(spend(100), used)), 100)
      assert.strictEqual(yield* machine(env, used), 0)
    }
  })
)

describeStores("HEADGATE_STORE", (url) => {
  let count = 0
  const fresh = () => ({ HEADGATE_STORE: url(), HEADGATE_STORE_PREFIX: `live_${count++}` })

  it.live("is one budget for all machines, and stays when they end", () =>
    Effect.gen(function* () {
      const env = { ...fresh(), HEADGATE_BUDGET_MAX_TOKENS_PER_DAY: "1000", HEADGATE_BUDGET_AUTO_THROTTLE: "false" }
      yield* machine(env, spend(600))
      assert.strictEqual(yield* machine(env, used), 600)
      assert.strictEqual((yield* Effect.flip(machine(env, reserve(500))))._tag, "BudgetExceeded")
      const both = yield* Effect.all(
        [0, 1, 2, 3].map(() => Effect.exit(machine(env, reserve(150)))),
        {
          concurrency: "unbounded"
        }
      )
      assert.strictEqual(both.filter(Exit.isSuccess).length, 2)
    })
  )

  it.live("keeps prefixes apart", () =>
    Effect.gen(function* () {
      yield* machine(fresh(), spend(600))
      assert.strictEqual(yield* machine(fresh(), used), 0)
    })
  )

  it.live("is one store and one Alerts for layers provided together", () =>
    Effect.gen(function* () {
      const alerts = yield* Alerts.Alerts
      const told: Array<string> = []
      yield* alerts.handle(({ _tag, quota }) => Effect.sync(() => told.push(`${_tag} ${quota}`)))
      assert.isTrue(yield* (yield* RateLimiter.RateLimiter).tryAcquire())
      // A second limiter of the same name on that store sees what the first one let through.
      assert.isFalse(yield* (yield* RateLimiter.make({ requestsPerMinute: 1 })).tryAcquire())
      yield* reserve(100)
      assert.strictEqual((yield* Effect.flip(reserve(1)))._tag, "BudgetExceeded")
      yield* alerts.drained
      assert.deepStrictEqual(told, ["LimitHit maxTokensPerMinute", "Throttled maxTokensPerMinute"])
    }).pipe(
      Effect.provide(Layer.mergeAll(QuotaStoreLive, BudgetLive, RateLimiterLive, RetryLive, AlertsLive)),
      Effect.scoped,
      (program) =>
        Effect.suspend(() => {
          const limits = {
            HEADGATE_RATE_LIMITER_REQUESTS_PER_MINUTE: "1",
            HEADGATE_BUDGET_MAX_TOKENS_PER_MINUTE: "100"
          }
          const env = { ...fresh(), ...limits }
          return Effect.provideService(program, ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
        })
    )
  )

  it.live("takes no prefix that its store cannot have, and does not tell it: it may be a url with a password", () =>
    Effect.gen(function* () {
      const allowed =
        /must be 1 to (128 characters without braces|32 of a-z, 0-9 and _, a letter first, and not sqlite, which SQLite keeps for itself)$/
      for (const prefix of ["{a}", "redis://:hunter2@db/{a}", "{\nhunter2"]) {
        const exit = yield* Effect.exit(machine({ HEADGATE_STORE: url(), HEADGATE_STORE_PREFIX: prefix }, used))
        const error = yield* Effect.flip(exit)
        assert.strictEqual(error._tag, "ConfigError")
        assert.match(error.message, new RegExp(`HEADGATE_STORE_PREFIX ${allowed.source}`))
        assert.notInclude(printed(exit), "hunter2")
        for (const onMissing of ["make", "fail"] as const) {
          const opened = yield* Effect.exit(
            Layer.build(Store.fromUrl(url(), { prefix, onMissing }).pipe(Layer.provide(Alerts.layer)))
          )
          const error = yield* Effect.flip(opened)
          assert.strictEqual(error._tag, "InvalidStore")
          assert.match(error.message, allowed)
          assert.notInclude(printed(opened), "hunter2")
        }
      }
    })
  )
})

describe("a store that cannot be opened", () => {
  it.live.each([
    ["redis://app:hunter2@127.0.0.1:1/3", "redis://127.0.0.1:1/3", /connect ECONNREFUSED 127\.0\.0\.1:1$/],
    ["postgres://app:hunter2@127.0.0.1:1/app", "postgres://127.0.0.1:1/app", /connect ECONNREFUSED 127\.0\.0\.1:1$/],
    ["postgres://app@127.0.0.1:1/app?password=hunter2", "postgres://127.0.0.1:1/app", /ECONNREFUSED/],
    ["sqlite:/no/such/folder/hunter.db", "sqlite:/no/such/folder/hunter.db", /unable to open database file$/]
  ] as const)("%s is StoreUnreachable, without a secret", ([url, store, reason]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(machine({ HEADGATE_STORE: url }, used))
      const error = yield* Effect.flip(exit)
      assert.instanceOf(error, node.StoreUnreachable)
      assert.strictEqual(error.store, store)
      assert.match(error.reason, reason)
      assert.include(error.message, `the store ${store} cannot be opened: `)
      assert.notInclude(printed(exit), "hunter2")
    })
  )

  it.live.each([
    ["HEADGATE_STORE", "mysql://app:hunter2@db/app"],
    ["HEADGATE_STORE", "redis://app:hunter2@host/first"],
    ["HEADGATE_STORE", "hunter2"]
  ] as const)("%s=%s is a ConfigError that names the variable and tells no secret", ([name, value]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(machine({ [name]: value }, used))
      const error = yield* Effect.flip(exit)
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(error.message, `${name} must be memory, redis://…`)
      assert.notInclude(printed(exit), "hunter2")
    })
  )

  describeRedis("Redis", () => {
    it.live("that asks for a password: tells neither the right one nor a wrong one", () =>
      Effect.gen(function* () {
        const server = yield* Effect.acquireRelease(
          Effect.promise(() => startServer("--requirepass", "open%sesame")),
          (server) => Effect.promise(() => server.end())
        )
        const url = (password: string) => ({ HEADGATE_STORE: `redis://${password}127.0.0.1:${server.port}/1` })
        assert.strictEqual(yield* machine(url(":open%25sesame@"), used), 0)
        for (const [password, reason] of [
          ["", /NOAUTH/],
          [":hunter2@", /WRONGPASS/]
        ] as const) {
          const exit = yield* Effect.exit(machine(url(password), used))
          assert.match(printed(exit), reason)
          assert.match(printed(exit), /StoreUnreachable/)
          assert.notMatch(printed(exit), /hunter2|sesame/)
        }
      })
    )

    it.live("that does not answer any more: nobody waits for ever, at the start or at the end", () =>
      Effect.gen(function* () {
        const server = yield* Effect.acquireRelease(
          Effect.promise(() => startServer()),
          (server) => Effect.promise(() => server.end())
        )
        const env = { HEADGATE_STORE: server.url }
        const stopped = Effect.sync(() => server.signal("SIGSTOP"))
        assert.strictEqual(yield* machine(env, Effect.tap(used, stopped)), 0)
        const error = yield* Effect.flip(machine(env, used))
        assert.instanceOf(error, node.StoreUnreachable)
        assert.strictEqual(error.reason, "no answer within 10 seconds")
      })
    )
  })
})
