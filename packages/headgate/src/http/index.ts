/**
 * Doors to the web: alerts at a webhook.
 *
 * @since 0.1.0
 */
/** Alerts posted to a webhook. */
export * as AlertWebhook from "./AlertWebhook.ts"
