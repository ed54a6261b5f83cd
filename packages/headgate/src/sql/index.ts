/**
 * `QuotaStore` in PostgreSQL and SQLite.
 *
 * @since 0.1.0
 */
export * as SqliteClient from "./SqliteClient.ts"
export * as SqlQuotaStore from "./SqlQuotaStore.ts"
