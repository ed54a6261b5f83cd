/**
 * Money as whole nano-US-dollars: `$1` is `1_000_000_000`. A `Money` is a non-negative safe integer, so sums and
 * comparisons are exact, and one counter can hold up to $9,007,199.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"

/**
 * Whole nano-US-dollars.
 *
 * @category models
 * @since 0.1.0
 */
export type Money = number & Brand.Brand<"Money">

/**
 * What is accepted where money is asked for: a `Money`, or dollars as text such as `"$2.50"`.
 *
 * @category models
 * @since 0.1.0
 */
export type Input = Money | `$${number}`

/**
 * The schema of `Money`: an integer from 0 to 2^53 - 1.
 *
 * **Example** (Checking a number)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Money } from "headgate"
 *
 * Schema.is(Money.Money)(2_500_000_000) // => true
 * Schema.is(Money.Money)(-1) // => false
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Money = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })).pipe(
  Schema.brand("Money")
)

/**
 * No money.
 *
 * @category constructors
 * @since 0.1.0
 */
export const zero: Money = 0 as Money

const decimal = /^(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/

/** Dollars written in decimal digits as nano-dollars, rounded up; `NaN` when they are not an amount of money. */
const parse = (digits: string): number => {
  const match = digits.length > 64 ? null : decimal.exec(digits)
  if (match === null) return NaN
  const fraction = match[2] ?? ""
  const shift = 9 - fraction.length + Number(match[3] ?? 0)
  const significand = BigInt(match[1] + fraction)
  if (significand === BigInt(0)) return 0
  if (shift > 32) return NaN
  if (shift < -400) return 1
  const scale = BigInt(10) ** BigInt(Math.abs(shift))
  const nanos = shift >= 0 ? significand * scale : (significand + scale - BigInt(1)) / scale
  return nanos > BigInt(Number.MAX_SAFE_INTEGER) ? NaN : Number(nanos)
}

/**
 * `input` as whole nano-dollars, or `undefined` when it is not an amount of money from $0 to $9,007,199.
 *
 * **Example** (Reading an amount)
 *
 * ```ts
 * import { Money } from "headgate"
 *
 * Money.fromInput("$2.50") // => 2_500_000_000
 * Money.fromInput("$-1") // => undefined
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromInput = (input: Input): Money | undefined => {
  const nanos =
    typeof input === "number" ? input : typeof input === "string" && input.startsWith("$") ? parse(input.slice(1)) : NaN
  return Number.isSafeInteger(nanos) && nanos >= 0 ? (nanos as Money) : undefined
}

/**
 * As `fromInput`, but throws a `RangeError` when the input is not an amount of money.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromInputUnsafe = (input: Input): Money => {
  const money = fromInput(input)
  if (money === undefined) {
    throw new RangeError(
      `Money: expected "$" and decimal digits up to $9007199, or whole nano-dollars, got ${String(input).slice(0, 64)}`
    )
  }
  return money
}

/**
 * Makes `Money` of dollars. The decimal digits of the number are taken as written, and a part below a nano-dollar
 * rounds up. Throws a `RangeError` for NaN, negative and too large amounts.
 *
 * **Example** (Dollars)
 *
 * ```ts
 * import { Money } from "headgate"
 *
 * Money.usd(2.5) // => 2_500_000_000
 * Money.usd(0.07) // => 70_000_000
 * Money.usd(0.0000000001) // => 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const usd = (dollars: number): Money => {
  const nanos = parse(String(dollars))
  if (Number.isNaN(nanos)) throw new RangeError(`Money.usd: dollars must be between 0 and 9007199, got ${dollars}`)
  return nanos as Money
}

/**
 * The amount in dollars, as a floating point number: for display and for JSON, not for sums.
 *
 * **Example** (Dollars again)
 *
 * ```ts
 * import { Money } from "headgate"
 *
 * Money.toUsd(Money.usd(2.5)) // => 2.5
 * ```
 *
 * @category converting
 * @since 0.1.0
 */
export const toUsd = (self: Money): number => self / 1_000_000_000

/**
 * Writes the amount exactly, with at least two decimals. `Money.fromInput` reads it back.
 *
 * **Example** (Formatting)
 *
 * ```ts
 * import { Money } from "headgate"
 *
 * Money.format(Money.usd(2.5)) // => "$2.50"
 * Money.format(Money.usd(0.00042)) // => "$0.00042"
 * ```
 *
 * @category converting
 * @since 0.1.0
 */
export const format = (self: Money): `$${number}` => {
  const digits = String(self).padStart(10, "0")
  const fraction = digits.slice(-9).replace(/0+$/, "").padEnd(2, "0")
  return `$${digits.slice(0, -9)}.${fraction}` as `$${number}`
}

const decodeWith = <A>(read: (input: A) => number | undefined) =>
  SchemaGetter.transformEffect<number, A>((input, options) => {
    const nanos = read(input)
    return nanos === undefined || Number.isNaN(nanos)
      ? Effect.fail(
          new SchemaIssue.InvalidValue({ message: `Expected "$" and an amount from 0 to 9007199` }, input, options)
        )
      : Effect.succeed(nanos)
  })

/**
 * `Money` written as text, `"$2.50"`: the form used in policy files and in the environment.
 *
 * **Example** (Decoding text)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Money } from "headgate"
 *
 * Schema.decodeSync(Money.FromString)("$10") // => 10_000_000_000
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const FromString = Schema.String.pipe(
  Schema.decodeTo(Money, {
    decode: decodeWith((text: string) => fromInput(text as Input)),
    encode: SchemaGetter.transform((money: number) => format(money as Money) as string)
  })
)

/**
 * `Money` written as a number of dollars: the form of the Go package's JSON.
 *
 * **Example** (Decoding dollars)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Money } from "headgate"
 *
 * Schema.decodeSync(Money.FromUsd)(0.000125) // => 125_000
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const FromUsd = Schema.Finite.pipe(
  Schema.decodeTo(Money, {
    decode: decodeWith((dollars: number) => parse(String(dollars))),
    encode: SchemaGetter.transform((money: number) => toUsd(money as Money))
  })
)
