/** A count or a span as a header says it. `undefined` for signs, exponents, blanks and the like. */
export const decimalOf = (text: string): number | undefined =>
  /^\s*\d{1,15}(\.\d{1,15})?\s*$/.test(text) ? Number(text) : undefined

/** A span no clock can hold is none. */
const usable = (millis: number): number | undefined =>
  millis >= 0 && millis <= Number.MAX_SAFE_INTEGER ? millis : undefined

/** The three forms of RFC 9110, 5.6.7: all begin with the day of the week and hold a time. */
const httpDate = /^(mon|tue|wed|thu|fri|sat|sun)[a-z]*,? [\w :-]*\d\d:\d\d:\d\d[\w ]*$/i

const rfc3339 = /^\d{4}-\d\d-\d\dt\d\d:\d\d:\d\d(\.\d+)?(z|[+-]\d\d:\d\d)$/i

/** A date as in HTTP or as in RFC 3339, in milliseconds since 1970. */
const dateOf = (text: string): number | undefined => {
  // All HTTP dates are in GMT; the asctime form does not say so.
  const date = httpDate.test(text)
    ? Date.parse(/gmt$/i.test(text) ? text : `${text} GMT`)
    : rfc3339.test(text)
      ? Date.parse(text.toUpperCase())
      : NaN
  return Number.isNaN(date) ? undefined : date
}

/** The time by the clock of who replied, whose dates are by it too; by ours where the reply does not tell. */
export const clockOf = (headers: ReadonlyMap<string, string>, now: number): number =>
  dateOf(headers.get("date")?.trim() ?? "") ?? now

const millisIn: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000
}

const spanPart = /(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h|d)/y

/** A span as Go prints it: `6m0s`, `1m30.5s`, `20ms`. */
const goSpan = (text: string): number | undefined => {
  let millis = 0
  spanPart.lastIndex = 0
  while (spanPart.lastIndex < text.length) {
    const part = spanPart.exec(text)
    if (part === null) return undefined
    millis += Number(part[1]) * millisIn[part[2]!]!
  }
  return text === "" ? undefined : usable(millis)
}

/** A number of seconds, or a span. */
const spanText = (text: string): number | undefined => {
  const seconds = decimalOf(text)
  return seconds === undefined ? goSpan(text) : usable(seconds * 1000)
}

/** The value of `retry-after` in milliseconds: seconds, a date, or a span. A date that is past asks for nothing. */
export const retryAfterText = (text: string, now: number): number | undefined => {
  const date = dateOf(text.trim())
  if (date === undefined) return spanText(text.trim())
  return date > now ? date - now : undefined
}

/**
 * The value of a reset header in milliseconds. A number is in seconds, unless it is so large that it can only be a time
 * since 1970 in seconds or in milliseconds.
 */
export const resetText = (text: string, now: number): number | undefined => {
  const number = decimalOf(text)
  const date = number === undefined || number < 1e9 ? dateOf(text.trim()) : number < 1e11 ? number * 1000 : number
  return date === undefined ? spanText(text.trim()) : Math.max(0, date - now)
}
