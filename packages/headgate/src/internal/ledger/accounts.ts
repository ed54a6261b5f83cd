import * as Duration from "effect/Duration"
import type { Alert } from "../../Alert.ts"
import type { Usage } from "../../Usage.ts"
import { advance, Cell, concurrencyWindow, type Counter, makeCounter, type Pending } from "./cell.ts"
import type { Account, Hold, Plan, Reserve } from "../verbs.ts"
import { timeToDrain } from "./windows.ts"

/** The counters of one account: one cell per quota of its plan. */
export class AccountState {
  readonly book: Book
  readonly value: string
  readonly cells: ReadonlyArray<Cell>
  /** Everything is refused before this time. */
  throttledUntil = 0
  /** Counts resets: what was booked before one is not given back after it. */
  resets = 0
  /** The open claims on this account, in the order in which their holds expire. */
  first: Claim | undefined = undefined
  last: Claim | undefined = undefined
  /** How many of them are charged or released at their expiry. */
  charges = 0
  releases = 0

  constructor(book: Book, value: string) {
    this.book = book
    this.value = value
    this.cells = book.counters.map(() => new Cell())
  }

  get account(): Account {
    return { plan: this.book.plan, value: this.value }
  }

  advance(now: number): void {
    const counters = this.book.counters
    for (let index = 0; index < counters.length; index++) advance(counters[index]!, this.cells[index]!, now)
  }

  /** What the open holds on this account take of one counter, but for one that asks for more. */
  *pending(counter: Counter, asking: Entry | undefined, onExpiry?: "charge" | "release"): Generator<Pending> {
    if (onExpiry === "charge" ? this.charges === 0 : onExpiry === "release" && this.releases === 0) return
    for (let claim = this.first; claim !== undefined; claim = claim.next) {
      const { entry } = claim
      if (entry === asking || (onExpiry !== undefined && entry.onExpiry !== onExpiry)) continue
      if (counter.concurrency || entry.state === "held") {
        yield { amount: counter.amount(entry.usage), expiresAt: entry.expiresAt, onExpiry: entry.onExpiry }
      }
    }
  }
}

/** One account's part in an open hold. */
export class Claim {
  readonly entry: Entry
  readonly account: AccountState
  /** The account's resets when the usage was booked. */
  resets: number
  previous: Claim | undefined = undefined
  next: Claim | undefined = undefined

  constructor(entry: Entry, account: AccountState) {
    this.entry = entry
    this.account = account
    this.resets = account.resets
  }

  /** Joins the account's list, behind those that expire no later. */
  link(): void {
    const { account, entry } = this
    if (entry.onExpiry === "charge") account.charges++
    else account.releases++
    let before = account.last
    while (before !== undefined && before.entry.expiresAt > entry.expiresAt) before = before.previous
    this.previous = before
    this.next = before === undefined ? account.first : before.next
    if (this.previous === undefined) account.first = this
    else this.previous.next = this
    if (this.next === undefined) account.last = this
    else this.next.previous = this
  }

  unlink(): void {
    if (this.entry.onExpiry === "charge") this.account.charges--
    else this.account.releases--
    if (this.previous === undefined) this.account.first = this.next
    else this.previous.next = this.next
    if (this.next === undefined) this.account.last = this.previous
    else this.next.previous = this.previous
    this.previous = this.next = undefined
  }
}

const noAlerts: ReadonlyArray<Alert> = []

/**
 * A reservation in the ledger. Its usage is `held`, or `booked` at `bookedAt`, or `gone`; independently of that it is
 * `open` until someone ends it, and waits for its expiry in the queue of its time to live.
 */
export class Entry implements Hold {
  readonly _tag = "Hold"
  readonly claims: Array<Claim>
  usage: Usage
  state: "held" | "booked" | "gone"
  bookedAt: number
  expiresAt: number
  readonly ttl: number
  readonly onExpiry: "charge" | "release"
  /** Whether it holds what it is asked to, fit or not. */
  readonly forced: boolean
  /** How it ended: by the usage it was settled with, or released; `undefined` while nobody has ended it. */
  ended: Usage | "released" | undefined = undefined
  /** Whether it is in the queue of its time to live. */
  queued = false
  previous: Entry | undefined = undefined
  next: Entry | undefined = undefined
  extensions = 0
  lastExtension: Usage | undefined = undefined
  alerts = noAlerts
  private readonly ids: { next: number }
  private name: string | undefined

