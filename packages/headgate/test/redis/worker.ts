// A process that spends from a budget of many: node worker.ts '{"port":…,"prefix":…,"fibers":…,"calls":…,"limit":…,"ttl":…}'.
// Prints what it was told, as JSON; with `calls` below 0 it works until it is killed.
import { Effect, Layer, Random } from "effect"
import { Alerts, Quota, QuotaStore, Usage, Window } from "headgate"
import { RedisQuotaStore } from "headgate/redis"
import { clientOf } from "../servers/redis.ts"

interface Work {
  readonly port: number
  readonly prefix: string
  readonly fibers: number
  readonly calls: number
  readonly limit: number
  readonly ttl: number
}

const work = JSON.parse(process.argv[2]!) as Work

const quota = (options: Omit<Quota.Input, "unit" | "limit">) =>
  Quota.make({ unit: "tokens", limit: work.limit, ...options })

const accounts = [
  {
    plan: {
      id: "shared",
      dimension: undefined,
      quotas: [
        quota({ name: "total", window: Window.lifetime, alertAt: [0.5, 0.8, 1] }),
        quota({ name: "hour", window: Window.sliding("1 hour") }),
        quota({ name: "day", window: Window.calendar("day") })
      ],
      throttle: 0,
      alerts: "all" as const
    },
    value: ""
  }
]

const tokens = (amount: number): Usage.Usage => ({ ...Usage.zero, requests: 1, tokens: amount })

await Effect.gen(function* () {
  const store = yield* QuotaStore.QuotaStore
  const told = { calls: 0, admitted: 0, refused: 0, settled: 0, over: 0, alerts: {} as Record<string, number> }
  const note = (
    alerts: ReadonlyArray<{ readonly _tag: string; readonly quota: string; readonly threshold: number }>
  ) => {
    for (const { _tag, quota, threshold } of alerts) {
      const name = `${_tag} ${quota} ${threshold}`
      told.alerts[name] = (told.alerts[name] ?? 0) + 1
    }
  }
  const call = Effect.gen(function* () {
    const reserved = yield* Random.nextIntBetween(20, 100)
    const answer = yield* store.reserve({
      accounts,
      usage: tokens(reserved),
      ttl: work.ttl,
      onExpiry: "charge",
      book: "onSettle",
      mode: "enforce",
      id: undefined
    })
    told.calls++
    if (answer._tag !== "Hold") {
      if (answer._tag === "Refused") note(answer.alerts)
      told.refused++
      return
    }
    told.admitted++
    note(answer.alerts)
    if (work.calls < 0) yield* Effect.sleep(5)
    const actual = yield* Random.nextIntBetween(1, reserved)
    const settled = yield* store.settle(answer, tokens(actual))
    if (settled._tag === "Booked") {
      told.settled += actual
      note(settled.alerts)
    }
  })
  const fiber =
    work.calls < 0 ? Effect.forever(call) : Effect.repeat(call, { times: Math.ceil(work.calls / work.fibers) - 1 })
  yield* Effect.all(
    Array.from({ length: work.fibers }, () => fiber),
    { concurrency: "unbounded", discard: true }
  )
  process.stdout.write(JSON.stringify(told))
}).pipe(
  Effect.provide(
    RedisQuotaStore.layer({ prefix: work.prefix, timeout: "10 seconds" }).pipe(
      Layer.provide(Alerts.layer),
      Layer.provide(clientOf(() => work.port))
    )
  ),
  Effect.runPromise
)
