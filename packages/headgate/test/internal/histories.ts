// Random settings and histories of commands, as data.
import { type Quota, type QuotaStore, Window } from "headgate"
import { Choices, plan } from "./support.ts"

type Parts = { readonly [unit: string]: number }

interface Base {
  /** Milliseconds since the step before; below 0 where the clock is set back. */
  readonly wait: number
}

export type Step = Base &
  (
    | {
        readonly verb: "reserve"
        readonly accounts: ReadonlyArray<number>
        readonly usage: Parts
        readonly options: Partial<QuotaStore.Reserve>
      }
    | { readonly verb: "extend"; readonly hold: number; readonly usage: Parts; readonly again: "no" | "same" | "other" }
    | { readonly verb: "settle"; readonly hold: number; readonly usage: Parts; readonly again: "no" | "same" | "other" }
    | { readonly verb: "release"; readonly hold: number }
    | {
        readonly verb: "record"
        readonly accounts: ReadonlyArray<number>
        readonly usage: Parts
        readonly id: string | undefined
      }
    | { readonly verb: "reset"; readonly accounts: ReadonlyArray<number>; readonly plans: boolean }
  )

export interface Setting {
  readonly accounts: ReadonlyArray<QuotaStore.Account>
  readonly start: number
}

const units = ["requests", "tokens", "inputTokens", "outputTokens", "cost"] as const

const zones = ["UTC", "America/Los_Angeles", "Asia/Tokyo", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe"]

/** A window and about how long it lasts. */
const window = (choose: Choices): readonly [window: Window.Window, length: number] => {
  const length = choose.of([60, 977, 1_000, 60_000, 61_234, 3_600_000])
  switch (choose.between(0, 6)) {
    case 0:
    case 1:
      return [Window.sliding(length), length]
    case 2:
      return [Window.fixed(length), length]
    case 3: {
      const period = choose.of(["day", "week", "month"] as const)
      const weekStartsOn = choose.of([0, 1, 6] as const)
      return [Window.calendar(period, { timeZone: choose.of(zones), weekStartsOn }), 86_400_000]
    }
    case 4:
      return [Window.bucket({ refill: length }), length]
    case 5:
      return [Window.bucket({ refill: length, burst: choose.between(1, 150) }), length]
    default:
      return [Window.lifetime, 60_000]
  }
}

const quota = (choose: Choices, name: string): readonly [quota: Quota.Input, length: number] => {
  if (choose.chance(0.15)) return [{ unit: "concurrency", limit: choose.between(0, 4), name }, 1_000]
  const [chosen, length] = window(choose)
  // A bucket that is never refilled denies everything; how long it remembers what was recorded does not matter.
  const limit = chosen._tag !== "Bucket" && choose.chance(0.05) ? 0 : choose.of([1, 3, 10, 97, 100, 1_000])
  const alertAt = choose.of([[], [0.8], [0.5, 0.8, 1]])
  const cachedInput = choose.of(["counted", "free"] as const)
  return [{ name, unit: choose.of(units), limit, window: chosen, alertAt, cachedInput }, length]
}

const usage = (choose: Choices): Parts => {
  const most = choose.of([0, 1, 3, 30, 100])
  const inputTokens = choose.between(0, most)
  const outputTokens = choose.between(0, most)
  return {
    requests: choose.of([0, 1, 1, 1, 2]),
    inputTokens,
    outputTokens,
    cachedInputTokens: choose.between(0, inputTokens),
    tokens: inputTokens + outputTokens,
    cost: choose.between(0, most)
  }
}

const step = (choose: Choices, accounts: number, lengths: ReadonlyArray<number>): Step => {
  const length = choose.of(lengths)
  const wait = choose.of([
    0,
    0,
    1,
    choose.between(0, 100),
    choose.between(0, Math.ceil(length / 30)),
    choose.between(0, length),
    length,
    choose.between(0, 3 * length),
    choose.chance(0.2) ? choose.between(0, 100 * length) : 0,
    choose.chance(0.3) ? -choose.between(0, length) : 1
  ])
  // Everyone's account is the first; with a user's there is one of each dimension at most.
  const user = choose.between(1, accounts - 1)
  const chosen = accounts === 1 ? [0] : choose.of([[0], [user], [0, user], [0, user]])
  const hold = choose.between(0, 20)
  switch (choose.between(0, 13)) {
    default: {
      const book = choose.of(["now", "onSettle", "onSettle"] as const)
      const options = {
        ttl: choose.of([1, 500, length, 5 * length, 600_000]),
        // What is booked at once is charged when its holder is gone: a rate limit's place stays used.
        onExpiry: book === "now" ? "charge" : choose.of(["charge", "release"] as const),
        book,
        mode: choose.of(["enforce", "enforce", "enforce", "enforce", "ask", "force"] as const),
        waits: choose.chance(0.3),
        id: choose.chance(0.2) ? choose.of(["a", "b", "c"]) : undefined
      }
      return { wait, verb: "reserve", accounts: chosen, usage: usage(choose), options }
    }
    case 5:
    case 6:
      return {
        wait,
        verb: "extend",
        hold,
        // Now and then by nothing, which only renews.
        usage: choose.chance(0.3) ? { requests: 0 } : usage(choose),
        again: choose.of(["no", "no", "no", "no", "same", "other"] as const)
      }
    case 7:
    case 8:
    case 9:
      return {
        wait,
        verb: "settle",
        hold,
        usage: usage(choose),
        again: choose.of(["no", "no", "no", "no", "same", "other"] as const)
      }
    case 10:
      return { wait, verb: "release", hold }
    case 11:
    case 12: {
      const id = choose.chance(0.3) ? choose.of(["a", "b", "r"]) : undefined
      return { wait, verb: "record", accounts: chosen, usage: usage(choose), id }
    }
    case 13:
      if (choose.chance(0.6)) return { wait, verb: "release", hold }
      return { wait, verb: "reset", accounts: chosen, plans: choose.chance(0.3) }
  }
}

export const generate = (seed: number): readonly [setting: Setting, steps: ReadonlyArray<Step>] => {
  const choose = new Choices(seed)
  const lengths: Array<number> = []
  const makePlan = (dimension: string | undefined): QuotaStore.Plan => {
    const quotas = Array.from({ length: choose.between(1, 3) }, (_, index) => {
      const [made, length] = quota(choose, `${dimension ?? "all"}-${index}`)
      lengths.push(length)
      return made
    })
    const throttle = choose.chance(0.2) ? choose.of([1, 1_000, 100_000]) : 0
    const alerts = choose.of(["all", "all", "thresholds"] as const)
    return plan(quotas, { id: dimension ?? "all", dimension, throttle, alerts })
  }
  const accounts: Array<QuotaStore.Account> = [{ plan: makePlan(undefined), value: "" }]
  if (choose.chance(0.6)) {
    const users = makePlan("user")
    for (const value of ["x", "y"]) accounts.push({ plan: users, value })
  }
  const start = 1_772_600_000_000 + choose.between(0, 31_536_000_000)
  const steps = Array.from({ length: choose.between(1, 60) }, () => step(choose, accounts.length, lengths))
  return [{ accounts, start }, steps]
}
