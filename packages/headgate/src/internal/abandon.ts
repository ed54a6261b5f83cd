import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { StoreError } from "../Errors.ts"
import type { Reserve } from "./verbs.ts"

/**
 * Where nobody was told whether a hold was made, nobody knows its id and would end it. It is released in the background, as
 * soon as the store answers, until the scope is closed. Who has given an id of his own can ask again.
 */
export const makeAbandon =
  (scope: Scope.Scope, pause: Duration.Input) =>
  <A>(
    { id, mode }: Reserve,
    reserve: Effect.Effect<A, StoreError>,
    release: () => Effect.Effect<unknown, StoreError>
  ): Effect.Effect<A, StoreError> => {
    if (id !== undefined || mode === "ask") return reserve
    const releasing = ({ outcome }: StoreError) =>
      outcome === "notApplied"
        ? Effect.void
        : release().pipe(
            Effect.catch((error) => Effect.andThen(Effect.sleep(pause), Effect.fail(error))),
            Effect.retry({ times: 60 }),
            Effect.ignore,
            Effect.interruptible,
            Effect.forkIn(scope)
          )
    return Effect.uninterruptible(Effect.tapError(reserve, releasing))
  }
