import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Alert } from "../../Alert.ts"
import { Entry } from "../../internal/accounts.ts"
import { emptyAt } from "../../internal/cell.ts"
import type { Account, Booked, Conflict, Hold, Plan, Refused } from "../../internal/verbs.ts"
import type * as QuotaStore from "../../QuotaStore.ts"
import * as Usage from "../../Usage.ts"
import {
  amountsOf,
  booked,
  contentOf,
  foreign,
  forgotten,
  noAlerts,
  otherContent,
  SqlHold,
  textOf,
  usageOf
} from "./answers.ts"
import { type AccountRow, Bench, type ClaimRow, entryOf, Plans } from "./workbench.ts"
import { makeCall } from "./call.ts"
import type { Settings } from "./settings.ts"

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

interface StoredHold {
  readonly accounts: string
  readonly usage: string
  readonly ttl: number
  readonly forced: number
  readonly expires_at: number
  readonly extensions: number
  readonly extension: string | null
  readonly ended: string | null
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
interface Loaded {
  readonly accounts: ReadonlyArray<Account>
  readonly stored: ReadonlyArray<StoredAccount | undefined>
  readonly rows: ReadonlyArray<AccountRow | null>
  readonly now: number
  readonly due: ReadonlyArray<ReadonlyArray<ClaimRow>>
  /** All open claims, where a plan looks at a counter that its account does not have yet. */
  readonly open: ReadonlyArray<ReadonlyArray<ClaimRow>> | undefined
}

interface Opened {
  readonly bench: Bench
  /** What was due and is over now, by hold. */
  readonly expired: ReadonlyMap<string, Entry>
}

/** Decides in this process, in a transaction that keeps all others out. */
export const makeSqlite = (sql: SqlClient.SqlClient, settings: Settings): QuotaStore.Service => {
  const { newId, prefix: p, retention } = settings
  const plans = new Plans()
  const call = makeCall({ sql, timeout: settings.timeout })

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

  const clock = Effect.withFiber((fiber) =>
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
    let now = yield* clock
    for (const { plan, value } of accounts) {
      const [row] = yield* query<StoredAccount>(`SELECT * FROM ${p}_accounts WHERE plan = ? AND value = ?`, [
        textOf(plan.id),
        textOf(value)
      ])
      stored.push(row)
      now = Math.max(now, row?.seen ?? 0)
    }
    const rows = stored.map((row) => (row === undefined ? null : { ...row, cells: JSON.parse(row.cells) }))
    const due: Array<ReadonlyArray<ClaimRow>> = []
    for (const row of stored) due.push(yield* claims(row?.id, "open AND expires_at <= ?", now))
    const changed = accounts.some(({ plan }, index) => {
      const known = new Set(rows[index]?.cells.map(({ key }: { readonly key: string }) => key))
      return rows[index] !== null && plans.prepare(plan).keys.some((key) => !known.has(key))
    })
    let open: Array<ReadonlyArray<ClaimRow>> | undefined
    if (changed) {
      open = []
      for (const row of stored) open.push(yield* claims(row?.id, "open"))
    }
    return { accounts, stored, rows, now, due, open } satisfies Loaded
  })

  const open = (loaded: Loaded, others: "kept" | "ignored" = "kept"): Opened => {
    const bench = new Bench(plans, loaded.accounts, loaded.rows, { others })
    for (const [index, state] of bench.states.entries()) {
      if (loaded.stored[index] === undefined) state.resets = loaded.now
    }
    if (loaded.open !== undefined) bench.holdOnNew(loaded.open)
    const expired = bench.add(loaded.due)
    bench.moveTo(loaded.now)
    return { bench, expired }
  }

  /** All open claims that are not due, for an exact wait. */
  const pending = Effect.fnUntraced(function* ({ now, stored }: Loaded, but: string) {
    const found: Array<ReadonlyArray<ClaimRow>> = []
    for (const row of stored) found.push(yield* claims(row?.id, "open AND expires_at > ? AND hold <> ?", now, but))
    return found
  })

