// 1,000 calls arrive at once at a budget for 100 of them; what they spend in the end, as a share of the budget.
import { Effect } from "effect"
import { Guard } from "headgate"
import { RateLimiterMemory } from "rate-limiter-flexible"
import type { Contestant } from "../Contest.ts"
import { serviceOf } from "./fibers.ts"

const calls = 1000
const tokens = 1000
const limit = 100 * tokens

/** The provider: takes a moment, and says what it took. */
const ask = async (): Promise<number> => {
  await new Promise((resolve) => setTimeout(resolve, 5))
  return tokens
}

const atOnce = async (call: () => Promise<unknown>): Promise<void> => {
  await Promise.all(Array.from({ length: calls }, call))
}

/** Check, then record: the Go package's `CheckBudget` and `RecordUsage`, and most budgets that are written by hand. */
export const checkThenRecord: Contestant = {
  round: async () => {
    let used = 0
    const checkBudget = (estimate: number) => used + estimate <= limit
    const recordUsage = (actual: number) => {
      used += actual
    }
    await atOnce(async () => {
      if (!checkBudget(tokens)) return
      recordUsage(await ask())
    })
    return used / limit
  }
}

/** rate-limiter-flexible with tokens for points: they are known, and so consumed, when the reply is there. */
export const consumeAfterReply: Contestant = {
  round: async () => {
    const limiter = new RateLimiterMemory({ points: limit, duration: 60 })
    let used = 0
    await atOnce(async () => {
      const now = await limiter.get("42")
      if (now !== null && now.remainingPoints <= 0) return
      const actual = await ask()
      used += actual
      await limiter.consume("42", actual).catch(() => {})
    })
    return used / limit
  }
}

/** `guard`. */
export const headgate: Contestant = {
  round: async () => {
    const { end, service } = await serviceOf(
      Guard.Guard,
      Guard.layerMemory({ budget: { maxTokensPerMinute: limit }, tracing: "none" })
    )
    let used = 0
    const call = service.guard(
      Effect.promise(async () => {
        const actual = await ask()
        used += actual
        return actual
      }),
      { estimate: { tokens }, actual: (actual) => ({ tokens: actual }) }
    )
    await atOnce(() => Effect.runPromise(Effect.catchTag(call, "BudgetExceeded", () => Effect.void)))
    await end()
    return used / limit
  }
}
