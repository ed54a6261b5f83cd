// A guarded no-op: ours, and what Effect has for it, which is two rate limits and a retry but no budget.
import { Effect, Layer, Schedule } from "effect"
import { RateLimiter } from "effect/persistence"
import { Guard } from "headgate"
import type { Contestant, Effort } from "../Contest.ts"
import { timed } from "../measure.ts"
import { inOneFiber, serviceOf } from "./fibers.ts"
import { actual, estimate, quotasOf } from "./headgate.ts"

const noOp: Effect.Effect<string, { readonly status: number }> = Effect.succeed("answered")
const limit = 1_000_000_000_000

/** Four quotas of a budget, two of a rate limiter, the default retry policy. */
export const headgate =
  (tracing: "spans" | "none") =>
  async (effort: Effort): Promise<Contestant> => {
    const { service: guard } = await serviceOf(
      Guard.Guard,
      Guard.layerMemory({
        budget: { quotas: quotasOf(4) },
        rateLimiter: { requestsPerMinute: limit, tokensPerMinute: limit },
        tracing
      })
    )
    const call = { estimate, actual: () => actual, subject: { user: "42" } }
    return timed((times) => inOneFiber(times, () => guard.guard(noOp, call)), effort)
  }

/** Two limits and a retry, with or without a span. */
export const effect =
  (tracing: "spans" | "none") =>
  async (effort: Effort): Promise<Contestant> => {
    const { service: limiter } = await serviceOf(
      RateLimiter.RateLimiter,
      RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))
    )
    const schedule = Schedule.exponential("1 second")
    const call = () => {
      const guarded = Effect.retry(
        limiter
          .consume({ key: "requests", limit, window: "1 minute", onExceeded: "delay" })
          .pipe(
            Effect.andThen(
              limiter.consume({ key: "tokens", limit, window: "1 minute", onExceeded: "delay", tokens: 1200 })
            ),
            Effect.andThen(noOp)
          ),
        { schedule, times: 3, while: (error) => "status" in error && error.status >= 500 }
      )
      return tracing === "spans" ? Effect.withSpan(guarded, "call") : guarded
    }
    return timed((times) => inOneFiber(times, call), effort)
  }
