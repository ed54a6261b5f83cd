/**
 * Budgets: may this be spent? A call's estimate is held on every quota that concerns it, in one atomic step or not at
 * all, and replaced by what the call really took. Concurrent calls cannot pass a limit together.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Alerts from "./Alerts.ts"
import * as Errors from "./Errors.ts"
import * as Allowance from "./internal/budget/allowance.ts"
import {
  type BudgetRefusal,
  budgetRefusal,
  conflictError,
  degradedOf,
  now,
  type TimedStatus,
  timed
} from "./internal/answers.ts"
import { inOneStep, ledgerOf } from "./internal/ledger/atOnce.ts"
import { type Options, rulesOf } from "./internal/options/budget.ts"
import { makeConfigured } from "./internal/options/configured.ts"
import * as environment from "./internal/options/environment.ts"
import { Held, type Reservation } from "./internal/budget/held.ts"
import { checkSubject, checkUsage } from "./internal/input.ts"
import { Keeper } from "./internal/keeper.ts"
import { Later } from "./internal/later.ts"
import * as metrics from "./internal/metrics.ts"
import { millisOf, oneOf } from "./internal/options/plans.ts"
import { failingFast } from "./internal/outage.ts"
import { invalidUsage, trusted } from "./internal/refusal.ts"
import { afterwards, tookOf } from "./internal/provider/took.ts"
import type * as Money from "./Money.ts"
import * as QuotaStore from "./QuotaStore.ts"
import type { Subject } from "./Subject.ts"
import * as Usage from "./Usage.ts"
import type { UsageRecord } from "./UsageRecord.ts"

export {
  /**
   * The defaults of the Go package: 100,000 tokens and $10 per request; 500,000 tokens per minute, 5,000,000 per hour,
   * 50,000,000 and $1,000 per day; alerts at 80 %; one second of throttling.
   *
   * **Example** (Starting from the defaults)
   *
   * ```ts
   * import { Budget } from "headgate"
   *
   * const layer = Budget.layerMemory({ ...Budget.defaults, maxCostPerDay: "$50" })
   * ```
   *
   * @category constructors
   * @since 0.1.0
   */
  defaults
} from "./internal/options/budget.ts"
export type { Limits, Options } from "./internal/options/budget.ts"

export type { TimedStatus } from "./internal/answers.ts"
export type { Reservation } from "./internal/budget/held.ts"

/**
 * What a settlement found: what the call took, what was held beyond that and is free again, and what it took beyond
 * what was held.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settlement {
  readonly actual: Usage.Usage
  readonly returned: Usage.Usage
  readonly overrun: Usage.Usage
}

/**
 * The counters of a budget. The fields by name are those of the quotas that the options of the same name make, for
 * everyone or, where everyone has none, for the subject asked about; 0 where there is none.
 *
 * @category models
 * @since 0.1.0
 */
export interface BudgetStatus {
  readonly quotas: ReadonlyArray<TimedStatus>
  readonly isThrottled: boolean
  readonly throttleUntil?: DateTime.Utc
  readonly tokensUsedMinute: number
  readonly tokensUsedHour: number
  readonly tokensUsedDay: number
  readonly costUsedDay: Money.Money
  readonly minuteUtilization: number
  readonly hourUtilization: number
  readonly dayUtilization: number
  readonly costUtilization: number
}

/**
 * How a reservation can fail.
 *
 * @category errors
 * @since 0.1.0
 */
export type ReserveError =
  | Errors.BudgetExceeded
  | Errors.BudgetThrottled
  | Errors.RequestTooLarge
  | Errors.InvalidUsage
  | Errors.StoreError

