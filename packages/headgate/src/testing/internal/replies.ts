import * as Duration from "effect/Duration"
import { guessOf } from "./limits.ts"
import { wires } from "./requests.ts"
import type { Billed, Failure, FailureName, Reply, Request, ToolCall } from "./wire.ts"

/** A failure by its name, or in one's own words. */
export type Fails =
  | FailureName
  | {
      readonly status: number
      readonly type?: string | undefined
      readonly code?: string | undefined
      readonly message?: string | undefined
    }

export const failureOf = (request: Request, fails: Fails, retryAfter: Duration.Input | undefined): Failure => {
  const wait = retryAfter === undefined ? undefined : Duration.toMillis(retryAfter)
  if (typeof fails === "string") return { ...wires[request.format].failures[fails], wait }
  const { code = null, message = `status ${fails.status}`, status, type = "error" } = fails
  return { status, type, code, message, wait }
}

/** Cuts an answer into what it streams in: a text into its words, the input of a tool into pieces of eight letters. */
const piecesOf = (answer: string | ToolCall): ReadonlyArray<string> =>
  typeof answer === "string" ? answer.split(/(?<=\s)(?=\S)/) : (JSON.stringify(answer.input).match(/.{1,8}/gs) ?? [])

/** An answer within the request's `max_tokens`, of which each piece is a token unless its usage is given. */
export const replyOf = (
  request: Request,
  answer: string | ToolCall,
  given: Billed | undefined,
  number: number,
  now: number
): { readonly reply: Omit<Reply, "usage">; readonly billed: Billed } => {
  const whole = request.format === "embeddings" ? [] : piecesOf(answer)
  const isCut = typeof answer === "string" && given === undefined && whole.length > (request.maxTokens ?? Infinity)
  const pieces = isCut ? whole.slice(0, request.maxTokens) : whole
  const tool = typeof answer === "string" ? undefined : answer.tool
  return {
    reply: {
      request,
      number,
      created: Math.floor(now / 1000),
      tool,
      pieces,
      finish: isCut ? "length" : tool === undefined ? "stop" : "tool"
    },
    billed: given ?? { inputTokens: guessOf(request.prompt), outputTokens: pieces.length }
  }
}
