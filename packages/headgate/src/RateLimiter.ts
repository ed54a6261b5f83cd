/**
 * Rate limits: may this go now? A call takes its place in all limits that concern it together, or waits its turn: first
 * come, first served, without polling.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Alerts from "./Alerts.ts"
import * as Errors from "./Errors.ts"
import { Attempt } from "./internal/retry/attempt.ts"
import {
  conflictError,
  degradedOf,
  now,
  rateLimitRefusal,
  timed,
  type TimedStatus,
  tooLargeRefusal
} from "./internal/answers.ts"
import { ledgerOf } from "./internal/ledger/atOnce.ts"
import { Provider } from "./internal/provider/atProvider.ts"
import { neverFits } from "./internal/ledger/cell.ts"
import { makeConfigured } from "./internal/options/configured.ts"
import * as environment from "./internal/options/environment.ts"
import { wordOf } from "./internal/limiter/feedback.ts"
import { checkSubject, checkUsage } from "./internal/input.ts"
import { Keeper } from "./internal/keeper.ts"
import { linesOf } from "./internal/limiter/line.ts"
import { afterwards } from "./internal/provider/took.ts"
import * as metrics from "./internal/metrics.ts"
import type { Word } from "./internal/limiter/pace.ts"
import { pacesOf } from "./internal/limiter/paces.ts"
import { type Permit, type Request, type Restore, Taken } from "./internal/limiter/permit.ts"
import { placesOf, unknownRefusal } from "./internal/limiter/places.ts"
import { millisOf, oneOf } from "./internal/options/plans.ts"
import { Later } from "./internal/later.ts"
import { failingFast } from "./internal/outage.ts"
import { type Options, rulesOf } from "./internal/options/rateLimiter.ts"
import { invalidUsage } from "./internal/refusal.ts"
import type { Feedback } from "./internal/provider/signals.ts"
import { turnsOf } from "./internal/limiter/turns.ts"
import * as QuotaStore from "./QuotaStore.ts"
import type { Subject } from "./Subject.ts"
import * as Usage from "./Usage.ts"

export type { TimedStatus } from "./internal/answers.ts"
export type { Permit } from "./internal/limiter/permit.ts"
export type { Limits, Options } from "./internal/options/rateLimiter.ts"
export type { Feedback, FeedbackLimit } from "./internal/provider/signals.ts"

/**
 * The counters of a rate limiter, and how many calls wait in this process.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly quotas: ReadonlyArray<TimedStatus>
  readonly waiting: number
}

/**
 * How taking a place can fail.
 *
 * @category errors
 * @since 0.1.0
 */
export type AcquireError = Errors.RateLimitExceeded | Errors.RequestTooLarge | Errors.InvalidUsage | Errors.StoreError

/**
 * Takes places and gives them back.
 *
 * **Example** (By hand)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { RateLimiter } from "headgate"
 *
 * const program = Effect.gen(function*() {
 *   const limiter = yield* RateLimiter.RateLimiter
 *   const permit = yield* limiter.acquire({ tokens: 1000 })
 *   yield* limiter.settle(permit, { tokens: 600 })
 *   return yield* limiter.tryAcquire({ tokens: 400 })
 * }).pipe(Effect.provide(RateLimiter.layerMemory({ requestsPerMinute: 60, tokensPerMinute: 1000 })))
 *
 * await Effect.runPromise(program) // => true
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class RateLimiter extends Context.Service<
  RateLimiter,
  {
    /** Takes a place in all limits, or waits for it. A usage without `requests` is one request. */
    readonly acquire: (usage?: Usage.Input, subject?: Subject) => Effect.Effect<Permit, AcquireError>
    /** Takes a place if there is one and nobody waits for it. It does not count as under way. */
    readonly tryAcquire: (
      usage?: Usage.Input,
      subject?: Subject
    ) => Effect.Effect<boolean, Exclude<AcquireError, Errors.RateLimitExceeded>>
    /**
     * Takes a place, and is given to `use` in an uninterruptible region whose `restore` undoes that: nothing can come
     * between taking the place and knowing it. `use` must settle or release the permit. Its place in a `concurrency` is
     * renewed until then.
     */
    readonly withPermit: <A, E, R>(
      usage: Usage.Input,
      subject: Subject,
      use: (
        permit: Permit,
        restore: <A2, E2, R2>(effect: Effect.Effect<A2, E2, R2>) => Effect.Effect<A2, E2, R2>
      ) => Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | AcquireError, R>
    /** Says what a call really took and that it is over. The difference is given back, or taken at once. */
    readonly settle: (
      permit: Permit,
      actual: Usage.Input
    ) => Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError>
    /** Gives a place back as if it had never been taken. */
    readonly release: (permit: Permit) => Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError>
    /**
     * Takes the provider at its word on the subject's model, or on everyone where the subject has none: see `Feedback`. It
     * is taken as the answer to the call of `permit`, or else to the one that runs; where a call of `ModelGuard` runs that
     * names its `provider`, as that provider's word, which holds nobody back elsewhere.
     */
    readonly feedback: (
      feedback: Feedback,
      subject?: Subject,
      permit?: Permit
    ) => Effect.Effect<void, Errors.InvalidUsage>
    /** The counters of everyone, and of the subject's dimensions. */
    readonly status: (subject?: Subject) => Effect.Effect<Status, Errors.InvalidUsage | Errors.StoreError>
  }
