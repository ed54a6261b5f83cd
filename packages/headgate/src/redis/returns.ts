import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Redis from "effect/persistence/Redis"
import type { Account } from "../internal/verbs.ts"
import type * as QuotaStore from "../QuotaStore.ts"

/** Where the script says of which accounts something was given back, and only where somebody waits for it. */
export const channelOf = (storeKey: string): string => `${storeKey}:returns`

/**
 * Listens on a connection of its own. What was said before that, or while it was broken, is made up for by calling
 * everybody.
 */
export const makeListen = (
  redis: Redis.Redis["Service"],
  channel: string,
  keyOf: (account: Account) => string
): NonNullable<QuotaStore.Service["listen"]> => {
  return (called) =>
    Effect.gen(function* () {
      const messages = yield* redis.subscribe(channel)
      called(() => true)
      return yield* Effect.forever(
        Effect.map(Queue.take(messages), ({ message }) => called((account) => keyOf(account) === message))
      )
    }).pipe(Effect.scoped, Effect.retry(Schedule.spaced("1 second")), Effect.ignore, Effect.forkScoped, Effect.asVoid)
}
