import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { SqlError } from "effect/sql/SqlError"
import { overruns } from "../../../internal/alarms.ts"
import { Claim } from "../../../internal/accounts.ts"
import type { Counter } from "../../../internal/cell.ts"
import type { Account, Hold, Plan, Refused, Reserve } from "../../../internal/verbs.ts"
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
import { type AccountRow, Bench, type CellRow, type ClaimRow, entryOf, Plans } from "../workbench.ts"
import { makeCall } from "../call.ts"
import type { Settings } from "../settings.ts"

/** What a row of an account is in JSON. */
interface Row {
  readonly cells: ReadonlyArray<CellRow>
  readonly throttled: number
  readonly resets: number
  readonly claims: ReadonlyArray<
    readonly [
      hold: string,
      expiresAt: number,
      charge: boolean,
      state: ClaimRow["state"],
      usage: Amounts,
      bookedAt?: number,
      resets?: number
    ]
  >
}

type Rows = ReadonlyArray<Row | null>

type Answer = { readonly at: number } & (
  | { readonly tag: "held"; readonly told?: ReadonlyArray<Told> | null }
  | { readonly tag: "known"; readonly told?: ReadonlyArray<Told> | null }
  | { readonly tag: "other" }
  | { readonly tag: "forgotten" }
  | { readonly tag: "refused"; readonly rows: Rows; readonly reserved?: Amounts }
  | { readonly tag: "conflict"; readonly bound: string; readonly state: string }
  | {
      readonly tag: "booked" | "repeated"
      readonly reserved?: Amounts
      readonly told?: ReadonlyArray<Told> | null
    }
  | { readonly tag: "rows"; readonly rows: Rows | null }
  | { readonly tag: "reset" }
)

/** A quota as the functions take it. A calendar's period is that of `now`. */
const quotaOf = (counter: Counter, key: string, now: number) => {
  const { alertAt, capacity, concurrency, drain, quota } = counter
  const common = {
    key,
    unit: quota.unit,
    free: quota.cachedInput === "free",
    capacity,
    alert_at: alertAt,
    frees: !concurrency && quota.window._tag !== "Lifetime"
  }
  if (concurrency) return { ...common, kind: "now" }
  if (drain !== undefined) return { ...common, kind: "bucket", length: drain.period, refill: drain.limit }
  switch (quota.window._tag) {
    case "Sliding":
    case "Fixed": {
      const slot = counter.slots.slotAt(now)
      const length = counter.slots.endOf(slot) - counter.slots.endOf(slot - 1)
      return { ...common, kind: "slots", length, live: counter.slots.live }
    }
    case "Calendar": {
      const start = counter.slots.slotAt(now)
      return { ...common, kind: "calendar", start, until: counter.slots.endOf(start) }
    }
    default:
      return { ...common, kind: "ever" }
  }
}

/** The time that a function gave when a calendar's period was not that of its own time. */
const calendarTime = (error: unknown): number | undefined => {
  if (!(error instanceof SqlError)) return undefined
  const cause: unknown = error.reason.cause
  if (typeof cause !== "object" || cause === null || Reflect.get(cause, "code") !== "HG001") return undefined
  return Number(Reflect.get(cause, "detail"))
}

