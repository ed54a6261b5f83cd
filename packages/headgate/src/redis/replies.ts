import type { Alert } from "../Alert.ts"
import { makeAlert, subjectOf } from "../internal/alerts.ts"
import type { Account, Booked, Conflict, QuotaStatus, Refused, Status } from "../internal/verbs.ts"
import type * as Money from "../Money.ts"
import type * as Usage from "../Usage.ts"
import { prepare } from "./plans.ts"

/** What the script answers: a code, its time, the epoch, the time before, and what belongs to the code. */
type Reply = ReadonlyArray<number | string>

/** It does not know the plans, or not enough periods of their calendars. */
export const more = 0
export const refused = 1
export const conflict = 3
/** The length of an answer with nothing more to it. */
export const short = 4

const never = (at: unknown): number => (Number(at) < 0 ? Infinity : Number(at))

const kinds = [undefined, "ThresholdReached", "LimitHit", "Throttled", "Overrun"] as const

export const usageText = (usage: Usage.Usage): string => {
  const { cachedInputTokens, cost, inputTokens, outputTokens, requests, tokens } = usage
  return `${requests},${inputTokens},${outputTokens},${cachedInputTokens},${tokens},${cost}`
}

const numbersOf = (text: unknown): ReadonlyArray<number> => String(text).split(",").map(Number)

/** The alerts of an answer, told in sixes: kind, account, quota and three numbers. */
export const alertsOf = (reply: Reply, text: unknown, accounts: ReadonlyArray<Account>): ReadonlyArray<Alert> => {
  if (text === "" || text === undefined) return none
  const now = Number(reply[1])
  const numbers = numbersOf(text)
  const alerts: Array<Alert> = []
  for (let at = 0; at < numbers.length; at += 6) {
    const [kind = 0, accountAt = 0, quotaAt = 0, x = 0, y = 0, z = 0] = numbers.slice(at, at + 6)
    const account = accounts[accountAt - 1]!
    const { capacity, quota } = prepare(account.plan).counters[quotaAt - 1]!
    const name = kinds[kind] ?? "LimitHit"
    switch (name) {
      case "ThresholdReached":
        alerts.push(makeAlert(name, account, quota, quota.alertAt[x - 1]!, y / capacity, now))
        break
      case "Overrun":
        alerts.push(makeAlert(name, account, quota, x, y, now))
        break
      default:
        alerts.push(makeAlert(name, account, quota, 1, capacity === 0 ? 1 : (x + y + z) / capacity, now))
    }
  }
  return alerts
}

const none: ReadonlyArray<Alert> = []

export const refusedOf = (reply: Reply, accounts: ReadonlyArray<Account>): Refused => {
  const [, now = 0, , , reason = 0, accountAt = 0, quotaAt = 0, used = 0, held = 0, requested = 0, at, until = 0] =
    reply.slice(0, 12).map(Number)
  const account = accounts[accountAt - 1]!
  const { capacity, quota } = prepare(account.plan).counters[quotaAt - 1]!
  return {
    _tag: "Refused",
    reason: reason === 1 ? "tooLarge" : reason === 2 ? "exceeded" : "throttled",
    account,
    quota,
    capacity,
    used,
    held,
    requested,
    retryAfter: never(at) - now,
    until,
    alerts: alertsOf(reply, reply[12], accounts)
  }
}

/** What must hold for the verb, and what is the case, in the words of the ledger. */
const conflicts: ReadonlyArray<readonly [bound: string, state: string]> = [
  ["", ""],
  ["made by this store", "a hold of another"],
  ["the same for the same id", "another for"],
  ["extended by the same usage", "extended by another"],
  ["open", "ended"],
  ["open", "expired"],
  ["open", "released"],
  ["settled with the same usage", "settled with another"],
  ["open", "settled"],
  ["open", "forgotten"]
]

export const conflictOf = (reply: Reply, id: string): Conflict => {
  const [bound, state] = conflicts[Number(reply[4])]!
  return { _tag: "Conflict", bound, state: state === "another for" ? `another for ${id.slice(0, 64)}` : state }
}

/** What was booked. An answer that says no more than that is about what the caller knows to be reserved. */
export const booked = (
  reply: Reply,
  accounts: ReadonlyArray<Account>,
  known: Usage.Usage,
  id = ""
): Booked | Conflict => {
  if (reply[0] === conflict) return conflictOf(reply, id)
  if (reply.length === short) return { _tag: "Booked", reserved: known, repeated: false, alerts: none }
  const [requests = 0, inputTokens = 0, outputTokens = 0, cachedInputTokens = 0, tokens = 0, cost = 0] = numbersOf(
    reply[5]
  )
  const reserved: Usage.Usage = {
    requests,
    inputTokens,
    outputTokens,
    cachedInputTokens,
    tokens,
    cost: cost as Money.Money
  }
  return { _tag: "Booked", reserved, repeated: reply[4] === 1, alerts: alertsOf(reply, reply[6], accounts) }
}

export const statusOf = (reply: Reply, accounts: ReadonlyArray<Account>): Status => {
  const now = Number(reply[1])
  const quotas: Array<QuotaStatus> = []
  let at = 5
  for (const account of accounts) {
    const subject = subjectOf(account)
    for (const { capacity, quota } of prepare(account.plan).counters) {
      const used = Number(reply[at])
      const held = Number(reply[at + 1])
      quotas.push({
        name: quota.name,
        unit: quota.unit,
        limit: capacity,
        used,
        held,
        remaining: Math.max(0, capacity - used - held),
        utilization: capacity === 0 ? 0 : used / capacity,
        resetAfter: never(reply[at + 2]) - now,
        subject
      })
      at += 3
    }
  }
  return { quotas, throttledUntil: Number(reply[4]) }
}
