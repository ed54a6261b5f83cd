import type { Alert } from "../../Alert.ts"
import { makeAlert } from "../../internal/alerts.ts"
import type { Counter } from "../../internal/ledger/cell.ts"
import type { Account, Booked, Conflict, Hold } from "../../internal/verbs.ts"
import type { Money } from "../../Money.ts"
import type { Usage } from "../../Usage.ts"

/** A hold in a database: its id is what counts there; the rest is for telling what becomes of it. */
export class SqlHold implements Hold {
  readonly _tag = "Hold"
  readonly id: string
  readonly accounts: ReadonlyArray<Account>
  readonly alerts: ReadonlyArray<Alert>
  /** Whether it may have ended with nobody being told. */
  isUnsure = false

  constructor(id: string, accounts: ReadonlyArray<Account>, alerts: ReadonlyArray<Alert>) {
    this.id = id
    this.accounts = accounts
    this.alerts = alerts
  }
}

export const noAlerts: ReadonlyArray<Alert> = []

export const conflict = (bound: string, state: string): Conflict => ({ _tag: "Conflict", bound, state })

export const foreign: Conflict = conflict("made by this store", "a hold of another")

export const forgotten: Conflict = conflict("known to this store", "forgotten")

export const otherContent = (id: string): Conflict =>
  conflict("the same for the same id", `another for ${id.slice(0, 64)}`)

export const booked = (reserved: Usage, repeated: boolean, alerts: ReadonlyArray<Alert>): Booked => ({
  _tag: "Booked",
  reserved,
  repeated,
  alerts
})

/** A usage as it is stored. */
export type Amounts = readonly [
  requests: number,
  inputTokens: number,
  outputTokens: number,
  cachedInputTokens: number,
  tokens: number,
  cost: number
]

export const amountsOf = (usage: Usage): Amounts => [
  usage.requests,
  usage.inputTokens,
  usage.outputTokens,
  usage.cachedInputTokens,
  usage.tokens,
  usage.cost
]

export const usageOf = ([requests, inputTokens, outputTokens, cachedInputTokens, tokens, cost]: Amounts): Usage => ({
  requests,
  inputTokens,
  outputTokens,
  cachedInputTokens,
  tokens,
  cost: cost as Money
})

/** A text that any database can store and compare: without NUL and lone surrogates, and other texts stay other. */
export const textOf = (text: string): string => JSON.stringify(text).slice(1, -1)

/** What makes a repeated command the same. */
export const contentOf = (
  verb: "reserve, then charge" | "reserve, then release" | "record",
  accounts: ReadonlyArray<Account>,
  usage: Usage
): string => JSON.stringify([verb, accounts.map(({ plan, value }) => [plan.id, value]), amountsOf(usage)])

/** The alerts of thresholds that fired in the database, told as `[account, quota, place, used]`. */
export type Told = readonly [account: number, quota: number, place: number, used: number]

export const thresholdAlerts = (
  accounts: ReadonlyArray<Account>,
  countersOf: (account: Account) => ReadonlyArray<Counter>,
  told: ReadonlyArray<Told> | null | undefined,
  at: number
): ReadonlyArray<Alert> => {
  if (told === null || told === undefined) return noAlerts
  return told.map(([place, index, threshold, used]) => {
    const account = accounts[place]!
    const { capacity, quota } = countersOf(account)[index]!
    return makeAlert("ThresholdReached", account, quota, quota.alertAt[threshold]!, used / capacity, at)
  })
}
