/** `headgate status`: what is used of quotas, as their store counts it. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { QuotaStore, Subject } from "headgate"
import type { Accounts } from "./accounts.ts"
import { clock, count, millis, money, percent } from "./amounts.ts"
import { bar, section, table } from "./layout.ts"
import { writeOut } from "./output.ts"
import * as Quotas from "./quotas.ts"
import * as Store from "./store.ts"

const Counter = Schema.Struct({
  service: Schema.Literals(["budget", "rateLimiter"]),
  /** Empty for everyone. */
  subject: Schema.Record(Schema.String, Schema.String),
  quota: Schema.String,
  unit: Schema.String,
  /** Amounts of cost are nano-dollars. */
  limit: Schema.Int,
  used: Schema.Int,
  held: Schema.Int,
  remaining: Schema.Int,
  utilization: Schema.Finite,
  /** Milliseconds until nothing is used any more, if nothing else happens; `null` if time alone does not help. */
  resetAfter: Schema.NullOr(Schema.Int)
})

/** The `--json` output, and what the text is written from. */
export const StatusReport = Schema.Struct({
  store: Schema.String,
  quotasOf: Schema.String,
  /** Until when a budget refuses everything after a refusal (`autoThrottle`). */
  throttledUntil: Schema.NullOr(Schema.String),
  quotas: Schema.Array(Counter)
})

export type StatusReport = typeof StatusReport.Type

const ask = Effect.fnUntraced(function* (accounts: Accounts) {
  const store = yield* QuotaStore.QuotaStore
  const of = Effect.fnUntraced(function* (service: "budget" | "rateLimiter") {
    const { quotas, throttledUntil } = yield* store.status(accounts[service])
    const counters = quotas.map(({ name, resetAfter, ...quota }) => ({
      ...quota,
      service,
      quota: name,
      resetAfter: Number.isFinite(resetAfter) ? Math.ceil(resetAfter) : null
    }))
    return { counters, throttledUntil }
  })
  const budget = yield* of("budget")
  const rateLimiter = yield* of("rateLimiter")
  return {
    throttledUntil: budget.throttledUntil > 0 ? new Date(budget.throttledUntil).toISOString() : null,
    quotas: [...budget.counters, ...rateLimiter.counters]
  }
})

const toText = ({ quotas, quotasOf, store, throttledUntil }: StatusReport, unnamed: ReadonlyArray<string>): string => {
  const amountOf = (unit: string) => (unit === "cost" ? money : count)
  return `${[
    `headgate status: ${store}, quotas of ${quotasOf}`,
    ...(throttledUntil === null ? [] : [`  throttled until ${clock(throttledUntil, 0)} after a refusal`]),
    quotas.length === 0
      ? section("quotas", ["none"])
      : section(
          "quotas",
          table(
            [
              ["whose", "quota", "limit", "used", "held", "remaining", "of limit", "", "unused again in"],
              ...quotas.map(({ held, limit, quota, remaining, resetAfter, subject, unit, used, utilization }) => [
                Subject.format(subject),
                quota,
                ...[limit, used, held, remaining].map(amountOf(unit)),
                percent(utilization),
                bar(utilization),
                resetAfter === null ? "never by itself" : resetAfter === 0 ? "" : millis(resetAfter)
              ])
            ],
            "llrrrrrll"
          )
        ),
    ...(unnamed.length === 0
      ? []
      : [`There are quotas per ${unnamed.join(", ")} too: ${unnamed.map((name) => `--subject ${name}=…`).join(" ")}`])
  ].join("\n")}\n`
}

export const status = Command.make(
  "status",
  {
    ...Store.flags,
    ...Quotas.flags,
    json: Flag.Boolean("json").pipe(Flag.withDescription("Write the counters as JSON"), Flag.withDefault(false))
  },
  Effect.fnUntraced(
    function* ({ json, policy, prefix, store, subject }) {
      const { name, open } = yield* Store.chosen({ store, prefix })
      const quotas = yield* Quotas.load(policy)
      const subjects = yield* Quotas.subjectsOf(quotas, subject)
      const accounts = yield* quotas.accountsOf(subjects)
      const counters = yield* open(ask(accounts))
      const report: StatusReport = { store: name, quotasOf: quotas.name, ...counters }
      const unnamed = quotas.dimensions.filter((dimension) => !subjects.some((subject) => dimension in subject))
      yield* writeOut(
        json ? `${JSON.stringify(Schema.encodeSync(StatusReport)(report), null, 2)}\n` : toText(report, unnamed)
      )
    },
    Effect.scoped,
    Store.explained
  )
).pipe(
  Command.withDescription(
    "Shows what is used and held of quotas in a store, what remains, and when it is unused again"
  ),
  Command.withExamples([
    { command: "headgate status --store redis://localhost:6379", description: "The quotas of the environment" },
    {
      command: "headgate status --store sqlite:app.db --policy policy.json --subject user=42 --json",
      description: "Those of a policy, for everyone and user 42, as data"
    }
  ])
)
