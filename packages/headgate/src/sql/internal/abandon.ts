import * as Effect from "effect/Effect"
import type { StoreError } from "../../Errors.ts"
import type { Reserve } from "../../internal/verbs.ts"
import type { Settings } from "./settings.ts"

/**
 * Where nobody was told whether a hold was made, nobody knows its id and would end it. It is released in the background, as
 * soon as the database answers. Who has given an id of his own can ask again.
 */
export const makeAbandon =
  ({ scope, timeout }: Settings) =>
  <A>(
    { id, mode }: Reserve,
    reserve: Effect.Effect<A, StoreError>,
    release: Effect.Effect<unknown, StoreError>
  ): Effect.Effect<A, StoreError> => {
    if (id !== undefined || mode === "ask") return reserve
    const releasing = release.pipe(
      Effect.catch((error) => Effect.andThen(Effect.sleep(timeout), Effect.fail(error))),
      Effect.retry({ times: 60 }),
      Effect.ignore,
      Effect.interruptible,
      Effect.forkIn(scope)
    )
    return Effect.uninterruptible(
      Effect.tapError(reserve, ({ outcome }) => (outcome === "unknown" ? releasing : Effect.void))
    )
  }
