/** Whose counters a command is about: the quotas of a policy or of the environment, and the subjects that are named. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Flag from "effect/cli/Flag"
import { Alerts, Budget, QuotaStore, RateLimiter, type Subject } from "headgate"
import { type Accounts, observe } from "./accounts.ts"
import { UsageError } from "./errors.ts"
import * as Policy from "./Policy.ts"

export const flags = {
  policy: Flag.String("policy").pipe(
    Flag.withDescription(
      `The quotas: a policy file, or one of ${Policy.names.join(", ")}. Default: those of HEADGATE_BUDGET_… and ` +
        "HEADGATE_RATE_LIMITER_…, as the …Live layers have them"
    ),
    Flag.withMetavar("FILE|NAME"),
    Flag.optional
  ),
  subject: Flag.String("subject").pipe(
    Flag.withDescription("Whose quotas, beside those of everyone: user=42. May be given several times"),
    Flag.withMetavar("DIMENSION=VALUE"),
    Flag.atLeast(0)
  )
}

export interface Quotas {
  /** For people: where they come from. */
  readonly name: string
  /** Of each service, the dimensions whose values have quotas of their own. */
  readonly dimensions: ReadonlyArray<string>
  /** The accounts of everyone, and of these subjects. */
  readonly accountsOf: (subjects: ReadonlyArray<Subject.Subject>) => Effect.Effect<Accounts>
  /** All plans, for everybody. */
  readonly plans: Effect.Effect<ReadonlyArray<QuotaStore.Plan>>
}

type Options = Pick<Budget.Options | RateLimiter.Options, "per" | "overrides">

/** One subject for each way in which a dimension's values can have quotas: as all others, or by an override. */
const kinds = ({ overrides = {}, per = {} }: Options): ReadonlyArray<Subject.Subject> =>
  [...new Set([...Object.keys(per), ...Object.keys(overrides)])].flatMap((dimension) => {
    const special = Object.keys(overrides[dimension] ?? {})
    let other = "other"
    while (special.includes(other)) other += "?"
    return [other, ...special].map((value) => ({ [dimension]: value }))
  })

const makeQuotas = Effect.fnUntraced(function* (
  name: string,
  budget: Budget.Options,
  rateLimiter: RateLimiter.Options
) {
  const { accountsOf, store } = observe(yield* QuotaStore.makeMemory)
  const context = yield* Layer.build(
    Layer.merge(Budget.layer(budget), RateLimiter.layer(rateLimiter)).pipe(
      Layer.provide(Layer.merge(Layer.succeed(QuotaStore.QuotaStore)(store), Alerts.layer))
    )
  )
  const all = [...kinds(budget), ...kinds(rateLimiter)]
  const asked = (subjects: ReadonlyArray<Subject.Subject>) =>
    Effect.provideContext(accountsOf([{}, ...subjects]), context)
  return {
    name,
    dimensions: [...new Set(all.flatMap(Object.keys))],
    accountsOf: asked,
    plans: Effect.map(asked(all), ({ budget, rateLimiter }) => [
      ...new Set([...budget, ...rateLimiter].map(({ plan }) => plan))
    ])
  } satisfies Quotas
})

/** The quotas of a policy, or where none is named those that the environment's layers have. */
export const load = Effect.fnUntraced(function* (policy: Option.Option<string>) {
  if (Option.isNone(policy)) {
    return yield* makeQuotas("the environment", yield* Budget.config, yield* RateLimiter.config)
  }
  const { budget, name, rateLimiter } = yield* Policy.load(policy.value)
  return yield* makeQuotas(`policy ${name}`, budget, rateLimiter)
})

/** Reads `user=42`, for quotas that there are. */
export const subjectsOf = (
  { dimensions, name }: Quotas,
  texts: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Subject.Subject>, UsageError> =>
  Effect.forEach(texts, (text) => Effect.fromResult(subjectOf(dimensions, name, text)))

const subjectOf = (
  dimensions: ReadonlyArray<string>,
  name: string,
  text: string
): Result.Result<Subject.Subject, UsageError> => {
  const at = text.indexOf("=")
  const [dimension, value] = [text.slice(0, Math.max(0, at)), text.slice(at + 1)]
  const wrong = (reason: string) => Result.fail(new UsageError({ message: `--subject ${reason}` }))
  if (at < 1 || value === "" || value.length > 256 || value === "__proto__") {
    return wrong(
      `must be DIMENSION=VALUE with a value of 1 to 256 characters, got ${JSON.stringify(text.slice(0, 64))}`
    )
  }
  if (!dimensions.includes(dimension)) {
    const known = dimensions.length === 0 ? "there are none per subject" : `there are some per ${dimensions.join(", ")}`
    return wrong(`${dimension}: ${name} has no quotas per ${dimension}; ${known}`)
  }
  return Result.succeed({ [dimension]: value })
}
