import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { abandon } from "../../../internal/later.ts"
import { overruns } from "../../../internal/ledger/alarms.ts"
import { Claim, type Entry } from "../../../internal/ledger/accounts.ts"
import type { Account, Booked, Conflict, Hold, Refused } from "../../../internal/verbs.ts"
import type { Alert } from "../../../Alert.ts"
import * as Usage from "../../../Usage.ts"
import type * as QuotaStore from "../../../QuotaStore.ts"
import {
  type Amounts,
  amountsOf,
  booked,
  conflict,
  contentOf,
  foreign,
  forgotten,
  noAlerts,
  otherContent,
  SqlHold,
  textOf,
  thresholdAlerts,
  type Told,
  usageOf
} from "../answers.ts"
import { type AccountRow, Bench, type ClaimRow, entryOf, Plans } from "../workbench.ts"
import { makeCall } from "../call.ts"
import { toldUntil } from "../lookahead.ts"
import type { Settings } from "../settings.ts"
import { makeSend, type Rows } from "./send.ts"

export const makePostgres = (sql: SqlClient.SqlClient, settings: Settings): QuotaStore.Service => {
  const { few, newId, retention } = settings
  const plans = new Plans()
  const call = makeCall({ sql, timeout: settings.timeout })
  const send = makeSend(sql, settings, plans)

  const claimsOf = (accounts: ReadonlyArray<Account>, rows: Rows, at: number) =>
    accounts.map((_, index) =>
      (rows[index]?.claims ?? []).map(
        ([hold, expiresAt, charge, state, usage, bookedAt = at, resets = 0]): ClaimRow => ({
          hold,
          expiresAt,
          charge,
          state,
          open: true,
          usage,
          bookedAt,
          resets
        })
      )
    )

  const benchOf = (
    accounts: ReadonlyArray<Account>,
    rows: Rows,
    at: number,
    claims = claimsOf(accounts, rows, at)
  ): Bench => {
    const found = accounts.map((_, index): AccountRow | null => rows[index] ?? null)
    const bench = new Bench(plans, accounts, found, { others: "ignored", now: at })
    bench.holdOnNew(claims)
    bench.add(claims)
    bench.moveTo(at)
    return bench
  }

  const told = (
    accounts: ReadonlyArray<Account>,
    answer: { readonly told?: ReadonlyArray<Told> | null; readonly at: number }
  ): ReadonlyArray<Alert> => thresholdAlerts(accounts, plans.countersOf, answer.told, answer.at)

  const namesOf = (accounts: ReadonlyArray<Account>) =>
    accounts.map(({ plan, value }) => ({ plan: textOf(plan.id), value: textOf(value) }))

  /** The rows of accounts with their claims that are due, or with all that are `open` but for the hold that is `asking`. */
  const rowsOf = (
    accounts: ReadonlyArray<Account>,
    which?: { readonly open: true; readonly asking?: string | undefined }
  ) =>
    Effect.map(send("status", { accounts: namesOf(accounts), ...which }, undefined), (answer) => ({
      rows: answer.tag === "rows" ? (answer.rows ?? []) : [],
      at: answer.at
    }))

  /**
   * A refusal as the ledger explains it from the rows that it was decided on. Where they have too few open claims for an
   * exact wait, that is asked for again with all of them; what the refusal has told and throttled stays.
   */
  const explain = (
    accounts: ReadonlyArray<Account>,
    answer: { readonly rows: Rows; readonly at: number; readonly clock: number },
    decide: (bench: Bench, at: number, clock: number) => ReturnType<Bench["ledger"]["reserve" | "extend"]>,
    asking?: string
  ): Effect.Effect<Refused, SqlError> => {
    const { at, clock, rows } = answer
    const claims = claimsOf(accounts, rows, at)
    const bench = benchOf(accounts, rows, at, claims)
    const refused = decide(bench, at, clock) as Refused
    const told = toldUntil(bench, refused, claims, few, at)
    if (at + refused.retryAfter <= told) return Effect.succeed(refused)
    // Nothing can have fitted before then.
    const atLeast = Math.max(told, refused.until, at) - at
    return rowsOf(accounts, { open: true, asking }).pipe(
      Effect.map((all) => {
        const again = decide(benchOf(accounts, all.rows, all.at), all.at, all.at - at + clock)
        if (again._tag !== "Refused") return { ...refused, retryAfter: 0 }
        return { ...again, reason: refused.reason, until: refused.until, alerts: refused.alerts }
      }),
      Effect.catch(() => Effect.succeed({ ...refused, retryAfter: atLeast }))
    )
  }

  /** With `early`, a hold that is not known is one that has not arrived yet, and must not be made when it does. */
  const end = (operation: "settle" | "release", given: Hold, actual: Usage.Usage | undefined, early = false) => {
    if (!(given instanceof SqlHold)) return Effect.succeed(foreign)
    const { accounts, id } = given
    const usage = actual === undefined ? undefined : amountsOf(actual)
    const command = { id: textOf(id), usage, retention: early ? retention : undefined }
    return call(operation, (repeated) =>
      Effect.map(send("end", command, accounts), (answer) => {
        const again = repeated || given.isUnsure
        given.isUnsure = false
        switch (answer.tag) {
          case "conflict":
            return conflict(answer.bound, answer.state)
          case "booked":
          case "repeated": {
            const reserved = usageOf(answer.reserved!)
            const repeated = answer.tag === "repeated"
            if (actual === undefined || (repeated && !again)) return booked(reserved, repeated, noAlerts)
            const alerts = overrunAlerts(accounts, reserved, actual, answer.at)
            return booked(reserved, repeated && !again, [...alerts, ...told(accounts, answer)])
          }
          default:
            return forgotten
        }
      })
    ).pipe(
      Effect.tapError((error) =>
        Effect.sync(() => {
          given.isUnsure ||= error.outcome === "unknown"
        })
      )
    )
  }

  const overrunAlerts = (
    accounts: ReadonlyArray<Account>,
    reserved: Usage.Usage,
    actual: Usage.Usage,
    at: number
  ): ReadonlyArray<Alert> => {
    const within = Usage.excess(actual, reserved)
    const rest = reserved.cachedInputTokens - actual.cachedInputTokens
    if (rest <= 0 && amountsOf(within).every((amount, index) => amount === 0 || index === 3)) return noAlerts
    const alerts: Array<Alert> = []
    const bench = new Bench(plans, accounts, [], { others: "ignored", now: at })
    overruns(openEntry(bench, amountsOf(reserved), at), actual, at, alerts)
    return alerts
  }

  return {
    reserve: (command) =>
      Effect.suspend(() => {
        const { accounts, mode, usage } = command
        const id = command.id ?? newId()
        const request = {
          id: textOf(id),
          content: contentOf(`reserve, then ${command.onExpiry}`, accounts, usage),
          usage: amountsOf(usage),
          ttl: settings.ttlOf(command.ttl),
          charge: command.onExpiry === "charge",
          booked: command.book === "now",
          mode,
          retention,
          few
        }
        const reserve = call("reserve", (again) =>
          Effect.flatMap(
            send("reserve", request, accounts),
            (answer): Effect.Effect<Hold | Refused | Conflict, SqlError> => {
              switch (answer.tag) {
                case "held":
                  return Effect.succeed(new SqlHold(id, accounts, told(accounts, answer)))
                case "known":
                  return Effect.succeed(new SqlHold(id, accounts, again ? told(accounts, answer) : noAlerts))
                case "refused":
                  return explain(accounts, answer, ({ ledger }, _, clock) =>
                    ledger.reserve({ ...command, id: undefined }, clock)
                  )
                default:
                  return Effect.succeed(otherContent(id))
              }
            }
          )
        )
        return abandon(settings.later, command, reserve, () =>
          end("release", new SqlHold(id, accounts, noAlerts), undefined, true)
        )
      }),
    extend: (given, more, step) => {
      if (!(given instanceof SqlHold)) return Effect.succeed(foreign)
      const { accounts, id } = given
      const request = { id: textOf(id), usage: amountsOf(more), step, retention, few }
      return call("extend", (again) =>
        Effect.flatMap(
          send("extend", request, accounts),
          (answer): Effect.Effect<Booked | Refused | Conflict, SqlError> => {
            switch (answer.tag) {
              case "conflict":
                return Effect.succeed(conflict(answer.bound, answer.state))
              case "booked":
              case "repeated":
                return Effect.succeed(booked(usageOf(answer.reserved!), answer.tag === "repeated" && !again, noAlerts))
              case "refused": {
                const { reserved } = answer
                return explain(
                  accounts,
                  answer,
                  (bench, at, clock) => bench.ledger.extend(openEntry(bench, reserved!, at), more, step, clock),
                  textOf(id)
                )
              }
              default:
                return Effect.succeed(forgotten)
            }
          }
        )
      )
    },
    settle: (hold, actual) => end("settle", hold, actual),
    release: (hold) => end("release", hold, undefined),
    record: (accounts, usage, given) =>
      Effect.suspend(() => {
        const id = given ?? newId()
        const content = contentOf("record", accounts, usage)
        const request = { id: textOf(id), content, usage: amountsOf(usage), retention }
        return call("record", (again) =>
          Effect.map(send("record", request, accounts), (answer) => {
            if (answer.tag === "booked") return booked(Usage.zero, false, told(accounts, answer))
            if (answer.tag !== "repeated") return otherContent(id)
            return booked(Usage.zero, !again, again ? told(accounts, answer) : noAlerts)
          })
        )
      }),
    status: (accounts) =>
      call("status", () =>
        rowsOf(accounts).pipe(
          // A quota that is new begins with what is held, so with all claims.
          Effect.flatMap((due) =>
            plans.hasNew(accounts, due.rows) ? rowsOf(accounts, { open: true }) : Effect.succeed(due)
          ),
          Effect.map(({ at, rows }) => benchOf(accounts, rows, at).ledger.status(accounts, at))
        )
      ),
    reset: (target) => {
      const request =
        "plans" in target
          ? { plans: target.plans.map(({ id }) => textOf(id)) }
          : {
              accounts: target.accounts.map(({ plan, value }) => ({
                plan: textOf(plan.id),
                value: textOf(value),
                memory: 1000
              }))
            }
      return Effect.asVoid(call("reset", () => send("reset", request, undefined)))
    }
  }
}

/** A hold as the ledger knows it that is open on all accounts, and is none of those that end by themselves. */
const openEntry = (bench: Bench, usage: Amounts, at: number): Entry => {
  const claim: ClaimRow = {
    hold: "",
    expiresAt: at,
    charge: true,
    state: "held",
    open: true,
    usage,
    bookedAt: at,
    resets: 0
  }
  const entry = entryOf(claim)
  for (const state of bench.states) entry.claims.push(new Claim(entry, state))
  entry.queued = true
  return entry
}
