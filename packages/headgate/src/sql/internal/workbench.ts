import * as Duration from "effect/Duration"
import { type AccountState, Book, Claim, Entry } from "../../internal/ledger/accounts.ts"
import { overAt } from "../../internal/ledger/alarms.ts"
import { advance, type Cell, type Counter } from "../../internal/ledger/cell.ts"
import { keyOf } from "../../internal/ledger/counterKey.ts"
import { Ledger } from "../../internal/ledger/ledger.ts"
import { sharedSlots, slotsOfLength } from "../../internal/ledger/windows.ts"
import type { Account, Plan, Reserve } from "../../internal/verbs.ts"
import type { Quota } from "../../Quota.ts"
import * as Window from "../../Window.ts"
import { type Amounts, usageOf } from "./answers.ts"

/** A counter of an account as it is stored. */
export interface CellRow {
  readonly key: string
  /** How long its slots are, where all are of one length. */
  readonly length?: number | undefined
  readonly slot: number
  readonly recent: number
  readonly used: number
  readonly held: number
  readonly older?: ReadonlyArray<number> | null | undefined
  /** The amounts at which alerts have fired, and when each did. */
  readonly fired?: ReadonlyArray<number> | null | undefined
  readonly fired_at?: ReadonlyArray<number> | null | undefined
  /** The limit of a bucket. */
  readonly refill?: number | null | undefined
}

/** An account as it is stored. */
export interface AccountRow {
  readonly cells: ReadonlyArray<CellRow>
  readonly throttled: number
  readonly resets: number
}

/** An account's part in a hold as it is stored. */
export interface ClaimRow {
  readonly hold: string
  readonly expiresAt: number
  readonly charge: boolean
  readonly state: "held" | "booked" | "gone"
  /** Whether it still ends by itself when its time is over. */
  readonly open: boolean
  readonly usage: Amounts
  readonly bookedAt: number
  readonly resets: number
}

/** A plan prepared for counting: its book, and the names its counters have in the database. */
interface Prepared {
  readonly book: Book
  readonly keys: ReadonlyArray<string>
}

/** What a layer prepares once per plan. */
export class Plans {
  private readonly prepared = new WeakMap<Plan, Map<string, Prepared>>()

  /** `others` are counters that an account has and this plan does not look at. */
  prepare(plan: Plan, others: ReadonlyArray<CellRow> = []): Prepared {
    let known = this.prepared.get(plan)
    if (known === undefined) this.prepared.set(plan, (known = new Map()))
    const name = others.length === 0 ? "" : JSON.stringify(others.map(({ key, refill }) => [key, refill]))
    let prepared = known.get(name)
    if (prepared === undefined) {
      const quotas = [...plan.quotas, ...others.map(quotaOf)]
      prepared = { book: new Book({ ...plan, quotas }, sharedSlots, 0), keys: quotas.map(keyOf) }
      known.set(name, prepared)
    }
    return prepared
  }

  /** Whether an account that is stored has not counted yet for a quota of its plan. */
  hasNew(accounts: ReadonlyArray<Account>, rows: ReadonlyArray<AccountRow | null | undefined>): boolean {
    return accounts.some(({ plan }, index) => {
      const known = new Set(rows[index]?.cells.map(({ key }) => key))
      return rows[index] && this.prepare(plan).keys.some((key) => !known.has(key))
    })
  }

  countersOf = ({ plan }: Account): ReadonlyArray<Counter> => this.prepare(plan).book.counters

  /** How long an account of a plan matters after it was last touched. */
  memoryOf(plan: Plan): number {
    return this.prepare(plan).book["memory"]
  }
}

/** A counter that a plan does not look at as a quota that never refuses and tells nothing. */
const quotaOf = ({ key, refill }: CellRow): Quota => {
  const [name, unit, cachedInput, ...window] = JSON.parse(key)
  const limit = refill ?? Number.MAX_SAFE_INTEGER
  return { name, unit, cachedInput, limit, window: windowOf(window), alertAt: [] }
}

const windowOf = ([tag, length, timeZone, weekStartsOn]: ReadonlyArray<unknown>): Window.Window => {
  switch (tag) {
    case "Sliding":
      return Window.sliding(length as number)
    case "Fixed":
      return Window.fixed(length as number)
    case "Calendar":
      return {
        _tag: "Calendar",
        period: length as "day",
        timeZone: timeZone as string,
        weekStartsOn: weekStartsOn as 0
      }
    case "Bucket":
      return { _tag: "Bucket", refill: Duration.millis(length as number), burst: Number.MAX_SAFE_INTEGER }
    default:
      return Window.lifetime
  }
}

/**
 * A cell that was stored in slots of another length: all that still counts is taken to be of now, so that it counts for too
 * long rather than too short.
 */
const intoOwnSlots = (counter: Counter, cell: Cell, length: number | undefined, now: number): void => {
  const { quota, slots } = counter
  if (quota.window._tag !== "Sliding" || slots.length === length) return
  if (length !== undefined) advance({ ...counter, slots: slotsOfLength(quota.window.length, length) }, cell, now)
  cell.slot = slots.slotAt(now)
  cell.recent = cell.used
  cell.older = undefined
}

/** The ledger over the rows of one call. */
export class Bench {
  readonly ledger = new Ledger(sharedSlots)
  readonly accounts: ReadonlyArray<Account>
  readonly states: ReadonlyArray<AccountState>
  private readonly prepared: ReadonlyArray<Prepared>
  private readonly rows: ReadonlyArray<AccountRow | null>

