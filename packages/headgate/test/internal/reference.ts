// A second ledger, written from the contract and not from the source: simple, slow, and exact. It keeps every event and
// every hold, counts by going through all of them, and finds a wait by asking at later times. It forgets nothing.
import { Duration } from "effect"
import type { QuotaStore, Usage } from "headgate"
import {
  type Account,
  type Alert,
  amountOf,
  type Answer,
  capacityOf,
  countsUntil,
  type Event,
  firstAfter,
  type Hold,
  type Log,
  usedOf
} from "./referenceWindows.ts"

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

export class Reference {
  private readonly accounts: Array<Account> = []
  private readonly holds: Array<Hold> = []
  private readonly ids = new Map<string, { readonly content: unknown; readonly hold: Hold | undefined }>()
  private now = 0
  private behind = 0

  reserve(command: QuotaStore.Reserve, clock: number): Answer {
    this.advance(clock)
    const content = [command.accounts.map(({ plan, value }) => [plan.id, value]), command.usage, command.onExpiry]
    const known = command.id === undefined ? undefined : this.ids.get(command.id)
    if (known !== undefined) {
      return same(known.content, content) && known.hold !== undefined
        ? { tag: "Hold", hold: known.hold, alerts: [] }
        : { tag: "Conflict" }
    }
    const accounts = command.accounts.map((account) => this.account(account))
    const refusal = command.mode === "force" ? undefined : this.judge(accounts, command.usage, undefined)
    if (refusal !== undefined) return refusal
    const hold: Hold = {
      accounts,
      command,
      usage: command.usage,
      state: "held",
      underWay: true,
      expiresAt: this.now + command.ttl,
      extended: new Map(),
      ended: undefined,
      booked: new Map()
    }
    if (command.mode === "ask") return { tag: "Hold", hold, alerts: [] }
    this.holds.push(hold)
    if (command.id !== undefined) this.ids.set(command.id, { content, hold })
    const alerts: Array<Alert> = []
    if (command.book === "now") this.become(hold, command.usage, this.now, alerts)
    return { tag: "Hold", hold, alerts }
  }

  extend(hold: Hold, more: Usage.Usage, step: number, clock: number): Answer {
    this.advance(clock)
    const renewal = Object.values(more).every((amount) => amount === 0)
    const known = renewal ? undefined : hold.extended.get(step)
    if (known !== undefined) {
      return same(known, more)
        ? { tag: "Booked", reserved: hold.usage, repeated: true, alerts: [] }
        : { tag: "Conflict" }
    }
    const isPlace = hold.command.book === "now"
    const isConcurrent = hold.accounts.some(({ logs }) => logs.some(({ quota }) => quota.unit === "concurrency"))
    const isHeld = isPlace ? renewal && hold.underWay && isConcurrent : hold.state === "held"
    if (hold.ended !== undefined || !isHeld) return { tag: "Conflict" }
    const refusal = renewal || hold.command.mode === "force" ? undefined : this.judge(hold.accounts, more, hold)
    if (refusal !== undefined) return refusal
    const sum = Object.entries(more).map(([field, amount]) => [field, amount + Reflect.get(hold.usage, field)])
    hold.usage = Object.fromEntries(sum)
    hold.expiresAt = this.now + hold.command.ttl
    if (!renewal) hold.extended.set(step, more)
    return { tag: "Booked", reserved: hold.usage, repeated: false, alerts: [] }
  }

  settle(hold: Hold, actual: Usage.Usage, clock: number): Answer {
    this.advance(clock)
    if (hold.ended !== undefined) {
      const repeated = hold.ended !== "released" && same(hold.ended, actual)
      return repeated ? { tag: "Booked", reserved: hold.usage, repeated, alerts: [] } : { tag: "Conflict" }
    }
    hold.ended = actual
    const alerts: Array<Alert> = []
    const units = new Set<string>()
    for (const { account, quota } of hold.accounts.flatMap(({ logs }) => logs)) {
      const [reserved, taken] = [amountOf(quota, hold.usage), amountOf(quota, actual)]
      if (account.plan.alerts !== "all" || taken <= reserved || units.has(quota.unit)) continue
      units.add(quota.unit)
      alerts.push(["Overrun", quota.name, account.value, reserved, taken, this.now])
    }
    hold.underWay = false
    this.become(hold, actual, this.now, alerts)
    return { tag: "Booked", reserved: hold.usage, repeated: false, alerts }
  }

