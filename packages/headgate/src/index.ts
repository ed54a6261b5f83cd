/**
 * Budgets, rate limits and retries for LLM calls in Effect.
 *
 * @since 0.1.0
 */
export * as Alert from "./Alert.ts"
export * as Alerts from "./Alerts.ts"
export * as Budget from "./Budget.ts"
export {
  BudgetExceeded,
  BudgetThrottled,
  InvalidUsage,
  RateLimitExceeded,
  RequestTooLarge,
  RetryExhausted,
  StoreError,
  UnpricedModel
} from "./Errors.ts"
export * as Estimator from "./Estimator.ts"
export * as Gate from "./Gate.ts"
export { guard, guardStream } from "./Guard.ts"
export * as Guard from "./Guard.ts"
export * from "./Live.ts"
export * as ModelGuard from "./ModelGuard.ts"
export * as ModelUsage from "./ModelUsage.ts"
export * as Money from "./Money.ts"
export * as Price from "./Price.ts"
export * as Quota from "./Quota.ts"
export * as QuotaStore from "./QuotaStore.ts"
export * as RateLimiter from "./RateLimiter.ts"
export { policy } from "./Retry.ts"
export * as Retry from "./Retry.ts"
export * as Subject from "./Subject.ts"
export * as Usage from "./Usage.ts"
export { UsageRecord } from "./UsageRecord.ts"
export * as Window from "./Window.ts"
