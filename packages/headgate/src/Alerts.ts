/**
 * Where alerts are told: one `PubSub` for all services, so that any number of listeners hears them and none can hold a
 * call up. A listener that falls behind loses the oldest alerts; one that comes late is given the last ones again.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Alert } from "./Alert.ts"

/**
 * Tells alerts to whoever listens.
 *
 * **Example** (Handling alerts)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Alerts, Budget } from "headgate"
 *
 * const told: Array<string> = []
 *
 * const program = Effect.gen(function*() {
 *   const alerts = yield* Alerts.Alerts
 *   const budget = yield* Budget.Budget
 *   yield* alerts.handle((alert) => Effect.sync(() => told.push(`${alert._tag} ${alert.quota}`)))
 *   const reservation = yield* budget.reserve({ tokens: 90 })
 *   yield* budget.settle(reservation, { tokens: 85 })
 *   yield* alerts.drained
 * }).pipe(Effect.scoped, Effect.provide(Budget.layerMemory({ maxTokensPerMinute: 100 })))
 *
 * await Effect.runPromise(program)
 * told // => ["ThresholdReached maxTokensPerMinute"]
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Alerts extends Context.Service<
  Alerts,
  {
    /** All alerts pass through here. Sliding, with replay: publishing never waits. */
    readonly pubsub: PubSub.PubSub<Alert>
    /** Tells an alert. */
    readonly publish: (alert: Alert) => Effect.Effect<void>
    /** Tells several, in order. */
    readonly publishAll: (alerts: ReadonlyArray<Alert>) => Effect.Effect<void>
    /** The alerts from when the stream is run, after the replayed ones. */
    readonly stream: Stream.Stream<Alert>
    /** A subscription that lasts as long as the scope. */
    readonly subscribe: Effect.Effect<PubSub.Subscription<Alert>, never, Scope.Scope>
    /**
     * Runs `f` for each alert, one after another, until the scope is closed. A run that fails, or takes longer than
     * `timeout` (default 5 seconds), is logged and cut; the next alert follows.
     */
    readonly handle: <E, R>(
      f: (alert: Alert) => Effect.Effect<unknown, E, R>,
      options?: { readonly timeout?: Duration.Input | undefined }
    ) => Effect.Effect<void, never, R | Scope.Scope>
    /** Waits until the handlers have dealt with all that was told before. */
    readonly drained: Effect.Effect<void>
  }
>()("headgate/Alerts") {}

/**
 * The service of `Alerts`.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = (typeof Alerts)["Service"]

/** A handler's progress, for `drained`. */
interface Handler {
  readonly subscription: PubSub.Subscription<Alert>
  handled: number
  busy: boolean
  waiting: ReadonlyArray<{ readonly until: number; readonly done: Deferred.Deferred<void> }>
}

const tell = (handler: Handler, until: number): void => {
  const ready = handler.waiting.filter((waiter) => waiter.until <= until)
  handler.waiting = handler.waiting.filter((waiter) => waiter.until > until)
  for (const { done } of ready) Deferred.doneUnsafe(done, Effect.void)
}

