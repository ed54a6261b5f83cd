import { type Billed, type Failure, type Left, type Reply, secondsUp, sse, type Wire } from "./wire.ts"

const failures: Wire["failures"] = {
  rate_limit_exceeded: {
    status: 429,
    type: "rate_limit_error",
    code: null,
    message: "This request would exceed your organization's rate limit."
  },
  insufficient_quota: {
    status: 402,
    type: "billing_error",
    code: null,
    message: "Your credit balance is too low to access the Anthropic API."
  },
  overloaded: { status: 529, type: "overloaded_error", code: null, message: "Overloaded" },
  server_error: { status: 500, type: "api_error", code: null, message: "Internal server error" },
  unavailable: { status: 503, type: "api_error", code: null, message: "Service unavailable" },
  invalid_request: { status: 400, type: "invalid_request_error", code: null, message: "Invalid request." }
}

const failed = ({ message, type }: Failure, number: number): unknown => ({
  type: "error",
  error: { type, message },
  request_id: `req_${number}`
})

/** Anthropic counts cached input beside `input_tokens`, not in it. */
const usageOf = (usage: Billed, outputTokens = usage.outputTokens) => {
  const read = usage.cachedInputTokens ?? 0
  const written = usage.cacheWriteTokens ?? 0
  return {
    input_tokens: usage.inputTokens - read - written,
    cache_creation_input_tokens: written,
    cache_read_input_tokens: read,
    cache_creation: { ephemeral_5m_input_tokens: written, ephemeral_1h_input_tokens: 0 },
    output_tokens: outputTokens,
    service_tier: "standard"
  }
}

const finishes = { stop: "end_turn", length: "max_tokens", tool: "tool_use" }

const messageOf = (reply: Reply, content: ReadonlyArray<unknown>, finish: string | null, usage: unknown) => ({
  id: `msg_${reply.number}`,
  type: "message",
  role: "assistant",
  model: reply.request.model,
  content,
  stop_reason: finish,
  stop_sequence: null,
  ...(usage === undefined ? undefined : { usage })
})

const toolBlock = (reply: Reply, input: unknown) => ({
  type: "tool_use",
  id: `toolu_${reply.number}`,
  name: reply.tool,
  input
})

/** RFC 3339, in whole seconds as Anthropic has it, rounded up. */
const timeOf = (millis: number): string => `${new Date(Math.ceil(millis / 1000) * 1000).toISOString().slice(0, 19)}Z`

const unitNames = { requests: "requests", tokens: "tokens", inputTokens: "input-tokens", outputTokens: "output-tokens" }

export const messages: Wire = {
  failures,
  failed,
  failedEvent: (failure, number) => sse(failed(failure, number), "error"),
  waitHeaders: (millis) => ({ "retry-after": secondsUp(millis) }),
  headers: (number: number, limits: ReadonlyArray<Left>, now: number) =>
    Object.fromEntries([
      ["request-id", `req_${number}`],
      ...limits.flatMap(({ limit, remaining, resetMillis, unit }) => [
        [`anthropic-ratelimit-${unitNames[unit]}-limit`, String(limit)],
        [`anthropic-ratelimit-${unitNames[unit]}-remaining`, String(remaining)],
        [`anthropic-ratelimit-${unitNames[unit]}-reset`, timeOf(now + resetMillis)]
      ])
    ]),
  json: (reply) => {
    const text = reply.pieces.join("")
    const block = reply.tool === undefined ? { type: "text", text } : toolBlock(reply, JSON.parse(text))
    return messageOf(reply, [block], finishes[reply.finish], reply.usage && usageOf(reply.usage))
  },
  events: (reply) => {
    const event = (type: string, data: object) => sse({ type, ...data }, type)
    const block = reply.tool === undefined ? { type: "text", text: "" } : toolBlock(reply, {})
    const opened = messageOf(
      reply,
      [],
      null,
      reply.usage && usageOf(reply.usage, Math.min(1, reply.usage.outputTokens))
    )
    return {
      head:
        event("message_start", { message: opened }) +
        event("content_block_start", { index: 0, content_block: block }) +
        event("ping", {}),
      pieces: reply.pieces.map((piece) =>
        event("content_block_delta", {
          index: 0,
          delta:
            reply.tool === undefined
              ? { type: "text_delta", text: piece }
              : { type: "input_json_delta", partial_json: piece }
        })
      ),
      tail:
        event("content_block_stop", { index: 0 }) +
        event("message_delta", {
          delta: { stop_reason: finishes[reply.finish], stop_sequence: null },
          ...(reply.usage === undefined ? undefined : { usage: { output_tokens: reply.usage.outputTokens } })
        }) +
        event("message_stop", {})
    }
  }
}
