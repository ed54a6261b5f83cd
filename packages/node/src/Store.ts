/**
 * Stores by their url: `memory`, `redis://…`, `rediss://…`, `postgres://…`, `postgresql://…` or `sqlite:PATH`. A driver is
 * loaded only where its store is used.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { type Alerts, QuotaStore } from "headgate"
import { InvalidStore, StoreUnreachable } from "./Errors.ts"
import type { Opened, Temporary } from "./internal/opened.ts"
import { parse, reasonOf, type Target } from "./internal/target.ts"

/**
 * How a store is opened.
 *
 * - `prefix`: what the names of all its keys or tables begin with (default `"headgate"`). Stores of one prefix in one place
 *   are one store. In Redis 1 to 128 characters without braces; in a database 1 to 32 of `a-z`, `0-9` and `_`.
 * - `onMissing`: what is done where a database has no tables of the prefix, or SQLite no file: they are made (default
 *   `"make"`), or it is `StoreUnreachable` and all stays as it is (`"fail"`). Redis has nothing to make.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly prefix?: string | undefined
  readonly onMissing?: "make" | "fail" | undefined
}

const patience = "10 seconds"

/** What was thrown for wrong options is an error here, since they come from outside. What was given may be another variable's. */
const prefixError = (cause: Cause.Cause<unknown>): InvalidStore | undefined => {
  const thrown = cause.reasons.find(Cause.isDieReason)?.defect
  const reason = thrown instanceof RangeError ? /\bprefix (must be .*?), got /.exec(thrown.message)?.[1] : undefined
  return reason === undefined ? undefined : new InvalidStore({ option: "prefix", reason })
}

/**
 * Builds a layer in a fiber of its own. Where that takes too long, nobody waits until it has ended: it may wait itself for
 * a server that never answers.
 */
const buildApart = Effect.fnUntraced(function* <A, E, R>(layer: Layer.Layer<A, E, R>) {
  const scope = yield* Scope.make()
  const building = yield* Effect.forkDetach(Effect.interruptible(Layer.buildWithScope(layer, scope)))
  const end = (exit: Exit.Exit<unknown, unknown>) => Effect.andThen(Fiber.interrupt(building), Scope.close(scope, exit))
  const context = yield* Effect.onError(Fiber.join(building), (cause) => Effect.forkDetach(end(Exit.failCause(cause))))
  yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
  return context
})

/** Opens a store in good time, or says why not. */
const opened = (
  target: Target,
  load: () => Promise<Opened>
): Layer.Layer<QuotaStore.QuotaStore, InvalidStore | StoreUnreachable, Alerts.Alerts> => {
  const unreachable = (reason: string): StoreUnreachable => new StoreUnreachable({ store: target.shown, reason })
  return Layer.effect(QuotaStore.QuotaStore)(
    Effect.promise(load).pipe(
      Effect.flatMap(buildApart),
      Effect.map((context) => Context.get(context, QuotaStore.QuotaStore)),
      Effect.mapError((cause) => unreachable(reasonOf(target, cause))),
      Effect.timeoutOrElse({
        duration: patience,
        orElse: () => Effect.fail(unreachable(`no answer within ${patience}`))
      }),
      Effect.catchCause((cause): Effect.Effect<never, InvalidStore | StoreUnreachable> => {
        const error = prefixError(cause)
        return error === undefined ? Effect.failCause(cause) : Effect.fail(error)
      })
    )
  )
}

const found = (url: string | Redacted.Redacted): Result.Result<Target, InvalidStore> =>
  parse(Redacted.isRedacted(url) ? Redacted.value(url) : url)

/**
 * The store that a url names. Tables are made when it opens, unless `onMissing` says otherwise. It fails with `InvalidStore` if the url or the prefix is
 * wrong, and with `StoreUnreachable` if nobody answers there in 10 seconds.
 *
 * **Example** (One budget for all machines)
 *
 * ```ts no-run
 * import { Store } from "@headgate/node"
 * import { Layer } from "effect"
 * import { Alerts, Budget } from "headgate"
 *
 * const live = Budget.layer({ per: { user: { maxCostPerDay: "$5" } } }).pipe(
 *   Layer.provide(Store.fromUrl("redis://localhost:6379", { prefix: "my-app" })),
 *   Layer.provideMerge(Alerts.layer)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const fromUrl = (
  url: string | Redacted.Redacted,
  options?: Options
): Layer.Layer<QuotaStore.QuotaStore, InvalidStore | StoreUnreachable, Alerts.Alerts> =>
  Layer.unwrap(
    Effect.map(Effect.fromResult(found(url)), (target) => {
      switch (target.kind) {
        case "memory":
          return QuotaStore.layerMemory
        case "redis":
          return opened(target, () => import("./internal/redis.ts").then(({ open }) => open(target, options)))
        case "postgres":
          return opened(target, () => import("./internal/postgres.ts").then(({ open }) => open(target, options)))
        case "sqlite":
          return opened(target, () => import("./internal/sqlite.ts").then(({ open }) => open(target, options)))
      }
    })
  )

/** A name that nothing else has, which says to whom finds it what it was for. */
const newPrefix = (): string => `headgate_simulation_${crypto.randomUUID().slice(0, 8)}`

/** Whoever cannot remove what a simulation has left is told its name. */
const removing =
  (target: Target, prefix: string): Temporary["remove"] =>
  (found) =>
    Layer.effectDiscard(
      Effect.acquireRelease(found, (remove) =>
        remove.pipe(
          Effect.timeout(patience),
          Effect.catchCause((cause) =>
            Effect.logError(
              `What begins with ${prefix} is left in ${target.shown}: ${reasonOf(target, Cause.squash(cause))}`
            )
          )
        )
      )
    )

/**
 * A store where a url says, with a prefix of its own, that decides by the time that it is given, in milliseconds since
 * 1970, instead of its own: for replaying traffic. What it has written is removed when the layer's scope ends. In
 * PostgreSQL that is a schema, in SQLite tables in the file.
 *
 * @category layers
 * @since 0.1.0
 */
export const temporary = (
  url: string | Redacted.Redacted,
  now: () => number
): Layer.Layer<QuotaStore.QuotaStore, InvalidStore | StoreUnreachable, Alerts.Alerts> =>
  Layer.unwrap(
    Effect.map(Effect.fromResult(found(url)), (target) => {
      const prefix = newPrefix()
      const options: Temporary = { prefix, now, remove: removing(target, prefix) }
      switch (target.kind) {
        case "memory":
          return QuotaStore.layerMemory
        case "redis":
          return opened(target, () =>
            import("./internal/redis.ts").then(({ openTemporary }) => openTemporary(target, options))
          )
        case "postgres":
          return opened(target, () =>
            import("./internal/postgres.ts").then(({ openTemporary }) => openTemporary(target, options))
          )
        case "sqlite":
          return opened(target, () =>
            import("./internal/sqlite.ts").then(({ openTemporary }) => openTemporary(target, options))
          )
      }
    })
  )

/**
 * What may be told of a url: without user name, password and parameters.
 *
 * **Example** (For a log)
 *
 * ```ts
 * import { Store } from "@headgate/node"
 * import { Result } from "effect"
 *
 * Store.describe("redis://app:secret@cache:6379/2") // => Result.succeed("redis://cache:6379/2")
 * ```
 *
 * @category converting
 * @since 0.1.0
 */
export const describe = (url: string | Redacted.Redacted): Result.Result<string, InvalidStore> =>
  Result.map(found(url), ({ shown }) => shown)
