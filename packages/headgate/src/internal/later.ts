import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { StoreError } from "../Errors.ts"
import type { Reserve } from "./verbs.ts"

/** More than so many are left to the expiry of their holds. */
const most = 10_000

interface Untold {
  readonly tell: Effect.Effect<unknown, unknown>
  readonly until: number
}

/**
 * What a store could not be told is told later, until the scope is closed. One fiber does it, one after another, and only
 * while there is something to tell: a store that is out of reach is not asked for more than one thing at a time.
 */
export class Later {
  private readonly untold = new Map<object, Untold>()
  private readonly scope: Scope.Scope
  private readonly pause: Duration.Duration
  private isTelling = false

  /** `pause` is how long it waits after a failure. */
  constructor(scope: Scope.Scope, pause: Duration.Duration) {
    this.scope = scope
    this.pause = pause
  }

  /**
   * Takes what can be told again and again, and is not worth it any more after so many milliseconds. Of what is told of one
   * thing only the last is.
   */
  add(of: object, tell: Effect.Effect<unknown, unknown>, millis: number): Effect.Effect<void> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (this.untold.size >= most) return leftToExpiry
      this.untold.set(of, { tell, until: now + millis })
      if (this.isTelling) return Effect.void
      this.isTelling = true
      return Effect.asVoid(Effect.forkIn(Effect.interruptible(this.tellNext), this.scope))
    })
  }

  /** Ends a hold now, or later if the store cannot be told of it: by its id that is safe to do again. */
  orLater<A, E>(hold: object, end: Effect.Effect<A, E>, millis: number): Effect.Effect<A, E> {
    return Effect.tapError(end, (error) => (error instanceof StoreError ? this.add(hold, end, millis) : Effect.void))
  }

  private readonly tellNext: Effect.Effect<void> = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const [next] = this.untold
    if (next === undefined) {
      this.isTelling = false
      return Effect.void
    }
    const [of, { tell, until }] = next
    this.untold.delete(of)
    const told = Effect.matchEffect(now > until ? leftToExpiry : tell, {
      onSuccess: () => Effect.void,
      onFailure: (error) => {
        if (!(error instanceof StoreError)) return Effect.void
        if (!this.untold.has(of)) this.untold.set(of, next[1])
        return Effect.sleep(this.pause)
      }
    })
    return Effect.andThen(Effect.catchDefect(told, Effect.logError), this.tellNext)
  })
}

const leftToExpiry = Effect.logWarning("A hold was left to its expiry: its store could not be told how its call ended")

/**
 * Where nobody was told whether a hold was made, nobody knows its id and would end it. It is released later, as long as the
 * store may know it. Who has given an id of his own can ask again.
 */
export const abandon = <A>(
  later: Later,
  { id, mode, ttl }: Reserve,
  reserve: Effect.Effect<A, StoreError>,
  release: () => Effect.Effect<unknown, StoreError>
): Effect.Effect<A, StoreError> =>
  id !== undefined || mode === "ask"
    ? reserve
    : Effect.uninterruptible(
        Effect.tapError(reserve, ({ outcome }) =>
          outcome === "notApplied" ? Effect.void : later.add(reserve, Effect.suspend(release), 2 * ttl)
        )
      )
