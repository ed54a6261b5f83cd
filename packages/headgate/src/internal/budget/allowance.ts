import * as Context from "effect/Context"
import * as Quota from "../../Quota.ts"
import { type Usage, zero } from "../../Usage.ts"
import * as Window from "../../Window.ts"
import { Ledger } from "../ledger/ledger.ts"
import type { Account, Conflict, Hold, Refused, Reserve } from "../verbs.ts"

/**
 * An amount that everything inside an effect draws on, beside the budgets. It lives in this process, as the effect does,
 * in a ledger of its own; what is drawn from it is drawn from those around it too.
 */
export interface Allowance {
  readonly ledger: Ledger
  readonly accounts: ReadonlyArray<Account>
  readonly parent: Allowance | undefined
}

/** The allowance of the running fiber. Forked fibers inherit it. */
export const Current: Context.Reference<Allowance | undefined> = Context.Reference<Allowance | undefined>(
  "headgate/Budget/Allowance",
  {
    defaultValue: () => undefined
  }
)

/** An allowance of the parts of `usage` that `given` names. */
export const make = (
  usage: Usage,
  given: ReadonlyArray<Exclude<Quota.Unit, "concurrency">>,
  parent: Allowance | undefined
): Allowance => {
  const quotas = given.map((unit) =>
    Quota.make({ unit, limit: usage[unit], window: Window.lifetime, name: "allowance" })
  )
  const plan = { id: "allowance", dimension: undefined, quotas, throttle: 0, alerts: "thresholds" as const }
  return { ledger: new Ledger(), accounts: [{ plan, value: "" }], parent }
}

/** What is held on an allowance and on those around it. */
export interface Draw {
  readonly allowance: Allowance
  readonly hold: Hold
}

/** Holds on an allowance and all around it, or on none of them. */
export const draw = (
  innermost: Allowance | undefined,
  command: Omit<Reserve, "accounts">,
  now: number
): ReadonlyArray<Draw> | Refused | Conflict => {
  const draws: Array<Draw> = []
  for (let allowance = innermost; allowance !== undefined; allowance = allowance.parent) {
    const hold = allowance.ledger.reserve({ ...command, accounts: allowance.accounts }, now)
    if (hold._tag !== "Hold") {
      cancel(draws, now)
      return hold
    }
    draws.push({ allowance, hold })
  }
  return draws
}

/** Undoes draws for a call that was refused elsewhere. */
export const cancel = (draws: ReadonlyArray<Draw>, now: number): void => {
  for (const { allowance, hold } of draws) allowance.ledger.cancel(hold, now)
}

/** Starts their time to live anew. */
export const renew = (draws: ReadonlyArray<Draw>, now: number): void => {
  for (const { allowance, hold } of draws) allowance.ledger.extend(hold, zero, 0, now)
}

export const settle = (draws: ReadonlyArray<Draw>, actual: Usage, now: number): void => {
  for (const { allowance, hold } of draws) allowance.ledger.settle(hold, actual, now)
}

export const release = (draws: ReadonlyArray<Draw>, now: number): void => {
  for (const { allowance, hold } of draws) allowance.ledger.release(hold, now)
}

export const record = (innermost: Allowance | undefined, usage: Usage, now: number): void => {
  for (let allowance = innermost; allowance !== undefined; allowance = allowance.parent) {
    allowance.ledger.record(allowance.accounts, usage, undefined, now)
  }
}
