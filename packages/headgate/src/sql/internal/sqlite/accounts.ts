import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Entry } from "../../../internal/ledger/accounts.ts"
import { emptyAt } from "../../../internal/ledger/cell.ts"
import type { Account, Plan } from "../../../internal/verbs.ts"
import { textOf } from "../answers.ts"
import type { Settings } from "../settings.ts"
import { type AccountRow, Bench, type ClaimRow, type Plans } from "../workbench.ts"

interface StoredAccount {
  readonly id: number
  readonly cells: string
  readonly throttled: number
  readonly resets: number
  readonly seen: number
  readonly memory: number | null
  readonly forget_at: number | null
}

interface StoredClaim {
  readonly hold: string
  readonly usage: string
  readonly state: ClaimRow["state"]
  readonly open: number
  readonly charge: number
  readonly expires_at: number
  readonly booked_at: number
  readonly resets: number
}

const claimOf = (row: StoredClaim): ClaimRow => ({
  hold: row.hold,
  expiresAt: row.expires_at,
  charge: row.charge === 1,
  state: row.state,
  open: row.open === 1,
  usage: JSON.parse(row.usage),
  bookedAt: row.booked_at,
  resets: row.resets
})

/** The rows of one transaction's accounts, at its time. */
export interface Loaded {
  readonly accounts: ReadonlyArray<Account>
  readonly stored: ReadonlyArray<StoredAccount | undefined>
  readonly rows: ReadonlyArray<AccountRow | null>
  /** The time of the call: the clock's, or a later one that the database knows of. */
  readonly now: number
  readonly clock: number
  /** The latest time that the database knows of. */
  readonly last: number
  readonly due: ReadonlyArray<ReadonlyArray<ClaimRow>>
  /** All open claims, where a plan looks at a counter that its account does not have yet. */
  readonly open: ReadonlyArray<ReadonlyArray<ClaimRow>> | undefined
}

export interface Opened {
  readonly bench: Bench
  /** What was due and is over now, by hold. */
  readonly expired: ReadonlyMap<string, Entry>
}

