// How fast a decision is, against an EVALSHA that does nothing: node --conditions=@headgate/source bench.ts
import { Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { Alerts, Quota, QuotaStore, Usage, Window } from "headgate"
import { RedisQuotaStore } from "headgate/redis"
import { clientOf, startServer } from "../servers/redis.ts"

const windows = [Window.sliding("1 minute"), Window.sliding("1 hour"), Window.calendar("day"), Window.calendar("month")]
const quotas = (units: ReadonlyArray<"tokens" | "cost">) =>
  units.flatMap((unit) =>
    windows.map((window) => Quota.make({ unit, limit: 9_000_000_000_000, window, alertAt: [0.8] }))
  )
const plan = (id: string, quotas: ReadonlyArray<Quota.Quota>, dimension?: string): QuotaStore.Plan => ({
  id,
  dimension,
  quotas,
  throttle: 0,
  alerts: "all"
})
const one = [{ plan: plan("all", quotas(["tokens", "cost"])), value: "" }]
const two = [
  { plan: plan("everyone", quotas(["tokens"])), value: "" },
  { plan: plan("user", quotas(["cost"]), "user"), value: "42" }
]
const usage = { ...Usage.zero, requests: 1, tokens: 1200, inputTokens: 1000, outputTokens: 200 }

const median = (times: Array<number>, share = 0.5) => times.sort((a, b) => a - b)[Math.floor(times.length * share)]!

const measure = Effect.fnUntraced(function* (name: string, call: Effect.Effect<unknown, unknown>) {
  yield* Effect.forEach(Array.from({ length: 64 }), () => Effect.repeat(call, { times: 100 }), {
    concurrency: "unbounded",
    discard: true
  })
  const times: Array<number> = []
  for (let index = 0; index < 4000; index++) {
    const start = performance.now()
    yield* call
    times.push(performance.now() - start)
  }
  const total = 40_000
  const cpu = process.cpuUsage()
  const start = performance.now()
  yield* Effect.forEach(Array.from({ length: 64 }), () => Effect.repeat(call, { times: total / 64 - 1 }), {
    concurrency: "unbounded",
    discard: true
  })
  const elapsed = performance.now() - start
  const used = process.cpuUsage(cpu)
  console.log(
    `${name}: p50 ${(median(times) * 1000).toFixed(0)} us, p99 ${(median(times, 0.99) * 1000).toFixed(0)} us; ` +
      `64 in flight ${Math.round((total / elapsed) * 1000)}/s, client CPU ${((used.user + used.system) / total).toFixed(1)} us`
  )
})

const server = await startServer()
const trivial = Redis.script((keys: ReadonlyArray<string>) => keys, {
  lua: "return redis.call('GET', KEYS[1])",
  numberOfKeys: 1
})
await Effect.gen(function* () {
  const redis = yield* Redis.Redis
  const store = yield* QuotaStore.QuotaStore
  const reserve = (accounts: ReadonlyArray<QuotaStore.Account>) =>
    store.reserve({
      accounts,
      usage,
      ttl: 600_000,
      onExpiry: "charge",
      book: "onSettle",
      mode: "enforce",
      id: undefined
    })
  const evaluate = redis.eval(trivial)
  for (let round = 0; round < 2; round++) {
    yield* measure("trivial EVALSHA", evaluate(["{a}:b"]))
    yield* measure("reserve, 8 quotas, 1 account", reserve(one))
    yield* measure("reserve, 8 quotas, 2 accounts", reserve(two))
    yield* measure("status, 8 quotas", store.status(one))
    yield* measure(
      "reserve + settle, 8 quotas",
      Effect.flatMap(reserve(one), (hold) => (hold._tag === "Hold" ? store.settle(hold, usage) : Effect.die(hold)))
    )
  }
  console.log(
    String(yield* redis.send("INFO", "commandstats"))
      .split("\n")
      .filter((line) => /eval|:get|:set|hset|zadd|zrange|zrem|hmget|time/.test(line))
      .map((line) => line.slice(8, 70))
      .join("\n")
  )
}).pipe(
  Effect.provide(
    RedisQuotaStore.layer().pipe(Layer.provide(Alerts.layer), Layer.provideMerge(clientOf(() => server.port)))
  ),
  Effect.runPromise
)
await server.end()
