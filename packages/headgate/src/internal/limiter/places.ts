import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Alert } from "../../Alert.ts"
import type { StoreError } from "../../Errors.ts"
import type * as QuotaStore from "../../QuotaStore.ts"
import { now } from "../answers.ts"
import { ledgerOf } from "../ledger/atOnce.ts"
import type { Entry } from "./pace.ts"
import type { Paces } from "./paces.ts"
import { type Request, Taken } from "./permit.ts"
import type { Hold, Refused, Reserve } from "../verbs.ts"

export const unknownRefusal = {
  _tag: "Refused",
  reason: "exceeded",
  used: 0,
  held: 0,
  requested: 0,
  retryAfter: 0,
  until: 0,
  alerts: []
} as const

/** Where places are taken: the provider's word and the store's limits decide together, and one without the other takes nothing. */
export interface Places {
  /** Takes a place at this time, for a call that has waited since `start`; `waits` says that one that is refused will. */
  readonly place: (
    request: Request,
    start: number,
    time: number,
    waits: boolean
  ) => Effect.Effect<Taken | Refused, StoreError>
  /** Takes a place that the store knows nothing of, whatever anyone says. */
  readonly force: (request: Request) => Effect.Effect<Taken>
  /** What would refuse a request. */
  readonly ask: (request: Request) => Effect.Effect<Refused | undefined, StoreError>
}

export const placesOf = (
  store: QuotaStore.Service,
  paces: Paces,
  ttl: number,
  publish: (alerts: ReadonlyArray<Alert>) => Effect.Effect<void>
): Places => {
  const ledger = ledgerOf(store)

  const command = ({ accounts, usage }: Request, mode: "enforce" | "ask", waits: boolean): Reserve => ({
    accounts,
    usage,
    ttl,
    onExpiry: "charge",
    book: "now",
    mode,
    waits,
    id: undefined
  })

  const askStore = (request: Request): Effect.Effect<Refused | undefined, StoreError> =>
    request.accounts.length === 0
      ? Effect.undefined
      : Effect.map(store.reserve(command(request, "ask", false)), (answer) =>
          answer._tag === "Refused" ? answer : undefined
        )

  /** What refuses longest. Both are asked, so that the wait is exact. */
  const longest = (request: Request, paced: Refused): Effect.Effect<Refused> =>
    Effect.match(askStore(request), {
      onFailure: () => paced,
      onSuccess: (refused) =>
        refused !== undefined && (refused.reason === "tooLarge" || refused.retryAfter > paced.retryAfter)
          ? refused
          : paced
    })

  const admit = (request: Request, entry: Entry, hold: Hold, waited: Duration.Duration): Effect.Effect<Taken> => {
    const taken = new Taken(request, entry.confirm(), hold, waited)
    return hold.alerts.length === 0 ? Exit.succeed(taken) : Effect.as(publish(hold.alerts), taken)
  }

  return {
    place: (request, start, time, waits) => {
      const paced = paces.refusal(request.paces, request.usage, time)
      if (paced !== undefined) return longest(request, paced)
      const waited = time > start ? Duration.millis(time - start) : Duration.zero
      const enter = () => paces.enter(request.paces, request.usage, time)
      if (request.accounts.length === 0) return Exit.succeed(new Taken(request, enter().confirm(), undefined, waited))
      const asked = command(request, "enforce", waits)
      if (ledger !== undefined) {
        const answer = ledger.reserve(asked, time)
        return answer._tag === "Hold" ? admit(request, enter(), answer, waited) : Exit.succeed(answer as Refused)
      }
      const entry = enter().expect()
      const cancel = Effect.map(Clock.currentTimeMillis, (time) => entry.cancel(paces.at(time)))
      return Effect.matchCauseEffect(store.reserve(asked), {
        onFailure: (cause) => Effect.andThen(cancel, Exit.failCause(cause)),
        onSuccess: (answer): Effect.Effect<Taken | Refused> =>
          answer._tag === "Hold" ? admit(request, entry, answer, waited) : Effect.as(cancel, answer as Refused)
      })
    },
    force: (request) =>
      Effect.map(Clock.currentTimeMillis, (time) => {
        const entry = paces.enter(request.paces, request.usage, time)
        return new Taken(request, entry.confirm(), undefined, Duration.zero)
      }),
    ask: (request) =>
      Effect.withFiber((fiber) => {
        const paced = paces.refusal(request.paces, request.usage, now(fiber))
        return paced === undefined ? askStore(request) : longest(request, paced)
      })
  }
}
