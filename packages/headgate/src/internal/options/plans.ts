import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Money from "../../Money.ts"
import type * as Quota from "../../Quota.ts"
import type { Subject } from "../../Subject.ts"
import type { Account, Plan } from "../verbs.ts"

/** A limit on a single call, asked before any store. */
export interface PerRequest {
  readonly name: string
  readonly unit: "tokens" | "cost"
  readonly limit: number
}

/** What a service has for one dimension, or for everyone. */
export interface Rule {
  readonly plan: Plan
  readonly perRequest: ReadonlyArray<PerRequest>
}

/** Options that can be said for everyone, per value of a dimension, and for single values. */
export interface Layered<Limits> {
  readonly per?: { readonly [dimension: string]: Limits } | undefined
  readonly overrides?: { readonly [dimension: string]: { readonly [value: string]: Limits } } | undefined
}

/** The rules of a service, and which of them concern a subject. */
export interface Rules {
  readonly plans: ReadonlyArray<Plan>
  readonly accountsOf: (subject: Subject) => ReadonlyArray<Account>
  readonly perRequestOf: (subject: Subject) => ReadonlyArray<PerRequest>
  /** Whether the subject has a dimension of its own here. */
  readonly ownAccountsOf: (subject: Subject) => ReadonlyArray<Account>
}

/**
 * Makes the rules of a service. A value's override stands in for the options of its dimension where it names them.
 */
export const makeRules = <Limits extends object>(
  options: Limits & Layered<Limits>,
  makeRule: (limits: Limits, label: string, dimension: string | undefined) => Rule
): Rules => {
  const { overrides = {}, per = {}, ...limits } = options
  const root = makeRule(limits as Limits, "", undefined)
  const dimensions = [...new Set([...Object.keys(per), ...Object.keys(overrides)])].map((dimension) => {
    const shared = per[dimension] ?? ({} as Limits)
    const rule = makeRule(shared, `per.${dimension}.`, dimension)
    const values = new Map(
      Object.entries(overrides[dimension] ?? {}).map(
        ([value, own]) =>
          [value, makeRule({ ...shared, ...own }, `overrides.${dimension}.${value}.`, dimension)] as const
      )
    )
    return { dimension, ruleOf: (value: string) => values.get(value) ?? rule, rules: [rule, ...values.values()] }
  })
  const rules = [root, ...dimensions.flatMap(({ rules }) => rules)]
  const isPerRequest = rules.some(({ perRequest }) => perRequest.length > 0)
  const ownRulesOf = (subject: Subject): ReadonlyArray<Rule> =>
    dimensions.flatMap(({ dimension, ruleOf }) => {
      const value = valueIn(subject, dimension)
      return value === undefined ? [] : [ruleOf(value)]
    })
  const sources = [{ dimension: undefined, ruleOf: () => root }, ...dimensions].filter(
    (source) => source.dimension !== undefined || root.plan.quotas.length > 0
  )
  const accountsOf = (subject: Subject): ReadonlyArray<Account> => {
    // On the way of each call, so it makes no more than what it gives.
    const accounts = sources.map(({ dimension, ruleOf }) => {
      const value = dimension === undefined ? "" : valueIn(subject, dimension)
      return value === undefined ? undefined : accountIn(ruleOf(value), value)
    })
    return accounts.includes(undefined)
      ? accounts.filter((account) => account !== undefined)
      : (accounts as Array<Account>)
  }
  const everyone = accountsOf({})
  return {
    plans: rules.map(({ plan }) => plan).filter((plan) => plan.quotas.length > 0),
    accountsOf: dimensions.length === 0 ? () => everyone : accountsOf,
    perRequestOf:
      dimensions.length === 0 || !isPerRequest
        ? () => root.perRequest
        : (subject) => [root, ...ownRulesOf(subject)].flatMap(({ perRequest }) => perRequest),
    ownAccountsOf: (subject) => accountsOf(subject).filter(({ plan }) => plan.dimension !== undefined)
  }
}

const valueIn = (subject: Subject, dimension: string): string | undefined =>
  Object.hasOwn(subject, dimension) ? subject[dimension] : undefined

const accountIn = ({ plan }: Rule, value: string): Account | undefined =>
  plan.quotas.length === 0 ? undefined : { plan, value }

/** The limit of an option as a whole number, or a `RangeError` that names it. */
export const limitOf = (label: string, unit: Quota.Quota["unit"], limit: number | Money.Input): number => {
  const whole = typeof limit === "string" && unit !== "cost" ? undefined : Money.fromInput(limit as Money.Input)
  if (whole !== undefined) return whole
  const bound = unit === "cost" ? "money from $0 to $9007199" : "a whole number from 0 to 2^53 - 1"
  throw new RangeError(`${label} must be ${bound}, got ${String(limit).slice(0, 64)}`)
}

/** Shares of a limit, or a `RangeError` that names the option. */
export const sharesOf = (label: string, shares: number | ReadonlyArray<number>): ReadonlyArray<number> => {
  const list = [shares].flat()
  const wrong = list.findIndex((share) => typeof share !== "number" || !(share > 0 && share <= 1))
  if (wrong < 0) return list
  throw new RangeError(`${label} must be above 0 and at most 1, got ${String(list[wrong]).slice(0, 64)}`)
}

/** Gives each quota of a plan a name of its own. */
export const named = (quotas: ReadonlyArray<Quota.Quota>): ReadonlyArray<Quota.Quota> => {
  const seen = new Map<string, number>()
  return quotas.map((quota) => {
    const times = (seen.get(quota.name) ?? 0) + 1
    seen.set(quota.name, times)
    return times === 1 ? quota : { ...quota, name: `${quota.name} (${times})` }
  })
}

/** A choice of an option, or a `RangeError` that names it. */
export const oneOf = <A extends string>(label: string, allowed: ReadonlyArray<A>, value: A): A => {
  if (allowed.includes(value)) return value
  throw new RangeError(`${label} must be ${allowed.map((text) => `"${text}"`).join(" or ")}, got ${String(value)}`)
}

/** A duration option in whole milliseconds, from 1 to ten years, or a `RangeError` that names it. */
export const millisOf = (label: string, input: Duration.Input): number => {
  const millis = Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })
  if (millis >= 1 && millis <= 315_360_000_000) return Math.ceil(millis)
  throw new RangeError(`${label} must be a duration of 1 millisecond to 3650 days, got ${String(input)}`)
}
