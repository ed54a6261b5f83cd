// Connections of a test's own, for what it does behind the stores' backs.
import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted, type Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { createClient } from "redis"

export type Send = <A = unknown>(command: string, ...args: ReadonlyArray<string>) => Effect.Effect<A>

export const connectRedis = (port: number): Effect.Effect<Send, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(() =>
        createClient({ socket: { host: "127.0.0.1", port, reconnectStrategy: () => 10 } })
          .on("error", () => {})
          .connect()
      ),
      (client) => Effect.sync(() => client.destroy())
    ),
    (client) =>
      <A>(command: string, ...args: ReadonlyArray<string>) =>
        Effect.promise(() => client.sendCommand([command, ...args]) as Promise<unknown> as Promise<A>)
  )

export const queryPostgres = <A extends object>(
  address: string,
  text: string,
  params: ReadonlyArray<unknown> = []
): Effect.Effect<ReadonlyArray<A>> =>
  Effect.flatMap(SqlClient, (sql) => sql.unsafe<A>(text, params)).pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(address), maxConnections: 1 }), { local: true }),
    Effect.orDie
  )
