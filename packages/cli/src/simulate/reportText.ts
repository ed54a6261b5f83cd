/** The report as a person reads it. No colours and no wall-clock time: the same seed gives the same bytes. */
import * as Array from "effect/Array"
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

const head = ({ policy, trace }: Report): string => {
  const skipped = trace.skippedLines === 0 ? "" : `, ${count(trace.skippedLines)} bad lines passed over`
  return [
    `headgate simulate: ${trace.source} under policy ${policy}`,
    `  ${count(trace.requests)} ${trace.generated ? "generated" : "recorded"} calls${skipped}, ` +
      `arriving ${clock(trace.firstArrival, 0)} to ${clock(trace.lastArrival)}, the last one over at ${clock(trace.lastEnd)}`
  ].join("\n")
}

const calls = ({ calls }: Report): string => {
  const row = (name: string, amount: number) => [
    name,
    count(amount),
    percent(amount / calls.total),
    bar(amount / calls.total)
  ]
  return section("calls", [
    ...table(
      [
        row("answered", calls.answered),
        row("refused", calls.refused),
        row("failed", calls.failed),
        ["all", count(calls.total), "", "each counted once"],
        row("had to wait", calls.delayed)
      ],
      "lrrl"
    ),
    ...(calls.outlived === 0
      ? []
      : [`${count(calls.outlived)} took longer than reservationTtl and were charged before they had ended`])
  ])
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

const limits = ({ limits }: Report): string =>
  limits.length === 0
    ? section("limits", ["none"])
    : section(
        "limits, and the fullest span of each window",
        table(
          [
            ["", "taken in all", "limit", "fullest span", "of limit", "", ""],
            ...limits.map((limit) => [
              `${limit.quota}${limit.per === "everyone" ? "" : ` of each ${limit.per}`}`,
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
        )
      )

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

// ---- words and columns ----

const section = (title: string, lines: ReadonlyArray<string>): string =>
  [title, ...lines.map((line) => `  ${line}`)].join("\n")

/** Columns, aligned left or right as `sides` says. */
const table = (rows: ReadonlyArray<ReadonlyArray<string>>, sides: string): ReadonlyArray<string> => {
  const widths = Array.makeBy(sides.length, (column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) =>
        sides[column] === "r" ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)
      )
      .join("  ")
      .trimEnd()
  )
}

const count = (value: number): string => value.toLocaleString("en-US")
const percent = (share: number): string => `${(share * 100).toFixed(1)} %`
const money = (nanos: number): string => `$${(nanos / 1e9).toFixed(nanos === 0 || nanos >= 1e8 ? 2 : 6)}`
const amount = ({ unit }: Limit, value: number): string => (unit === "cost" ? money(value) : count(value))

const millis = (value: number): string =>
  value < 1000
    ? `${value} ms`
    : value < 600_000
      ? `${(value / 1000).toFixed(1)} s`
      : value < 7_200_000
        ? `${(value / 60_000).toFixed(1)} min`
        : `${(value / 3_600_000).toFixed(1)} h`

const clock = (iso: string, from = 11): string => iso.slice(from, 19).replace("T", " ")

const barWidth = 20
const bar = (share: number): string => {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * barWidth * 8)
  return "█".repeat(Math.floor(eighths / 8)) + (eighths % 8 === 0 ? "" : (" ▏▎▍▌▋▊▉"[eighths % 8] ?? ""))
}