export const makePostgres = (sql: SqlClient.SqlClient, settings: Settings): QuotaStore.Service => {
  const { clock, newId, prefix, retention } = settings
  const plans = new Plans()
  const call = makeCall({ sql, timeout: settings.timeout })
  /** How far the server's clock is from this process's, for guessing in which period of a calendar a call falls. */
  let skew = 0

  const bodies = new WeakMap<Plan, { readonly until: number; readonly from: number; readonly body: string }>()

  /** A plan as the functions take it, which changes only with the periods of its calendars. */
  const planJson = (plan: Plan, now: number): string => {
    const known = bodies.get(plan)
    if (known !== undefined && known.from <= now && now < known.until) return known.body
    const { book, keys } = plans.prepare(plan)
    const quotas = book.counters.map((counter, index) => quotaOf(counter, keys[index]!, now))
    let from = -Infinity
    let until = Infinity
    for (const quota of quotas) {
      if (!("until" in quota)) continue
      from = Math.max(from, quota.start)
      until = Math.min(until, quota.until)
    }
    const memory = plans.memoryOf(plan)
    const body = JSON.stringify({
      plan: textOf(plan.id),
      throttle: Math.ceil(plan.throttle),
      memory: Number.isFinite(memory) ? Math.ceil(memory) : null,
      loud: plan.alerts === "all",
      quotas
    })
    bodies.set(plan, { from, until, body })
    return body
  }

  const accountsJson = (accounts: ReadonlyArray<Account>, now: number): string =>
    `[${accounts
      .map(({ plan, value }) => `${planJson(plan, now).slice(0, -1)},"value":${JSON.stringify(textOf(value))}}`)
      .join()}]`

  const names = { reserve: "", extend: "", end: "", record: "", reset: "", status: "" }
  type Function = keyof typeof names
  const statements = Object.fromEntries(
    Object.keys(names).map((name) => [name, `SELECT ${prefix}_${name}($1::jsonb) AS answer`])
  ) as Record<Function, string>

  /** Calls a function, with the accounts' quotas as they are at the store's time. */
  const send = (
    name: Function,
    command: { readonly [field: string]: unknown },
    accounts: ReadonlyArray<Account> | undefined
  ): Effect.Effect<Answer, SqlError> =>
    Effect.withFiber((fiber) => {
      const here = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
      const time = clock?.()
      const body = JSON.stringify(time === undefined ? command : { ...command, clock: Math.floor(time) })
      const ask = (now: number): Effect.Effect<Answer, SqlError> => {
        const json = accounts === undefined ? body : `${body.slice(0, -1)},"accounts":${accountsJson(accounts, now)}}`
        return Effect.matchEffect(sql.unsafe<{ readonly answer: Answer }>(statements[name], [json]), {
          onSuccess: ([row]) => {
            const { answer } = row!
            if (answer.at !== undefined) skew = answer.at - here
            return Effect.succeed(answer)
          },
          onFailure: (error) => {
            const at = calendarTime(error)
            return at === undefined ? Effect.fail(error) : ask(at)
          }
        })
      }
      return ask(time ?? here + skew)
    })

  const benchOf = (accounts: ReadonlyArray<Account>, rows: Rows, at: number): Bench => {
    const found = accounts.map((_, index): AccountRow | null => {
      const row = rows[index]
      return row ?? null
    })
    const bench = new Bench(plans, accounts, found, { others: "ignored" })
    bench.add(
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
    )
    return bench
  }

  const told = (
    accounts: ReadonlyArray<Account>,
    answer: { readonly told?: ReadonlyArray<Told> | null; readonly at: number }
  ): ReadonlyArray<Alert> => thresholdAlerts(accounts, plans.countersOf, answer.told, answer.at)

  /** A refusal as the ledger explains it from the rows that it was decided on. */
  const refusal = (command: Reserve, answer: { readonly rows: Rows; readonly at: number }): Refused => {
    const bench = benchOf(command.accounts, answer.rows, answer.at)
    const refused = bench.ledger.reserve({ ...command, id: undefined }, answer.at)
    return refused as Refused
  }

  const end = (operation: "settle" | "release", given: Hold, actual: Usage.Usage | undefined) => {
    if (!(given instanceof SqlHold)) return Effect.succeed(foreign)
    const { accounts, id } = given
    const command = { id: textOf(id), usage: actual === undefined ? undefined : amountsOf(actual) }
    return call(operation, (again) =>
      Effect.map(send("end", command, accounts), (answer) => {
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
    const bench = new Bench(plans, accounts, [], { others: "ignored" })
    const entry = entryOf({
      hold: "",
      expiresAt: at,
      charge: true,
      state: "held",
      open: true,
      usage: amountsOf(reserved),
      bookedAt: at,
      resets: 0
    })
    for (const state of bench.states) entry.claims.push(new Claim(entry, state))
    overruns(entry, actual, at, alerts)
    return alerts
  }

  return {
    reserve: (command) =>
      Effect.suspend(() => {
        const { accounts, mode, usage } = command
        const id = command.id ?? newId()
        const concurrent = accounts.some((account) => plans.countersOf(account).some((counter) => counter.concurrency))
        const request = {
          id: textOf(id),
          content: contentOf(`reserve, then ${command.onExpiry}`, accounts, usage),
          usage: amountsOf(usage),
          ttl: settings.ttlOf(command.ttl),
          charge: command.onExpiry === "charge",
          booked: command.book === "now",
          queued: command.book === "onSettle" || concurrent,
          mode,
          retention
        }
        return call("reserve", (again) =>
          Effect.map(send("reserve", request, accounts), (answer) => {
            switch (answer.tag) {
              case "held":
                return new SqlHold(id, accounts, told(accounts, answer))
              case "known":
                return new SqlHold(id, accounts, again ? told(accounts, answer) : noAlerts)
              case "refused":
                return refusal(command, answer)
              default:
                return otherContent(id)
            }
          })
        )
      }),
    extend: (given, more, step) => {
      if (!(given instanceof SqlHold)) return Effect.succeed(foreign)
      const { accounts, id } = given
      const request = { id: textOf(id), usage: amountsOf(more), step, retention }
      return call("extend", (again) =>
        Effect.map(send("extend", request, accounts), (answer) => {
          switch (answer.tag) {
            case "conflict":
              return conflict(answer.bound, answer.state)
            case "booked":
            case "repeated":
              return booked(usageOf(answer.reserved!), answer.tag === "repeated" && !again, noAlerts)
            case "refused": {
              const bench = benchOf(accounts, answer.rows, answer.at)
              const own = [...bench.ledger["holds"]].find((entry) => entry.id === textOf(id))!
              own.usage = usageOf(answer.reserved!)
              own.extensions = step
              return bench.ledger.extend(own, more, step, answer.at) as Refused
            }
            default:
              return forgotten
          }
        })
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
    status: (accounts) => {
      const request = { accounts: accounts.map(({ plan, value }) => ({ plan: textOf(plan.id), value: textOf(value) })) }
      return call("status", () =>
        Effect.map(send("status", request, undefined), (answer) => {
          const rows = answer.tag === "rows" ? (answer.rows ?? []) : []
          return benchOf(accounts, rows, answer.at).ledger.status(accounts, answer.at)
        })
      )
    },
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
