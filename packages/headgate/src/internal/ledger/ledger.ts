import type { Alert } from "../../Alert.ts"
import * as Usage from "../../Usage.ts"
import { type AccountState, Book, Entry } from "./accounts.ts"
import { limitHit, overruns, rearm, throttled, thresholds } from "./alarms.ts"
import { subjectOf } from "../alerts.ts"
import { advance, book, type Cell, type Counter, emptyAt, fitsAt, refund } from "./cell.ts"
import { Holds } from "./holds.ts"
import { slidingSlots } from "./windows.ts"
import type { Account, Booked, Conflict, Hold, Plan, QuotaStatus, Refused, Reserve, Status } from "../verbs.ts"

/** How many ids given by callers are remembered; the oldest are forgotten first. */
const maxIds = 65_536

/** How long at most, in milliseconds, a refusal waits for a clock that was set back before it asks again. */
export const standstill = 1000

const noAlerts: ReadonlyArray<Alert> = []

const conflict = (bound: string, state: string): Conflict => ({ _tag: "Conflict", bound, state })

const sameUsage = (a: Usage.Usage, b: Usage.Usage): boolean =>
  a.requests === b.requests &&
  a.inputTokens === b.inputTokens &&
  a.outputTokens === b.outputTokens &&
  a.cachedInputTokens === b.cachedInputTokens &&
  a.tokens === b.tokens &&
  a.cost === b.cost

/**
 * The decision "does it fit, and if not, when", and what follows from it. Given the same commands at the same times it
 * gives the same answers: it reads no clock and draws no random numbers. State is changed in place, and only after a
 * command was found to be admitted on every account.
 */
export class Ledger {
  private readonly plans = new WeakMap<Plan, Book>()
  private readonly books = new Map<string, Book>()
  private readonly holds = new Holds()
  private readonly named = new Map<
    string,
    { readonly content: Reserve | BookedRecord; readonly entry: Entry | undefined }
  >()
  private readonly ids = { next: 1 }
  private readonly slots: number
  private last = -Infinity
  /** How far the clock was behind the time that the ledger has seen, when it was last told. */
  private behind = 0
  private turnsAt = Infinity

  constructor(slots = slidingSlots) {
    this.slots = slots
  }

  /** Number of accounts in memory. */
  get size(): number {
    let size = 0
    for (const book of this.books.values()) size += book.size
    return size
  }

  reserve(command: Reserve, clock: number): Hold | Refused | Conflict {
    const now = this.at(clock)
    const { id } = command
    if (id !== undefined) {
      const known = this.named.get(id)
      if (known !== undefined)
        return sameReserve(known.content, command) ? (repeated(known.entry) ?? this.known(id)) : this.known(id)
    }
    const states = command.accounts.map((account) => this.state(account, now))
    const { usage } = command
    if (command.mode !== "force") {
      for (let index = 0; index < states.length; index++) {
        const state = states[index]!
        if (state.throttledUntil > now || !this.fits(state, usage, now)) return this.refuse(states, usage, now)
      }
    } else {
      for (const state of states) state.advance(now)
    }
    if (command.mode === "ask") return new Entry(command, now, this.ids)
    const entry = new Entry(command, now, this.ids, states)
    this.hold(entry, states, now)
    if (id !== undefined) this.remember(id, command, entry)
    return entry
  }

  /**
   * Holds `more` on the accounts of an open hold and starts its time to live anew. `step` grows with each extension; one
   * by nothing only renews, whatever its step, and so does what a place that was booked at once holds of a concurrency.
   */
  extend(hold: Hold, more: Usage.Usage, step: number, clock: number): Booked | Refused | Conflict {
    const now = this.at(clock)
    if (!(hold instanceof Entry)) return foreign
    const entry = hold
    const renewal = sameUsage(more, Usage.zero)
    if (!renewal && step < entry.extensions) {
      return step < entry.extensions - 1 || sameUsage(entry.lastExtension!, more)
        ? { _tag: "Booked", reserved: entry.usage, repeated: true, alerts: noAlerts }
        : conflict("extended by the same usage", "extended by another")
    }
    if (entry.ended !== undefined) return conflict("open", "ended")
    // What was booked at once is no longer held, but its place among the calls under way is, and can be renewed.
    if (!entry.queued || (!renewal && entry.state !== "held")) return conflict("open", "expired")
    if (!renewal) {
      const states = entry.claims.map((claim) => claim.account)
      // A throttle is for new calls: one that was admitted goes on if what it asks for fits.
      for (const state of states) {
        if (!entry.forced && !this.fits(state, more, now, entry)) return this.refuse(states, more, now, entry)
      }
      for (const state of states) {
        for (const [index, counter] of state.book.counters.entries()) {
          if (!counter.concurrency) state.cells[index]!.held += counter.amount(more)
        }
      }
      entry.extensions = step + 1
      entry.lastExtension = more
    }
    this.holds.remove(entry)
    entry.usage = Usage.sum(entry.usage, more)
    entry.expiresAt = now + entry.ttl
    this.holds.add(entry)
    return { _tag: "Booked", reserved: entry.usage, repeated: false, alerts: noAlerts }
  }

