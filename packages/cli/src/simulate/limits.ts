/** Every limit that the services kept, with what was taken of it and whether it was passed. */
import { type Quota, type QuotaStore, Usage, Window } from "headgate"
import { amountOf, capacity, type Entry, worst } from "./Audit.ts"
import type { CallRecord, Replay } from "./Replay.ts"
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

export const measure = ({ accounts, calls, policy }: Replay): ReadonlyArray<Limit> => [
  ...measureService(
    { service: "budget", mode: policy.budget.mode === "shadow" ? "watched" : "enforced" },
    accounts.budget,
    spent(calls)
  ),
  ...measureService({ service: "rateLimiter", mode: "enforced" }, accounts.rateLimiter, admitted(calls))
]

/** What calls took of budgets: counted when it was settled, and under way since the arrival. */
const spent = (calls: ReadonlyArray<CallRecord>): ReadonlyArray<Taken> =>
  calls
    .flatMap((call): ReadonlyArray<Taken> =>
      call.settled === undefined
        ? []
        : [{ call, usage: call.settled, at: call.endedAt, end: call.endedAt, began: call.request.at }]
    )
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

type Whose = Pick<Limit, "service" | "mode">

/** The rows of everyone, then those of each dimension. */
const measureService = (
  whose: Whose,
  accounts: ReadonlyArray<QuotaStore.Account>,
  taken: ReadonlyArray<Taken>
): ReadonlyArray<Limit> =>
  [...Map.groupBy(accounts, ({ plan }) => plan.dimension)].flatMap(([dimension, accounts]) => {
    const byValue = Map.groupBy(taken, ({ call }) => (dimension === undefined ? "" : call.subject[dimension]))
    const rows = accounts
      .toSorted((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0))
      .flatMap(({ plan, value }) =>
        plan.quotas.map((quota) => measureQuota(whose, dimension, value, quota, byValue.get(value) ?? []))
      )
    return [...Map.groupBy(rows, sameQuota).values()].flatMap((rows) => {
      const [first, ...others] = rows
      return first === undefined ? [] : [others.reduce(merge, first)]
    })
  })

/** A quota of one subject. */
const measureQuota = (
  whose: Whose,
  dimension: string | undefined,
  value: string,
  quota: Quota.Quota,
  taken: ReadonlyArray<Taken>
): Limit => {
  const entries = taken.map((taken): Entry => ({
    at: quota.unit === "concurrency" ? taken.began : taken.at,
    end: taken.end,
    amount: amountOf(quota, taken.usage)
  }))
  const { amount, at, share } = worst(quota, entries)
  return {
    ...whose,
    per: dimension ?? "everyone",
    quota: quota.name,
    unit: quota.unit,
    limit: quota.limit,
    window: quota.unit === "concurrency" ? "at once" : Window.format(quota.window),
    cachedInput: quota.cachedInput,
    subjects: entries.length === 0 ? 0 : 1,
    total: entries.reduce((sum, { amount }) => sum + amount, 0),
    worst: {
      amount,
      share: Number.isFinite(share) ? share : Number.MAX_SAFE_INTEGER,
      at: new Date(at).toISOString(),
      subject: dimension === undefined ? "everyone" : value,
      limit: capacity(quota)
    },
    passed:
      share <= 1
        ? "never"
        : whose.mode === "watched"
          ? "unenforced"
          : worst(quota, withoutOverruns(quota, taken, entries)).share <= 1
            ? "byOverruns"
            : "broken"
  }
}

/** What of each call its reservation covered. What a call took beyond that has happened: it is booked, limit or no. */
const withoutOverruns = (
  quota: Quota.Quota,
  taken: ReadonlyArray<Taken>,
  entries: ReadonlyArray<Entry>
): ReadonlyArray<Entry> =>
  entries.map((entry, index) => {
    const reserved = taken[index]?.call.estimate
    return {
      ...entry,
      amount: reserved === undefined ? entry.amount : Math.min(entry.amount, amountOf(quota, reserved))
    }
  })

const sameQuota = ({ cachedInput, quota, unit, window }: Limit): string =>
  JSON.stringify([quota, unit, window, cachedInput])

const gravity = { never: 0, unenforced: 1, byOverruns: 1, broken: 2 } as const

/** Two subjects of one quota, shown by the one that passed its limit more gravely, or else came nearer to it. */
const merge = (a: Limit, b: Limit): Limit => {
  const graver = gravity[b.passed] - gravity[a.passed] || b.worst.share - a.worst.share
  const { passed, worst } = graver > 0 ? b : a
  return { ...a, subjects: a.subjects + b.subjects, total: a.total + b.total, worst, passed }
}
