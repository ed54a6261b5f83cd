import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Alert } from "../../../Alert.ts"
import { abandon } from "../../../internal/later.ts"
import { Entry } from "../../../internal/ledger/accounts.ts"
import type { Account, Booked, Conflict, Hold, Refused } from "../../../internal/verbs.ts"
import type * as QuotaStore from "../../../QuotaStore.ts"
import * as Usage from "../../../Usage.ts"
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
} from "../answers.ts"
import { Bench, type ClaimRow, entryOf, Plans } from "../workbench.ts"
import { makeCall } from "../call.ts"
import { toldUntil } from "../lookahead.ts"
import { type Loaded, makeAccounts, type Opened } from "./accounts.ts"
import type { Settings } from "../settings.ts"

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

type Answer = Hold | Booked | Refused | Conflict

/** Decides in this process, in a transaction that keeps all others out. */
export const makeSqlite = (sql: SqlClient.SqlClient, settings: Settings): QuotaStore.Service => {
  const { newId, prefix: p, retention } = settings
  const plans = new Plans()
  const call = makeCall({ sql, timeout: settings.timeout })

  const { claims, exclusively, forget, inTransaction, load, open, pending, query, save, valuesOf } = makeAccounts(
    sql,
    settings,
    plans
  )

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

  /**
   * Decides without what is open. What refuses is decided again for an exact wait: with a few of the open claims, and with
   * all of them where those are too few.
   */
  const decided = Effect.fnUntraced(function* <A extends { readonly answer: Answer }>(
    loaded: Loaded,
    asking: string,
    decide: (opened: Opened) => Effect.Effect<A, SqlError>
  ) {
    let opened = open(loaded)
    let decision = yield* decide(opened)
    for (const few of [settings.few, undefined]) {
      const { answer } = decision
      if (answer._tag !== "Refused" || answer.reason === "tooLarge" || answer.held === 0) break
      const holds = yield* pending(loaded, asking, few)
      opened = open(loaded)
      opened.bench.add(holds)
      decision = yield* decide(opened)
      const exact = decision.answer
      if (few === undefined || exact._tag !== "Refused") break
      if (loaded.now + exact.retryAfter <= toldUntil(opened.bench, exact, holds, few, loaded.now)) break
    }
    return { ...decision, opened }
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
        const bench = new Bench(plans, [], [], { others: "ignored", now: 0 })
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
          const { answer, opened } = yield* decided(loaded, "", ({ bench }) =>
            Effect.succeed({ answer: bench.ledger.reserve(asked, loaded.clock) })
          )
          if (answer._tag === "Refused") {
            yield* save(loaded, opened)
            yield* forget(loaded)
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
          yield* forget(loaded)
          return new SqlHold(id, accounts, ownAlerts(accounts, answer.alerts))
        })
        const reserve = call("reserve", () => exclusively(body))
        return abandon(settings.later, command, reserve, () =>
          end("release", new SqlHold(id, accounts, noAlerts), undefined)
        )
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
          const bench = new Bench(plans, [], [], { others: "ignored", now: 0 })
          const past = endedEntry({ ...hold, ended: hold.ended ?? "released" }, bench)
          return bench.ledger.extend(past, more, step, 0) as Booked | Conflict
        }
        const loaded = yield* load(accounts)
        const { answer, entry, opened } = yield* decided(loaded, id, (opened) =>
          Effect.map(entryAt(id, hold, loaded, opened), (entry) => ({
            entry,
            answer: opened.bench.ledger.extend(entry, more, step, loaded.clock)
          }))
        )
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
          yield* forget(loaded)
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
          for (const value of yield* valuesOf(plan)) accounts.push({ plan, value })
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

const ownAlerts = (accounts: ReadonlyArray<Account>, alerts: ReadonlyArray<Alert>): ReadonlyArray<Alert> =>
  alerts.filter(({ quota }) => accounts.some(({ plan }) => plan.quotas.some(({ name }) => name === quota)))
