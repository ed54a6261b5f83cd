/** Replays a trace through the real guard. What happens here is only arrival and bookkeeping: the layers decide. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import { type Alert, Alerts, guard, type Money, QuotaStore, type Subject, Usage } from "headgate"
import { type ScriptedModel, VirtualClock } from "headgate/testing"
import { type Accounts, observe } from "../accounts.ts"
import type { Policy } from "../Policy.ts"
import * as DecidedBy from "./decidedBy.ts"
import * as Price from "./Price.ts"
import * as Progress from "./Progress.ts"
import * as Provider from "./Provider.ts"
import type { Trace, TraceRequest } from "./Trace.ts"

export type Outcome =
  | { readonly _tag: "Answered" }
  /** By a budget or a rate limit; `quota` is empty where the error names none. */
  | { readonly _tag: "Refused"; readonly error: string; readonly quota: string }
  /** By the provider, after all retries; or by a defect, which would be a bug. */
  | { readonly _tag: "Failed"; readonly error: string }
  | { readonly _tag: "Broken"; readonly error: string }

/** One request of the trace and what became of it. Times are milliseconds since 1970. */
export interface CallRecord {
  readonly request: TraceRequest
  readonly subject: Subject.Subject
  readonly estimate: Usage.Usage
  /** What the call took in truth; nothing if it was not answered. */
  readonly actual: Usage.Usage
  /** What the budget was told; `undefined` if it held nothing for the call. */
  readonly settled: Usage.Usage | undefined
  readonly outcome: Outcome
  readonly endedAt: number
  readonly attempts: ReadonlyArray<ScriptedModel.Call<TraceRequest>>
}

export interface Replay {
  readonly trace: Trace
  readonly policy: Policy
  readonly seed: number
  /** Which store decided. */
  readonly store: string
  readonly calls: ReadonlyArray<CallRecord>
  /** Whose quotas the services kept. */
  readonly accounts: Accounts
  readonly alerts: ReadonlyArray<Alert.Alert>
}

export interface Options {
  readonly trace: Trace
  readonly policy: Policy
  readonly seed: number
  /** Where it is decided: the url of a store. Default `memory`. */
  readonly store?: Redacted.Redacted | undefined
  /** Default: the longest output of the trace, which is what an honoured `max_tokens` comes to. */
  readonly maxOutputTokens?: number | undefined
}

export const run = Effect.fnUntraced(function* (options: Options) {
  const {
    policy,
    trace: { requests }
  } = options
  const first = requests[0]?.at ?? 0
  const span = Math.max(1, (requests.at(-1)?.at ?? 0) - first)
  let now = first
  const decider = yield* DecidedBy.open(options.store ?? Redacted.make("memory"), () => now)
  const { accountsOf, store } = observe(decider.store)
  const shared = Layer.merge(Layer.succeed(QuotaStore.QuotaStore)(store), Alerts.layerWith({ capacity: 65_536 }))
  return yield* Effect.gen(function* () {
    const replayed = yield* Effect.raceFirst(replay(options), decider.broken)
    const subjects = new Map(replayed.calls.map(({ subject }) => [JSON.stringify(subject), subject]))
    return { ...replayed, store: decider.name, accounts: yield* accountsOf([...subjects.values()]) } satisfies Replay
  }).pipe(
    Effect.provide(Layer.provideMerge(policy.guard, shared)),
    Random.withSeed(options.seed),
    VirtualClock.run({
      start: first,
      onAdvance: (time) => {
        now = time
      }
    }),
    Progress.show(() => ({
      share: (now - first) / span,
      label: DateTime.formatIso(DateTime.makeUnsafe(now)).slice(11, 19)
    }))
  )
}, Effect.scoped)

interface Ended {
  readonly request: TraceRequest
  readonly estimate: Usage.Usage
  readonly exit: Exit.Exit<unknown, { readonly _tag: string }>
  readonly endedAt: number
}

const replay = Effect.fnUntraced(function* ({ maxOutputTokens, policy, seed, trace }: Options) {
  const provider = yield* Provider.make(policy.provider, policy.price, seed)
  const told = yield* collectAlerts
  const outputTokens =
    maxOutputTokens ?? trace.requests.reduce((most, request) => Math.max(most, request.outputTokens), 0)
  const ended: Array<Ended> = []

  const call = (request: TraceRequest) => {
    const estimate = usageOf(policy, request, { inputTokens: request.inputTokens, outputTokens, cachedInputTokens: 0 })
    return provider.call(request).pipe(
      guard({
        estimate,
        actual: ({ usage }) => usage,
        subject: subjectOf(request)
      }),
      Effect.exit,
      Effect.flatMap((exit) =>
        Effect.map(Clock.currentTimeMillis, (endedAt) => ended.push({ request, estimate, exit, endedAt }))
      )
    )
  }

  const fibers: Array<Fiber.Fiber<unknown>> = []
  for (const request of trace.requests) {
    const wait = request.at - (yield* Clock.currentTimeMillis)
    if (wait > 0) yield* Effect.sleep(wait)
    fibers.push(yield* Effect.forkChild(call(request)))
  }
  yield* Fiber.awaitAll(fibers)

  const attempts = Map.groupBy(yield* provider.calls, (call) => call.request)
  const calls = ended.map((call) => recordOf(policy, call, attempts.get(call.request) ?? []))
  return { trace, policy, seed, calls, alerts: told }
}, Effect.scoped)

/** Everything that is told from now on, in a list that grows. */
const collectAlerts = Effect.gen(function* () {
  const subscription = yield* (yield* Alerts.Alerts).subscribe
  const told: Array<Alert.Alert> = []
  yield* Effect.forkScoped(Effect.forever(Effect.map(PubSub.take(subscription), (alert) => told.push(alert))))
  return told
})

const subjectOf = ({ model, user }: TraceRequest): Subject.Subject => ({
  ...(user === undefined ? {} : { user }),
  ...(model === undefined ? {} : { model })
})

const usageOf = (policy: Policy, request: TraceRequest, tokens: Price.Tokens): Usage.Usage => ({
  requests: 1,
  ...tokens,
  tokens: tokens.inputTokens + tokens.outputTokens,
  cost: Price.cost(policy.price, request.model, tokens) satisfies Money.Money
})

const recordOf = (
  policy: Policy,
  { endedAt, estimate, exit, request }: Ended,
  attempts: ReadonlyArray<ScriptedModel.Call<TraceRequest>>
): CallRecord => {
  const outcome = outcomeOf(exit)
  const actual = outcome._tag === "Answered" ? usageOf(policy, request, request) : Usage.zero
  const unreserved = outcome._tag === "Refused" && outcome.error !== "RateLimitExceeded" && attempts.length === 0
  return {
    request,
    subject: subjectOf(request),
    estimate,
    actual,
    settled: unreserved ? undefined : actual,
    outcome,
    endedAt,
    attempts
  }
}

const outcomeOf = (exit: Ended["exit"]): Outcome => {
  if (Exit.isSuccess(exit)) return { _tag: "Answered" }
  const error = Cause.squash(exit.cause)
  if (error instanceof Provider.ProviderError) return { _tag: "Failed", error: `status ${error.status}` }
  if (typeof error === "object" && error !== null && "_tag" in error && typeof error._tag === "string") {
    const quota = "quota" in error ? String(error.quota) : ""
    if (refusals.has(error._tag)) return { _tag: "Refused", error: error._tag, quota }
  }
  return { _tag: "Broken", error: Cause.pretty(exit.cause) }
}

const refusals = new Set(["BudgetExceeded", "BudgetThrottled", "RateLimitExceeded", "RequestTooLarge"])
