// Budgets of a test and of its processes on one store, by the store's address: redis://…, postgres://… or a file.
import { Context, Effect, Layer, Redacted, References } from "effect"
import { Alerts, Budget, QuotaStore, RateLimiter, type Quota, Window } from "headgate"
import { readFileSync } from "node:fs"

export interface StoreOptions {
  readonly prefix: string
  readonly timeout?: number | undefined
  /** A file that says what the store's time is; in Redis a key does. */
  readonly clock?: string | undefined
  /** How many replicas of Redis must have a write. */
  readonly replicas?: number | undefined
}

const redis = async (address: string, { clock, prefix, replicas, timeout }: StoreOptions) => {
  const { NodeRedis } = await import("@effect/platform-node")
  const { makeStore } = await import("../../src/redis/store.ts")
  const socket = { host: "127.0.0.1", port: Number(new URL(address).port), reconnectStrategy: () => 10 }
  // What a client says of connections that are cut on purpose is not printed.
  const client = NodeRedis.layer({ socket }).pipe(Layer.provide(Layer.succeed(References.MinimumLogLevel)("None")))
  const wait = replicas === undefined ? undefined : { replicas, timeout: (timeout ?? 1000) / 4 }
  return Layer.effect(QuotaStore.QuotaStore)(
    makeStore({ prefix, timeout, wait, clock: clock === undefined ? "server" : "key" })
  ).pipe(Layer.provide(Layer.fresh(client)))
}

const sql = async (address: string, { clock, prefix, timeout }: StoreOptions) => {
  const { makeStore } = await import("../../src/sql/internal/make.ts")
  const options = {
    prefix,
    timeout,
    ...(clock === undefined ? {} : { clock: () => Number(readFileSync(clock, "utf8")) })
  }
  const store = Layer.effect(QuotaStore.QuotaStore)(makeStore(options))
  if (address.startsWith("postgres:")) {
    const { PgClient } = await import("@effect/sql-pg")
    const url = Redacted.make(address)
    return store.pipe(
      Layer.provide(Layer.fresh(PgClient.layer({ url, maxConnections: 8, connectTimeout: "5 seconds" })))
    )
  }
  const { SqliteClient } = await import("headgate/sql")
  const { DatabaseSync } = await import("node:sqlite")
  return store.pipe(Layer.provide(Layer.fresh(SqliteClient.layer(() => new DatabaseSync(address)))))
}

/** A store over a connection of its own. */
export const storeLayer = (
  address: string,
  options: StoreOptions
): Layer.Layer<QuotaStore.QuotaStore, unknown, Alerts.Alerts> =>
  Layer.unwrap(
    Effect.promise(async (): Promise<Layer.Layer<QuotaStore.QuotaStore, unknown, Alerts.Alerts>> =>
      address.startsWith("redis:") ? redis(address, options) : sql(address, options)
    )
  )

/** The quotas of a test by a name, so that a process can be told of them. */
export const quotaSets = {
  /** All of one size. */
  spend: (limit: number) => [
    { name: "total", unit: "tokens", limit, window: Window.lifetime, alertAt: [0.5, 0.8, 1] },
    { name: "hour", unit: "tokens", limit, window: Window.sliding("1 hour") },
    { name: "day", unit: "tokens", limit, window: Window.calendar("day") },
    { name: "under way", unit: "concurrency", limit: 100_000 }
  ],
  /** A short window that is always full, and a counter of everything. */
  crowded: (limit: number) => [
    { name: "total", unit: "tokens", limit: 1_000_000_000, window: Window.lifetime },
    { name: "window", unit: "tokens", limit, window: Window.sliding("2 seconds") },
    { name: "under way", unit: "concurrency", limit: 100_000 }
  ],
  /** A window of which any span is looked at, and a period of the calendar. */
  clocks: (limit: number) => [
    { name: "minute", unit: "tokens", limit, window: Window.sliding("1 minute") },
    { name: "day", unit: "tokens", limit: 2 * limit, window: Window.calendar("day") }
  ],
  /** Windows that end all together when the store's time goes on by a day. */
  daily: (limit: number) => [
    { name: "day", unit: "tokens", limit, window: Window.calendar("day"), alertAt: [0.5, 0.8, 1] },
    { name: "hour", unit: "tokens", limit, window: Window.sliding("1 hour"), alertAt: [0.5, 0.8, 1] }
  ]
} as const satisfies Readonly<Record<string, (limit: number) => ReadonlyArray<Quota.Input>>>

export interface BudgetOptions extends StoreOptions {
  readonly quotas: keyof typeof quotaSets
  readonly limit: number
  readonly ttl: number
}

export interface Services {
  readonly budget: Budget.Service
  readonly limiter: RateLimiter.Service
  readonly store: QuotaStore.Service
  readonly alerts: Alerts.Service
}

/** A budget and a rate limiter on a connection of their own, as another process would have them. */
export const services = (address: string, options: BudgetOptions) => {
  const quotas: ReadonlyArray<Quota.Input> = quotaSets[options.quotas](options.limit)
  const layer = Layer.mergeAll(
    Budget.layer({ quotas, reservationTtl: options.ttl }),
    RateLimiter.layer({ quotas: [{ ...quotas[0]!, window: Window.sliding("1 minute") }] })
  ).pipe(Layer.provideMerge(storeLayer(address, options)), Layer.provideMerge(Alerts.layer))
  return Effect.map(Layer.build(layer), (context): Services => ({
    budget: Context.get(context, Budget.Budget),
    limiter: Context.get(context, RateLimiter.RateLimiter),
    store: Context.get(context, QuotaStore.QuotaStore),
    alerts: Context.get(context, Alerts.Alerts)
  }))
}