/**
 * How an estimate is held.
 *
 * - `id`: repeating it with the same content gives the same reservation.
 * - `onUnknown`: what becomes of the estimate if nobody ends the reservation. Default `"charge"`.
 * - `lease`: `"fixed"` (the default) lasts for `reservationTtl`; a `"renewed"` one lasts until it is ended or this process
 *   dies. Whoever renews must end it: reserve in an uninterruptible region, as `withReservation` and `guard` do.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReserveOptions {
  readonly id?: string | undefined
  readonly onUnknown?: "charge" | "release" | undefined
  readonly lease?: "fixed" | "renewed" | undefined
}

/**
 * Holds, settles and tells what has been spent.
 *
 * **Example** (By hand)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Budget } from "headgate"
 *
 * const program = Effect.gen(function*() {
 *   const budget = yield* Budget.Budget
 *   const reservation = yield* budget.reserve({ tokens: 1000, cost: "$0.01" }, { user: "42" })
 *   const { returned } = yield* budget.settle(reservation, { tokens: 600, cost: "$0.006" })
 *   return returned.tokens
 * }).pipe(Effect.provide(Budget.layerMemory({ per: { user: { maxCostPerDay: "$5" } } })))
 *
 * await Effect.runPromise(program) // => 400
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Budget extends Context.Service<
  Budget,
  {
    /**
     * Asks whether the estimate would be admitted now. Holds nothing, so another call can take the room: see `reserve`. A
     * refusal counts as one: it is told, and starts the throttle of `autoThrottle`.
     */
    readonly check: (estimate: Usage.Input, subject?: Subject) => Effect.Effect<void, ReserveError>
    /**
     * Holds the estimate on all quotas that concern the subject, or on none. Repeating an `id` gives the same reservation.
     * `onUnknown` says what becomes of it if nobody ends it (default `"charge"`).
     */
    readonly reserve: (
      estimate: Usage.Input,
      subject?: Subject,
      options?: ReserveOptions
    ) => Effect.Effect<Reservation, ReserveError>
    /**
     * Holds more on an open reservation and starts its time to live anew. A refusal leaves it as it was. After a
     * `StoreError` or an interruption the same again is the same extension, held once whatever became of the first; more
     * or less than that is another one, and the first, if it was applied, stays held beside it until the reservation ends.
     */
    readonly extend: (reservation: Reservation, more: Usage.Input) => Effect.Effect<void, ReserveError>
    /** Replaces what was held by what was used. Doing it again with the same usage changes nothing. */
    readonly settle: (
      reservation: Reservation,
      actual: Usage.Input
    ) => Effect.Effect<Settlement, Errors.InvalidUsage | Errors.StoreError>
    /** Gives everything back. */
    readonly release: (reservation: Reservation) => Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError>
    /** Books spend that was never reserved. It is booked in full, even past a limit. A `requestId` is booked once. */
    readonly record: (record: UsageRecord) => Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError>
    /** The counters of everyone, and of the subject's dimensions. */
    readonly status: (subject?: Subject) => Effect.Effect<BudgetStatus, Errors.InvalidUsage | Errors.StoreError>
    /** Sets what is used to nothing: everywhere, or in the subject's own dimensions. What is held stays held. */
    readonly reset: (subject?: Subject) => Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError>
  }
>()("headgate/Budget") {}

