import * as DateTime from "effect/DateTime"
import type { Alert } from "../Alert.ts"
import * as Money from "../Money.ts"
import type { Quota } from "../Quota.ts"
import * as Subject from "../Subject.ts"
import type { Account } from "./verbs.ts"

export const subjectOf = (account: Account): Subject.Subject =>
  account.plan.dimension === undefined ? Subject.none : { [account.plan.dimension]: account.value }

/** Rounded up, so that what is beyond a limit never reads as 100 %. */
const percent = (share: number): string => `${Math.ceil(Number((share * 1000).toFixed(6))) / 10} %`

const messageOf = (
  kind: "ThresholdReached" | "LimitHit" | "Throttled" | "Overrun",
  current: number,
  reserved: number,
  quota: Quota
) => {
  const show = (amount: number) =>
    quota.unit === "cost" ? Money.format(amount as Money.Money) : `${amount.toLocaleString("en-US")} ${quota.unit}`
  switch (kind) {
    case "ThresholdReached":
      return `${percent(current)} of ${show(quota.limit)} used`
    case "LimitHit":
      return `a call would have brought it to ${percent(current)} of ${show(quota.limit)}`
    case "Throttled":
      return `throttled after a call that would have brought it to ${percent(current)} of ${show(quota.limit)}`
    case "Overrun":
      return `a call took ${show(current)}, ${show(reserved)} were reserved`
  }
}

/** An alert about a quota of an account, at a store's time. */
export const makeAlert = (
  kind: "ThresholdReached" | "LimitHit" | "Throttled" | "Overrun",
  account: Account,
  quota: Quota,
  threshold: number,
  current: number,
  now: number
): Alert => {
  const subject = subjectOf(account)
  return {
    _tag: kind,
    message: `${quota.name} of ${Subject.format(subject)}: ${messageOf(kind, current, threshold, quota)}`,
    quota: quota.name,
    subject,
    unit: quota.unit,
    limit: quota.limit,
    threshold,
    current,
    timestamp: DateTime.makeUnsafe(now)
  }
}
