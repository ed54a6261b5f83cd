import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { SqlError } from "effect/sql/SqlError"
import type { Counter } from "../../../internal/ledger/cell.ts"
import type { Account, Plan } from "../../../internal/verbs.ts"
import { type Amounts, textOf, type Told } from "../answers.ts"
import type { Settings } from "../settings.ts"
import type { CellRow, ClaimRow, Plans } from "../workbench.ts"

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

export type Rows = ReadonlyArray<Row | null>

export type Answer = { readonly at: number } & (
  | { readonly tag: "held"; readonly told?: ReadonlyArray<Told> | null }
  | { readonly tag: "known"; readonly told?: ReadonlyArray<Told> | null }
  | { readonly tag: "other" }
  | { readonly tag: "forgotten" }
  | { readonly tag: "refused"; readonly clock: number; readonly rows: Rows; readonly reserved?: Amounts }
  | { readonly tag: "conflict"; readonly bound: string; readonly state: string }
  | {
      readonly tag: "booked" | "repeated"
      readonly reserved?: Amounts
      readonly told?: ReadonlyArray<Told> | null
    }
  | { readonly tag: "rows"; readonly rows: Rows | null }
  | { readonly tag: "reset" }
)

/** A quota as the functions take it, with the amounts of its thresholds. A calendar's period is that of `now`. */
const quotaOf = (counter: Counter, key: string, now: number) => {
  const { alertAt, capacity, concurrency, drain, quota } = counter
  const common = {
    key,
    unit: quota.unit,
    free: quota.cachedInput === "free",
    capacity,
    alert_at: alertAt.map((share) => share * capacity),
    frees: !concurrency && quota.window._tag !== "Lifetime"
  }
  if (concurrency) return { ...common, kind: "now" }
  if (drain !== undefined) return { ...common, kind: "bucket", length: drain.period, refill: drain.limit }
  switch (quota.window._tag) {
    case "Sliding":
    case "Fixed":
      return { ...common, kind: "slots", length: counter.slots.length, live: counter.slots.live }
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

/** Calls the functions of the database: a command and its accounts in JSON, and what they answer. */
export const makeSend = (sql: SqlClient.SqlClient, { clock, prefix, tick }: Settings, plans: Plans) => {
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
  return (
    name: Function,
    command: { readonly [field: string]: unknown },
    accounts: ReadonlyArray<Account> | undefined
  ): Effect.Effect<Answer, SqlError> =>
    Effect.withFiber((fiber) => {
      const here = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
      const time = clock?.()
      const body = JSON.stringify({ ...command, tick, clock: time === undefined ? undefined : Math.floor(time) })
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
}
