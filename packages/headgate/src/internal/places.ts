import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Alert } from "../Alert.ts"
import type { StoreError } from "../Errors.ts"
import type * as QuotaStore from "../QuotaStore.ts"
import { now } from "./answers.ts"
import { ledgerOf } from "./atOnce.ts"
import { Entry, type Paces } from "./pace.ts"
import { type Request, Taken } from "./permit.ts"
import type { Conflict, Hold, Refused, Reserve } from "./verbs.ts"

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
  /** Takes a place, for a call that has waited since `start`; `waits` says that one that is refused will. */
  readonly place: (
    fiber: Fiber.Fiber<unknown, unknown>,
    request: Request,
    start: number,
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

  const admit = (request: Request, entry: Entry, hold: Hold | undefined, waited: Duration.Duration): Taken => {
    entry.confirm()
    return new Taken(request, entry, hold, waited)
  }

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

  return {
    place: (fiber, request, start, waits) => {
      const time = now(fiber)
      const entry = paces.enter(request.paces, request.usage, time)
      if (!(entry instanceof Entry)) return longest(request, entry)
      const waited = time > start ? Duration.millis(time - start) : Duration.zero
      if (request.accounts.length === 0) return Exit.succeed(admit(request, entry, undefined, waited))
      const onAnswer = (answer: Hold | Refused | Conflict): Effect.Effect<Taken | Refused> => {
        if (answer._tag === "Hold") {
          const taken = admit(request, entry, answer, waited)
          return answer.alerts.length === 0 ? Exit.succeed(taken) : Effect.as(publish(answer.alerts), taken)
        }
        entry.cancel(now(fiber))
        return Exit.succeed(answer as Refused)
      }
      const asked = command(request, "enforce", waits)
      return ledger === undefined
        ? Effect.matchCauseEffect(store.reserve(asked), {
            onFailure: (cause) => {
              entry.cancel(now(fiber))
              return Exit.failCause(cause)
            },
            onSuccess: onAnswer
          })
        : onAnswer(ledger.reserve(asked, time))
    },
    force: (request) =>
      Effect.map(Clock.currentTimeMillis, (time) =>
        admit(request, new Entry(request.paces, request.usage, paces.at(time)), undefined, Duration.zero)
      ),
    ask: (request) =>
      Effect.withFiber((fiber) => {
        const paced = paces.refusal(request.paces, request.usage, now(fiber))
        return paced === undefined ? askStore(request) : longest(request, paced)
      })
  }
}
