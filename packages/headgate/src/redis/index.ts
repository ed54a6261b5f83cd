/**
 * One budget for many machines: the store in Redis.
 *
 * @since 0.1.0
 */

/** `QuotaStore` in Redis. */
export * as RedisQuotaStore from "./RedisQuotaStore.ts"