  /** Replaces what a hold took by what was really used. After its expiry too, once. */
  settle(hold: Hold, actual: Usage.Usage, clock: number): Booked | Conflict {
    const now = this.at(clock)
    if (!(hold instanceof Entry)) return foreign
    const entry = hold
    const { ended } = entry
    if (ended === "released") return conflict("open", "released")
    if (ended !== undefined) {
      return sameUsage(ended, actual)
        ? { _tag: "Booked", reserved: entry.usage, repeated: true, alerts: noAlerts }
        : conflict("settled with the same usage", "settled with another")
    }
    entry.ended = actual
    const alerts: Array<Alert> = []
    overruns(entry, actual, now, alerts)
    this.move(entry, actual, now, alerts)
    return { _tag: "Booked", reserved: entry.usage, repeated: false, alerts }
  }

  /** Gives everything back. */
  release(hold: Hold, clock: number): Booked | Conflict {
    const now = this.at(clock)
    if (!(hold instanceof Entry)) return foreign
    const entry = hold
    if (entry.ended !== undefined && entry.ended !== "released") return conflict("open", "settled")
    const repeated = entry.ended === "released"
    if (!repeated) {
      entry.ended = "released"
      this.move(entry, undefined, now, undefined)
    }
    return { _tag: "Booked", reserved: entry.usage, repeated, alerts: noAlerts }
  }

  /** Undoes a reservation that came to nothing elsewhere: gives everything back, and forgets its id. */
  cancel(hold: Hold, clock: number): void {
    this.release(hold, clock)
    this.named.delete(hold.id)
  }

  /** Books what was never reserved. */
  record(
    accounts: ReadonlyArray<Account>,
    usage: Usage.Usage,
    id: string | undefined,
    clock: number
  ): Booked | Conflict {
    const now = this.at(clock)
    if (id !== undefined) {
      const known = this.named.get(id)
      if (known !== undefined) {
        return known.entry === undefined && sameRecord(known.content, accounts, usage)
          ? { _tag: "Booked", reserved: Usage.zero, repeated: true, alerts: noAlerts }
          : this.known(id)
      }
      this.remember(id, { accounts, usage }, undefined)
    }
    const alerts: Array<Alert> = []
    for (const account of accounts) {
      const state = this.state(account, now)
      const counters = state.book.counters
      for (let index = 0; index < counters.length; index++) {
        const counter = counters[index]!
        if (!counter.concurrency) this.use(state, counter, index, counter.amount(usage), now, alerts)
      }
    }
    return { _tag: "Booked", reserved: Usage.zero, repeated: false, alerts }
  }

  status(accounts: ReadonlyArray<Account>, clock: number): Status {
    const now = this.at(clock)
    const quotas: Array<QuotaStatus> = []
    let throttledUntil = 0
    for (const account of accounts) {
      const book = this.book(account.plan, now)
      const state = book.find(account.value)
      if (state !== undefined && state.throttledUntil > now) {
        throttledUntil = Math.max(throttledUntil, state.throttledUntil)
      }
      const subject = subjectOf(account)
      for (const [index, counter] of book.counters.entries()) {
        const cell = state?.cells[index]
        if (cell !== undefined) advance(counter, cell, now)
        const used = cell?.used ?? 0
        const held = cell?.held ?? 0
        quotas.push({
          name: counter.quota.name,
          unit: counter.quota.unit,
          limit: counter.capacity,
          used,
          held,
          remaining: Math.max(0, counter.capacity - used - held),
          utilization: counter.capacity === 0 ? 0 : used / counter.capacity,
          resetAfter: cell === undefined ? 0 : emptyAt(counter, cell, now) - now,
          subject
        })
      }
    }
    return { quotas, throttledUntil }
  }

  /** Sets what is used to nothing: on these accounts, or for all values of these plans. */
  reset(
    target: { readonly accounts: ReadonlyArray<Account> } | { readonly plans: ReadonlyArray<Plan> },
    clock: number
  ): void {
    const now = this.at(clock)
    if ("accounts" in target) for (const { plan, value } of target.accounts) this.book(plan, now).reset(value)
    else for (const plan of target.plans) this.book(plan, now).reset(undefined)
  }

