// What the tests of the ledger share: short ways to write plans and commands, and a seeded source of random choices.
import { Quota, type QuotaStore, Usage } from "headgate"
import type { Ledger } from "../../src/internal/ledger/ledger.ts"

type Parts = { readonly [Unit in keyof Usage.Usage]?: number }

export const usage = (parts: Parts): Usage.Usage => ({ ...Usage.zero, requests: 1, ...parts }) as Usage.Usage

export const tokens = (amount: number): Usage.Usage => usage({ tokens: amount })

export const plan = (quotas: ReadonlyArray<Quota.Input>, options?: Partial<QuotaStore.Plan>): QuotaStore.Plan => ({
  id: "budget",
  dimension: undefined,
  throttle: 0,
  alerts: "all",
  ...options,
  quotas: quotas.map(Quota.make)
})

/** An account of everyone, or of a user, with these quotas. */
export const account = (
  quotas: ReadonlyArray<Quota.Input>,
  options?: Partial<QuotaStore.Plan>
): QuotaStore.Account => ({
  plan: plan(quotas, options),
  value: ""
})

export const command = (
  accounts: ReadonlyArray<QuotaStore.Account>,
  usage: Usage.Usage,
  options?: Partial<QuotaStore.Reserve>
): QuotaStore.Reserve => ({
  accounts,
  usage,
  ttl: 600_000,
  onExpiry: "charge",
  book: "onSettle",
  mode: "enforce",
  id: undefined,
  ...options
})

export const admitted = (answer: ReturnType<Ledger["reserve"]>): QuotaStore.Hold => {
  if (answer._tag !== "Hold") throw new Error(`expected a hold, got ${JSON.stringify(answer)}`)
  return answer
}

export const refused = (answer: ReturnType<Ledger["reserve"]> | ReturnType<Ledger["extend"]>): QuotaStore.Refused => {
  if (answer._tag !== "Refused") throw new Error(`expected a refusal, got ${answer._tag}`)
  return answer
}

/** Used and held of each quota of the accounts. */
export const counters = (
  ledger: Ledger,
  accounts: ReadonlyArray<QuotaStore.Account>,
  now: number
): ReadonlyArray<readonly [used: number, held: number]> =>
  ledger.status(accounts, now).quotas.map(({ held, used }) => [used, held])

/** The same choices for the same seed. */
export class Choices {
  private state: number

  constructor(seed: number) {
    this.state = seed | 0
  }

  /** From 0 up to and without 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  chance(share: number): boolean {
    return this.next() < share
  }

  of<A>(items: ReadonlyArray<A>): A {
    return items[this.between(0, items.length - 1)]!
  }

  /** Some of the items, at least one. */
  some<A>(items: ReadonlyArray<A>): ReadonlyArray<A> {
    const chosen = items.filter(() => this.chance(0.5))
    return chosen.length === 0 ? [this.of(items)] : chosen
  }
}

/** The seed of this run: `HEADGATE_SEED` repeats one. It is printed, so that a failure can be repeated. */
export const seedOf = (name: string): number => {
  const seed = Number(process.env["HEADGATE_SEED"] ?? Date.now() % 1_000_000_000)
  console.log(`${name}: HEADGATE_SEED=${seed}`)
  return seed
}
