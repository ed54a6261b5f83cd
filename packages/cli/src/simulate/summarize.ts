import type { CallRecord, Outcome, Replay } from "./Replay.ts"
import { measure } from "./limits.ts"
import { percentiles, type Report } from "./Report.ts"

/** Counts what a replay gave, and checks that each call is in it once and that no limit was passed. */
export const summarize = (replay: Replay): Report => {
  const { alerts, calls, policy, seed, store, trace } = replay
  const first = trace.requests[0]?.at ?? 0
  const of = <Tag extends Outcome["_tag"]>(tag: Tag) => calls.filter(({ outcome }) => outcome._tag === tag)
  const answered = of("Answered")
  const reached = calls.filter(({ attempts }) => attempts.length > 0)
  const limits = measure(replay)
  const overruns = answered.filter(
    ({ actual, estimate }) => actual.tokens > estimate.tokens || actual.cost > estimate.cost
  ).length
  return {
    trace: {
      source: trace.source,
      format: trace.format,
      generated: trace.format === "generated",
      requests: trace.requests.length,
      skippedLines: trace.skipped.length,
      firstArrival: iso(first),
      lastArrival: iso(trace.requests.at(-1)?.at ?? 0),
      lastEnd: iso(calls.reduce((last, { endedAt }) => Math.max(last, endedAt), first))
    },
    policy: policy.name,
    store,
    seed,
    calls: {
      total: trace.requests.length,
      answered: answered.length,
      refused: of("Refused").length,
      failed: of("Failed").length,
      delayed: reached.filter((call) => turnWait(call) > 0).length
    },
    refusals: counted(calls.flatMap(({ outcome }) => (outcome._tag === "Refused" ? [outcome] : []))).map(
      ([{ error, quota }, calls]) => ({ error, quota, calls })
    ),
    failures: counted(calls.flatMap(({ outcome }) => (outcome._tag === "Failed" ? [outcome] : []))).map(
      ([{ error }, calls]) => ({ error, calls })
    ),
    waits: {
      turn: percentiles(reached.map(turnWait)),
      retry: percentiles(reached.filter(({ attempts }) => attempts.length > 1).map(retryWait))
    },
    attempts: counted(reached.map(({ attempts }) => attempts.length))
      .map(([attempts, calls]) => ({ attempts, calls }))
      .toSorted((a, b) => a.attempts - b.attempts),
    usage: {
      estimate: amounts(answered.map(({ estimate }) => estimate)),
      actual: amounts(answered.map(({ actual }) => actual)),
      overruns
    },
    limits,
    alerts: { counts: Object.fromEntries(counted(alerts.map(({ _tag }) => _tag))), rows: alertRows(alerts) },
    violations: [
      ...accounting(trace.requests.length, calls),
      ...counted(calls.flatMap(({ outcome }) => (outcome._tag === "Broken" ? [outcome.error] : []))).map(
        ([error, times]) => `${times} calls broke: ${error}`
      ),
      ...limits
        .filter(({ passed }) => passed === "broken")
        .map(
          ({ per, quota, worst }) =>
            `${quota} of ${per === "everyone" ? per : `${per} ${worst.subject}`}: ${worst.amount} of ${worst.limit} at ${worst.at}`
        )
    ]
  }
}

const alertRows = (alerts: Replay["alerts"]): Report["alerts"]["rows"] =>
  [
    ...Map.groupBy(alerts, ({ _tag, quota, subject, threshold }) =>
      // An overrun's threshold is what was reserved: another for each call.
      JSON.stringify([_tag, quota, subject, _tag === "Overrun" ? "" : threshold])
    ).values()
  ].flatMap((group) => {
    const [first] = group
    return first === undefined
      ? []
      : [
          {
            first: iso(first.timestamp.epochMilliseconds),
            last: iso((group.at(-1) ?? first).timestamp.epochMilliseconds),
            times: group.length,
            alert: first._tag,
            message: first.message
          }
        ]
  })

/** Each request of the trace must have ended once. */
const accounting = (total: number, calls: ReadonlyArray<CallRecord>): ReadonlyArray<string> => {
  const distinct = new Set(calls.map(({ request }) => request.index)).size
  return distinct === total && calls.length === total
    ? []
    : [`of ${total} calls ${distinct} ended, ${calls.length - distinct} of them more than once`]
}

const turnWait = ({ attempts, request }: CallRecord): number => (attempts[0]?.startedAt ?? request.at) - request.at

/** What lies between the attempts: backoff, and the next attempt's turn. */
const retryWait = ({ attempts }: CallRecord): number =>
  attempts.reduce((sum, attempt, index) => {
    const before = attempts[index - 1]
    return before === undefined ? sum : sum + attempt.startedAt - (before.endedAt ?? before.startedAt)
  }, 0)

const amounts = (usages: ReadonlyArray<{ readonly tokens: number; readonly cost: number }>) => ({
  tokens: usages.reduce((sum, { tokens }) => sum + tokens, 0),
  cost: usages.reduce((sum, { cost }) => sum + cost, 0)
})

/** How often each value comes, the most frequent first, then in the order of the first of each. */
const counted = <A>(values: ReadonlyArray<A>): ReadonlyArray<readonly [value: A, times: number]> => {
  const groups = Map.groupBy(values, (value) => JSON.stringify(value))
  return [...groups.values()]
    .flatMap((group) => {
      const [value] = group
      return value === undefined ? [] : [[value, group.length] as const]
    })
    .toSorted((a, b) => b[1] - a[1])
}

const iso = (millis: number): string => new Date(millis).toISOString()
