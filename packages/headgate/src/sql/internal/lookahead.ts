import type { Counter } from "../../internal/cell.ts"
import type { Refused } from "../../internal/verbs.ts"
import type { Bench, ClaimRow } from "./workbench.ts"

/**
 * Up to when some of an account's claims tell what comes free: the `few` that expire first, and the `few` first of those that
 * are released then. All others give nothing back before.
 */
const toldUntil = (counter: Counter, claims: ReadonlyArray<ClaimRow>, few: number): number => {
  if (claims.length < few) return Infinity
  const { concurrency, drain, slots } = counter
  const last = claims[few - 1]!.expiresAt
  if (concurrency || drain !== undefined) return last
  const released = claims.filter(({ charge }) => !charge)
  // What is charged goes on counting until its window is over.
  const charged = slots.endOf(slots.slotAt(last))
  return released.length < few ? charged : Math.min(charged, released.at(-1)!.expiresAt)
}

/**
 * Whether the wait of a refusal at `now` is what it would be had all claims been looked at, and if not, the longest wait at
 * which nothing can have fitted before. Claims are those of each account, in the order in which they expire.
 */
export const isExact = (
  bench: Bench,
  { account, held, quota, reason, retryAfter, until }: Refused,
  claims: ReadonlyArray<ReadonlyArray<ClaimRow>>,
  few: number,
  now: number
): true | { readonly retryAfter: number } => {
  const at = now + retryAfter
  if (reason === "tooLarge" || held === 0 || at === until) return true
  const index = bench.states.findIndex(({ book, value }) => value === account.value && book.plan === account.plan)
  const counter = bench.states[index]!.book.counters.find((counter) => counter.quota === quota)!
  const told = toldUntil(counter, claims[index]!, few)
  return at <= told ? true : { retryAfter: Math.max(told, until, now) - now }
}