  /** Saves accounts and what has expired on them, and gives the ids of the accounts. */
  const save = Effect.fnUntraced(function* ({ accounts, now, stored }: Loaded, { bench, expired }: Opened) {
    const ids: Array<number> = []
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
        JSON.stringify(bench.cellsOf(index)),
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

  /** Forgets a few records whose time is over, and accounts that no window remembers. */
  const forget = Effect.fnUntraced(function* (now: number) {
    const over = yield* query<{ readonly id: string; readonly accounts: string }>(
      `SELECT id, accounts FROM ${p}_holds WHERE forget_at < ? ORDER BY forget_at LIMIT 2`,
      [now]
    )
    for (const { accounts, id } of over) {
      const waiting = yield* query<{ readonly plan: string; readonly value: string }>(
        `SELECT plan, value FROM ${p}_accounts WHERE id IN (
          SELECT account FROM ${p}_claims
          WHERE account IN (SELECT value FROM json_each(?)) AND hold = ? AND open
        )`,
        [accounts, id]
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
      yield* query(`DELETE FROM ${p}_claims WHERE account IN (SELECT value FROM json_each(?)) AND hold = ?`, [
        accounts,
        id
      ])
      yield* query(`DELETE FROM ${p}_holds WHERE id = ?`, [id])
    }
    yield* query(
      `DELETE FROM ${p}_accounts WHERE id = (
        SELECT id FROM ${p}_accounts a WHERE forget_at < ?
          AND NOT EXISTS (SELECT 1 FROM ${p}_claims WHERE account = a.id)
        ORDER BY forget_at LIMIT 1
      )`,
      [now]
    )
  })

  /** Whether an id was used before, with this content or another. */
  const known = (id: string, content: string) =>
    Effect.map(
      query<{ readonly content: string }>(`SELECT content FROM ${p}_holds WHERE id = ?`, [textOf(id)]),
      ([row]) => (row === undefined ? "new" : row.content === content ? "same" : "other")
    )

  const remember = (
    id: string,
    content: string,
    accounts: ReadonlyArray<number>,
    usage: Usage.Usage,
    hold: { readonly ttl: number; readonly forced: boolean; readonly expiresAt: number; readonly ended: string | null }
  ) =>
    query(
      `INSERT INTO ${p}_holds (id, content, accounts, usage, ttl, forced, expires_at, extensions, ended, forget_at)
      VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`,
      [
        textOf(id),
        content,
        JSON.stringify(accounts),
        JSON.stringify(amountsOf(usage)),
        hold.ttl,
        Number(hold.forced),
        hold.expiresAt,
        hold.ended,
        hold.expiresAt + retention
      ]
    )

  /** A refusal in the words of the caller, who knows nothing of counters that other plans look at. */
  const own = (accounts: ReadonlyArray<Account>, refused: Refused): Refused => {
    const { account, alerts } = refused
    const asked = accounts.find(({ plan, value }) => value === account.value && plan.id === account.plan.id)
    return { ...refused, account: asked ?? account, alerts: ownAlerts(accounts, alerts) }
  }

  /** The hold of a row as the ledger knows it, once its claims are at the time of the call. */
  const entryAt = Effect.fnUntraced(function* (
    id: string,
    hold: StoredHold,
    loaded: Loaded,
    { bench, expired }: Opened
  ) {
    const over = expired.get(id)
    const found: Array<readonly [index: number, claim: ClaimRow]> = []
    for (const [index, row] of loaded.stored.entries()) {
      for (const claim of yield* claims(row?.id, "hold = ?", id)) found.push([index, claim])
    }
    const usage = JSON.parse(hold.usage)
    const first: ClaimRow = {
      ...(found[0]?.[1] ?? { charge: true, state: "held", open: true, bookedAt: 0, resets: 0 }),
      hold: id,
      expiresAt: hold.expires_at,
      usage
    }
    const entry = entryOf(first, hold.ttl, hold.forced === 1 ? "force" : "enforce")
    if (over !== undefined) {
      entry.state = over.state
      entry.bookedAt = over.bookedAt
    }
    for (const [index, claim] of found) bench.claim(entry, index, claim)
    for (const claim of over?.claims ?? []) {
      const mine = entry.claims.find(({ account }) => account === claim.account)
      if (mine !== undefined) mine.resets = claim.resets
    }
    entry.extensions = hold.extensions
    entry.lastExtension = hold.extension === null ? undefined : usageOf(JSON.parse(hold.extension))
    const [one] = found
    if (over === undefined && (one === undefined || one[1].open) && hold.expires_at > loaded.now) {
      bench.ledger["holds"].add(entry)
    }
    return entry
  })

  const findHold = (id: string) =>
    Effect.map(query<StoredHold>(`SELECT * FROM ${p}_holds WHERE id = ?`, [textOf(id)]), ([row]) => row)

  /** How the ledger answers on a hold that has ended. */
  const endedEntry = (hold: StoredHold, bench: Bench): Entry => {
    const row: ClaimRow = {
      hold: "",
      expiresAt: hold.expires_at,
      charge: true,
      state: "gone",
      open: false,
      usage: JSON.parse(hold.usage),
      bookedAt: 0,
      resets: 0
    }
    const entry = entryOf(row, hold.ttl)
    entry.ended = hold.ended === "released" ? "released" : usageOf(JSON.parse(hold.ended!))
    entry.extensions = hold.extensions
    entry.lastExtension = hold.extension === null ? undefined : usageOf(JSON.parse(hold.extension))
    bench.moveTo(0)
    return entry
  }

  const end = (operation: "settle" | "release", given: Hold, actual: Usage.Usage | undefined) => {
    if (!(given instanceof SqlHold)) return Effect.succeed(foreign)
    const { accounts } = given
    const id = textOf(given.id)
    const decide = (bench: Bench, entry: Entry, now: number): Booked | Conflict =>
      actual === undefined ? bench.ledger.release(entry, now) : bench.ledger.settle(entry, actual, now)
    const body = Effect.gen(function* () {
      const hold = yield* findHold(given.id)
      if (hold === undefined) return forgotten
      if (hold.ended !== null) {
        const bench = new Bench(plans, [], [], { others: "ignored" })
        return decide(bench, endedEntry(hold, bench), 0)
      }
      const loaded = yield* load(accounts)
      const opened = open(loaded)
      const entry = yield* entryAt(id, hold, loaded, opened)
      const answer = decide(opened.bench, entry, loaded.now)
      yield* save(loaded, opened)
      yield* query(`DELETE FROM ${p}_claims WHERE account IN (SELECT value FROM json_each(?)) AND hold = ?`, [
        hold.accounts,
        id
      ])
      yield* query(`UPDATE ${p}_holds SET ended = ? WHERE id = ?`, [
        actual === undefined ? "released" : JSON.stringify(amountsOf(actual)),
        id
      ])
      return answer._tag === "Booked" ? { ...answer, alerts: ownAlerts(accounts, answer.alerts) } : answer
    })
    return call(operation, () => exclusively(body))
  }

  return {
    reserve: (command) =>
      Effect.suspend(() => {
        const { accounts, mode, usage } = command
        const id = command.id ?? newId()
        const content = contentOf(`reserve, then ${command.onExpiry}`, accounts, usage)
        const asked = { ...command, ttl: settings.ttlOf(command.ttl), id: undefined }
        const body = Effect.gen(function* () {
          const before = yield* known(id, content)
          if (before !== "new") return before === "same" ? new SqlHold(id, accounts, noAlerts) : otherContent(id)
          const loaded = yield* load(accounts)
          let opened = open(loaded)
          let answer = opened.bench.ledger.reserve(asked, loaded.now)
          if (answer._tag === "Refused" && answer.reason !== "tooLarge") {
            const holds = yield* pending(loaded, "")
            if (holds.some((rows) => rows.length > 0)) {
              opened = open(loaded)
              opened.bench.add(holds)
              answer = opened.bench.ledger.reserve(asked, loaded.now)
            }
          }
          if (answer._tag === "Refused") {
            yield* save(loaded, opened)
            return own(accounts, answer)
          }
          if (mode === "ask" || !(answer instanceof Entry)) return new SqlHold(id, accounts, noAlerts)
          const ids = yield* save(loaded, opened)
          const { bookedAt, claims, expiresAt, onExpiry, queued, state, ttl } = answer
          yield* remember(id, content, ids, usage, { ttl, forced: mode === "force", expiresAt, ended: null })
          for (const [index, claim] of claims.entries()) {
            yield* query(
              `INSERT INTO ${p}_claims (account, hold, usage, state, open, charge, expires_at, booked_at, resets)
              VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
              [
                ids[index],
                textOf(id),
                JSON.stringify(amountsOf(usage)),
                state,
                Number(queued),
                Number(onExpiry === "charge"),
                expiresAt,
                bookedAt,
                claim.resets
              ]
            )
          }
          yield* forget(loaded.now)
          return new SqlHold(id, accounts, ownAlerts(accounts, answer.alerts))
        })
        return call("reserve", () => exclusively(body))
      }),
    extend: (given, more, step) => {
      if (!(given instanceof SqlHold)) return Effect.succeed(foreign)
      const { accounts } = given
      const id = textOf(given.id)
      const renewal = amountsOf(more).every((amount) => amount === 0)
      const body = Effect.gen(function* () {
        const hold = yield* findHold(given.id)
        if (hold === undefined) return forgotten
        if (hold.ended !== null || (!renewal && step < hold.extensions)) {
          const bench = new Bench(plans, [], [], { others: "ignored" })
          const past = endedEntry({ ...hold, ended: hold.ended ?? "released" }, bench)
          return bench.ledger.extend(past, more, step, 0) as Booked | Conflict
        }
        const loaded = yield* load(accounts)
        let opened = open(loaded)
        let entry = yield* entryAt(id, hold, loaded, opened)
        let answer = opened.bench.ledger.extend(entry, more, step, loaded.now)
        if (answer._tag === "Refused" && answer.reason !== "tooLarge") {
          opened = open(loaded)
          opened.bench.add(yield* pending(loaded, id))
          entry = yield* entryAt(id, hold, loaded, opened)
          answer = opened.bench.ledger.extend(entry, more, step, loaded.now)
        }
        yield* save(loaded, opened)
        if (answer._tag === "Refused") return own(accounts, answer)
        if (answer._tag === "Booked") {
          const usage = JSON.stringify(amountsOf(entry.usage))
          yield* query(
            `UPDATE ${p}_claims SET usage = ?, expires_at = ?
            WHERE account IN (SELECT value FROM json_each(?)) AND hold = ?`,
            [usage, entry.expiresAt, hold.accounts, id]
          )
          yield* query(
            `UPDATE ${p}_holds SET usage = ?, expires_at = ?, extensions = ?, extension = ?, forget_at = ? WHERE id = ?`,
            [
              usage,
              entry.expiresAt,
              entry.extensions,
              entry.lastExtension === undefined ? null : JSON.stringify(amountsOf(entry.lastExtension)),
              entry.expiresAt + retention,
              id
            ]
          )
        }
        return answer
      })
      return call("extend", () => exclusively(body))
    },
    settle: (hold, actual) => end("settle", hold, actual),
    release: (hold) => end("release", hold, undefined),
    record: (accounts, usage, given) =>
      Effect.suspend(() => {
        const id = given ?? newId()
        const content = contentOf("record", accounts, usage)
        const body = Effect.gen(function* () {
          const before = yield* known(id, content)
          if (before === "other") return otherContent(id)
          if (before === "same") return booked(Usage.zero, true, noAlerts)
          const loaded = yield* load(accounts)
          const opened = open(loaded)
          const answer = opened.bench.ledger.record(accounts, usage, undefined, loaded.now)
          yield* save(loaded, opened)
          yield* remember(id, content, [], usage, { ttl: 0, forced: false, expiresAt: loaded.now, ended: "recorded" })
          yield* forget(loaded.now)
          return answer
        })
        return call("record", () => exclusively(body))
      }),
    status: (accounts) => {
      const body = Effect.gen(function* () {
        const loaded = yield* load(accounts)
        return open(loaded, "ignored").bench.ledger.status(accounts, loaded.now)
      })
      return call("status", () => inTransaction("BEGIN", body))
    },
    reset: (target) => {
      const body = Effect.gen(function* () {
        const accounts: Array<Account> = "accounts" in target ? [...target.accounts] : []
        for (const plan of "plans" in target ? target.plans : []) {
          const rows = yield* query<{ readonly value: string }>(`SELECT value FROM ${p}_accounts WHERE plan = ?`, [
            textOf(plan.id)
          ])
          for (const { value } of rows) accounts.push({ plan, value: unescaped(value) })
        }
        const loaded = yield* load(accounts)
        const opened = open(loaded)
        opened.bench.ledger.reset({ accounts }, loaded.now)
        yield* save(loaded, opened)
      })
      return call("reset", () => exclusively(body))
    }
  }
}

const finite = (value: number): number | null => (Number.isFinite(value) ? Math.min(value, 8.64e15) : null)

const unescaped = (text: string): string => JSON.parse(`"${text}"`)

const ownAlerts = (accounts: ReadonlyArray<Account>, alerts: ReadonlyArray<Alert>): ReadonlyArray<Alert> =>
  alerts.filter(({ quota }) => accounts.some(({ plan }) => plan.quotas.some(({ name }) => name === quota)))
