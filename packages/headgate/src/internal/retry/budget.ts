/**
 * The share of calls that may be retries.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryBudget {
  /** What is left. */
  readonly tokens: () => number
  /** Takes the price of a retry, if it is there. */
  readonly withdraw: () => boolean
  /** Adds what a clean success earns, up to the capacity, and says how much that was. */
  readonly deposit: () => number
  /** Takes back what a deposit added. */
  readonly takeBack: (added: number) => void
}

/**
 * Makes a retry budget: 500 tokens, 14 per retry, 1 back per clean success.
 *
 * **Example** (Three retries at most)
 *
 * ```ts
 * import { Retry } from "headgate"
 *
 * const budget = Retry.makeBudget({ capacity: 3, cost: 1 })
 * const answers = [budget.withdraw(), budget.withdraw(), budget.withdraw(), budget.withdraw()]
 * answers // => [true, true, true, false]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeBudget = (options?: {
  readonly capacity?: number | undefined
  readonly cost?: number | undefined
  readonly refund?: number | undefined
}): RetryBudget => {
  const capacity = positive("Retry.makeBudget: capacity", options?.capacity ?? 500)
  const cost = positive("Retry.makeBudget: cost", options?.cost ?? 14)
  const refund = positive("Retry.makeBudget: refund", options?.refund ?? 1)
  let tokens = capacity
  return {
    tokens: () => tokens,
    withdraw: () => {
      if (tokens < cost) return false
      tokens -= cost
      return true
    },
    deposit: () => {
      const added = Math.min(refund, capacity - tokens)
      tokens += added
      return added
    },
    takeBack: (added) => {
      tokens = Math.max(0, tokens - added)
    }
  }
}

const positive = (label: string, value: number): number => {
  if (value > 0 && Number.isFinite(value)) return value
  throw new RangeError(`${label} must be above 0, got ${value}`)
}