  /** The time of a command. Time never runs backwards, and what is due by then happens first. */
  private at(clock: number): number {
    const time = Math.floor(clock)
    const now = Math.max(time, this.last)
    this.behind = now - time
    if (now === this.last) return now
    this.last = now
    const expired = this.expire(now)
    if (now >= this.turnsAt) this.turn(now, expired)
    return now
  }

  private book(plan: Plan, now: number): Book {
    const known = this.plans.get(plan)
    if (known !== undefined) return known
    const key = JSON.stringify(plan)
    let book = this.books.get(key)
    if (book === undefined) {
      book = new Book(plan, this.slots, now)
      this.books.set(key, book)
      this.turnsAt = Math.min(this.turnsAt, book.turnsAt)
    }
    this.plans.set(plan, book)
    return book
  }

  private state(account: Account, now: number): AccountState {
    return this.book(account.plan, now).touch(account.value)
  }

  /** Lets go of idle accounts. What holds or has just been charged is not idle. */
  private turn(now: number, expired: ReadonlyArray<Entry>): void {
    this.turnsAt = Infinity
    const busy = [...this.holds, ...expired]
    for (const book of this.books.values()) {
      book.turn(now, busy)
      this.turnsAt = Math.min(this.turnsAt, book.turnsAt)
    }
  }

  private fits(state: AccountState, usage: Usage.Usage, now: number, extending?: Entry): boolean {
    const counters = state.book.counters
    for (let index = 0; index < counters.length; index++) {
      const counter = counters[index]!
      const cell = state.cells[index]!
      advance(counter, cell, now)
      if (!fitsIn(counter, cell, requested(counter, usage, extending))) return false
    }
    return true
  }

  private hold(entry: Entry, states: ReadonlyArray<AccountState>, now: number): void {
    const booked = entry.state === "booked"
    const alerts: Array<Alert> | undefined = booked ? [] : undefined
    let holds = !booked
    for (const state of states) {
      const counters = state.book.counters
      for (let index = 0; index < counters.length; index++) {
        const counter = counters[index]!
        if (booked && !counter.concurrency) {
          this.use(state, counter, index, counter.amount(entry.usage), now, alerts)
        } else {
          state.cells[index]!.held += counter.amount(entry.usage)
          holds = true
        }
      }
    }
    if (alerts !== undefined && alerts.length > 0) entry.alerts = alerts
    if (holds) this.holds.add(entry)
  }

  /** Puts `to` in the place of what the entry holds or has booked, and ends its hold. */
  private move(entry: Entry, to: Usage.Usage | undefined, now: number, alerts: Array<Alert> | undefined): void {
    const { state: from, queued } = entry
    if (queued) this.holds.remove(entry)
    for (const claim of entry.claims) {
      const account = queued ? claim.account : claim.account.book.current(claim.account)
      const there = account === claim.account && account.resets === claim.resets
      const counters = account.book.counters
      for (let index = 0; index < counters.length; index++) {
        const counter = counters[index]!
        const cell = account.cells[index]!
        const before = counter.amount(entry.usage)
        if (counter.concurrency) {
          if (queued) cell.held -= before
          continue
        }
        const after = to === undefined ? 0 : counter.amount(to)
        if (from === "held") cell.held -= before
        if (from === "booked" && after < before) {
          advance(counter, cell, now)
          if (there) refund(counter, cell, before - after, entry.bookedAt, now)
        } else {
          this.use(account, counter, index, from === "booked" ? after - before : after, now, alerts)
        }
      }
      if (from !== "booked") claim.resets = account.resets
    }
    entry.state = to === undefined ? "gone" : "booked"
    if (from !== "booked") entry.bookedAt = now
  }

  /** Counts an amount as used and raises what alerts this brings; without a list they wait for the next use. */
  private use(
    state: AccountState,
    counter: Counter,
    index: number,
    amount: number,
    now: number,
    alerts: Array<Alert> | undefined
  ): void {
    if (amount === 0) return
    const cell = state.cells[index]!
    advance(counter, cell, now)
    rearm(counter, cell, now)
    book(counter, cell, amount, now)
    if (cell.used > counter.capacity && counter.drain !== undefined) state.book.noteOverdrawn(state)
    if (alerts !== undefined) thresholds(state, counter, cell, now, alerts)
  }