  release(hold: Hold, clock: number): Answer {
    this.advance(clock)
    if (hold.ended !== undefined && hold.ended !== "released") return { tag: "Conflict" }
    const repeated = hold.ended === "released"
    hold.ended = "released"
    hold.underWay = false
    this.become(hold, undefined, this.now, undefined)
    return { tag: "Booked", reserved: hold.usage, repeated, alerts: [] }
  }

  record(accounts: ReadonlyArray<QuotaStore.Account>, usage: Usage.Usage, id: string | undefined, clock: number) {
    this.advance(clock)
    const content = [accounts.map(({ plan, value }) => [plan.id, value]), usage]
    const known = id === undefined ? undefined : this.ids.get(id)
    const answer = (repeated: boolean, alerts: ReadonlyArray<Alert>): Answer => {
      const reserved = { requests: 0, inputTokens: 0, outputTokens: 0, cachedInputTokens: 0, tokens: 0, cost: 0 }
      return { tag: "Booked", reserved: reserved as Usage.Usage, repeated, alerts }
    }
    if (known !== undefined) {
      const conflict: Answer = { tag: "Conflict" }
      return same(known.content, content) && known.hold === undefined ? answer(true, []) : conflict
    }
    if (id !== undefined) this.ids.set(id, { content, hold: undefined })
    const alerts: Array<Alert> = []
    for (const log of accounts.flatMap((account) => this.account(account).logs)) {
      if (log.quota.unit !== "concurrency") this.spend(log, amountOf(log.quota, usage), this.now, alerts)
    }
    return answer(false, alerts)
  }

  reset(target: Parameters<QuotaStore.Service["reset"]>[0], clock: number): void {
    this.advance(clock)
    const targets =
      "accounts" in target
        ? target.accounts.map((account) => this.account(account))
        : this.accounts.filter(({ plan }) => target.plans.includes(plan))
    for (const account of targets) {
      account.throttledUntil = 0
      for (const log of account.logs) {
        log.events = []
        log.told.clear()
      }
    }
  }

  /** For each account: until when it is throttled; for each of its quotas: used, held, and when nothing is used. */
  status(accounts: ReadonlyArray<QuotaStore.Account>, clock: number) {
    this.advance(clock)
    return accounts.map((asked) => {
      const account = this.account(asked)
      const quotas = account.logs.map((log) => [
        usedOf(log.quota, log.events, this.now),
        this.heldOn(log, this.now),
        this.emptyAfter(log)
      ])
      return { throttledUntil: account.throttledUntil > this.now ? account.throttledUntil : 0, quotas }
    })
  }

  private emptyAfter({ events, quota }: Log): number {
    if (usedOf(quota, events, this.now) === 0) return 0
    const { window } = quota
    if (window._tag === "Bucket") return firstAfter(this.now, (at) => usedOf(quota, events, at) === 0) - this.now
    return Math.max(...events.map(({ amount, at }) => (amount > 0 ? countsUntil(window, at) - this.now : 0)))
  }

  private account(asked: QuotaStore.Account): Account {
    const known = this.accounts.find(({ plan, value }) => plan === asked.plan && value === asked.value)
    if (known !== undefined) return known
    const logs: Array<Log> = []
    const account = { ...asked, logs, throttledUntil: 0 }
    for (const quota of asked.plan.quotas) logs.push({ account, quota, events: [], told: new Map() })
    this.accounts.push(account)
    return account
  }

