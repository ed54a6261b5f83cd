import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Redis from "effect/persistence/Redis"
import * as replies from "./replies.ts"

type Reply = ReadonlyArray<number | string>

/** Fewer replicas than asked for have a write. */
export class TooFewReplicas extends Data.TaggedError("TooFewReplicas")<{
  readonly acknowledged: number
  readonly wanted: string
}> {
  override get message(): string {
    return `${this.acknowledged} of ${this.wanted} replicas have acknowledged the write`
  }
}

export type Evaluate = (
  args: ReadonlyArray<string>,
  writes: boolean
) => Effect.Effect<Reply, Redis.RedisError | TooFewReplicas>

/**
 * Runs the script by its digest, and tells it to a server that does not know it. Effect's own `eval` asks a server for the
 * digest and looks it up for every call; here it is known.
 */
export const makeEvaluate = (
  redis: Redis.Redis["Service"],
  lua: string,
  wait: { readonly replicas: string; readonly timeout: string } | undefined
): Effect.Effect<Evaluate> =>
  Effect.map(
    Effect.promise(() => crypto.subtle.digest("SHA-1", new TextEncoder().encode(lua))),
    (bytes) => {
      const sha = Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("")

      const evaluate = (send: Redis.Connection["send"], args: ReadonlyArray<string>) => {
        const evaluated = send<Reply>("EVALSHA", sha, ...args)
        return Effect.catchIf(
          evaluated,
          ({ cause }) => String(cause).includes("NOSCRIPT"),
          () => Effect.andThen(redis.send("SCRIPT", "LOAD", lua), evaluated)
        )
      }

      const evaluateAndWait = (args: ReadonlyArray<string>, { replicas, timeout }: NonNullable<typeof wait>) =>
        Effect.scoped(
          Effect.flatMap(redis.reserve, (connection) =>
            Effect.flatMap(evaluate(connection.send, args), (reply) =>
              reply[0] === replies.more
                ? Effect.succeed(reply)
                : // The write is there, whatever becomes of the question.
                  Effect.flatMap(
                    Effect.orElseSucceed(connection.send<number>("WAIT", replicas, timeout), () => 0),
                    (acknowledged) =>
                      acknowledged >= Number(replicas)
                        ? Effect.succeed(reply)
                        : Effect.fail(new TooFewReplicas({ acknowledged, wanted: replicas }))
                  )
            )
          )
        )

      return (args, writes) =>
        wait === undefined || !writes ? evaluate(redis.send, args) : evaluateAndWait(args, wait)
    }
  )