>()("headgate/RateLimiter") {}

/**
 * The service of `RateLimiter`.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = (typeof RateLimiter)["Service"]

const none: Subject = {}

const foreign = invalidUsage("permit", "taken by acquire", "another object")

/**
 * Makes the service. Throws a `RangeError` that names the option, its bound and its value.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options
): Effect.Effect<Service, never, QuotaStore.QuotaStore | Alerts.Alerts | Scope.Scope> => {
  const name = options.name ?? "rateLimiter"
  const rules = rulesOf(options, name)
  const ttl = millisOf("RateLimiter.layer: permitTtl", options.permitTtl ?? "10 minutes")
  const maxWait = options.maxWait === undefined ? Infinity : millisOf("RateLimiter.layer: maxWait", options.maxWait)
  const onExceeded = oneOf("RateLimiter.layer: onExceeded", ["delay", "fail"], options.onExceeded ?? "delay")
  const maxProviderWait = millisOf("RateLimiter.layer: maxProviderWait", options.maxProviderWait ?? "5 minutes")
  const onStoreError = oneOf("RateLimiter.layer: onStoreError", ["fail", "allow"], options.onStoreError ?? "fail")

  return Effect.gen(function* () {
    const given = yield* QuotaStore.QuotaStore
    const alerts = yield* Alerts.Alerts
    const ledger = ledgerOf(given)
    const store = onStoreError === "fail" || ledger !== undefined ? given : failingFast(given)
    const later = yield* Later.make(Duration.seconds(1))
    const lines = linesOf(given, name)
    const paces = pacesOf(given, name, ttl)
    const places = placesOf(store, paces, ttl, alerts.publishAll)
    // One that the store has lost cannot be renewed; one that it could not be asked about may be next time.
    const keeper = new Keeper(Duration.millis(ttl), ({ hold }: Taken) =>
      hold === undefined ? Effect.void : Effect.exit(store.extend(hold, Usage.zero, 0))
    )
    yield* Effect.addFinalizer(() => keeper.stop)
    const waits = onExceeded === "delay"
    if (waits) yield* given.listen?.((isFor) => lines.callWhere(isFor)) ?? Effect.void

    const refuse = (refused: QuotaStore.Refused, age = 0): Effect.Effect<never, AcquireError> =>
      Effect.withFiber((fiber) => {
        const error = rateLimitRefusal(refused, age)
        metrics.refusals[error._tag].updateUnsafe(1, fiber.context)
        return Exit.fail(error)
      })

    const isFinal = (refused: QuotaStore.Refused): boolean =>
      refused.reason === "tooLarge" || paces.keepsAway(refused) > maxProviderWait

    const turns = turnsOf({ lines, places, maxWait, isFinal, refuse })

    const degraded = degradedOf(name, alerts.publish)

    const allow = (error: Errors.StoreError, request: Request): Effect.Effect<Taken> =>
      Effect.andThen(degraded(error, request.subject), places.force(request))

    /** Fails with what can never fit, without asking the store: whoever stands in line asks only when it is first. */
    const fitsEver = (request: Request): Effect.Effect<void, AcquireError> => {
      for (const account of request.accounts) {
        for (const quota of account.plan.quotas) {
          const never = neverFits(quota, request.usage)
          if (never !== undefined) return refuse({ ...unknownRefusal, ...never, reason: "tooLarge", account, quota })
        }
      }
      return Exit.void
    }

    const read = (
      fiber: Fiber.Fiber<unknown, unknown>,
      usage: Usage.Input,
      subject: Subject,
      time: number
    ): Request | Errors.InvalidUsage => {
      const checked = checkUsage(usage, 1)
      if (checked instanceof Errors.InvalidUsage) return checked
      const invalid = checkSubject(subject)
      if (invalid !== undefined) return invalid
      return {
        usage: checked,
        subject,
        accounts: rules.accountsOf(subject),
        paces: paces.of(subject, time, fiber.getRef(Provider))
      }
    }

    /** To be run in an uninterruptible region, so that a place that was taken is not forgotten. */
    const take = (
      fiber: Fiber.Fiber<unknown, unknown>,
      input: Usage.Input,
      subject: Subject,
      restore: Restore
    ): Effect.Effect<Taken, AcquireError> => {
      const time = now(fiber)
      const request = read(fiber, input, subject, time)
      if (request instanceof Errors.InvalidUsage) return Exit.fail(request)
      const { returns } = lines
      const placed =
        waits && turns.isAwaited(request)
          ? Effect.andThen(fitsEver(request), turns.queue(request, undefined, returns, restore))
          : Effect.flatMapEager(
              places.place(request, time, time, waits),
              (answer): Effect.Effect<Taken, AcquireError> =>
                answer instanceof Taken
                  ? Exit.succeed(answer)
                  : isFinal(answer) || !waits
                    ? refuse(answer)
                    : turns.queue(request, answer, returns, restore)
            )
      return onStoreError === "fail" ? placed : Effect.catchTag(placed, "StoreError", (error) => allow(error, request))
    }

    /** Takes a place and goes on with it, where nothing can come between the two. */
    const taking = <A, E, R>(
      usage: Usage.Input,
      subject: Subject,
      use: (permit: Taken, restore: Restore, fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E, R>
    ): Effect.Effect<A, E | AcquireError, R> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.withFiber((fiber) =>
          Effect.flatMapEager(take(fiber, usage, subject, restore), (permit) => use(permit, restore, fiber))
        )
      )

    const settle = (
      permit: Permit,
      actual: Usage.Input
    ): Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError> =>
      Effect.withFiber((fiber) => {
        if (!(permit instanceof Taken)) return Exit.fail(foreign)
        const usage = checkUsage(actual, 1)
        if (usage instanceof Errors.InvalidUsage) return Exit.fail(usage)
        // Its holder is done with it: where the store cannot be told by then, it is left to its expiry.
        keeper.drop(permit)
        const time = now(fiber)
        if (paces.settle(permit.entry, usage, time)) lines.call(permit.entry.paces.map(({ account }) => account))
        const { hold } = permit
        if (hold === undefined) return Exit.void
        return ledger === undefined
          ? endIn(permit, usage, (store) => store.settle(hold, usage))
          : ended(permit, ledger.settle(hold, usage, time))
      })

    const ended = (
      permit: Taken,
      answer: QuotaStore.Booked | QuotaStore.Conflict
    ): Effect.Effect<void, Errors.InvalidUsage> => {
      if (answer._tag === "Conflict") return Exit.fail(conflictError("permit", answer))
      lines.call(permit.accounts)
      return answer.alerts.length === 0 ? Exit.void : alerts.publishAll(answer.alerts)
    }

    /** Ends a place in a store that may fail. With `"allow"` a failure is none of the call's. */
    const endIn = (
      permit: Taken,
      end: Usage.Usage | "released",
      ask: (store: QuotaStore.Service) => Effect.Effect<QuotaStore.Booked | QuotaStore.Conflict, Errors.StoreError>
    ): Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError> => {
      const told = (store: QuotaStore.Service) => Effect.flatMap(ask(store), (answer) => ended(permit, answer))
      return later.end<void, Errors.InvalidUsage>(permit, {
        end,
        now: told(store),
        again: told(given),
        millis: 2 * ttl,
        untold: onStoreError === "fail" ? undefined : (error) => degraded(error, permit.subject),
        conflict: (conflict) => conflictError("permit", conflict)
      })
    }

    const release = (permit: Permit): Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError> =>
      Effect.withFiber((fiber) => {
        if (!(permit instanceof Taken)) return Exit.fail(foreign)
        permit.entry.cancel(paces.at(now(fiber)))
        lines.call(permit.entry.paces.map(({ account }) => account))
        keeper.drop(permit)
        const { hold } = permit
        return hold === undefined ? Exit.void : endIn(permit, "released", (store) => store.release(hold))
      })

    const withPermit: Service["withPermit"] = (usage, subject, use) =>
      taking(usage, subject, (permit, restore, fiber) => {
        const used = use(permit, restore)
        // It is renewed as long as its call goes on, so that only those of dead processes are given up.
        const started = permit.isUnderWay ? keeper.keep(permit, fiber) : undefined
        return started === undefined ? used : Effect.andThen(started, used)
      })

    const feedback: Service["feedback"] = (feedback, subject = none, permit) =>
      Effect.withFiber((fiber) => {
        const word = wordOf(feedback)
        const invalid = word instanceof Errors.InvalidUsage ? word : checkSubject(subject)
        if (invalid !== undefined) return Exit.fail(invalid)
        const answered = permit ?? fiber.getRef(Attempt).permit
        if (answered !== undefined && !(answered instanceof Taken)) return Exit.fail(foreign)
        const provider = fiber.getRef(Provider)
        lines.call([paces.tell(word as Word, subject, answered?.entry, now(fiber), maxProviderWait, provider)])
        return Exit.void
      })

    return {
      // An interruption that came while the place was being taken shows when the region ends: it is given back then.
      acquire: (usage = {}, subject = none) =>
        taking(usage, subject, (permit, restore) =>
          Effect.onInterrupt(Effect.as(restore(Effect.void), permit), () => Effect.ignore(release(permit)))
        ),
      tryAcquire: (usage = {}, subject = none) =>
        Effect.uninterruptible(
          Effect.withFiber((fiber): Effect.Effect<boolean, Exclude<AcquireError, Errors.RateLimitExceeded>> => {
            const time = now(fiber)
            const request = read(fiber, usage, subject, time)
            if (request instanceof Errors.InvalidUsage) return Exit.fail(request)
            if (turns.isAwaited(request)) return Exit.succeed(false)
            const placed = Effect.flatMap(
              places.place(request, time, time, false),
              (answer): Effect.Effect<boolean, Exclude<AcquireError, Errors.RateLimitExceeded>> => {
                if (answer instanceof Taken) {
                  // What becomes of it is not known: it is no answer of the provider's.
                  answer.entry.end()
                  return Effect.as(settle(answer, answer.usage), true)
                }
                return answer.reason === "tooLarge" ? Exit.fail(tooLargeRefusal(answer)) : Exit.succeed(false)
              }
            )
            return onStoreError === "fail"
              ? placed
              : Effect.catchTag(placed, "StoreError", (error) => Effect.as(allow(error, request), true))
          })
        ),
      withPermit,
      settle,
      release,
      feedback,
      status: (subject = none) =>
        Effect.withFiber((fiber): Effect.Effect<Status, Errors.InvalidUsage | Errors.StoreError> => {
          const invalid = checkSubject(subject)
          if (invalid !== undefined) return Exit.fail(invalid)
          return Effect.map(store.status(rules.accountsOf(subject)), ({ quotas }) => ({
            quotas: timed([...quotas, ...paces.status(subject, now(fiber))]),
            waiting: lines.waiting
          }))
        })
    }
  })
}