/**
 * The service of `Budget`.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = (typeof Budget)["Service"]

const noDraws: ReadonlyArray<Allowance.Draw> = []

const none: Subject = {}

const byDefault: ReserveOptions = {}

const foreign = invalidUsage("reservation", "made by reserve", "another object")

const conflictOf = (conflict: QuotaStore.Conflict) => conflictError("reservation", conflict)

const checkId = (id: string | undefined): Errors.InvalidUsage | undefined =>
  id === undefined || (typeof id === "string" && id.length > 0 && id.length <= 256)
    ? undefined
    : invalidUsage("id", "1 to 256 characters", id)

const checkOnUnknown = (onUnknown: "charge" | "release"): Errors.InvalidUsage | undefined =>
  onUnknown === "charge" || onUnknown === "release"
    ? undefined
    : invalidUsage("onUnknown", `"charge" or "release"`, onUnknown)

const subjectOfRecord = (record: UsageRecord): Subject => ({
  ...(record.userId === undefined ? {} : { user: record.userId }),
  ...(record.agentId === undefined ? {} : { agent: record.agentId }),
  ...(record.model === "" ? {} : { model: record.model })
})

const byName = (quotas: QuotaStore.Status["quotas"], name: string) => {
  const quota = quotas.find((quota) => quota.name === name)
  return { used: quota?.used ?? 0, utilization: quota?.utilization ?? 0 }
}

const settlementOf = (actual: Usage.Usage, reserved: Usage.Usage): Settlement => ({
  actual,
  returned: Usage.excess(reserved, actual),
  overrun: Usage.excess(actual, reserved)
})

const statusOf = ({ quotas, throttledUntil }: QuotaStore.Status): BudgetStatus => {
  const minute = byName(quotas, "maxTokensPerMinute")
  const hour = byName(quotas, "maxTokensPerHour")
  const day = byName(quotas, "maxTokensPerDay")
  const cost = byName(quotas, "maxCostPerDay")
  return {
    quotas: timed(quotas),
    isThrottled: throttledUntil > 0,
    ...(throttledUntil > 0 ? { throttleUntil: DateTime.makeUnsafe(throttledUntil) } : {}),
    tokensUsedMinute: minute.used,
    tokensUsedHour: hour.used,
    tokensUsedDay: day.used,
    costUsedDay: cost.used as Money.Money,
    minuteUtilization: minute.utilization,
    hourUtilization: hour.utilization,
    dayUtilization: day.utilization,
    costUtilization: cost.utilization
  }
}

/**
 * Makes the service. Throws a `RangeError` that names the option, its bound and its value.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options
): Effect.Effect<Service, never, QuotaStore.QuotaStore | Alerts.Alerts | Scope.Scope> => {
  const name = options.name ?? "budget"
  const rules = rulesOf(options, name)
  const ttl = millisOf("Budget.layer: reservationTtl", options.reservationTtl ?? "10 minutes")
  const ttlDuration = Duration.millis(ttl)
  const onStoreError = oneOf("Budget.layer: onStoreError", ["fail", "allow"], options.onStoreError ?? "fail")
  const shadow = oneOf("Budget.layer: mode", ["enforce", "shadow"], options.mode ?? "enforce") === "shadow"

  return Effect.gen(function* () {
    const given = yield* QuotaStore.QuotaStore
    const alerts = yield* Alerts.Alerts

    const ledger = ledgerOf(given)
    const store = onStoreError === "fail" || ledger !== undefined ? given : failingFast(given)
    const later = yield* Later.make(Duration.seconds(1))
    const step = ledger === undefined ? Effect.withFiber : inOneStep

    const tell = <A, E>(told: QuotaStore.Hold["alerts"], then: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      told.length === 0 ? then : Effect.andThen(alerts.publishAll(told), then)

    /** Fails with a refusal. A budget that only watches tells of it and goes on. */
    const refuse = <A, E>(
      fiber: Fiber.Fiber<unknown, unknown>,
      error: BudgetRefusal,
      told: QuotaStore.Refused["alerts"],
      goOn: () => Effect.Effect<A, E>
    ): Effect.Effect<A, E | BudgetRefusal> => {
      metrics.refusals[shadow ? "Shadow" : error._tag].updateUnsafe(1, fiber.context)
      return tell<A, E | BudgetRefusal>(told, shadow ? Effect.suspend(goOn) : Exit.fail(error))
    }

    const refuseAllowance = (
      fiber: Fiber.Fiber<unknown, unknown>,
      refused: QuotaStore.Refused | QuotaStore.Conflict
    ): Effect.Effect<never, BudgetRefusal | Errors.InvalidUsage> => {
      if (refused._tag === "Conflict") return Exit.fail(conflictOf(refused))
      const error = budgetRefusal(refused)
      metrics.refusals[error._tag].updateUnsafe(1, fiber.context)
      return Exit.fail(error)
    }

    const degraded = degradedOf(name, alerts.publish)

    const tooLarge = (usage: Usage.Usage, subject: Subject, calls = 1): Errors.RequestTooLarge | undefined => {
      for (const { limit, name, unit } of rules.perRequestOf(subject)) {
        const requested = usage[unit]
        if (requested > limit * calls || limit === 0) {
          return trusted(Errors.RequestTooLarge, { _tag: "RequestTooLarge", quota: name, unit, limit, requested })
        }
      }
    }

    const ask = (
      estimate: Usage.Input,
      subject: Subject,
      { id, lease = "fixed", onUnknown = "charge" }: ReserveOptions,
      mode: "enforce" | "ask"
    ): Effect.Effect<Reservation, ReserveError> =>
      step((fiber): Effect.Effect<Reservation, ReserveError> => {
        const usage = checkUsage(estimate, 1)
        if (usage instanceof Errors.InvalidUsage) return Exit.fail(usage)
        const invalid = checkSubject(subject) ?? checkId(id) ?? checkOnUnknown(onUnknown)
        if (invalid !== undefined) return Exit.fail(invalid)
        const large = tooLarge(usage, subject)
        const command: QuotaStore.Reserve = {
          accounts: rules.accountsOf(subject),
          usage,
          ttl,
          onExpiry: onUnknown,
          book: "onSettle",
          mode,
          id: id === undefined ? undefined : `${name}/${id}`
        }
        return large === undefined
          ? holdOn(fiber, subject, command, lease)
          : refuse(fiber, large, [], () => holdOn(fiber, subject, command, lease))
      })

    const holdOn = (
      fiber: Fiber.Fiber<unknown, unknown>,
      subject: Subject,
      command: QuotaStore.Reserve,
      lease: "fixed" | "renewed"
    ): Effect.Effect<Held, ReserveError> => {
      const allowance = fiber.getRef(Allowance.Current)
      const draws = allowance === undefined ? noDraws : Allowance.draw(allowance, command, now(fiber))
      if ("_tag" in draws) return refuseAllowance(fiber, draws)
      const give = (hold: QuotaStore.Hold | undefined): Effect.Effect<Held> => {
        const held = new Held(command.usage, subject, hold, draws, ttlDuration)
        const started = lease === "renewed" ? keeper.keep(held, fiber) : undefined
        const given = hold === undefined ? Exit.succeed(held) : tell(hold.alerts, Exit.succeed(held))
        return started === undefined ? given : Effect.andThen(started, given)
      }
      const next = (
        answer: QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict
      ): Effect.Effect<Held, ReserveError> => {
        switch (answer._tag) {
          case "Hold":
            return give(answer)
          case "Conflict":
            return Exit.fail(conflictOf(answer))
          case "Refused":
            return refuse(fiber, budgetRefusal(answer), answer.alerts, () =>
              Effect.flatMap(store.reserve({ ...command, mode: command.mode === "ask" ? "ask" : "force" }), (forced) =>
                give(forced._tag === "Hold" ? forced : undefined)
              )
            )
        }
      }
      const held =
        ledger === undefined ? Effect.flatMap(store.reserve(command), next) : next(ledger.reserve(command, now(fiber)))
      const allowed =
        onStoreError === "fail"
          ? held
          : Effect.catchTag(held, "StoreError", (error) => Effect.andThen(degraded(error, subject), give(undefined)))
      return draws.length === 0
        ? allowed
        : Effect.onError(allowed, () => Effect.sync(() => Allowance.cancel(draws, now(fiber))))
    }

    const reserve = (
      estimate: Usage.Input,
      subject: Subject = none,
      options: ReserveOptions = byDefault
    ): Effect.Effect<Reservation, ReserveError> =>
      options.lease === "renewed" || ledger !== undefined
        ? ask(estimate, subject, options, "enforce")
        : // An interruption that came while the answer was on its way shows when the region ends: it is given back then.
          Effect.uninterruptibleMask((restore) =>
            Effect.flatMap(ask(estimate, subject, options, "enforce"), (reservation) =>
              Effect.onInterrupt(Effect.as(restore(Effect.void), reservation), () =>
                Effect.ignore(release(reservation))
              )
            )
          )

    const extend = (reservation: Reservation, more: Usage.Input): Effect.Effect<void, ReserveError> =>
      reservation instanceof Held
        ? reservation.inTurn(Effect.withFiber((fiber) => extendHeld(fiber, reservation, more)))
        : Exit.fail(foreign)

    const extendHeld = (
      fiber: Fiber.Fiber<unknown, unknown>,
      reservation: Held,
      more: Usage.Input
    ): Effect.Effect<void, ReserveError> => {
      const usage = checkUsage(more, 0)
      if (usage instanceof Errors.InvalidUsage) return Exit.fail(usage)
      const { draws, estimate, hold, subject } = reservation
      const total = checkUsage(Usage.sum(reservation.total, usage), 0)
      if (total instanceof Errors.InvalidUsage) return Exit.fail(total)
      // What is held for further requests has their share of what a request may ask for.
      const large = tooLarge(total, subject, 1 + total.requests - estimate.requests)
      if (large !== undefined && !shadow) return refuse(fiber, large, [], () => Exit.void)
      const command = { usage, ttl, onExpiry: "charge", book: "onSettle", mode: "enforce", id: undefined } as const
      const drawn = draws.length === 0 ? noDraws : Allowance.draw(draws[0]!.allowance, command, now(fiber))
      if ("_tag" in drawn) return refuseAllowance(fiber, drawn)
      const extended =
        hold === undefined
          ? Effect.void
          : Effect.flatMap(
              store.extend(hold, usage, reservation.sent(usage)),
              (answer): Effect.Effect<void, ReserveError> => {
                if (answer._tag === "Booked") return Exit.void
                reservation.answered()
                if (answer._tag === "Conflict") return Exit.fail(conflictOf(answer))
                return refuse(fiber, budgetRefusal(answer), answer.alerts, () => Exit.void)
              }
            )
      const allowed =
        onStoreError === "fail"
          ? extended
          : Effect.catchTag(extended, "StoreError", (error) => degraded(error, subject))
      return allowed.pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            reservation.answered()
            reservation.total = total
            Allowance.renew(reservation.allDraws, now(fiber))
            reservation.extraDraws = [...reservation.extraDraws, ...drawn]
          })
        ),
        Effect.onError(() => Effect.sync(() => Allowance.cancel(drawn, now(fiber))))
      )
    }

    const renew = (held: Held): Effect.Effect<unknown> =>
      Effect.withFiber((fiber) => {
        Allowance.renew(held.allDraws, now(fiber))
        // One that the store has lost cannot be renewed; one that it could not be asked about may be next time.
        return held.hold === undefined ? Exit.void : Effect.exit(store.extend(held.hold, Usage.zero, held.step))
      })

    const keeper = new Keeper(ttlDuration, renew)
    yield* Effect.addFinalizer(() => keeper.stop)

    const spent = ({ context }: Fiber.Fiber<unknown, unknown>, usage: Usage.Usage): void => {
      const registry = metrics.registryOf(context)
      metrics.tokens.updateUnsafe(usage.tokens, context, registry)
      if (usage.inputTokens > 0) metrics.inputTokens.updateUnsafe(usage.inputTokens, context, registry)
      if (usage.outputTokens > 0) metrics.outputTokens.updateUnsafe(usage.outputTokens, context, registry)
      if (usage.cost > 0) metrics.cost.updateUnsafe(usage.cost, context, registry)
    }

    /** Books what was let through without a hold, by the same rules as a store: by an id of its own, so once. */
    const endUnheld = (
      to: QuotaStore.Service,
      reservation: Held,
      end: Usage.Usage | "released"
    ): Effect.Effect<QuotaStore.Booked | QuotaStore.Conflict, Errors.StoreError> => {
      const { ended, subject, total } = reservation
      if (ended !== undefined && !Equal.equals(ended, end)) {
        return Exit.succeed({ _tag: "Conflict", bound: "open", state: ended === "released" ? ended : "settled" })
      }
      const repeated = ended !== undefined
      if (repeated || end === "released") {
        reservation.ended = end
        return Exit.succeed({ _tag: "Booked", reserved: total, repeated, alerts: [] })
      }
      const id = `${name}/unheld/${(reservation.recordId ??= crypto.randomUUID())}`
      return Effect.map(to.record(rules.accountsOf(subject), end, id), (booked) => {
        if (booked._tag === "Conflict") return booked
        reservation.ended = end
        return { ...booked, reserved: total }
      })
    }

    /** Ends a reservation in a store that may fail. With `"allow"` a failure is none of the call's. */
    const endIn = <A>(
      reservation: Held,
      end: Usage.Usage | "released",
      answered: (
        fiber: Fiber.Fiber<unknown, unknown>,
        booked: QuotaStore.Booked | QuotaStore.Conflict
      ) => Effect.Effect<A, Errors.InvalidUsage>,
      untold: () => A
    ): Effect.Effect<A, Errors.InvalidUsage | Errors.StoreError> => {
      const { hold, subject } = reservation
      const ask = (to: QuotaStore.Service) =>
        Effect.suspend(() =>
          hold === undefined
            ? endUnheld(to, reservation, end)
            : end === "released"
              ? to.release(hold)
              : to.settle(hold, end)
        ).pipe(Effect.flatMap((booked) => Effect.withFiber((fiber) => answered(fiber, booked))))
      const allowed = (error: Errors.StoreError): Effect.Effect<A> =>
        Effect.withFiber((fiber) => {
          endDraws(reservation, end, now(fiber))
          // Of one that was let through without a hold it has been told.
          return Effect.map(hold === undefined ? Effect.void : degraded(error, subject), untold)
        })
      return reservation.inTurn(
        later.end<A, Errors.InvalidUsage>(reservation, {
          end,
          now: ask(store),
          again: reservation.inTurn(ask(given)),
          // What nothing is held for is not booked by an expiry either.
          millis: hold === undefined ? Infinity : 2 * ttl,
          untold: onStoreError === "fail" ? undefined : allowed,
          conflict: conflictOf
        })
      )
    }

    const endDraws = ({ allDraws, draws, extraDraws }: Held, end: Usage.Usage | "released", time: number): void => {
      if (draws.length === 0) return
      if (end === "released") return Allowance.release(allDraws, time)
      Allowance.settle(draws, end, time)
      Allowance.release(extraDraws, time)
    }

    const settle = (
      reservation: Reservation,
      actual: Usage.Input
    ): Effect.Effect<Settlement, Errors.InvalidUsage | Errors.StoreError> =>
      Effect.withFiber((fiber) => {
        if (!(reservation instanceof Held)) return Exit.fail(foreign)
        const usage = checkUsage(actual, 1)
        if (usage instanceof Errors.InvalidUsage) return Exit.fail(usage)
        // Its holder is done with it: where the store cannot be told by then, it is left to its expiry.
        keeper.drop(reservation)
        const { hold } = reservation
        return hold !== undefined && ledger !== undefined
          ? settled(fiber, reservation, usage, ledger.settle(hold, usage, now(fiber)))
          : endIn(
              reservation,
              usage,
              (fiber, booked) => settled(fiber, reservation, usage, booked),
              () => settlementOf(usage, reservation.total)
            )
      })

    const settled = (
      fiber: Fiber.Fiber<unknown, unknown>,
      reservation: Held,
      usage: Usage.Usage,
      booked: QuotaStore.Booked | QuotaStore.Conflict
    ): Effect.Effect<Settlement, Errors.InvalidUsage> => {
      if (booked._tag === "Conflict") return Exit.fail(conflictOf(booked))
      if (!booked.repeated) spent(fiber, usage)
      endDraws(reservation, usage, now(fiber))
      return tell(booked.alerts, Exit.succeed(settlementOf(usage, booked.reserved)))
    }

    const release = (reservation: Reservation): Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError> =>
      Effect.withFiber((fiber) => {
        if (!(reservation instanceof Held)) return Exit.fail(foreign)
        keeper.drop(reservation)
        const { hold } = reservation
        return hold !== undefined && ledger !== undefined
          ? released(fiber, reservation, ledger.release(hold, now(fiber)))
          : endIn(
              reservation,
              "released",
              (fiber, booked) => released(fiber, reservation, booked),
              () => undefined
            )
      })

    const released = (
      fiber: Fiber.Fiber<unknown, unknown>,
      reservation: Held,
      booked: QuotaStore.Booked | QuotaStore.Conflict
    ): Effect.Effect<void, Errors.InvalidUsage> => {
      if (booked._tag === "Conflict") return Exit.fail(conflictOf(booked))
      endDraws(reservation, "released", now(fiber))
      return Exit.void
    }

    const record = (record: UsageRecord): Effect.Effect<void, Errors.InvalidUsage | Errors.StoreError> =>
      Effect.withFiber((fiber) => {
        const usage = checkUsage({ tokens: record.tokens, cost: record.cost }, 1)
        if (usage instanceof Errors.InvalidUsage) return Exit.fail(usage)
        const subject = subjectOfRecord(record)
        const invalid = checkSubject(subject) ?? checkId(record.requestId === "" ? undefined : record.requestId)
        if (invalid !== undefined) return Exit.fail(invalid)
        const id = record.requestId === "" ? undefined : `${name}/record/${record.requestId}`
        return Effect.flatMap(given.record(rules.accountsOf(subject), usage, id), (answer) => {
          if (answer._tag === "Conflict") return Exit.fail(conflictOf(answer))
          if (!answer.repeated) {
            Allowance.record(fiber.getRef(Allowance.Current), usage, now(fiber))
            spent(fiber, usage)
          }
          return alerts.publishAll(answer.alerts)
        })
      })

    const checked = <A, E>(subject: Subject, f: () => Effect.Effect<A, E>): Effect.Effect<A, E | Errors.InvalidUsage> =>
      Effect.suspend((): Effect.Effect<A, E | Errors.InvalidUsage> => {
        const invalid = checkSubject(subject)
        return invalid === undefined ? f() : Exit.fail(invalid)
      })

    return {
      check: (estimate, subject = none) => Effect.asVoid(ask(estimate, subject, {}, "ask")),
      reserve,
      extend,
      settle,
      release,
      record,
      status: (subject = none) => checked(subject, () => Effect.map(store.status(rules.accountsOf(subject)), statusOf)),
      reset: (subject) =>
        subject === undefined
          ? store.reset({ plans: rules.plans })
          : checked(subject, () => store.reset({ accounts: rules.ownAccountsOf(subject) }))
    }
  })
}