/** The accounts of a transaction: loaded at its time, saved, and forgotten when nothing is left of them. */
export const makeAccounts = (sql: SqlClient.SqlClient, settings: Settings, plans: Plans) => {
  const { prefix: p } = settings

  /** Asks the connection of the transaction itself: a span for each of a dozen statements would cost more than they do. */
  const query = <A extends object>(
    text: string,
    params: ReadonlyArray<unknown> = []
  ): Effect.Effect<ReadonlyArray<A>, SqlError> =>
    Effect.withFiber((fiber) => {
      const [connection] = Context.getUnsafe(fiber.context, sql.transactionService)
      return connection.execute(text, params, undefined)
    })

  const inTransaction = <A>(begin: string, body: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.provideService(sql.withTransaction(body), SqlClient.BeginTransaction, begin)

  const exclusively = <A>(body: Effect.Effect<A, SqlError>) => inTransaction("BEGIN IMMEDIATE", body)

  const time = Effect.withFiber((fiber) =>
    Effect.succeed(Math.floor(settings.clock?.() ?? fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()))
  )

  const claims = (id: number | undefined, where: string, ...params: ReadonlyArray<unknown>) =>
    id === undefined
      ? Effect.succeed([])
      : Effect.map(
          query<StoredClaim>(`SELECT * FROM ${p}_claims WHERE account = ? AND ${where} ORDER BY expires_at`, [
            id,
            ...params
          ]),
          (rows) => rows.map(claimOf)
        )

  const load = Effect.fnUntraced(function* (accounts: ReadonlyArray<Account>) {
    const stored: Array<StoredAccount | undefined> = []
    let last = 0
    const clock = yield* time
    let now = clock
    for (const { plan, value } of accounts) {
      const [row] = yield* query<{ readonly last: number } & (StoredAccount | { readonly id: null })>(
        `SELECT c.last, a.* FROM ${p}_clock c LEFT JOIN ${p}_accounts a ON a.plan = ? AND a.value = ? WHERE c.id = 1`,
        [textOf(plan.id), textOf(value)]
      )
      stored.push(row === undefined || row.id === null ? undefined : row)
      last = row?.last ?? 0
      now = Math.max(now, last, stored.at(-1)?.seen ?? 0)
    }
    const rows = stored.map((row) => (row === undefined ? null : { ...row, cells: JSON.parse(row.cells) }))
    const due: Array<ReadonlyArray<ClaimRow>> = []
    for (const row of stored) due.push(yield* claims(row?.id, "open AND expires_at <= ?", now))
    let open: Array<ReadonlyArray<ClaimRow>> | undefined
    if (plans.hasNew(accounts, rows)) {
      open = []
      for (const row of stored) open.push(yield* claims(row?.id, "open"))
    }
    return { accounts, stored, rows, now, clock, last, due, open } satisfies Loaded
  })

  const open = (loaded: Loaded, others: "kept" | "ignored" = "kept"): Opened => {
    const bench = new Bench(plans, loaded.accounts, loaded.rows, { others, now: loaded.now })
    for (const [index, state] of bench.states.entries()) {
      if (loaded.stored[index] === undefined) state.resets = loaded.now
    }
    if (loaded.open !== undefined) bench.holdOnNew(loaded.open)
    const expired = bench.add(loaded.due)
    bench.moveTo(loaded.now)
    return { bench, expired }
  }

  /**
   * The open claims that are not due, for an exact wait, but for the hold that asks for more: all, or a few that expire first
   * and a few that are released first.
   */
  const pending = Effect.fnUntraced(function* ({ now, stored }: Loaded, asking: string, few: number | undefined) {
    const found: Array<ReadonlyArray<ClaimRow>> = []
    if (few === undefined) {
      for (const row of stored) found.push(yield* claims(row?.id, "open AND expires_at > ? AND hold <> ?", now, asking))
      return found
    }
    const some = (where: string) =>
      `SELECT * FROM (SELECT * FROM ${p}_claims WHERE account = ? AND ${where} AND expires_at > ? AND hold <> ?
      ORDER BY expires_at LIMIT ${few})`
    const text = `${some("open")} UNION ${some("open AND charge = 0")} ORDER BY expires_at`
    for (const row of stored) {
      const params = [row?.id ?? null, now, asking]
      found.push((yield* query<StoredClaim>(text, [...params, ...params])).map(claimOf))
    }
    return found
  })

  const isLate = ({ last, now }: Loaded): boolean => now > last + settings.tick

  /** Saves accounts and what has expired on them, and gives the ids of the accounts. */
  const save = Effect.fnUntraced(function* (loaded: Loaded, { bench, expired }: Opened) {
    const { accounts, now, stored } = loaded
    const ids: Array<number> = []
    if (isLate(loaded)) yield* query(`UPDATE ${p}_clock SET last = max(last, ?) WHERE id = 1`, [now])
    for (const [index, state] of bench.states.entries()) {
      const row = stored[index]
      const { counters } = state.book
      const lasting = counters.some(
        ({ quota }, place) => place >= accounts[index]!.plan.quotas.length && quota.window._tag === "Lifetime"
      )
      const own = plans.memoryOf(accounts[index]!.plan)
      const before = row === undefined ? 0 : (row.memory ?? Infinity)
      const memory = lasting ? Infinity : Math.ceil(Math.max(own, before))
      let forgetAt = row === undefined ? 0 : (row.forget_at ?? Infinity)
      if (forgetAt < now + 2 * memory) forgetAt = now + 3 * memory
      for (const [place, cell] of state.cells.entries()) {
        const counter = counters[place]!
        if (counter.drain !== undefined) forgetAt = Math.max(forgetAt, emptyAt(counter, cell, now))
      }
      const values = [
        JSON.stringify(bench.cellsOf(index, now)),
        state.throttledUntil,
        state.resets,
        now,
        finite(memory),
        finite(forgetAt)
      ]
      if (row === undefined) {
        const [made] = yield* query<{ readonly id: number }>(
          `INSERT INTO ${p}_accounts (plan, value, cells, throttled, resets, seen, memory, forget_at)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
          [textOf(state.book.plan.id), textOf(state.value), ...values]
        )
        ids.push(made!.id)
      } else {
        yield* query(
          `UPDATE ${p}_accounts SET cells = ?, throttled = ?, resets = ?, seen = ?, memory = ?, forget_at = ? WHERE id = ?`,
          [...values, row.id]
        )
        ids.push(row.id)
      }
    }
    for (const [hold, entry] of expired) {
      for (const claim of entry.claims) {
        yield* query(
          `UPDATE ${p}_claims SET open = 0, state = ?, booked_at = ?, resets = ? WHERE account = ? AND hold = ?`,
          [entry.state, entry.bookedAt, claim.resets, ids[bench.states.indexOf(claim.account)], hold]
        )
      }
    }
    return ids
  })

  /**
   * Forgets records whose time is over, and accounts that no window remembers: more of them than a call has made. It goes
   * by the time that stays known if the clock is set back.
   */
  const forget = Effect.fnUntraced(function* (given: Loaded) {
    const { accounts } = given
    const now = isLate(given) ? given.now : given.last
    const over = yield* query<{ readonly id: string; readonly accounts: string }>(
      `SELECT id, accounts FROM ${p}_holds WHERE forget_at < ? ORDER BY forget_at LIMIT 2`,
      [now]
    )
    for (const { accounts: held, id } of over) {
      const waiting = yield* query<{ readonly plan: string; readonly value: string }>(
        `SELECT plan, value FROM ${p}_accounts WHERE id IN (
          SELECT account FROM ${p}_claims
          WHERE account IN (SELECT value FROM json_each(?)) AND hold = ? AND open
        )`,
        [held, id]
      )
      if (waiting.length > 0) {
        const loaded = yield* load(
          waiting.map(({ plan, value }) => ({
            plan: { id: unescaped(plan), dimension: "", quotas: [], throttle: 0, alerts: "all" } satisfies Plan,
            value: unescaped(value)
          }))
        )
        yield* save(loaded, open(loaded))
      }
      yield* query(`DELETE FROM ${p}_claims WHERE account IN (SELECT value FROM json_each(?)) AND hold = ?`, [held, id])
      yield* query(`DELETE FROM ${p}_holds WHERE id = ?`, [id])
    }
    // SQLite prepares a statement anew in each call that has its limit as a parameter.
    const idle = yield* query<{ readonly id: number }>(
      `SELECT id FROM ${p}_accounts a WHERE forget_at < ?
        AND NOT EXISTS (SELECT 1 FROM ${p}_claims WHERE account = a.id)
      ORDER BY forget_at LIMIT ${2 * (accounts.length + 1)}`,
      [now]
    )
    for (const { id } of idle) yield* query(`DELETE FROM ${p}_accounts WHERE id = ?`, [id])
  })

  /** The values of a plan that have an account. */
  const valuesOf = (plan: Plan) =>
    Effect.map(
      query<{ readonly value: string }>(`SELECT value FROM ${p}_accounts WHERE plan = ?`, [textOf(plan.id)]),
      (rows) => rows.map(({ value }) => unescaped(value))
    )

  return { query, exclusively, inTransaction, claims, load, open, pending, save, forget, valuesOf }
}

const finite = (value: number): number | null => (Number.isFinite(value) ? Math.min(value, 8.64e15) : null)

const unescaped = (text: string): string => JSON.parse(`"${text}"`)