/**
 * A rate limiter over a store and alerts that others may share.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<RateLimiter, never, QuotaStore.QuotaStore | Alerts.Alerts> =>
  Layer.effect(RateLimiter)(make(options))

/**
 * A rate limiter in this process's memory. Needs nothing.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (options: Options): Layer.Layer<RateLimiter | Alerts.Alerts> =>
  layer(options).pipe(Layer.provide(QuotaStore.layerMemory), Layer.provideMerge(Alerts.layer))

/**
 * The options of the environment, which `RateLimiterLive` is made of: variables that begin with
 * `HEADGATE_RATE_LIMITER_`.
 *
 * @category configuration
 * @since 0.1.0
 */
export const config: Config.Config<Options> = environment.rateLimiter

/**
 * As `layer`, with options from configuration. A wrong value is a `ConfigError`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<RateLimiter, Config.ConfigError, QuotaStore.QuotaStore | Alerts.Alerts> =>
  Layer.effect(RateLimiter)(makeConfigured(options, make))

/**
 * Runs an effect in a place of its own. However it ends, the place stays used, and it no longer counts as under way.
 *
 * **Example** (Two a minute)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { RateLimiter } from "headgate"
 *
 * const call = Effect.succeed("answered").pipe(RateLimiter.withLimit({ tokens: 100 }, { user: "42" }))
 *
 * const program = Effect.all([call, call, call]).pipe(
 *   Effect.catchTag("RateLimitExceeded", (error) => Effect.succeed(error.quota)),
 *   Effect.provide(RateLimiter.layerMemory({ per: { user: { requestsPerMinute: 2 } }, onExceeded: "fail" }))
 * )
 *
 * await Effect.runPromise(program) // => "requestsPerMinute"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withLimit =
  (usage: Usage.Input = {}, subject: Subject = none) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | AcquireError, R | RateLimiter> =>
    Effect.flatMap(RateLimiter, (limiter) =>
      limiter.withPermit(usage, subject, (permit, restore) =>
        Effect.onExit(
          Effect.updateService(restore(self), Attempt, ({ isRetried }) => ({ isRetried, permit })),
          () => afterwards(limiter.settle(permit, permit.usage))
        )
      )
    )
