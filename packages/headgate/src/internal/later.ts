import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { StoreError } from "../Errors.ts"
import type { Usage } from "../Usage.ts"
import { monotonicMillis } from "./answers.ts"
import type { Conflict, Reserve } from "./verbs.ts"

/** So many things wait to be told at most. */
const most = 10_000

/** What a hold is ended with: what its call took, or that it is given back. */
export type End = Usage | "released"

/** How a hold is ended in a store that may fail. */
export interface Ending<A, E> {
  readonly end: End
  /** Asks the store. */
  readonly now: Effect.Effect<A, E | StoreError>
  /** Asks it again and again, as long as it may be worth it. */
  readonly again: Effect.Effect<unknown, E | StoreError>
  readonly millis: number
  /** What a caller is answered whom a failure does not concern. Without it that is what he is answered. */
  readonly untold: ((error: StoreError) => Effect.Effect<A>) | undefined
  readonly conflict: (conflict: Conflict) => E
}

interface Untold {
  readonly end: End
  readonly tell: Effect.Effect<unknown, unknown>
  /** By the monotonic clock, in milliseconds. */
  readonly until: number
}

/** Runs an effect with what a fiber had, and nothing else. */
const asIn = <A, E>(context: Context.Context<never>, self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.updateContext(self, (_: Context.Context<never>) => context)

/**
 * What a store could not be told is told later, until the scope is closed. One fiber does it, one after another, and only
 * while there is something to tell: a store that is out of reach is not asked for more than one thing at a time.
 */
export class Later {
  private readonly untold = new Map<object, Untold>()
  private readonly promised = new WeakMap<object, End>()
  private readonly scope: Scope.Scope
  private readonly context: Context.Context<never>
  private readonly clock: Clock.Clock
  private readonly pause: Duration.Duration
  private isTelling = false
  private failures = 0

  constructor(scope: Scope.Scope, context: Context.Context<never>, pause: Duration.Duration) {
    this.scope = scope
    this.context = context
    this.clock = Context.get(context, Clock.Clock)
    this.pause = pause
  }

  /** One for a layer; `pause` is how long it waits where it fails twice in a row. */
  static make = (pause: Duration.Duration): Effect.Effect<Later, never, Scope.Scope> =>
    Effect.flatMap(Effect.scope, (scope) =>
      Effect.map(Effect.context<never>(), (context) => new Later(scope, context, pause))
    )

  /**
   * Ends a hold now, or later if the store cannot be told. Whoever was promised one end is given no other, and nothing is
   * given back of which was said what it took. To be run for one end of a hold after another.
   */
  end<A, E>(
    hold: object,
    { again, conflict, end, millis, now, untold }: Ending<A, E>
  ): Effect.Effect<A, E | StoreError> {
    return Effect.uninterruptible(
      Effect.suspend((): Effect.Effect<A, E | StoreError> => {
        const promised = this.promised.get(hold)
        const waiting = this.untold.get(hold)
        const before = promised ?? (end === "released" && waiting?.end !== "released" ? waiting?.end : undefined)
        if (before !== undefined && !Equal.equals(before, end)) {
          return Exit.fail(
            conflict({ _tag: "Conflict", bound: "open", state: before === "released" ? before : "settled" })
          )
        }
        return Effect.matchEffect(now, {
          onSuccess: (answer) => {
            this.untold.delete(hold)
            return Exit.succeed(answer)
          },
          onFailure: (error): Effect.Effect<A, E | StoreError> => {
            if (!(error instanceof StoreError)) return Exit.fail(error)
            if (untold !== undefined) this.promised.set(hold, end)
            const told: Effect.Effect<A, StoreError> = untold?.(error) ?? Exit.fail(error)
            return Effect.andThen(this.add(hold, end, again, millis), told)
          }
        })
      })
    )
  }

  /** Takes what can be told again and again, as its caller would, and is not worth it any more after so many milliseconds. */
  add(hold: object, end: End, tell: Effect.Effect<unknown, unknown>, millis: number): Effect.Effect<void> {
    return Effect.uninterruptible(
      Effect.withFiber(({ context }): Effect.Effect<void> => {
        if (this.untold.size >= most && !this.untold.has(hold)) return untellable
        const until = monotonicMillis(this.clock) + millis
        this.untold.set(hold, { end, tell: asIn(context, tell), until })
        if (this.isTelling) return Effect.void
        this.isTelling = true
        const telling = Effect.onError(Effect.interruptible(this.tellNext), () =>
          Effect.sync(() => {
            this.isTelling = false
          })
        )
        return Effect.asVoid(Effect.forkIn(asIn(this.context, telling), this.scope))
      })
    )
  }

  private readonly tellNext: Effect.Effect<void> = Effect.suspend(() => {
    const [next] = this.untold
    if (next === undefined) {
      this.isTelling = false
      return Effect.void
    }
    const [hold, untold] = next
    this.untold.delete(hold)
    const told =
      monotonicMillis(this.clock) > untold.until
        ? untellable
        : Effect.flatMap(Effect.exit(untold.tell), (exit) => {
            const error = Option.getOrUndefined(Exit.findErrorOption(exit))
            if (!(error instanceof StoreError)) {
              this.failures = 0
              return Effect.void
            }
            if (!this.untold.has(hold)) this.untold.set(hold, untold)
            return ++this.failures % 2 === 0 ? Effect.sleep(this.pause) : Effect.void
          })
    return Effect.andThen(told, this.tellNext)
  })
}

const untellable = Effect.ignoreCause(
  Effect.logWarning("The store could not be told how a call ended: its hold is left to its expiry")
)

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
          outcome === "notApplied" ? Effect.void : later.add({}, "released", Effect.suspend(release), 2 * ttl)
        )
      )
