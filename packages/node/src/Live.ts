/**
 * The services configured by the environment, over the store that `HEADGATE_STORE` names. Layers provided together share
 * one store and one `Alerts`.
 *
 * | variable | value |
 * | --- | --- |
 * | `HEADGATE_STORE` | `memory` (default), `redis://…`, `rediss://…`, `postgres://…`, `postgresql://…` or `sqlite:PATH` |
 * | `HEADGATE_STORE_PREFIX` | what the names of its keys or tables begin with (default `headgate`) |
 *
 * All other variables are those of `headgate`. A wrong value is a `ConfigError` that names the variable and never tells
 * what these two were; a store that does not answer when the program starts is `StoreUnreachable`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import { SourceError } from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Alerts, AlertsLive, Budget, Guard, QuotaStore, RateLimiter, type Retry, RetryLive } from "headgate"
import type { InvalidStore, StoreUnreachable } from "./Errors.ts"
import * as Store from "./Store.ts"

const settings = Config.all({
  url: Config.Redacted("HEADGATE_STORE").pipe(Config.withDefault("memory")),
  prefix: Config.String("HEADGATE_STORE_PREFIX").pipe(Config.withDefault(undefined))
})

const variables = { url: "HEADGATE_STORE", prefix: "HEADGATE_STORE_PREFIX" } as const

const configError = ({ option, reason }: InvalidStore): Config.ConfigError =>
  new Config.ConfigError(new SourceError({ message: `${variables[option]} ${reason}` }))

/**
 * The store of the environment.
 *
 * @category layers
 * @since 0.1.0
 */
export const QuotaStoreLive: Layer.Layer<QuotaStore.QuotaStore, Config.ConfigError | StoreUnreachable> = Layer.unwrap(
  Effect.map(settings, ({ prefix, url }) => Store.fromUrl(url, { prefix }))
).pipe(
  Layer.catchTag("InvalidStore", (error) => Layer.effect(QuotaStore.QuotaStore)(Effect.fail(configError(error)))),
  Layer.provide(AlertsLive)
)

/**
 * The budget of the environment.
 *
 * **Example** (The same budget on every machine, with `HEADGATE_STORE=redis://…`)
 *
 * ```ts
 * import { BudgetLive } from "@headgate/node"
 * import { Effect } from "effect"
 * import { Budget } from "headgate"
 *
 * const program = Budget.Budget.use((budget) => budget.reserve({ tokens: 200 })).pipe(
 *   Effect.as("reserved"),
 *   Effect.provide(BudgetLive)
 * )
 *
 * await Effect.runPromise(program) // => "reserved"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const BudgetLive: Layer.Layer<Budget.Budget | Alerts.Alerts, Config.ConfigError | StoreUnreachable> =
  Budget.layerConfig(Budget.config).pipe(Layer.provide(QuotaStoreLive), Layer.provideMerge(AlertsLive))

/**
 * The rate limiter of the environment.
 *
 * @category layers
 * @since 0.1.0
 */
export const RateLimiterLive: Layer.Layer<
  RateLimiter.RateLimiter | Alerts.Alerts,
  Config.ConfigError | StoreUnreachable
> = RateLimiter.layerConfig(RateLimiter.config).pipe(Layer.provide(QuotaStoreLive), Layer.provideMerge(AlertsLive))

/**
 * The guard of the environment, with all it consists of.
 *
 * @category layers
 * @since 0.1.0
 */
export const GuardLive: Layer.Layer<
  Guard.Guard | Budget.Budget | RateLimiter.RateLimiter | Retry.Retry | Alerts.Alerts,
  Config.ConfigError | StoreUnreachable
> = Guard.layerServices().pipe(Layer.provideMerge(Layer.mergeAll(BudgetLive, RateLimiterLive, RetryLive)))
