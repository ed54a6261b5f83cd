import type { Account, Refused } from "../verbs.ts"

/** Someone who waits. `ticket` is the place in the order of arrival, over all lines. */
export class Waiter {
  readonly ticket: number
  line: Line | undefined = undefined
  previous: Waiter | undefined = undefined
  next: Waiter | undefined = undefined
  /** Whether it was called since it last looked. */
  called = false
  wake: (() => void) | undefined = undefined

  constructor(ticket: number) {
    this.ticket = ticket
  }

  call(): void {
    this.called = true
    this.wake?.()
  }
}

/** Those who wait for one account, in the order of their tickets. Only the first one asks the store. */
export class Line {
  readonly key: string
  readonly account: Account
  first: Waiter | undefined = undefined
  last: Waiter | undefined = undefined
  /** The first one's last refusal, and when that was. */
  refused: { readonly answer: Refused; readonly at: number } | undefined = undefined

  constructor(key: string, account: Account) {
    this.key = key
    this.account = account
  }
}

const keyOf = (account: Account): string => `${account.plan.id}/${account.value}`

/** All lines of a limiter. A line lives while somebody stands in it. */
export class Lines {
  private readonly lines = new Map<string, Line>()
  private tickets = 0
  waiting = 0
  /** How often something was given back. A refusal that was on its way meanwhile may be out of date. */
  returns = 0

  newcomer(): Waiter {
    return new Waiter(this.tickets++)
  }

  /** An account for which somebody waits who came before `waiter`, or before anyone who comes now. */
  ahead(accounts: ReadonlyArray<Account>, waiter?: Waiter): Account | undefined {
    if (this.lines.size === 0) return undefined
    return accounts.find((account) => {
      const first = this.lines.get(keyOf(account))?.first
      return first !== undefined && (waiter === undefined || first.ticket < waiter.ticket)
    })
  }

  /** Puts a waiter into the line of an account, at the place of its ticket. */
  join(waiter: Waiter, account: Account): Line {
    const key = keyOf(account)
    if (waiter.line?.key === key) return waiter.line
    this.leave(waiter)
    let line = this.lines.get(key)
    if (line === undefined) this.lines.set(key, (line = new Line(key, account)))
    let before = line.last
    while (before !== undefined && before.ticket > waiter.ticket) before = before.previous
    waiter.previous = before
    waiter.next = before === undefined ? line.first : before.next
    if (before === undefined) line.first = waiter
    else before.next = waiter
    if (waiter.next === undefined) line.last = waiter
    else waiter.next.previous = waiter
    waiter.line = line
    this.waiting++
    return line
  }

  /** Takes a waiter out of its line, and calls the next if it was the first. */
  leave(waiter: Waiter): void {
    const { line, next, previous } = waiter
    if (line === undefined) return
    if (previous === undefined) line.first = next
    else previous.next = next
    if (next === undefined) line.last = previous
    else next.previous = previous
    waiter.line = waiter.previous = waiter.next = undefined
    this.waiting--
    if (line.first === undefined) this.lines.delete(line.key)
    else if (previous === undefined) line.first.call()
  }

  /** Something was given back on these accounts: whoever is first may look again. */
  call(accounts: ReadonlyArray<Account>): void {
    this.returns++
    if (this.lines.size === 0) return
    for (const account of accounts) this.lines.get(keyOf(account))?.first?.call()
  }

  /** The same, told by a store of whatever process. */
  callWhere(isFor: (account: Account) => boolean): void {
    this.returns++
    for (const { account, first } of this.lines.values()) if (isFor(account)) first?.call()
  }
}

const known = new WeakMap<object, Map<string, Lines>>()

/** The lines of all rate limiters of one name on one store: they wait for the same places, and wake each other. */
export const linesOf = (store: object, name: string): Lines => {
  let named = known.get(store)
  if (named === undefined) known.set(store, (named = new Map()))
  let lines = named.get(name)
  if (lines === undefined) named.set(name, (lines = new Lines()))
  return lines
}
