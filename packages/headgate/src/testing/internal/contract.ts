import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Schema from "effect/Schema"
import type { StoreError } from "../../Errors.ts"
import type * as Money from "../../Money.ts"
import * as Quota from "../../Quota.ts"
import * as QuotaStore from "../../QuotaStore.ts"
import * as Usage from "../../Usage.ts"

export type Advance = (duration: Duration.Input) => Effect.Effect<void>

export class Violation extends Schema.TaggedError<Violation>("headgate/testing/Violation")("Violation", {
  law: Schema.String,
  expected: Schema.Unknown,
  actual: Schema.Unknown
}) {
  override get message(): string {
    return `${this.law}: expected ${show(this.expected)}, got ${show(this.actual)}`
  }
}

const show = (value: unknown): string =>
  JSON.stringify(value, (_, part) => (typeof part === "number" && !Number.isFinite(part) ? String(part) : part)) ??
  "nothing"

export interface ContractTest {
  readonly name: string
  readonly effect: Effect.Effect<void, Violation | StoreError, QuotaStore.QuotaStore>
}

/** Fails unless both are equal by structure. */
export const same = (law: string, actual: unknown, expected: unknown): Effect.Effect<void, Violation> =>
  Equal.equals(actual, expected) ? Effect.void : Effect.fail(new Violation({ law, expected, actual }))

/** Fails unless the fields that `expected` has are equal. */
export const matches = (
  law: string,
  actual: object,
  expected: { readonly [field: string]: unknown }
): Effect.Effect<void, Violation> => {
  const fields = new Map(Object.entries(actual))
  return same(law, Object.fromEntries(Object.keys(expected).map((field) => [field, fields.get(field)])), expected)
}

export const usage = (input: Partial<Omit<Usage.Usage, "cost">> & { readonly cost?: number }): Usage.Usage => ({
  ...Usage.zero,
  requests: 1,
  ...input,
  cost: (input.cost ?? 0) as Money.Money
})

export const tokens = (amount: number): Usage.Usage => usage({ tokens: amount })

export interface PlanOptions {
  readonly throttle?: number
  readonly dimension?: string
}

export const plan = (id: string, quotas: ReadonlyArray<Quota.Input>, options?: PlanOptions): QuotaStore.Plan => ({
  id,
  dimension: options?.dimension,
  quotas: quotas.map(Quota.make),
  throttle: options?.throttle ?? 0,
  alerts: "all"
})

export const account = (plan: QuotaStore.Plan, value = ""): QuotaStore.Account => ({ plan, value })

/** The port in the words of the tests: defaults filled in, and an answer of another kind is a violation. */
export const makeTool = Effect.map(QuotaStore.QuotaStore, (store) => {
  const ask = (
    accounts: ReadonlyArray<QuotaStore.Account>,
    usage: Usage.Usage,
    options?: Partial<QuotaStore.Reserve>
  ) =>
    store.reserve({
      accounts,
      usage,
      ttl: 60_000,
      onExpiry: "charge",
      book: "onSettle",
      mode: "enforce",
      id: undefined,
      ...options
    })

  const wrong = (law: string, expected: string, actual: unknown) =>
    Effect.fail(new Violation({ law, expected, actual }))

  return {
    store,
    ask,
    admitted: (law: string, ...command: Parameters<typeof ask>) =>
      Effect.flatMap(ask(...command), (answer) =>
        answer._tag === "Hold" ? Effect.succeed(answer) : wrong(law, "a hold", answer)
      ),
    refused: (law: string, ...command: Parameters<typeof ask>) =>
      Effect.flatMap(ask(...command), (answer) =>
        answer._tag === "Refused" ? Effect.succeed(answer) : wrong(law, "a refusal", answer._tag)
      ),
    /** Name, used and held of each quota. */
    counters: (accounts: ReadonlyArray<QuotaStore.Account>) =>
      Effect.map(store.status(accounts), ({ quotas }) => quotas.map(({ held, name, used }) => [name, used, held]))
  }
})