/**
 * Makes the service. `capacity` is how far a listener may fall behind (default 1024), `replay` how many alerts a late
 * one is given again (default 64).
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: {
  readonly capacity?: number | undefined
  readonly replay?: number | undefined
}): Effect.Effect<Service> =>
  Effect.map(
    PubSub.sliding<Alert>({ capacity: options?.capacity ?? 1024, replay: options?.replay ?? 64 }),
    (pubsub): Service => {
      const handlers = new Set<Handler>()

      const run = <E, R>(
        handler: Handler,
        f: (alert: Alert) => Effect.Effect<unknown, E, R>,
        timeout: Duration.Duration
      ) =>
        PubSub.take(handler.subscription).pipe(
          Effect.tap(() => Effect.sync(() => (handler.busy = true))),
          Effect.flatMap((alert) =>
            Effect.suspend(() => f(alert)).pipe(
              Effect.timeoutOption(timeout),
              Effect.flatMap(
                Option.match({
                  onNone: () => Effect.logWarning(`Alert handler cut after ${Duration.format(timeout)}`, alert.message),
                  onSome: () => Effect.void
                })
              ),
              Effect.catchCause((cause) => Effect.logWarning("Alert handler failed", cause))
            )
          ),
          Effect.andThen(
            Effect.sync(() => {
              handler.busy = false
              tell(handler, ++handler.handled)
            })
          ),
          Effect.forever
        )

      return {
        pubsub,
        publish: (alert) => PubSub.publish(pubsub, alert),
        publishAll: (alerts) => (alerts.length === 0 ? Effect.void : PubSub.publishAll(pubsub, alerts)),
        stream: Stream.fromPubSub(pubsub),
        subscribe: PubSub.subscribe(pubsub),
        handle: Effect.fnUntraced(function* (f, options) {
          const timeout = Duration.fromInputUnsafe(options?.timeout ?? "5 seconds")
          const handler: Handler = {
            subscription: yield* PubSub.subscribe(pubsub),
            handled: 0,
            busy: false,
            waiting: []
          }
          handlers.add(handler)
          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              handlers.delete(handler)
              tell(handler, Infinity)
            })
          )
          yield* Effect.forkScoped(run(handler, f, timeout))
        }),
        // A handler that has just been given an alert may not have run yet: it does before us once we yield.
        drained: Effect.andThen(
          Effect.yieldNow,
          Effect.suspend(() =>
            Effect.forEach(
              handlers,
              (handler) => {
                const left =
                  Option.getOrElse(PubSub.remainingUnsafe(handler.subscription), () => 0) + (handler.busy ? 1 : 0)
                if (left === 0) return Effect.void
                const done = Deferred.makeUnsafe<void>()
                handler.waiting = [...handler.waiting, { until: handler.handled + left, done }]
                return Deferred.await(done)
              },
              { discard: true, concurrency: "unbounded" }
            )
          )
        )
      }
    }
  )

/**
 * The service with its defaults.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Alerts> = Layer.effect(Alerts)(make())

/**
 * As `layer`, with a capacity and a replay of your own.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (options: {
  readonly capacity?: number | undefined
  readonly replay?: number | undefined
}): Layer.Layer<Alerts> => Layer.effect(Alerts)(make(options))

/**
 * Writes each alert to the log: a warning, or an error where the store failed, with its quota and subject as annotations.
 *
 * **Example** (Alerts in the log)
 *
 * ```ts
 * import { Effect, Layer, Logger } from "effect"
 * import { Alerts, Budget } from "headgate"
 *
 * const lines: Array<unknown> = []
 * const logger = Logger.layer([Logger.make(({ message }) => lines.push(message))])
 *
 * const program = Effect.gen(function*() {
 *   const budget = yield* Budget.Budget
 *   const reservation = yield* budget.reserve({ tokens: 90 })
 *   yield* budget.settle(reservation, { tokens: 85 })
 *   yield* Alerts.Alerts.use((alerts) => alerts.drained)
 * }).pipe(
 *   Effect.provide(
 *     Alerts.layerLog.pipe(Layer.provideMerge(Budget.layerMemory({ maxTokensPerMinute: 100 })), Layer.provide(logger))
 *   )
 * )
 *
 * await Effect.runPromise(program)
 * lines // => [["maxTokensPerMinute of everyone: 85 % of 100 tokens used"]]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerLog: Layer.Layer<never, never, Alerts> = Layer.effectDiscard(
  Effect.flatMap(Alerts, (alerts) =>
    alerts.handle(({ _tag, message, quota, subject }) =>
      Effect.annotateLogs((_tag === "StoreDegraded" ? Effect.logError : Effect.logWarning)(message), {
        alert: _tag,
        quota,
        ...subject
      })
    )
  )
)
