import type { InvalidUsage } from "../Errors.ts"
import type { ModelUsage } from "../ModelUsage.ts"
import * as Money from "../Money.ts"
import type * as Subject from "../Subject.ts"
import type * as Usage from "../Usage.ts"
import { invalidUsage } from "./refusal.ts"

export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

export const wholeNumber = "a whole number from 0 to 2^53 - 1"

const counts = ["requests", "inputTokens", "outputTokens", "cachedInputTokens", "tokens"] as const

/** The one place where a usage from outside becomes a `Usage`. `asked` is the number of requests when none is given. */
export const checkUsage = (input: Usage.Input, asked: number): Usage.Usage | InvalidUsage => {
  if (typeof input !== "object" || input === null) return invalidUsage("usage", "an object", input)
  const { requests = asked, outputTokens = 0, cachedInputTokens = 0, tokens: said = 0 } = input
  // What was cached was input: a usage that is completed again must stay as it is.
  const { inputTokens = cachedInputTokens } = input
  if (
    !isCount(requests) ||
    !isCount(inputTokens) ||
    !isCount(outputTokens) ||
    !isCount(cachedInputTokens) ||
    !isCount(said)
  ) {
    const field = counts.find((field) => input[field] !== undefined && !isCount(input[field]))!
    return invalidUsage(field, wholeNumber, input[field])
  }
  if (cachedInputTokens > (input.inputTokens ?? Math.max(said, outputTokens))) {
    return invalidUsage("cachedInputTokens", "at most inputTokens, of which it is a part", cachedInputTokens)
  }
  const tokens = Math.max(said, inputTokens + outputTokens)
  if (!isCount(tokens)) return invalidUsage("tokens", wholeNumber, tokens)
  const cost = input.cost === undefined ? Money.zero : Money.fromInput(input.cost)
  if (cost === undefined) return invalidUsage("cost", "money from $0 to $9007199", input.cost)
  return { requests, inputTokens, outputTokens, cachedInputTokens, tokens, cost }
}

const maxDimensions = 16
const maxLength = 256

/** Says what is wrong with a subject from outside, if anything. */
export const checkSubject = (subject: Subject.Subject): InvalidUsage | undefined => {
  if (typeof subject !== "object" || subject === null) return invalidUsage("subject", "a record of texts", subject)
  let dimensions = 0
  for (const dimension of Object.keys(subject)) {
    const value = subject[dimension]
    if (++dimensions > maxDimensions) return invalidUsage("subject", `at most ${maxDimensions} dimensions`, dimensions)
    if (dimension === "" || dimension.length > maxLength || dimension === "__proto__") {
      return invalidUsage("subject", `named by 1 to ${maxLength} characters, not __proto__`, dimension)
    }
    if (typeof value !== "string" || value.length === 0 || value.length > maxLength || value === "__proto__") {
      return invalidUsage(`subject.${dimension}`, `1 to ${maxLength} characters, not __proto__`, value)
    }
  }
}

/** Says what is wrong with a model's usage, if anything. */
export const modelUsageFault = (usage: ModelUsage): InvalidUsage | undefined => {
  if (typeof usage !== "object" || usage === null) return invalidUsage("usage", "an object", usage)
  if (!isCount(usage.inputTokens)) return invalidUsage("inputTokens", wholeNumber, usage.inputTokens)
  if (!isCount(usage.outputTokens)) return invalidUsage("outputTokens", wholeNumber, usage.outputTokens)
  return (
    partsFault(usage, "inputTokens", "cachedInputTokens", "cacheWriteTokens") ??
    partsFault(usage, "inputTokens", "inputAudioTokens", "inputImageTokens") ??
    partsFault(usage, "cacheWriteTokens", "cacheWrite1hTokens") ??
    partsFault(usage, "outputTokens", "reasoningTokens") ??
    partsFault(usage, "outputTokens", "outputAudioTokens", "outputImageTokens")
  )
}

/** Parts, which together are no more than their whole. */
const partsFault = (
  usage: ModelUsage,
  whole: keyof ModelUsage,
  first: keyof ModelUsage,
  second?: keyof ModelUsage
): InvalidUsage | undefined => {
  const one = usage[first] ?? 0
  const other = second === undefined ? 0 : (usage[second] ?? 0)
  if (!isCount(one)) return invalidUsage(first, wholeNumber, one)
  if (!isCount(other)) return invalidUsage(second!, wholeNumber, other)
  const most = usage[whole] ?? 0
  if (one + other <= most) return undefined
  return one > most
    ? invalidUsage(first, `a part of ${whole}`, one)
    : invalidUsage(second!, `a part of ${whole}`, other)
}
