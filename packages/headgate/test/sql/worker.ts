// A process that spends from a shared budget until it is refused for good, and tells what it has spent.
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { Quota, QuotaStore, Usage, Window } from "headgate"
import { SqliteClient, SqlQuotaStore } from "headgate/sql"
import { DatabaseSync } from "node:sqlite"

const [target = "", prefix = "", limit = "0", fibers = "1", calls = "0"] = process.argv.slice(2)

const client = target.startsWith("postgres:")
  ? PgClient.layer({ url: Redacted.make(target), maxConnections: 8 })
  : SqliteClient.layer(() => new DatabaseSync(target))

const plan: QuotaStore.Plan = {
  id: "shared",
  dimension: undefined,
  quotas: [
    Quota.make({ unit: "tokens", limit: Number(limit), window: Window.lifetime, alertAt: [0.5, 0.8, 1] }),
    Quota.make({ unit: "tokens", limit: Number(limit), window: Window.sliding("1 hour") })
  ],
  throttle: 0,
  alerts: "thresholds"
}

const spent = { tokens: 0, calls: 0, alerts: [] as Array<string>, refused: 0 }

const program = Effect.gen(function* () {
  const store = yield* QuotaStore.QuotaStore
  const accounts = [{ plan, value: "" }]
  const usage = (tokens: number): Usage.Usage => ({ ...Usage.zero, requests: 1, tokens })
  const worker = Effect.gen(function* () {
    for (let call = 0; call < Number(calls); call++) {
      const estimate = 1 + Math.floor(Math.random() * 10)
      const hold = yield* store.reserve({
        accounts,
        usage: usage(estimate),
        ttl: 60_000,
        onExpiry: "charge",
        book: "onSettle",
        mode: "enforce",
        id: undefined
      })
      if (hold._tag !== "Hold") {
        spent.refused++
        if (estimate === 1) return
        continue
      }
      const actual = Math.max(1, Math.floor(estimate * Math.random()))
      const booked = yield* store.settle(hold, usage(actual))
      if (booked._tag !== "Booked") return yield* Effect.die(booked)
      for (const alert of booked.alerts) spent.alerts.push(`${alert._tag} ${alert.threshold}`)
      spent.tokens += actual
      spent.calls++
      // One a line, so that whoever kills this process knows what it was told.
      process.stdout.write(`${hold.id} ${actual}\n`)
    }
  })
  yield* Effect.all(
    Array.from({ length: Number(fibers) }, () => worker),
    { concurrency: "unbounded" }
  )
})

await Effect.runPromise(
  Effect.provide(program, SqlQuotaStore.layer({ prefix, timeout: "20 seconds" }).pipe(Layer.provide(client)))
)
process.stdout.write(`${JSON.stringify(spent)}\n`)
