import type { Counter } from "../../internal/ledger/cell.ts"
import type { Refused } from "../../internal/verbs.ts"
import type { Bench, ClaimRow } from "./workbench.ts"

/**
 * Up to when some of an account's claims tell what comes free: the `few` that expire first, and the `few` first of those that
 * are released then. All others give nothing back before.
 */
const freeUntil = (counter: Counter, claims: ReadonlyArray<ClaimRow>, few: number): number => {
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
 * Up to when the wait of a refusal at `now` is what it would be had all claims been looked at. Those that were are given for
 * each account, in the order in which they expire.
 */
export const toldUntil = (
  bench: Bench,
  { account, held, quota, reason, retryAfter, until }: Refused,
  claims: ReadonlyArray<ReadonlyArray<ClaimRow>>,
  few: number,
  now: number
): number => {
  if (reason === "tooLarge" || held === 0 || now + retryAfter === until) return Infinity
  const index = bench.states.findIndex(({ book, value }) => value === account.value && book.plan === account.plan)
  const counter = bench.states[index]!.book.counters.find((counter) => counter.quota === quota)!
  return freeUntil(counter, claims[index]!, few)
}
