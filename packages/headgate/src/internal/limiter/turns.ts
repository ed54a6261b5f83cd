import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { StoreError } from "../../Errors.ts"
import { now } from "../answers.ts"
import type { Lines, Waiter } from "./line.ts"
import * as metrics from "../metrics.ts"
import { type Request, type Restore, Taken } from "./permit.ts"
import { type Places, unknownRefusal } from "./places.ts"
import type { Account, Refused } from "../verbs.ts"

/** Waits until the waiter is called, or until `millis` have passed. */
const park = (waiter: Waiter, millis: number): Effect.Effect<unknown> => {
  const called = Effect.callback<void>((resume) => {
    if (waiter.called) return resume(Effect.void)
    // Yields, so that whoever calls goes on first: calls would otherwise run inside one another.
    waiter.wake = () => resume(Effect.yieldNow)
  })
  return Number.isFinite(millis) ? Effect.timeoutOption(called, millis) : called
}

/** Those who wait for a place, each in its turn. */
export interface Turns<E> {
  /** Whether somebody waits for the same places, and so comes first. */
  readonly isAwaited: (request: Request) => boolean
  /** Waits for a place; what refused it, if it was, at a time when so many places had been given back. */
  readonly queue: (
    request: Request,
    refused: Refused | undefined,
    returns: number,
    restore: Restore
  ) => Effect.Effect<Taken, E | StoreError>
}

export const turnsOf = <E>(options: {
  readonly lines: Lines
  readonly places: Places
  readonly maxWait: number
  readonly isFinal: (refused: Refused) => boolean
  readonly refuse: (refused: Refused, age: number) => Effect.Effect<never, E>
}): Turns<E> => {
  const { isFinal, lines, maxWait, places, refuse } = options

  const ahead = ({ accounts, paces }: Request, waiter?: Waiter): Account | undefined =>
    lines.ahead(accounts, waiter) ??
    lines.ahead(
      paces.map(({ account }) => account),
      waiter
    )

  /** Stands in line until there is a place. Only the first in a line asks, when the answer can have changed. */
  const wait = Effect.fnUntraced(function* (
    waiter: Waiter,
    request: Request,
    refusedAtFirst: Refused | undefined,
    start: number,
    restore: Restore
  ): Effect.fn.Return<Taken, E | StoreError> {
    const deadline = start + maxWait
    let time = start
    let line = lines.join(waiter, refusedAtFirst?.account ?? ahead(request, waiter) ?? someAccount(request))
    if (refusedAtFirst !== undefined) line.refused = { answer: refusedAtFirst, at: time }
    while (true) {
      const { first, refused } = line
      const opensAt =
        first !== waiter
          ? Infinity
          : waiter.called || refused === undefined
            ? time
            : refused.at + refused.answer.retryAfter
      const hopeless = opensAt > deadline || opensAt === Infinity
      if (hopeless && first === waiter && refused !== undefined && refused.answer.quota.unit !== "concurrency") {
        return yield* refuse(refused.answer, time - refused.at)
      }
      const until = Math.min(opensAt, deadline)
      if (until > time) yield* restore(park(waiter, until - time))
      const { called } = waiter
      waiter.called = false
      waiter.wake = undefined
      time = yield* Clock.currentTimeMillis
      if (line.first === waiter && (called || time >= opensAt)) {
        const before = ahead(request, waiter)
        if (before !== undefined) {
          line = lines.join(waiter, before)
        } else {
          const { returns } = lines
          const answer = yield* places.place(request, start, time, true)
          if (answer instanceof Taken) {
            if (time > start) metrics.waited.updateUnsafe(time - start, (yield* Effect.fiber).context)
            return answer
          }
          if (isFinal(answer)) return yield* refuse(answer, 0)
          line = lines.join(waiter, answer.account)
          line.refused = { answer, at: time }
          if (returns !== lines.returns) waiter.called = true
        }
      }
      if (time >= deadline) {
        const { answer, at } = line.refused ?? { answer: yield* asked(request), at: time }
        return yield* refuse(answer, time - at)
      }
    }
  })

  /** What refuses a call that is not the first in its line. */
  const asked = (request: Request): Effect.Effect<Refused, StoreError> =>
    Effect.map(places.ask(request), (refused) => refused ?? someRefusal(request))

  return {
    isAwaited: (request) => lines.waiting > 0 && ahead(request) !== undefined,
    queue: (request, refused, returns, restore) =>
      Effect.withFiber((fiber) => {
        const waiter = lines.newcomer()
        waiter.called = returns !== lines.returns
        return Effect.onExit(wait(waiter, request, refused, now(fiber), restore), () =>
          Effect.sync(() => lines.leave(waiter))
        )
      })
  }
}

const someAccount = ({ accounts, paces }: Request): Account => accounts[0] ?? paces[0]!.account

const someRefusal = (request: Request): Refused => {
  const account = someAccount(request)
  const quota = account.plan.quotas[0]!
  return { ...unknownRefusal, account, quota, capacity: quota.limit }
}
