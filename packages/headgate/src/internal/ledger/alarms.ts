import type { Alert } from "../../Alert.ts"
import type { Usage } from "../../Usage.ts"
import type { AccountState, Entry } from "./accounts.ts"
import { makeAlert } from "../alerts.ts"
import { type Cell, concurrencyWindow, type Counter } from "./cell.ts"

/** When the window in which an alert fired is over. */
export const overAt = ({ concurrency, drain, slots }: Counter, fired: number): number => {
  if (concurrency) return fired + concurrencyWindow
  return drain === undefined ? slots.endOf(slots.slotAt(fired)) : fired + drain.period
}

/** Arms again what fired in a window that is over, if usage has fallen back below it. */
export const rearm = (counter: Counter, cell: Cell, now: number): void => {
  const { fired } = cell
  if (fired === undefined) return
  for (let index = fired.length - 2; index >= 0; index -= 2) {
    const amount = fired[index]!
    const below = amount <= 0 || cell.used < amount
    if (below && overAt(counter, fired[index + 1]!) <= now) fired.splice(index, 2)
  }
}

/** What fired is known by its amount: another limit or list of thresholds is told as well, and the same one once. */
const fire = (cell: Cell, amount: number, now: number): boolean => {
  const fired = (cell.fired ??= [])
  for (let index = 0; index < fired.length; index += 2) if (fired[index] === amount) return false
  fired.push(amount, now)
  return true
}

/** The thresholds that usage has reached and that have not fired yet. */
export const thresholds = (
  state: AccountState,
  counter: Counter,
  cell: Cell,
  now: number,
  alerts: Array<Alert>
): void => {
  for (let place = 0; place < counter.alertAt.length; place++) {
    const threshold = counter.alertAt[place]!
    const amount = threshold * counter.capacity
    if (amount === 0 || cell.used < amount) return
    if (fire(cell, amount, now)) {
      const current = cell.used / counter.capacity
      alerts.push(makeAlert("ThresholdReached", state.account, counter.quota, threshold, current, now))
    }
  }
}

const share = (counter: Counter, cell: Cell, amount: number): number =>
  counter.capacity === 0 ? 1 : (cell.used + cell.held + amount) / counter.capacity

/** That a quota has refused a call, unless it was told in this window. */
export const limitHit = (
  state: AccountState,
  counter: Counter,
  cell: Cell,
  amount: number,
  now: number,
  alerts: Array<Alert>
): void => {
  if (state.book.plan.alerts !== "all") return
  rearm(counter, cell, now)
  if (fire(cell, -counter.capacity, now)) {
    alerts.push(makeAlert("LimitHit", state.account, counter.quota, 1, share(counter, cell, amount), now))
  }
}

/** That a subject is refused everything for a while. */
export const throttled = (
  state: AccountState,
  counter: Counter,
  cell: Cell,
  amount: number,
  now: number,
  alerts: Array<Alert>
): void => {
  alerts.push(makeAlert("Throttled", state.account, counter.quota, 1, share(counter, cell, amount), now))
}

/** That a call took more than was reserved: once per unit, for the first quota that counts it. */
export const overruns = (entry: Entry, actual: Usage, now: number, alerts: Array<Alert>): void => {
  const { usage } = entry
  const within =
    actual.requests <= usage.requests &&
    actual.tokens <= usage.tokens &&
    actual.cost <= usage.cost &&
    actual.inputTokens <= usage.inputTokens &&
    actual.outputTokens <= usage.outputTokens &&
    actual.cachedInputTokens >= usage.cachedInputTokens
  if (within) return
  const told = new Set<string>()
  for (const { account } of entry.claims) {
    if (account.book.plan.alerts !== "all") continue
    for (const counter of account.book.counters) {
      const reserved = counter.amount(usage)
      const used = counter.amount(actual)
      if (counter.concurrency || used <= reserved || told.has(counter.quota.unit)) continue
      told.add(counter.quota.unit)
      alerts.push(makeAlert("Overrun", account.account, counter.quota, reserved, used, now))
    }
  }
}