  private advance(clock: number): void {
    const now = Math.max(this.now, Math.floor(clock))
    this.behind = now - Math.floor(clock)
    const due = this.holds.filter(({ expiresAt, underWay }) => underWay && expiresAt <= now)
    for (const hold of due.toSorted((a, b) => a.expiresAt - b.expiresAt)) {
      hold.underWay = false
      if (hold.state === "held" || hold.command.onExpiry === "release") {
        this.become(hold, hold.command.onExpiry === "charge" ? hold.usage : undefined, hold.expiresAt, undefined)
      }
    }
    this.now = now
  }

  /** Makes what a hold has taken `to`. */
  private become(hold: Hold, to: Usage.Usage | undefined, now: number, alerts: Array<Alert> | undefined): void {
    const from = hold.state
    hold.state = to === undefined ? "gone" : "booked"
    for (const log of hold.accounts.flatMap(({ logs }) => logs)) {
      if (log.quota.unit === "concurrency") continue
      const before = from === "booked" ? amountOf(log.quota, hold.usage) : 0
      const after = to === undefined ? 0 : amountOf(log.quota, to)
      if (after < before) this.giveBack(log, hold.booked.get(log)!, before - after, now)
      else {
        const event = this.spend(log, after - before, now, alerts)
        if (from !== "booked") hold.booked.set(log, event)
      }
    }
  }

  private giveBack(log: Log, event: Event, amount: number, now: number): void {
    if (!log.events.includes(event)) return
    const { limit, window } = log.quota
    if (window._tag !== "Bucket") {
      event.amount -= amount
      return
    }
    // What has drained since then may have let others in.
    const drained = Math.floor(((now - event.at) * limit) / Duration.toMillis(window.refill))
    const back = Math.min(usedOf(log.quota, log.events, now), Math.max(0, amount - drained))
    log.events.push({ at: now, amount: -back })
  }

  private spend(log: Log, amount: number, now: number, alerts: Array<Alert> | undefined): Event {
    const event = { at: now, amount }
    const { alertAt } = log.quota
    const capacity = capacityOf(log.quota)
    if (amount > 0) this.rearm(log, now)
    log.events.push(event)
    const used = usedOf(log.quota, log.events, now)
    for (const [place, threshold] of alertAt.entries()) {
      if (amount === 0 || alerts === undefined || capacity === 0 || used < threshold * capacity) continue
      if (log.told.has(place)) continue
      log.told.set(place, now)
      alerts.push(["ThresholdReached", log.quota.name, log.account.value, threshold, used / capacity, now])
    }
    return event
  }

  private rearm({ events, quota, told }: Log, now: number): void {
    const used = usedOf(quota, events, now)
    for (const [place, at] of told) {
      const threshold = quota.alertAt[place]
      const { window } = quota
      // Concurrency has no window: that its limit was hit is told once a minute.
      const over =
        quota.unit === "concurrency"
          ? at + 60_000
          : window._tag === "Bucket"
            ? at + Duration.toMillis(window.refill)
            : countsUntil(window, at)
      const below = threshold === undefined || used < threshold * capacityOf(quota)
      if (now >= over && below) told.delete(place)
    }
  }

  private heldOn(log: Log, at: number, asking?: Hold): number {
    const holds = this.holds.filter((hold) => {
      return hold.underWay && (hold.expiresAt > at || hold === asking) && hold.accounts.includes(log.account)
    })
    if (log.quota.unit === "concurrency") return holds.length
    return holds.reduce((sum, { state, usage }) => (state === "held" ? sum + amountOf(log.quota, usage) : sum), 0)
  }