  constructor(
    plans: Plans,
    accounts: ReadonlyArray<Account>,
    rows: ReadonlyArray<AccountRow | null>,
    options: { readonly others: "kept" | "ignored"; readonly now: number }
  ) {
    this.accounts = accounts
    this.rows = rows
    this.ledger["turnsAt"] = Infinity
    const byPlan = Map.groupBy(accounts.keys(), (index) => accounts[index]!.plan)
    const prepared: Array<Prepared> = []
    for (const [plan, indexes] of byPlan) {
      const others = new Map<string, CellRow>()
      if (options.others === "kept") {
        const { keys } = plans.prepare(plan)
        for (const cell of indexes.flatMap((index) => rows[index]?.cells ?? [])) {
          if (!keys.includes(cell.key)) others.set(cell.key, cell)
        }
      }
      const one = plans.prepare(plan, [...others.values()])
      const { book } = one
      book["young"] = new Map()
      book["old"] = new Map()
      book["overdrawn"].clear()
      book.turnsAt = Infinity
      this.ledger["plans"].set(plan, book)
      this.ledger["books"].set(plan.id, book)
      for (const index of indexes) prepared[index] = one
    }
    this.prepared = prepared
    this.states = accounts.map((account, index) => {
      const state = prepared[index]!.book.touch(account.value)
      const row = rows[index]
      if (row === null || row === undefined) return state
      state.throttledUntil = row.throttled
      state.resets = row.resets
      const cells = new Map(row.cells.map((cell) => [cell.key, cell]))
      for (const [place, key] of prepared[index]!.keys.entries()) {
        const stored = cells.get(key)
        if (stored === undefined) continue
        const cell = state.cells[place]!
        cell.slot = stored.slot
        cell.recent = stored.recent
        cell.used = stored.used
        cell.held = stored.held
        cell.older = stored.older ? [...stored.older] : undefined
        cell.fired = stored.fired?.flatMap((amount, index) => [amount, stored.fired_at![index]!])
        intoOwnSlots(state.book.counters[place]!, cell, stored.length, options.now)
      }
      return state
    })
  }

  /**
   * Holds what is held already on counters that the rows do not have yet. What was booked before them is given back on none
   * of the account's counters from then on, as after a reset: these would give back what they have never counted.
   */
  holdOnNew(claims: ReadonlyArray<ReadonlyArray<ClaimRow>>): void {
    for (const [index, state] of this.states.entries()) {
      const row = this.rows[index]
      if (row === null || row === undefined) continue
      const known = new Set(row.cells.map(({ key }) => key))
      for (const [place, counter] of state.book.counters.entries()) {
        if (known.has(this.prepared[index]!.keys[place]!)) continue
        state.resets = row.resets + 1
        for (const { state: held, usage } of claims[index] ?? []) {
          if (held === "held" || counter.concurrency) state.cells[place]!.held += counter.amount(usageOf(usage))
        }
      }
    }
  }

  /** Adds open holds: one entry per hold, with the claims that are given. They expire at the next command. */
  add(claims: ReadonlyArray<ReadonlyArray<ClaimRow>>): ReadonlyMap<string, Entry> {
    const entries = new Map<string, Entry>()
    for (const [index, rows] of claims.entries()) {
      for (const row of rows) {
        let entry = entries.get(row.hold)
        if (entry === undefined) entries.set(row.hold, (entry = entryOf(row)))
        this.claim(entry, index, row)
      }
    }
    for (const entry of [...entries.values()].toSorted((a, b) => a.expiresAt - b.expiresAt)) {
      this.ledger["holds"].add(entry)
    }
    return entries
  }

  claim(entry: Entry, index: number, row: ClaimRow): void {
    const claim = new Claim(entry, this.states[index]!)
    claim.resets = row.resets
    entry.claims.push(claim)
  }

  /** Moves to the time of the call: what is due expires. */
  moveTo(now: number): void {
    this.ledger["at"](now)
  }

  /**
   * What is now to be stored of an account. Counters that its plan does not look at are dropped once nothing is left of them;
   * those that only another value of the plan has are none of its own.
   */
  cellsOf(index: number, now: number): ReadonlyArray<CellRow> {
    const state = this.states[index]!
    const known = new Set(this.rows[index]?.cells.map(({ key }) => key))
    const own = this.accounts[index]!.plan.quotas.length
    const cells: Array<CellRow> = []
    for (const [place, cell] of state.cells.entries()) {
      const { held, older, recent, slot, used } = cell
      const counter = state.book.counters[place]!
      const fired = cell.fired?.filter((_, index) => index % 2 === 0)
      const firedAt = cell.fired?.filter((_, index) => index % 2 === 1)
      const hasFired = firedAt?.some((at) => overAt(counter, at) > now) === true
      const key = this.prepared[index]!.keys[place]!
      if (place >= own && (!known.has(key) || (used === 0 && held === 0 && !hasFired))) continue
      const refill = counter.drain?.limit
      cells.push({
        key,
        length: counter.slots.length,
        slot,
        recent,
        used,
        held,
        older,
        fired,
        fired_at: firedAt,
        refill
      })
    }
    return cells
  }
}

/** An open hold as the ledger knows it, from what a claim tells of it. */
export const entryOf = (row: ClaimRow, ttl = 0, mode: Reserve["mode"] = "enforce"): Entry => {
  const command: Reserve = {
    accounts: [],
    usage: usageOf(row.usage),
    ttl,
    onExpiry: row.charge ? "charge" : "release",
    book: row.state === "booked" ? "now" : "onSettle",
    mode,
    id: row.hold
  }
  const entry = new Entry(command, row.bookedAt, { next: 1 })
  entry.state = row.state
  entry.expiresAt = row.expiresAt
  return entry
}
