/** What a vendor's API has in common with the others: a request is read, an answer or a failure is written. */

/** The wire formats. `"messages"` is Anthropic's; `"chat"`, `"responses"` and `"embeddings"` are OpenAI's. */
export type Format = "chat" | "responses" | "embeddings" | "messages" | "gemini"

/** A request as the provider has read it. `prompt` is all text of the input, `body` the JSON as it came. */
export interface Request {
  readonly format: Format
  readonly model: string
  readonly stream: boolean
  readonly prompt: string
  readonly maxTokens: number | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

/** What an answer took, as the provider bills it. `inputTokens` and `outputTokens` are all input and all output. */
export interface Billed {
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cachedInputTokens?: number | undefined
  readonly cacheWriteTokens?: number | undefined
  readonly reasoningTokens?: number | undefined
}

/** A call of one of the request's tools, with its input as JSON. */
export interface ToolCall {
  readonly tool: string
  readonly input: unknown
}

/** An answer that is about to be written, cut into the pieces in which it streams. */
export interface Reply {
  readonly request: Request
  /** The number of the call, from 1, which makes its ids. */
  readonly number: number
  readonly created: number
  readonly tool: string | undefined
  readonly pieces: ReadonlyArray<string>
  readonly finish: "stop" | "length" | "tool"
  readonly usage: Billed | undefined
}

/** The events of a stream: what comes before the pieces, one for each of them, and what comes after. */
export interface Events {
  readonly head: string
  readonly pieces: ReadonlyArray<string>
  readonly tail: string
}

/** A failure in no vendor's words. `wait` is in milliseconds. */
export interface Failure {
  readonly status: number
  readonly type: string
  readonly code: string | null
  readonly message: string
  readonly wait: number | undefined
}

export type FailureName =
  | "rate_limit_exceeded"
  | "insufficient_quota"
  | "overloaded"
  | "server_error"
  | "unavailable"
  | "invalid_request"

/** What is left of one of the provider's limits. */
export interface Left {
  readonly unit: "requests" | "tokens" | "inputTokens" | "outputTokens"
  readonly limit: number
  readonly remaining: number
  readonly resetMillis: number
}

export interface Wire {
  readonly json: (reply: Reply) => unknown
  readonly events: (reply: Reply) => Events
  readonly failures: Readonly<Record<FailureName, Omit<Failure, "wait">>>
  readonly failed: (failure: Failure, number: number) => unknown
  /** A failure that comes in a stream. */
  readonly failedEvent: (failure: Failure, number: number) => string
  readonly headers: (number: number, limits: ReadonlyArray<Left>, now: number) => Record<string, string>
  /** The headers of a failure after which to wait. */
  readonly waitHeaders: (millis: number) => Record<string, string>
}

export const sse = (data: unknown, event?: string): string =>
  `${event === undefined ? "" : `event: ${event}\n`}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`

/** A field of a JSON value, or of what it holds. */
export const field = (value: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>(
    (inner, key) => (typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>)[key] : undefined),
    value
  )

/** All text of a message, of a list of them, or of their parts. */
export const textOf = (value: unknown): string =>
  typeof value === "string"
    ? value
    : Array.isArray(value)
      ? value.map(textOf).filter(Boolean).join("\n")
      : ["text", "content", "parts"]
          .map((key) => field(value, key))
          .map((part) => (part === undefined ? "" : textOf(part)))
          .join("")

/** Whole seconds, rounded up. */
export const secondsUp = (millis: number): string => String(Math.ceil(millis / 1000))
