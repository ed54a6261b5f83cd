// What the tests of the store in Redis share: one server per file, clients of it, and stores with a clock to move.
import { afterAll, beforeAll } from "@effect/vitest"
import { Effect, Layer, ManagedRuntime } from "effect"
import { Redis } from "effect/persistence"
import { Alerts, QuotaStore } from "headgate"
import { makeStore, type StoreOptions } from "../../src/redis/store.ts"
import { clientOf, type Server, startServer } from "../servers/redis.ts"

/** 2026-03-04T05:06:07.891Z */
export const start = 1_772_600_767_891

export const storeLayer = (options: StoreOptions): Layer.Layer<QuotaStore.QuotaStore, never, Redis.Redis> =>
  Layer.effect(QuotaStore.QuotaStore)(makeStore(options)).pipe(Layer.provide(Alerts.layer))

/** A server for the tests of a `describe`, and a client of its own for what they do behind the stores' backs. */
export const useServer = (...options: ReadonlyArray<string>) => {
  let server: Server | undefined
  const port = () => server!.port
  const layer = clientOf(port)
  let runtime: ManagedRuntime.ManagedRuntime<Redis.Redis, never>
  beforeAll(async () => {
    server = await startServer(...options)
    runtime = ManagedRuntime.make(layer)
    await runtime.runPromise(Effect.void)
  }, 60_000)
  afterAll(async () => {
    await runtime.dispose()
    await server?.end()
  })
  const send = <A = unknown>(command: string, ...args: ReadonlyArray<string>) =>
    Effect.promise(() => runtime.runPromise(Redis.Redis.use((redis) => redis.send<A>(command, ...args))))
  const keyOfClock = (prefix: string) => `{${prefix}}:store:now`
  return {
    server: () => server!,
    port,
    layer,
    send,
    setClock: (prefix: string, now: number) => send("SET", keyOfClock(prefix), String(now)),
    moveClock: (prefix: string, millis: number) => send("INCRBY", keyOfClock(prefix), String(millis))
  }
}
