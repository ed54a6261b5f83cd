// Plays a history on a store and on the reference, step by step: every answer and every counter must be the same. A
// history that fails is made smaller and printed.
import { assert } from "@effect/vitest"
import { DateTime } from "effect"
import type { Alert as AlertModule, QuotaStore, Usage } from "headgate"
import type { Ledger } from "../../src/internal/ledger/ledger.ts"
import { generate, type Setting, type Step } from "./histories.ts"
import { Reference } from "./reference.ts"
import type { Alert, Answer, Hold } from "./referenceWindows.ts"
import { command, usage } from "./support.ts"

const alertOf = (alert: AlertModule.Alert): Alert => [
  alert._tag,
  alert.quota,
  Object.values(alert.subject).join(),
  alert.threshold,
  alert.current,
  DateTime.toEpochMillis(alert.timestamp)
]

type Given = QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict | QuotaStore.Booked

/** An answer of the ledger in the words of the reference. */
const told = (answer: Given) => {
  switch (answer._tag) {
    case "Hold":
      return { tag: "Hold", alerts: answer.alerts.map(alertOf) }
    case "Conflict":
      return { tag: "Conflict" }
    case "Booked":
      return {
        tag: "Booked",
        reserved: answer.reserved,
        repeated: answer.repeated,
        alerts: answer.alerts.map(alertOf)
      }
    case "Refused": {
      const { account, capacity, held, quota, reason, requested, retryAfter, until, used } = answer
      const numbers = [capacity, used, held, requested]
      const alerts = answer.alerts.map(alertOf)
      return { tag: "Refused", reason, quota: quota.name, value: account.value, numbers, retryAfter, until, alerts }
    }
  }
}

const expectedOf = (answer: Answer) => {
  if (answer.tag !== "Hold") return answer
  return { tag: "Hold", alerts: answer.alerts }
}

export interface Store {
  readonly reserve: (
    command: QuotaStore.Reserve,
    now: number
  ) => QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict
  readonly extend: Ledger["extend"]
  readonly settle: Ledger["settle"]
  readonly release: Ledger["release"]
  readonly record: Ledger["record"]
  readonly status: Ledger["status"]
  readonly reset: Ledger["reset"]
}

/** What goes wrong in a history, or nothing. */
const run = ({ accounts, start }: Setting, steps: ReadonlyArray<Step>, store: Store): string | undefined => {
  const reference = new Reference()
  const holds: Array<readonly [hold: QuotaStore.Hold, expected: Hold]> = []
  const extensions = new Map<Hold, readonly [step: number, more: Usage.Usage]>()
  let now = start
  for (const [index, step] of steps.entries()) {
    now += step.wait
    let answer: Given | undefined
    let expected: Answer | undefined
    const [hold, known] = holds[("hold" in step ? step.hold : 0) % Math.max(1, holds.length)] ?? []
    if (step.verb === "reserve") {
      const asked = command(
        step.accounts.map((place) => accounts[place]!),
        usage(step.usage),
        step.options
      )
      const [given, wanted] = [store.reserve(asked, now), reference.reserve(asked, now)]
      answer = given
      expected = wanted
      if (given._tag === "Hold" && wanted.tag === "Hold" && asked.mode !== "ask") {
        const twice = holds.find(([, known]) => known === wanted.hold)
        if (twice !== undefined && twice[0].id !== given.id) return `step ${index}: another hold for the same id`
        if (twice === undefined) holds.push([given, wanted.hold])
      }
    } else if (step.verb === "record") {
      const of = step.accounts.map((place) => accounts[place]!)
      answer = store.record(of, usage(step.usage), step.id, now)
      expected = reference.record(of, usage(step.usage), step.id, now)
    } else if (step.verb === "reset") {
      const of = step.accounts.map((place) => accounts[place]!)
      const target = step.plans ? { plans: of.map(({ plan }) => plan) } : { accounts: of }
      store.reset(target, now)
      reference.reset(target, now)
    } else if (hold === undefined || known === undefined) {
      continue
    } else if (step.verb === "extend") {
      // The last extension again, with what it asked for or with something else; or the next one.
      const last = extensions.get(known)
      const number = (last?.[0] ?? -1) + (step.again === "no" || last === undefined ? 1 : 0)
      const more = step.again === "same" && last !== undefined ? last[1] : usage(step.usage)
      if (step.again === "no" || last === undefined) extensions.set(known, [number, more])
      answer = store.extend(hold, more, number, now)
      expected = reference.extend(known, more, number, now)
    } else if (step.verb === "settle") {
      const actual = step.again === "same" && typeof known.ended === "object" ? known.ended : usage(step.usage)
      answer = store.settle(hold, actual, now)
      expected = reference.settle(known, actual, now)
    } else {
      answer = store.release(hold, now)
      expected = reference.release(known, now)
    }
    const wrong = (what: string, actual: unknown, wanted: unknown) =>
      `step ${index} at ${now - start} (${step.verb}): ${what} ${show(actual)}\nwhere the reference says ${show(wanted)}`
    if (answer !== undefined && expected !== undefined && show(told(answer)) !== show(expectedOf(expected))) {
      return wrong("answers", told(answer), expectedOf(expected))
    }
    const after = counted(store, accounts, now)
    const wanted = reference.status(accounts, now)
    if (show(after) !== show(wanted)) return wrong("leaves the counters at", after, wanted)
  }
  return undefined
}

const counted = (store: Store, accounts: Setting["accounts"], now: number) =>
  accounts.map((account) => {
    const { quotas, throttledUntil } = store.status([account], now)
    return { throttledUntil, quotas: quotas.map(({ held, resetAfter, used }) => [used, held, resetAfter]) }
  })

const show = (value: unknown): string =>
  JSON.stringify(value, (_, part) => (part === Infinity ? "Infinity" : part)) ?? "nothing"

/** A failing history without the steps that it does not need. */
const shrink = (setting: Setting, steps: ReadonlyArray<Step>, store: () => Store): ReadonlyArray<Step> => {
  let smallest = steps
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < smallest.length;) {
      // The wait of what is left out is kept, so that the others stay where they were.
      const gone = smallest.slice(at, at + size).reduce((sum, { wait }) => sum + wait, 0)
      const rest = smallest
        .slice(at + size)
        .map((step, index) => (index === 0 ? { ...step, wait: step.wait + gone } : step))
      const fewer = [...smallest.slice(0, at), ...rest]
      if (run(setting, fewer, store()) === undefined) at += size
      else smallest = fewer
    }
  }
  return smallest
}

export const check = (seed: number, store: () => Store): void => {
  const [setting, steps] = generate(seed)
  if (run(setting, steps, store()) === undefined) return
  const smallest = shrink(setting, steps, store)
  assert.fail(
    [
      `HEADGATE_SEED=${seed} HEADGATE_HISTORIES=1`,
      run(setting, smallest, store()),
      ...setting.accounts.map((account) => show(account)),
      ...smallest.map((step) => show(step))
    ].join("\n")
  )
}
