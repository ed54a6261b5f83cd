import type { InvalidUsage } from "../../Errors.ts"
import { isCount, wholeNumber } from "../input.ts"
import { invalidUsage } from "../refusal.ts"
import { utf8Bytes } from "./textSize.ts"

/**
 * A message, or a part of one: its text, its size where the text is not at hand, or its tokens where they are known, as
 * they are of images where a vendor tells.
 *
 * @category models
 * @since 0.1.0
 */
export type Part = string | { readonly bytes: number } | { readonly tokens: number }

/**
 * What a model is given.
 *
 * @category models
 * @since 0.1.0
 */
export type Input = Part | ReadonlyArray<Part>

/**
 * A call to be estimated.
 *
 * - `maxOutputTokens`: the most that the model may write, if the request limits it.
 * - `outputs`: how many answers are asked for. Default 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly model: string
  readonly input: Input
  readonly maxOutputTokens?: number | undefined
  readonly outputs?: number | undefined
}

/** How large the input of a request is. */
export interface Size {
  readonly texts: ReadonlyArray<string>
  /** Of what is no text at hand. */
  readonly bytes: number
  /** Of what is counted already. */
  readonly tokens: number
  readonly parts: number
}

const isParts = (input: Input): input is ReadonlyArray<Part> => Array.isArray(input)

/** Reads a request, or says what is wrong with it. */
export const sizeOf = ({ input, maxOutputTokens = 0, outputs = 1 }: Request): Size | InvalidUsage => {
  if (!isCount(maxOutputTokens)) return invalidUsage("maxOutputTokens", wholeNumber, maxOutputTokens)
  if (!isCount(outputs) || outputs === 0) return invalidUsage("outputs", "a whole number from 1", outputs)
  const parts = isParts(input) ? input : [input]
  const texts: Array<string> = []
  let bytes = 0
  let tokens = 0
  for (const part of parts) {
    if (typeof part === "string") {
      texts.push(part)
      continue
    }
    if (typeof part !== "object" || part === null) return invalidUsage("input", "text, { bytes } or { tokens }", part)
    const known = "tokens" in part
    const value = known ? part.tokens : part.bytes
    if (!isCount(value)) return invalidUsage(`input.${known ? "tokens" : "bytes"}`, wholeNumber, value)
    if (known) tokens += value
    else bytes += value
  }
  return { texts, bytes, tokens, parts: parts.length }
}

export const bytesOf = ({ bytes, texts }: Size): number => texts.reduce((sum, text) => sum + utf8Bytes(text), bytes)