  /** The answer to a command that does not fit: what refuses it longest, and until when. */
  private refuse(states: ReadonlyArray<AccountState>, usage: Usage.Usage, now: number, extending?: Entry): Refused {
    const alerts: Array<Alert> = []
    let until = 0
    for (const state of states) {
      state.advance(now)
      if (state.throttledUntil > now && extending === undefined) until = Math.max(until, state.throttledUntil)
      const { counters } = state.book
      for (let index = 0; index < counters.length; index++) {
        const counter = counters[index]!
        const amount = requested(counter, usage, extending)
        if (amount <= counter.capacity && counter.capacity > 0) continue
        limitHit(state, counter, state.cells[index]!, amount, now, alerts)
        return refusal("tooLarge", state, index, amount, Infinity, 0, alerts)
      }
    }
    const reason = until > 0 ? "throttled" : "exceeded"
    let at = -1
    let longest: readonly [state: AccountState, index: number] | undefined
    for (const state of states) {
      const { counters } = state.book
      for (let index = 0; index < counters.length; index++) {
        const counter = counters[index]!
        const cell = state.cells[index]!
        const amount = requested(counter, usage, extending)
        if (fitsIn(counter, cell, amount)) continue
        const free = fitsAt(counter, cell, amount, now, (onExpiry) => state.pending(counter, extending, onExpiry))
        if (free > at) {
          at = free
          longest = [state, index]
        }
        if (reason === "throttled") continue
        limitHit(state, counter, cell, amount, now, alerts)
        const { throttle } = state.book.plan
        const returns = extending === undefined && !counter.concurrency && counter.quota.window._tag !== "Lifetime"
        if (throttle > 0 && returns && state.throttledUntil <= now) {
          state.throttledUntil = now + throttle
          until = Math.max(until, state.throttledUntil)
          throttled(state, counter, cell, amount, now, alerts)
        }
      }
    }
    const [state, index] = longest ?? [states.find((state) => state.throttledUntil > now)!, 0]
    const amount = requested(state.book.counters[index]!, usage, extending)
    // While time stands still, waiting lets nothing come free.
    const wait = Math.max(at, until) - now
    return refusal(reason, state, index, amount, Math.max(wait, Math.min(this.behind, standstill)), until, alerts)
  }

  private expire(now: number): ReadonlyArray<Entry> {
    const expired: Array<Entry> = []
    for (let due = this.holds.due(now); due !== undefined; due = this.holds.due(now)) {
      // A place booked at once stays booked when it is charged; only its share of the concurrency ends.
      this.move(due, due.onExpiry === "charge" ? due.usage : undefined, due.expiresAt, undefined)
      expired.push(due)
    }
    return expired
  }

  private known(id: string): Conflict {
    return conflict("the same for the same id", `another for ${id.slice(0, 64)}`)
  }

  private remember(id: string, content: Reserve | BookedRecord, entry: Entry | undefined): void {
    if (this.named.size >= maxIds) this.named.delete(this.named.keys().next().value!)
    this.named.set(id, { content, entry })
  }
}

/** The answer to a repeated command: the same hold, whose alerts were told the first time. */
const repeated = (entry: Entry | undefined): Entry | undefined => {
  if (entry !== undefined) entry.alerts = noAlerts
  return entry
}

const foreign = conflict("made by this store", "a hold of another")

interface BookedRecord {
  readonly accounts: ReadonlyArray<Account>
  readonly usage: Usage.Usage
}

const sameRecord = (known: BookedRecord, accounts: ReadonlyArray<Account>, usage: Usage.Usage): boolean =>
  sameUsage(known.usage, usage) &&
  known.accounts.length === accounts.length &&
  known.accounts.every(
    (account, index) => account.value === accounts[index]!.value && account.plan.id === accounts[index]!.plan.id
  )

const sameReserve = (known: BookedRecord | Reserve, command: Reserve): boolean =>
  sameRecord(known, command.accounts, command.usage) && "onExpiry" in known && known.onExpiry === command.onExpiry

/** What a usage asks of a counter. One call under way stays one, however often it is extended. */
const requested = (counter: Counter, usage: Usage.Usage, extending: Entry | undefined): number =>
  counter.concurrency && extending !== undefined ? 0 : counter.amount(usage)

/** A limit of 0 denies everything; otherwise what asks for nothing is not refused, whatever else has been spent. */
const fitsIn = (counter: Counter, cell: Cell, amount: number): boolean =>
  amount === 0 ? counter.capacity > 0 : cell.used + cell.held + amount <= counter.capacity

const refusal = (
  reason: Refused["reason"],
  state: AccountState,
  index: number,
  requested: number,
  retryAfter: number,
  until: number,
  alerts: ReadonlyArray<Alert>
): Refused => {
  const counter = state.book.counters[index]!
  const cell = state.cells[index]!
  return {
    _tag: "Refused",
    reason,
    account: state.account,
    quota: counter.quota,
    capacity: counter.capacity,
    used: cell.used,
    held: cell.held,
    requested,
    retryAfter,
    until,
    alerts
  }
}