/**
 * A budget over a store and alerts that others may share.
 *
 * **Example** (Sharing)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Alerts, Budget, QuotaStore } from "headgate"
 *
 * const BudgetLive = Budget.layer(Budget.defaults).pipe(
 *   Layer.provide(QuotaStore.layerMemory),
 *   Layer.provideMerge(Alerts.layer)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Budget, never, QuotaStore.QuotaStore | Alerts.Alerts> =>
  Layer.effect(Budget)(make(options))

/**
 * A budget in this process's memory, with alerts. Needs nothing.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (options: Options): Layer.Layer<Budget | Alerts.Alerts> =>
  layer(options).pipe(Layer.provide(QuotaStore.layerMemory), Layer.provideMerge(Alerts.layer))

/**
 * The options of the environment, which `BudgetLive` is made of: variables that begin with `HEADGATE_BUDGET_`.
 *
 * **Example** (The environment's budget, and one for each user)
 *
 * ```ts
 * import { Config } from "effect"
 * import { Budget } from "headgate"
 *
 * const layer = Budget.layerConfig(
 *   Config.map(Budget.config, (options) => ({ ...options, per: { user: { maxCostPerDay: "$5" } } }))
 * )
 * ```
 *
 * @category configuration
 * @since 0.1.0
 */
export const config: Config.Config<Options> = environment.budget

