import * as Context from "effect/Context"
import * as Metric from "effect/Metric"

const noAttributes = Context.get(Context.empty(), Metric.CurrentMetricAttributes)

/** The registry of a fiber, if it sets no attributes of its own: a metric has one key in all of these. */
export const registryOf = (context: Context.Context<never>): Metric.MetricRegistry | undefined =>
  Context.get(context, Metric.CurrentMetricAttributes) === noAttributes
    ? Context.get(context, Metric.MetricRegistry)
    : undefined

/** A metric on the way of every call: its key is looked up once, and the registry once for all that are updated together. */
class Frequent<Input, State> {
  private readonly metric: Metric.Metric<Input, State>
  private key: string | undefined

  constructor(metric: Metric.Metric<Input, State>) {
    this.metric = metric
  }

  updateUnsafe(input: Input, context: Context.Context<never>, registry = registryOf(context)): void {
    const series = this.key === undefined ? undefined : registry?.get(this.key)
    if (series !== undefined) return series.hooks.update(input, context)
    this.metric.updateUnsafe(input, context)
    if (registry === undefined || this.key !== undefined) return
    const { attributes, id } = this.metric
    for (const [key, series] of registry) if (series.id === id && series.attributes === attributes) this.key = key
  }
}

/**
 * All metrics, in one place. Attributes are drawn from small fixed sets: a subject is never one.
 */
const call = (outcome: string) =>
  new Frequent(
    Metric.counter("headgate_calls", {
      description: "Guarded calls by how they ended",
      incremental: true,
      attributes: { outcome }
    })
  )

export const calls = {
  answered: call("answered"),
  refused: call("refused"),
  failed: call("failed"),
  interrupted: call("interrupted")
}

export const attempts = new Frequent(
  Metric.counter("headgate_attempts", {
    description: "Attempts of guarded calls that were let through to the provider",
    incremental: true
  })
)

const refusal = (reason: string) =>
  new Frequent(
    Metric.counter("headgate_refusals", { description: "Refusals by error", incremental: true, attributes: { reason } })
  )

export const refusals = {
  BudgetExceeded: refusal("BudgetExceeded"),
  BudgetThrottled: refusal("BudgetThrottled"),
  RateLimitExceeded: refusal("RateLimitExceeded"),
  RequestTooLarge: refusal("RequestTooLarge"),
  UnpricedModel: refusal("UnpricedModel"),
  Shadow: refusal("Shadow")
}

const tokenCounter = (kind: string) =>
  new Frequent(
    Metric.counter("headgate_tokens", {
      description: "Tokens settled or recorded",
      incremental: true,
      attributes: { kind }
    })
  )

export const inputTokens = tokenCounter("input")
export const outputTokens = tokenCounter("output")
export const tokens = tokenCounter("all")

export const cost = new Frequent(
  Metric.counter("headgate_cost_nanodollars", {
    description: "Cost settled or recorded, in nano-dollars",
    incremental: true
  })
)

export const retries = Metric.counter("headgate_retries", {
  description: "Retries that were scheduled",
  incremental: true
})

export const waited = Metric.histogram("headgate_wait_millis", {
  description: "Milliseconds that a call waited for a place in the rate limiter, when it had to",
  boundaries: Metric.exponentialBoundaries({ start: 1, factor: 4, count: 11 })
})

export const estimateRatio = new Frequent(
  Metric.histogram("headgate_estimate_ratio", {
    description: "Estimated tokens divided by actual tokens",
    boundaries: [0.5, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10]
  })
)

export const storeErrors = Metric.counter("headgate_store_errors", {
  description: "Calls let through because the store failed",
  incremental: true
})