  /** Whether an amount fits at a later time if nothing happens but that holds expire, all but the one that asks. */
  private fits(log: Log, amount: number, at: number, asking: Hold | undefined): boolean {
    const { account, quota } = log
    if (amount === 0) return capacityOf(quota) > 0
    const charged = this.holds.filter(
      (hold) =>
        hold !== asking &&
        hold.underWay &&
        hold.state === "held" &&
        hold.expiresAt <= at &&
        hold.command.onExpiry === "charge" &&
        hold.accounts.includes(account) &&
        quota.unit !== "concurrency"
    )
    const charges = charged
      .toSorted((a, b) => a.expiresAt - b.expiresAt)
      .map(({ expiresAt, usage }) => ({ at: expiresAt, amount: amountOf(quota, usage) }))
    return usedOf(quota, [...log.events, ...charges], at) + this.heldOn(log, at, asking) + amount <= capacityOf(quota)
  }

  private judge(accounts: ReadonlyArray<Account>, usage: Usage.Usage, extended: Hold | undefined): Answer | undefined {
    const { now } = this
    const asked = accounts
      .flatMap(({ logs }) => logs)
      .map((log) => {
        const one = extended !== undefined && log.quota.unit === "concurrency" ? 0 : amountOf(log.quota, usage)
        return { log, amount: one, capacity: capacityOf(log.quota) }
      })
    const unfit = asked.filter(({ amount, log }) => !this.fits(log, amount, now, extended))
    // A throttle is for new calls: one that was admitted goes on if what it asks for fits.
    const throttledUntil = extended === undefined ? Math.max(0, ...accounts.map((one) => one.throttledUntil)) : 0
    if (unfit.length === 0 && throttledUntil <= now) return undefined
    const alerts: Array<Alert> = []
    const tell = (tag: string, { amount, capacity, log }: (typeof asked)[number]): void => {
      const total = usedOf(log.quota, log.events, now) + this.heldOn(log, now) + amount
      alerts.push([tag, log.quota.name, log.account.value, 1, capacity === 0 ? 1 : total / capacity, now])
    }
    const limitHit = (refused: (typeof asked)[number]): void => {
      const { log } = refused
      if (log.account.plan.alerts !== "all") return
      this.rearm(log, now)
      const place = log.quota.alertAt.length
      if (!log.told.has(place)) tell("LimitHit", refused)
      if (!log.told.has(place)) log.told.set(place, now)
    }
    const answer = (reason: string, { amount, capacity, log }: (typeof asked)[number], at: number, until: number) => {
      const numbers = [capacity, usedOf(log.quota, log.events, now), this.heldOn(log, now), amount]
      const { account, quota } = log
      // While the clock is behind, whoever asks again does so when it has caught up, or after a second.
      const retryAfter = Math.max(at - now, Math.min(this.behind, 1000))
      return {
        tag: "Refused",
        reason,
        quota: quota.name,
        value: account.value,
        numbers,
        retryAfter,
        until,
        alerts
      } as const
    }
    const never = asked.find(({ amount, capacity }) => capacity === 0 || amount > capacity)
    if (never !== undefined) {
      limitHit(never)
      return answer("tooLarge", never, Infinity, 0)
    }
    const waits = unfit.map((refused) => ({
      refused,
      at: firstAfter(now, (at) => this.fits(refused.log, refused.amount, at, extended))
    }))
    let until = throttledUntil > now ? throttledUntil : 0
    const reason = until > 0 ? "throttled" : "exceeded"
    if (reason === "exceeded") {
      for (const refused of unfit) {
        limitHit(refused)
        const { account, quota } = refused.log
        const { throttle } = account.plan
        const returns = quota.unit !== "concurrency" && quota.window._tag !== "Lifetime"
        if (extended !== undefined || throttle === 0 || !returns || account.throttledUntil > now) continue
        account.throttledUntil = until = now + throttle
        until = Math.max(...accounts.map((account) => account.throttledUntil))
        tell("Throttled", refused)
      }
    }
    const longest = waits.reduce((found, wait) => (found === undefined || wait.at > found.at ? wait : found), waits[0])
    const account = accounts.find((account) => account.throttledUntil > now)
    const refused = longest?.refused ?? asked.find(({ log }) => log.account === account)!
    return answer(reason, refused, Math.max(longest?.at ?? 0, until), until)
  }
}
