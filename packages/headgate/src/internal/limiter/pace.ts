import * as Quota from "../../Quota.ts"
import * as Usage from "../../Usage.ts"
import * as Window from "../../Window.ts"
import { subjectOf } from "../alerts.ts"
import { Closure } from "./closure.ts"
import { type Level, levelOf, type Said } from "./level.ts"
import type { Account, QuotaStatus, Refused } from "../verbs.ts"

/** What a provider says in a reply, checked: whole numbers, times in milliseconds. */
export interface Word {
  readonly limits: ReadonlyArray<Said>
  readonly retryAfter: number | undefined
}

/** That a call was let through, for one of its paces: as which one, and what had been let through by then. */
interface Ticket {
  readonly pace: Pace
  readonly order: number
  readonly passed: Usage.Usage
}

/** A refusal by the provider's word, which keeps calls away for so long: `retryAfter`, or longer if it is asked again before. */
export interface Paced extends Refused {
  readonly keepsAway: number
}

/** A call on its way past its paces. */
export class Entry {
  readonly paces: ReadonlyArray<Pace>
  readonly at: number
  /** The levels it was counted on. */
  readonly levels: Array<Level> = []
  usage: Usage.Usage
  tickets: ReadonlyArray<Ticket> = []
  private over = false

  constructor(paces: ReadonlyArray<Pace>, usage: Usage.Usage, at: number) {
    this.paces = paces
    this.usage = usage
    this.at = at
    for (const pace of paces) pace.count(this)
  }

  /** It is not known yet whether it goes: what the provider says meanwhile is held against it. */
  expect(): this {
    for (const pace of this.paces) pace.expect(this)
    return this
  }

  /** It goes. */
  confirm(): this {
    this.tickets = this.paces.map((pace) => pace.pass(this))
    return this
  }

  /** It does not go, or was given back as if it had not gone. */
  cancel(now: number): void {
    if (this.over) return
    for (const pace of this.paces) pace.forget(this)
    for (const level of this.levels) level.refund(this.usage, this.at, now)
    this.end()
  }

  /** It took so much more than it was to take. */
  exceed(more: Usage.Usage, now: number): void {
    if (this.over || more.requests + more.tokens + more.inputTokens + more.outputTokens === 0) return
    this.usage = Usage.sum(this.usage, more)
    for (const { pace } of this.tickets) pace.exceed(more, now)
  }

  /** It is over, and was answered as far as anyone knows. Whether more calls may go for that. */
  settle(): boolean {
    if (this.over) return false
    let opened = false
    for (const { order, pace } of this.tickets) opened = pace.closure.end(order) || opened
    this.end()
    return opened
  }

  end(): void {
    if (this.over) return
    this.over = true
    for (const { pace } of this.tickets) pace.end(this.usage)
  }
}

export const closed = Quota.make({ name: "provider", unit: "requests", limit: 0, window: Window.lifetime })

/**
 * What a provider lets the calls of one model do, or of everyone, by its own word. Replies come late and out of order, so
 * a word is held against all that was let through since the call that it answers: the provider may not have counted it.
 */
export class Pace {
  readonly account: Account
  private levels: ReadonlyArray<Level> = []
  /** Which call the levels answer, by the order in which calls were let through. */
  private answers = -1
  readonly closure = new Closure()
  private readonly pending = new Set<Entry>()
  /** How many calls were let through, and what they were to take. Neither ever falls. */
  private calls = 0
  private passed = Usage.zero
  /** The part of it that is not over. */
  private underWay = Usage.zero

  constructor(account: Account) {
    this.account = account
  }

  advance(now: number): void {
    if (this.levels.length > 0) this.levels = this.levels.flatMap((level) => level.at(now) ?? [])
  }

  /** Whether it has nothing to say. */
  isIdle(now: number): boolean {
    this.advance(now)
    return this.levels.length === 0 && this.closure.opensAt <= now
  }

  /** What holds a usage back longest, if anything does. */
  refusal(usage: Usage.Usage, now: number): Paced | undefined {
    this.advance(now)
    let { opensAt } = this.closure
    let longest: Level | undefined
    for (const level of this.levels) {
      const at = level.opensAt(usage, now)
      if (at <= opensAt) continue
      opensAt = at
      longest = level
    }
    if (opensAt <= now) return undefined
    return {
      _tag: "Refused",
      reason: "exceeded",
      account: this.account,
      quota: longest?.quota ?? closed,
      capacity: longest?.capacity ?? 0,
      used: longest?.used ?? 0,
      held: 0,
      requested: longest?.amountOf(usage) ?? usage.requests,
      retryAfter: opensAt - now,
      keepsAway: Math.max(opensAt - now, this.closure.keepsAway(now)),
      until: 0,
      alerts: []
    }
  }

  count(entry: Entry): void {
    this.closure.enter(entry, entry.at)
    for (const level of this.levels) this.countOn(level, entry, entry.at)
  }

  expect(entry: Entry): void {
    this.pending.add(entry)
  }

  pass(entry: Entry): Ticket {
    this.pending.delete(entry)
    this.passed = Usage.sum(this.passed, entry.usage)
    this.underWay = Usage.sum(this.underWay, entry.usage)
    return { pace: this, order: this.calls++, passed: this.passed }
  }

  forget(entry: Entry): void {
    this.pending.delete(entry)
    this.closure.forget(entry, entry.at)
  }

  exceed(more: Usage.Usage, now: number): void {
    this.advance(now)
    this.passed = Usage.sum(this.passed, more)
    this.underWay = Usage.sum(this.underWay, more)
    for (const level of this.levels) level.book(more, now)
  }

  end(usage: Usage.Usage): void {
    this.underWay = Usage.excess(this.underWay, usage)
  }

  /** Takes the provider at its word, unless it has been given one on a later call. */
  tell({ limits, retryAfter }: Word, answered: Ticket | undefined, patience: number, now: number): void {
    if (retryAfter !== undefined) this.closure.tell(retryAfter, answered?.order, this.calls, patience, now)
    const order = answered?.order ?? this.calls
    if (limits.length === 0 || order < this.answers) return
    this.advance(now)
    this.answers = order
    const since = answered === undefined ? this.underWay : Usage.excess(this.passed, answered.passed)
    const made = limits.flatMap((said) => {
      const level = levelOf(said, this.levels, now)
      if (level === undefined) return []
      level.book(since, now)
      for (const entry of this.pending) this.countOn(level, entry, now)
      return level
    })
    this.levels = [...this.levels.filter(({ quota }) => !limits.some(({ unit }) => unit === quota.unit)), ...made]
  }

  private countOn(level: Level, entry: Entry, now: number): void {
    level.book(entry.usage, now)
    entry.levels.push(level)
  }

  status(now: number): ReadonlyArray<QuotaStatus> {
    this.advance(now)
    const subject = subjectOf(this.account)
    const of = ({ name, unit }: Quota.Quota, limit: number, used: number, resetsAt: number): QuotaStatus => ({
      name,
      unit,
      limit,
      used,
      held: 0,
      remaining: Math.max(0, limit - used),
      utilization: limit === 0 ? 0 : used / limit,
      resetAfter: resetsAt - now,
      subject
    })
    const levels = this.levels.map((level) => of(level.quota, level.capacity, level.used, level.resetsAt(now)))
    const { opensAt } = this.closure
    return opensAt > now ? [...levels, of(closed, 0, 0, opensAt)] : levels
  }
}
