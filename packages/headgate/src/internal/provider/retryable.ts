import { first, isBilled, isTransport, mentions, saysRetryable, statusOf } from "./providerError.ts"

/**
 * The key of the mark that `retryable` sets. An error class may carry it itself.
 *
 * @category marking
 * @since 0.1.0
 */
export const RetryableTypeId = "~headgate/Retryable"

/**
 * An error that is marked as worth a retry.
 *
 * @category marking
 * @since 0.1.0
 */
export interface Retryable {
  readonly [RetryableTypeId]: true
}

/**
 * Marks an error as worth a retry. It stays the same error.
 *
 * **Example** (Marking)
 *
 * ```ts
 * import { Retry } from "headgate"
 *
 * const error = new Error("the model was loading")
 * Retry.isRetryable(error) // => false
 * Retry.isRetryable(Retry.retryable(error)) // => true
 * ```
 *
 * @category marking
 * @since 0.1.0
 */
export const retryable = <E extends object>(error: E): E & Retryable => {
  marked.add(error)
  if (Object.isExtensible(error)) Object.defineProperty(error, RetryableTypeId, { value: true, configurable: true })
  return error as E & Retryable
}

/** For errors that are frozen. */
const marked = new WeakSet<object>()

const ours = new Map([
  ["RateLimitExceeded", true],
  ["BudgetThrottled", true],
  ["BudgetExceeded", false],
  ["RequestTooLarge", false],
  ["InvalidUsage", false],
  ["StoreError", false],
  ["RetryExhausted", false]
])

/** What one of this library's own errors says, also as the cause of another. */
const ownOf = (error: unknown): boolean | undefined => first(error, ({ _tag }) => ours.get(String(_tag)))

/** Whether an error is of this library, and so says nothing about the provider. */
export const isOurs = (error: unknown): boolean => ownOf(error) !== undefined

/** What no waiting cures: the account is out of money, the request is wrong, or the caller has given it up. */
const permanentWords = new Set([
  "insufficient_quota",
  "budget_exceeded",
  "QuotaExhaustedError",
  "AuthenticationError",
  "ContentPolicyError",
  "InvalidRequestError",
  "APIUserAbortError"
])

const isPermanent = (word: string): boolean => permanentWords.has(word) || word.startsWith("billing_")

/**
 * Whether an error is worth a retry. The first of these that says something decides: the mark of `retryable`; our own
 * errors, also as the cause of another (`RateLimitExceeded` and `BudgetThrottled` are, the others are not); failures that were billed, and permanent
 * ones such as `insufficient_quota`, or an SDK's that the caller aborted (not); the header `x-should-retry`, or `isRetryable` of the error, of which the outer
 * one counts; the status (408, 409, 429 and from 500 on); failures of the transport. Anything else is not.
 *
 * **Example** (A provider's errors)
 *
 * ```ts
 * import { Retry } from "headgate"
 *
 * Retry.isRetryable({ status: 429 }) // => true
 * Retry.isRetryable({ status: 429, error: { code: "insufficient_quota" } }) // => false
 * Retry.isRetryable({ status: 400 }) // => false
 * ```
 *
 * @category marking
 * @since 0.1.0
 */
export const isRetryable = (error: unknown): boolean => {
  if (typeof error !== "object" || error === null) return false
  if (marked.has(error) || (RetryableTypeId in error && error[RetryableTypeId] === true)) return true
  const own = ownOf(error)
  if (own !== undefined) return own
  if (mentions(error, isBilled) || mentions(error, isPermanent)) return false
  const says = saysRetryable(error)
  if (says !== undefined) return says
  const status = statusOf(error)
  return status === undefined
    ? mentions(error, isTransport)
    : status === 408 || status === 409 || status === 429 || status >= 500
}
