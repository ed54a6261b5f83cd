/**
 * Doors to the web: Effect's `HttpClient` with guarded calls of models, and alerts at a webhook.
 *
 * @since 0.1.0
 */

/** Alerts posted to a webhook. */
export * as AlertWebhook from "./AlertWebhook.ts"
/** An `HttpClient` whose calls of models are guarded. */
export * as GuardedHttpClient from "./GuardedHttpClient.ts"
