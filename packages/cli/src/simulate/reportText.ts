/** The report as a person reads it. No colours and no wall-clock time: the same seed gives the same bytes. */
import { clock, count, millis, money, percent } from "../amounts.ts"
import { bar, section, table } from "../layout.ts"
import type { Limit, Report } from "./Report.ts"

export const toText = (report: Report): string =>
  [
    head(report),
    calls(report),
    refusals(report),
    waits(report),
    attempts(report),
    usage(report),
    limits(report),
    alerts(report),
    ...(report.violations.length === 0 ? [] : [section("LAWS BROKEN: this is a bug of headgate", report.violations)])
  ]
    .filter((part) => part !== "")
    .join("\n\n") + "\n"

const head = ({ policy, store, trace }: Report): string => {
  const skipped = trace.skippedLines === 0 ? "" : `, ${count(trace.skippedLines)} bad lines passed over`
  return [
    `headgate simulate: ${trace.source} under policy ${policy}`,
    `  ${count(trace.requests)} ${trace.generated ? "generated" : "recorded"} calls${skipped}, ` +
      `arriving ${clock(trace.firstArrival, 0)} to ${clock(trace.lastArrival)}, the last one over at ${clock(trace.lastEnd)}`,
    `  decided in ${store}${store === "memory" ? "" : ", under a prefix of its own, by the time of the replay"}`
  ].join("\n")
}

const calls = ({ calls }: Report): string => {
  const row = (name: string, amount: number) => [
    name,
    count(amount),
    percent(amount / calls.total),
    bar(amount / calls.total)
  ]
  return section(
    "calls",
    table(
      [
        row("answered", calls.answered),
        row("refused", calls.refused),
        row("failed", calls.failed),
        ["all", count(calls.total), "", "each counted once"],
        row("had to wait", calls.delayed)
      ],
      "lrrl"
    )
  )
}

const refusals = ({ failures, refusals }: Report): string =>
  refusals.length + failures.length === 0
    ? ""
    : section(
        "refused and failed by",
        table(
          [
            ...refusals.map(({ calls, error, quota }) => [
              quota === "" ? "throttling after a refusal" : quota,
              count(calls),
              error
            ]),
            ...failures.map(({ calls, error }) => ["the provider", count(calls), error])
          ],
          "lrl"
        )
      )

const waits = ({ waits }: Report): string =>
  section(
    "waits",
    table(
      [
        ["", "p50", "p95", "p99", "longest"],
        ...Object.entries({ "for a turn": waits.turn, "for retries, of calls retried": waits.retry }).map(
          ([name, { max, p50, p95, p99 }]) => [name, ...[p50, p95, p99, max].map(millis)]
        )
      ],
      "lrrrr"
    )
  )

const attempts = ({ attempts }: Report): string =>
  section(
    "attempts per call",
    table(
      attempts.map(({ attempts, calls }) => [String(attempts), count(calls)]),
      "rr"
    )
  )

const usage = ({ usage: { actual, estimate, overruns } }: Report): string =>
  section("estimate against actual, answered calls", [
    ...table(
      [
        ["", "estimate", "actual", "share"],
        ["tokens", count(estimate.tokens), count(actual.tokens), percent(actual.tokens / (estimate.tokens || 1))],
        ["cost", money(estimate.cost), money(actual.cost), percent(actual.cost / (estimate.cost || 1))]
      ],
      "lrrr"
    ),
    ...(overruns === 0 ? [] : [`${count(overruns)} calls took more than was reserved for them`])
  ])

const limits = ({ limits }: Report): string => {
  if (limits.length === 0) return section("limits", ["none"])
  const overrun = limits.filter(({ passed }) => passed === "byOverruns")
  return section("limits, and the fullest span of each window", [
    ...table(
      [
        ["", "taken in all", "limit", "fullest span", "of limit", "", ""],
        ...limits.map((limit) => [
          nameOf(limit) + (limit.mode === "watched" ? ", watched" : ""),
          amount(limit, limit.total),
          amount(limit, limit.worst.limit),
          amount(limit, limit.worst.amount),
          percent(limit.worst.share),
          bar(limit.worst.share),
          limit.worst.amount === 0
            ? ""
            : `${clock(limit.worst.at)}${limit.per === "everyone" ? "" : ` ${limit.worst.subject}`}`
        ])
      ],
      "lrrrrll"
    ),
    ...(limits.some(({ mode }) => mode === "watched")
      ? ["watched: the budget is in shadow mode and refuses nothing; above 100 % is what it would not have let pass"]
      : []),
    ...(overrun.length === 0
      ? []
      : [
          `passed because calls took more than was reserved for them: ${overrun
            .map((limit) => `${nameOf(limit)} by ${amount(limit, limit.worst.amount - limit.worst.limit)}`)
            .join(", ")}`
        ])
  ])
}

const nameOf = ({ per, quota }: Limit): string => `${quota}${per === "everyone" ? "" : ` of each ${per}`}`
const amount = ({ unit }: Limit, value: number): string => (unit === "cost" ? money(value) : count(value))

const mostAlerts = 15

const alerts = ({ alerts: { counts, rows } }: Report): string => {
  const kinds = Object.entries(counts).map(([kind, times]) => `${count(times)} ${kind}`)
  const more = rows.length - mostAlerts
  return section(kinds.length === 0 ? "alerts: none" : `alerts, the first of each: ${kinds.join(", ")}`, [
    ...table(
      rows
        .slice(0, mostAlerts)
        .map(({ alert, first, last, message, times }) => [
          clock(first),
          alert,
          message + (times === 1 ? "" : `; ${count(times)} times, the last at ${clock(last)}`)
        ]),
      "lll"
    ),
    ...(more > 0 ? [`and ${count(more)} more of other quotas and subjects`] : [])
  ])
}
