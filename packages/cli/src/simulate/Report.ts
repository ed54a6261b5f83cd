/** What a replay gave, as data: the `--json` output, and what the text report is written from. */
import * as Schema from "effect/Schema"

const Share = Schema.Finite

/** Milliseconds, by nearest rank. */
export const Percentiles = Schema.Struct({
  p50: Schema.Int,
  p95: Schema.Int,
  p99: Schema.Int,
  max: Schema.Int
})

/** Amounts of tokens are whole tokens, amounts of cost nano-dollars. */
const Amounts = Schema.Struct({ tokens: Schema.Int, cost: Schema.Int })

const Limit = Schema.Struct({
  service: Schema.Literals(["budget", "rateLimiter"]),
  /** Whose: everyone's, or each user's, model's, … own. */
  per: Schema.String,
  quota: Schema.String,
  unit: Schema.String,
  limit: Schema.Int,
  window: Schema.String,
  cachedInput: Schema.Literals(["counted", "free"]),
  /** Those of a budget in shadow mode are only watched: they refuse nothing. */
  mode: Schema.Literals(["enforced", "watched"]),
  /** How many subjects used it. */
  subjects: Schema.Int,
  /** Over the whole replay, all subjects together. */
  total: Schema.Int,
  /** The fullest span of the window's length, of the subject that came nearest to its limit. */
  worst: Schema.Struct({
    amount: Schema.Int,
    share: Share,
    at: Schema.String,
    subject: Schema.String,
    limit: Schema.Int
  }),
  /**
   * Whether the fullest span is above the limit, and why: it is only watched; calls took more than was reserved for them,
   * without which it would have been kept; or a law was broken.
   */
  passed: Schema.Literals(["never", "unenforced", "byOverruns", "broken"])
})

export const Report = Schema.Struct({
  trace: Schema.Struct({
    source: Schema.String,
    format: Schema.String,
    generated: Schema.Boolean,
    requests: Schema.Int,
    skippedLines: Schema.Int,
    firstArrival: Schema.String,
    lastArrival: Schema.String,
    lastEnd: Schema.String
  }),
  policy: Schema.String,
  /** Which store decided, by the time of the replay. */
  store: Schema.String,
  seed: Schema.Int,
  /** `answered + refused + failed = total`: each call is counted once. */
  calls: Schema.Struct({
    total: Schema.Int,
    answered: Schema.Int,
    refused: Schema.Int,
    failed: Schema.Int,
    /** Of all, those whose first attempt had to wait for its turn. */
    delayed: Schema.Int
  }),
  refusals: Schema.Array(Schema.Struct({ error: Schema.String, quota: Schema.String, calls: Schema.Int })),
  failures: Schema.Array(Schema.Struct({ error: Schema.String, calls: Schema.Int })),
  /** Of the calls that reached the provider. `retry` is of those with more than one attempt. */
  waits: Schema.Struct({ turn: Percentiles, retry: Percentiles }),
  attempts: Schema.Array(Schema.Struct({ attempts: Schema.Int, calls: Schema.Int })),
  /** Of the answered calls. `overruns` are those that took more than was reserved for them. */
  usage: Schema.Struct({ estimate: Amounts, actual: Amounts, overruns: Schema.Int }),
  limits: Schema.Array(Limit),
  alerts: Schema.Struct({
    counts: Schema.Record(Schema.String, Schema.Int),
    /** In the order of their first time; alerts of one kind, quota, subject and threshold are one row. */
    rows: Schema.Array(
      Schema.Struct({
        first: Schema.String,
        last: Schema.String,
        times: Schema.Int,
        alert: Schema.String,
        /** Of the first time. */
        message: Schema.String
      })
    )
  }),
  /** Laws that did not hold; empty unless something is wrong with headgate itself. */
  violations: Schema.Array(Schema.String)
})

export type Report = typeof Report.Type
export type Limit = Report["limits"][number]

export const toJson = (report: Report): string => `${JSON.stringify(Schema.encodeSync(Report)(report), null, 2)}\n`

/** The nearest-rank percentiles of whole numbers; zeros for none. */
export const percentiles = (values: ReadonlyArray<number>): typeof Percentiles.Type => {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }
}
