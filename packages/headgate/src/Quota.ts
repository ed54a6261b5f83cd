/**
 * A unit, a limit and a window as one value.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Money from "./Money.ts"
import * as Window from "./Window.ts"

/**
 * The units a quota can count in: money is `cost`, in nano-dollars; `concurrency` counts calls under way.
 *
 * @category models
 * @since 0.1.0
 */
export const Unit = Schema.Literals(["requests", "tokens", "inputTokens", "outputTokens", "cost", "concurrency"])

/**
 * @category models
 * @since 0.1.0
 */
export type Unit = typeof Unit.Type

const Share = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))

/**
 * The schema of `Quota`. `limit` is a whole number; for `cost` it is in nano-dollars.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Quota = Schema.Struct({
  name: Schema.NonEmptyString,
  unit: Unit,
  limit: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  window: Window.Window,
  alertAt: Schema.Array(Share),
  cachedInput: Schema.Literals(["counted", "free"])
})

/**
 * A unit, a limit and a window, named. A limit of 0 denies everything.
 *
 * @category models
 * @since 0.1.0
 */
export type Quota = typeof Quota.Type

/**
 * How a quota is written down.
 *
 * - `limit`: a whole number, or for `cost` money such as `"$10"`; at most 2^53 - 1 ($9,007,199).
 * - `window`: needed for every unit but `concurrency`, which has none.
 * - `name`: how errors, alerts and status call it; unit and window unless given.
 * - `alertAt`: shares of the limit, above 0 and up to 1, at which an alert is published; the service's unless given.
 * - `cachedInput`: whether cached input tokens count in `tokens` and `inputTokens` (default `"counted"`).
 *
 * @category models
 * @since 0.1.0
 */
export interface Input {
  readonly unit: Unit
  readonly limit: number | Money.Input
  readonly window?: Window.Window | undefined
  readonly name?: string | undefined
  readonly alertAt?: number | ReadonlyArray<number> | undefined
  readonly cachedInput?: "counted" | "free" | undefined
}

const reject = (option: string, bound: string, value: unknown): never => {
  throw new RangeError(`Quota.make: ${option} must be ${bound}, got ${String(value).slice(0, 64)}`)
}

/**
 * Makes a quota. Throws a `RangeError` that names the option, the bound and the value.
 *
 * **Example** (A day's money)
 *
 * ```ts
 * import { Quota, Window } from "headgate"
 *
 * const quota = Quota.make({ unit: "cost", limit: "$1000", window: Window.calendar("day"), alertAt: [0.5, 0.8] })
 * quota.limit // => 1_000_000_000_000
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (input: Input): Quota => {
  const { unit } = input
  if (!Unit.literals.includes(unit)) reject("unit", `one of ${Unit.literals.join(", ")}`, unit)
  const limit =
    Money.fromInput(input.limit as Money.Input) ??
    reject("limit", unit === "cost" ? "money from $0 to $9007199" : "a whole number from 0 to 2^53 - 1", input.limit)
  if (typeof input.limit === "string" && unit !== "cost") reject("limit", `a number of ${unit}`, input.limit)
  const window =
    input.window ??
    (unit === "concurrency" ? Window.lifetime : reject("window", `given for the unit ${unit}`, undefined))
  if (unit === "concurrency" && window._tag !== "Lifetime") reject("window", "absent for concurrency", window._tag)
  if (!Schema.is(Window.Window)(window)) reject("window", "made by a constructor of Window", JSON.stringify(window))
  const alertAt = [input.alertAt ?? []].flat().toSorted((a, b) => a - b)
  const wrong = alertAt.find((share) => !Schema.is(Share)(share))
  if (wrong !== undefined || alertAt.includes(NaN)) reject("alertAt", "above 0 and at most 1", wrong)
  const cachedInput = input.cachedInput ?? "counted"
  if (cachedInput !== "counted" && cachedInput !== "free") reject("cachedInput", `"counted" or "free"`, cachedInput)
  const name = input.name ?? (unit === "concurrency" ? unit : `${unit} ${Window.format(window)}`)
  if (name === "" || name.length > 256) reject("name", "1 to 256 characters", name)
  return { name, unit, limit, window, alertAt, cachedInput }
}
