/**
 * headgate on Node: the services of the environment, over the store that `HEADGATE_STORE` names.
 *
 * @since 0.1.0
 */
export { AlertsLive, RetryLive } from "headgate"
export { InvalidStore, StoreUnreachable } from "./Errors.ts"
export * from "./Live.ts"
export * as Store from "./Store.ts"
