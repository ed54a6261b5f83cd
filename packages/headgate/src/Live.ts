/**
 * The services configured by the environment. Layers provided together share one store and one `Alerts`. The store is
 * this process's memory; `@headgate/node` has layers of the same names over the store that `HEADGATE_STORE` names.
 *
 * Every variable begins with `HEADGATE_`, then `BUDGET_`, `RATE_LIMITER_` or `RETRY_`, then the option in constant case:
 * `HEADGATE_BUDGET_MAX_COST_PER_DAY='$50'` (single quotes: a shell takes `$5` for a
 * parameter). Budgets and retries that are not set have the defaults of `Budget.defaults`
 * and `Retry.defaults`, rate limits that are not set limit nothing; `none` takes a limit away. A wrong value is a
 * `ConfigError`.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import * as Layer from "effect/Layer"
import * as Alerts from "./Alerts.ts"
import * as Budget from "./Budget.ts"
import * as Guard from "./Guard.ts"
import * as QuotaStore from "./QuotaStore.ts"
import * as RateLimiter from "./RateLimiter.ts"
import * as Retry from "./Retry.ts"

/**
 * Alerts with their defaults.
 *
 * @category layers
 * @since 0.1.0
 */
export const AlertsLive: Layer.Layer<Alerts.Alerts> = Alerts.layer

/**
 * The budget of the environment, in this process's memory.
 *
 * **Example** (Provided to a program)
 *
 * ```ts
 * import { ConfigProvider, Effect } from "effect"
 * import { Budget, BudgetLive } from "headgate"
 *
 * const program = Budget.Budget.use((budget) => budget.reserve({ tokens: 200 })).pipe(
 *   Effect.as("reserved"),
 *   Effect.catchTag("RequestTooLarge", (error) => Effect.succeed(`${error.limit} tokens at most`)),
 *   Effect.provide(BudgetLive),
 *   Effect.provideService(
 *     ConfigProvider.ConfigProvider,
 *     ConfigProvider.fromEnv({ env: { HEADGATE_BUDGET_MAX_TOKENS_PER_REQUEST: "100" } })
 *   )
 * )
 *
 * await Effect.runPromise(program) // => "100 tokens at most"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const BudgetLive: Layer.Layer<Budget.Budget | Alerts.Alerts, Config.ConfigError> = Budget.layerConfig(
  Budget.config
).pipe(Layer.provide(QuotaStore.layerMemory), Layer.provideMerge(AlertsLive))

/**
 * The rate limiter of the environment, in this process's memory.
 *
 * @category layers
 * @since 0.1.0
 */
export const RateLimiterLive: Layer.Layer<RateLimiter.RateLimiter | Alerts.Alerts, Config.ConfigError> =
  RateLimiter.layerConfig(RateLimiter.config).pipe(
    Layer.provide(QuotaStore.layerMemory),
    Layer.provideMerge(AlertsLive)
  )

/**
 * The retry policy of the environment.
 *
 * @category layers
 * @since 0.1.0
 */
export const RetryLive: Layer.Layer<Retry.Retry, Config.ConfigError> = Retry.layerConfig(Retry.config)

/**
 * The guard of the environment, with all it consists of.
 *
 * @category layers
 * @since 0.1.0
 */
export const GuardLive: Layer.Layer<
  Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Retry.Retry | Alerts.Alerts,
  Config.ConfigError
> = Guard.layerServices().pipe(Layer.provideMerge(Layer.mergeAll(BudgetLive, RateLimiterLive, RetryLive)))