  constructor(command: Reserve, now: number, ids: { next: number }, accounts: ReadonlyArray<AccountState> = []) {
    this.claims = accounts.map((account) => new Claim(this, account))
    this.usage = command.usage
    this.state = command.book === "now" ? "booked" : "held"
    this.bookedAt = now
    this.expiresAt = now + command.ttl
    this.ttl = command.ttl
    this.onExpiry = command.onExpiry
    this.forced = command.mode === "force"
    this.name = command.id
    this.ids = ids
  }

  /** Made when asked for: most holds never leave the process. */
  get id(): string {
    return (this.name ??= `hold-${this.ids.next++}`)
  }
}

const day = 86_400_000

/** How long an account can matter after it was last touched. */
const memoryOf = ({ capacity, concurrency, drain, quota: { window } }: Counter): number => {
  if (concurrency) return concurrencyWindow
  switch (window._tag) {
    case "Sliding":
    case "Fixed":
      return Duration.toMillis(window.length) * 2
    case "Calendar":
      return window.period === "month" ? 32 * day : window.period === "week" ? 8 * day : 2 * day
    case "Bucket":
      return Math.max(Duration.toMillis(window.refill), drain === undefined ? 0 : timeToDrain(drain, capacity))
    case "Lifetime":
      return Infinity
  }
}

/**
 * All accounts of one plan. Idle ones are forgotten without a timer each: accounts live in two generations, a touched one
 * moves to the young, and when both are older than any window of the plan the old one is dropped as a whole.
 */
export class Book {
  readonly plan: Plan
  readonly counters: ReadonlyArray<Counter>
  private readonly memory: number
  private young = new Map<string, AccountState>()
  private old = new Map<string, AccountState>()
  /** Accounts with a bucket that is over its burst, and so takes longer than any window to drain. */
  private readonly overdrawn = new Set<AccountState>()
  turnsAt: number

  constructor(plan: Plan, slots: number, now: number) {
    this.plan = plan
    this.counters = plan.quotas.map((quota) => makeCounter(quota, slots))
    this.memory = Math.max(1000, plan.throttle, ...this.counters.map(memoryOf))
    this.turnsAt = now + this.memory
  }

  get size(): number {
    return this.young.size + this.old.size
  }

  /** The account of a value if there is one; `touch` makes it. */
  find(value: string): AccountState | undefined {
    return this.young.get(value) ?? this.old.get(value)
  }

  touch(value: string): AccountState {
    const account = this.young.get(value)
    if (account !== undefined) return account
    return this.keep(this.old.get(value) ?? new AccountState(this, value))
  }

  /** The account to book on in place of one that was looked up earlier and may have been forgotten since. */
  current(account: AccountState): AccountState {
    return this.young.get(account.value) ?? this.keep(this.old.get(account.value) ?? account)
  }

  keep(account: AccountState): AccountState {
    this.old.delete(account.value)
    this.young.set(account.value, account)
    return account
  }

  noteOverdrawn(account: AccountState): void {
    this.overdrawn.add(account)
  }

  /** Drops the old generation if it is time to, but for the accounts of `busy` entries. */
  turn(now: number, busy: ReadonlyArray<Entry>): void {
    if (now < this.turnsAt) return
    const idle = now >= this.turnsAt + this.memory
    this.old = idle ? new Map() : this.young
    this.young = new Map()
    this.turnsAt = now + this.memory
    for (const entry of busy) {
      for (const claim of entry.claims) if (claim.account.book === this) this.keep(claim.account)
    }
    for (const account of this.overdrawn) {
      account.advance(now)
      if (this.counters.every((counter, index) => account.cells[index]!.used <= counter.capacity)) {
        this.overdrawn.delete(account)
      }
      this.keep(account)
    }
  }

  /** Sets what is used to nothing, for one value or for all. What is held stays held. */
  reset(value: string | undefined): void {
    const accounts = value === undefined ? [...this.old.values(), ...this.young.values()] : [this.find(value)]
    for (const account of accounts) {
      if (account === undefined) continue
      account.throttledUntil = 0
      account.resets++
      this.overdrawn.delete(account)
      for (const cell of account.cells) {
        cell.used = cell.recent = 0
        cell.older = cell.fired = undefined
      }
      if (account.first === undefined) {
        this.young.delete(account.value)
        this.old.delete(account.value)
      }
    }
  }
}