/**
 * As `layer`, with options from configuration. A wrong value is a `ConfigError`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Budget, Config.ConfigError, QuotaStore.QuotaStore | Alerts.Alerts> =>
  Layer.effect(Budget)(makeConfigured(options, make))

/**
 * Runs an effect under a reservation: reserves first, settles with what `actual` says of the result. A failure gives the
 * reservation back, unless its error tells of usage; an interruption, a timeout or a defect may have cost something, and
 * is charged unless `onUnknown` says otherwise.
 *
 * **Example** (One call)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Budget } from "headgate"
 *
 * const call = Effect.succeed({ text: "hello", tokens: 12 })
 *
 * const program = call.pipe(
 *   Budget.withReservation({ tokens: 100 }, (reply) => ({ tokens: reply.tokens })),
 *   Effect.andThen(Budget.Budget.use((budget) => budget.status())),
 *   Effect.map((status) => status.tokensUsedMinute),
 *   Effect.provide(Budget.layerMemory({ maxTokensPerMinute: 1000 }))
 * )
 *
 * await Effect.runPromise(program) // => 12
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withReservation =
  <A>(
    estimate: Usage.Input,
    actual: (result: A) => Usage.Input,
    options?: { readonly subject?: Subject | undefined; readonly onUnknown?: "charge" | "release" | undefined }
  ) =>
  <E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | ReserveError, R | Budget> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Budget, (budget) =>
        Effect.flatMap(
          budget.reserve(estimate, options?.subject, { onUnknown: options?.onUnknown, lease: "renewed" }),
          (reservation) =>
            Effect.onExit(restore(self), (exit) =>
              Effect.flatMap(tookOf(exit, reservation.estimate, { actual, onUnknown: options?.onUnknown }), (took) =>
                afterwards(took === undefined ? budget.release(reservation) : budget.settle(reservation, took))
              )
            )
        )
      )
    )

/**
 * Gives everything inside an effect an allowance to draw on beside the budgets: sub-agents and forked fibers too.
 * Allowances nest, and a child can never spend more than any ancestor has left. What does not fit fails with
 * `BudgetExceeded` or `RequestTooLarge` of the quota `"allowance"`.
 *
 * **Example** (An agent with two dollars)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Budget } from "headgate"
 *
 * const step = Budget.Budget.use((budget) => budget.reserve({ cost: "$1.50" }))
 *
 * const agent = Effect.andThen(step, step).pipe(
 *   Budget.withAllowance("$2"),
 *   Effect.as("done"),
 *   Effect.catchTag("BudgetExceeded", (error) => Effect.succeed(error.quota)),
 *   Effect.provide(Budget.layerMemory({ maxCostPerDay: "$1000" }))
 * )
 *
 * await Effect.runPromise(agent) // => "allowance"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withAllowance: {
  (
    amount: Money.Input | Usage.Input
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Errors.InvalidUsage, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    amount: Money.Input | Usage.Input
  ): Effect.Effect<A, E | Errors.InvalidUsage, R>
} = dual(
  2,
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    amount: Money.Input | Usage.Input
  ): Effect.Effect<A, E | Errors.InvalidUsage, R> =>
    Effect.withFiber((fiber): Effect.Effect<A, E | Errors.InvalidUsage, R> => {
      const input: Usage.Input = typeof amount === "object" ? amount : { cost: amount }
      const usage = checkUsage(input, 0)
      if (usage instanceof Errors.InvalidUsage) return Exit.fail(usage)
      const given = units.filter((unit) => input[unit] !== undefined)
      if (given.length === 0) return Exit.fail(invalidUsage("allowance", `an amount of ${units.join(", ")}`, amount))
      return Effect.provideService(
        self,
        Allowance.Current,
        Allowance.make(usage, given, fiber.getRef(Allowance.Current))
      )
    })
)

const units = ["requests", "tokens", "inputTokens", "outputTokens", "cost"] as const
