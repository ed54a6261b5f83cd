/**
 * Every limit of a policy with what was taken of it. The limits are read from the policy's options once more here, not
 * from the services, so that the audit does not take a service's word for what it has to keep.
 */
import { type Budget, type Money, Quota, type RateLimiter, Usage, Window } from "headgate"
import { type Entry, worst } from "./Audit.ts"
import type { Policy } from "./Policy.ts"
import type { CallRecord } from "./Replay.ts"
import type { Limit } from "./Report.ts"

/** Something taken of all limits of a service by one call. */
interface Taken {
  readonly call: CallRecord
  readonly usage: Usage.Usage
  readonly at: number
  readonly end: number
  /** From when on it was under way. */
  readonly began: number
}

interface Layered<Limits> {
  readonly per?: { readonly [dimension: string]: Limits } | undefined
  readonly overrides?: { readonly [dimension: string]: { readonly [value: string]: Limits } } | undefined
}

export const measure = (policy: Policy, calls: ReadonlyArray<CallRecord>): ReadonlyArray<Limit> => {
  const timeZone = policy.budget.timeZone ?? "UTC"
  return [
    ...measureService("budget", policy.budget, (limits) => budgetQuotas(limits, timeZone), spent(calls)),
    ...measureService("rateLimiter", policy.rateLimiter, rateQuotas, admitted(calls))
  ]
}

/**
 * What calls took of budgets: counted when it was settled, and under way since the arrival. A call that outlived its
 * reservation was taken for dead and charged when that expired.
 */
const spent = (calls: ReadonlyArray<CallRecord>): ReadonlyArray<Taken> =>
  calls
    .flatMap((call): ReadonlyArray<Taken> => {
      if (call.settled === undefined) return []
      const end = Math.min(call.endedAt, call.expiresAt)
      return [{ call, usage: call.settled, at: end, end, began: call.request.at }]
    })
    .toSorted((a, b) => a.at - b.at)

/** What attempts took of rate limits: a request each, and the tokens of those that were answered, from their beginning. */
const admitted = (calls: ReadonlyArray<CallRecord>): ReadonlyArray<Taken> =>
  calls
    .flatMap((call) =>
      call.attempts.map((attempt): Taken => ({
        call,
        usage: attempt.outcome === "answered" ? call.actual : { ...Usage.zero, requests: 1 },
        at: attempt.startedAt,
        end: attempt.endedAt ?? attempt.startedAt,
        began: attempt.startedAt
      }))
    )
    .toSorted((a, b) => a.at - b.at)

const measureService = <Limits extends object>(
  service: Limit["service"],
  options: Limits & Layered<Limits>,
  quotasOf: (limits: Limits) => ReadonlyArray<Quota.Quota>,
  taken: ReadonlyArray<Taken>
): ReadonlyArray<Limit> => {
  const { overrides = {}, per = {} } = options
  const dimensions = [...new Set([...Object.keys(per), ...Object.keys(overrides)])]
  return [
    ...measureSubjects(service, "everyone", new Map([["everyone", quotasOf(options)]]), () => "everyone", taken),
    ...dimensions.flatMap((dimension) => {
      const valueOf = ({ call }: Taken) => call.subject[dimension]
      const values = new Set(taken.map(valueOf).filter((value) => value !== undefined))
      const quotas = new Map(
        [...values]
          .toSorted()
          .map((value) => [value, quotasOf({ ...per[dimension], ...overrides[dimension]?.[value] } as Limits)] as const)
      )
      return measureSubjects(service, dimension, quotas, valueOf, taken)
    })
  ]
}

/** One row per quota by name, with the subject that came nearest to its own limit. */
const measureSubjects = (
  service: Limit["service"],
  per: string,
  quotasBySubject: ReadonlyMap<string, ReadonlyArray<Quota.Quota>>,
  subjectOf: (taken: Taken) => string | undefined,
  taken: ReadonlyArray<Taken>
): ReadonlyArray<Limit> => {
  const bySubject = Map.groupBy(taken, subjectOf)
  const rows = new Map<string, Limit>()
  for (const [subject, quotas] of quotasBySubject) {
    for (const quota of quotas) {
      const amount = amountOf(quota)
      const entries = (bySubject.get(subject) ?? []).map((taken): Entry => ({
        at: quota.unit === "concurrency" ? taken.began : taken.at,
        end: taken.end,
        amount: amount(taken.usage)
      }))
      const total = entries.reduce((sum, { amount }) => sum + amount, 0)
      const { at, ...fullest } = worst(quota, entries)
      const found = {
        ...fullest,
        share: Number.isFinite(fullest.share) ? fullest.share : Number.MAX_SAFE_INTEGER,
        at: new Date(at).toISOString(),
        subject,
        limit: quota.window._tag === "Bucket" ? (quota.window.burst ?? quota.limit) : quota.limit
      }
      const row = rows.get(quota.name)
      rows.set(quota.name, {
        service,
        per,
        quota: quota.name,
        unit: quota.unit,
        limit: row?.limit ?? quota.limit,
        window: quota.unit === "concurrency" ? "at once" : Window.format(quota.window),
        subjects: (row?.subjects ?? 0) + 1,
        total: (row?.total ?? 0) + total,
        worst: row === undefined || found.share > row.worst.share ? found : row.worst
      })
    }
  }
  return [...rows.values()]
}

const amountOf = ({ cachedInput, unit }: Quota.Quota): ((usage: Usage.Usage) => number) =>
  unit === "concurrency"
    ? () => 1
    : cachedInput === "free" && (unit === "tokens" || unit === "inputTokens")
      ? (usage) => usage[unit] - usage.cachedInputTokens
      : (usage) => usage[unit]

type Option = readonly [name: string, unit: Quota.Unit, limit: number | Money.Input | undefined, window?: Window.Window]

const quotas = (
  options: ReadonlyArray<Option>,
  more: ReadonlyArray<Quota.Input> | undefined
): ReadonlyArray<Quota.Quota> => [
  ...options.flatMap(([name, unit, limit, window]) =>
    limit === undefined ? [] : [Quota.make({ name, unit, limit, window })]
  ),
  ...(more ?? []).map(Quota.make)
]

const budgetQuotas = (limits: Budget.Limits, timeZone: string): ReadonlyArray<Quota.Quota> => {
  const day = Window.calendar("day", { timeZone })
  return quotas(
    [
      ["maxTokensPerMinute", "tokens", limits.maxTokensPerMinute, Window.sliding("1 minute")],
      ["maxTokensPerHour", "tokens", limits.maxTokensPerHour, Window.sliding("1 hour")],
      ["maxTokensPerDay", "tokens", limits.maxTokensPerDay, day],
      ["maxCostPerDay", "cost", limits.maxCostPerDay, day]
    ],
    limits.quotas
  )
}

const rateQuotas = (limits: RateLimiter.Limits): ReadonlyArray<Quota.Quota> => {
  const minute = Window.sliding("1 minute")
  const { burst } = limits
  return quotas(
    [
      [
        "requestsPerMinute",
        "requests",
        limits.requestsPerMinute,
        burst === undefined ? minute : Window.bucket({ refill: "1 minute", burst })
      ],
      ["tokensPerMinute", "tokens", limits.tokensPerMinute, minute],
      ["inputTokensPerMinute", "inputTokens", limits.inputTokensPerMinute, minute],
      ["outputTokensPerMinute", "outputTokens", limits.outputTokensPerMinute, minute],
      ["requestsPerDay", "requests", limits.requestsPerDay, Window.sliding("1 day")],
      ["concurrency", "concurrency", limits.concurrency]
    ],
    limits.quotas
  )
}
