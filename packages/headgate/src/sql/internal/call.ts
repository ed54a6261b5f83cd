import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { StoreError } from "../../Errors.ts"

/**
 * What an error says about the statement it came from. After `notApplied` it is worth trying again: another
 * transaction was in the way, or the database is not there yet. After `unknown` it may have been applied.
 */
type Verdict = "notApplied" | "unknown" | "final"

/** The code that a server or SQLite gave, wherever the driver put it. */
const codeOf = (cause: unknown): string => {
  if (typeof cause !== "object" || cause === null) return ""
  const code: unknown = Reflect.get(cause, "code")
  return typeof code === "string" ? code : codeOf(Reflect.get(cause, "cause"))
}

export const verdictOf = ({ reason }: SqlError): Verdict => {
  switch (reason._tag) {
    case "ConnectionError":
      return reason.operation === "connect" ? "notApplied" : "unknown"
    case "DeadlockError":
    case "SerializationError":
    case "LockTimeoutError":
    case "StatementTimeoutError":
    // Another process has just used the same id: next time it is found.
    case "UniqueViolation":
      return "notApplied"
    default: {
      const code = codeOf(reason.cause)
      // The server shuts down or has not come up yet, has no connection left, or crashed under the statement.
      if (code === "57P03" || code === "53300") return "notApplied"
      return code.startsWith("57P") || code === "XX000" || code === "58030" ? "unknown" : "final"
    }
  }
}

export interface CallOptions {
  readonly sql: SqlClient.SqlClient
  readonly timeout: Duration.Duration
}

/**
 * Runs one verb. It is tried again until the time is over, by the same id, so that it is safe where an attempt was cut
 * off. Once begun it is not interrupted with its caller, and it takes no part in a transaction of its caller.
 */
export const makeCall =
  ({ sql, timeout }: CallOptions) =>
  <A, E = never>(
    operation: string,
    attempt: (repeated: boolean) => Effect.Effect<A, SqlError | E>
  ): Effect.Effect<A, StoreError | Exclude<E, SqlError>> =>
    Effect.suspend(() => {
      let sent = false
      let outcome: StoreError["outcome"] = "notApplied"
      let last: unknown = undefined
      const fail = (cause: unknown) => Effect.fail(new StoreError({ operation, outcome, cause }))
      const run = (tries: number): Effect.Effect<A, StoreError | Exclude<E, SqlError>> =>
        Effect.suspend(() => {
          sent = true
          return attempt(outcome === "unknown")
        }).pipe(
          Effect.catch((error) => {
            sent = false
            if (!isSqlError(error)) return Effect.fail(error as Exclude<E, SqlError>)
            last = error
            const verdict = verdictOf(error)
            if (verdict === "final") return fail(error)
            outcome = verdict === "unknown" ? verdict : outcome
            const pause = Effect.flatMap(Random.next, (share) => Effect.sleep(Math.min(250, 4 * 2 ** tries) * share))
            return Effect.flatMap(pause, () => run(tries + 1))
          })
        )
      const apart = Effect.updateContext(run(0), Context.omit(sql.transactionService)<never>)
      return Effect.uninterruptible(
        Effect.flatMap(Effect.forkDetach(Effect.interruptible(Effect.exit(apart))), (running) =>
          Effect.flatMap(Effect.timeoutOption(Fiber.join(running), timeout), (answer) => {
            if (Option.isSome(answer)) return answer.value
            if (sent) outcome = "unknown"
            // Its connection may take a while to come to rest: nobody waits for that.
            running.interruptUnsafe()
            return fail(last ?? new Error(`no answer within ${Duration.format(timeout)}`))
          })
        )
      )
    })
