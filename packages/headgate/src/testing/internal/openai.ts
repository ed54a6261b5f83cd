import {
  type Billed,
  field,
  type Events,
  type Failure,
  type Left,
  type Reply,
  secondsUp,
  sse,
  type Wire
} from "./wire.ts"

const failures: Wire["failures"] = {
  rate_limit_exceeded: {
    status: 429,
    type: "requests",
    code: "rate_limit_exceeded",
    message: "Rate limit reached. Please try again later."
  },
  insufficient_quota: {
    status: 429,
    type: "insufficient_quota",
    code: "insufficient_quota",
    message: "You exceeded your current quota, please check your plan and billing details."
  },
  overloaded: {
    status: 503,
    type: "service_unavailable_error",
    code: null,
    message: "That model is currently overloaded with other requests."
  },
  server_error: {
    status: 500,
    type: "server_error",
    code: null,
    message: "The server had an error while processing your request. Sorry about that!"
  },
  unavailable: {
    status: 503,
    type: "server_error",
    code: null,
    message: "The server is currently unable to handle the request."
  },
  invalid_request: {
    status: 400,
    type: "invalid_request_error",
    code: null,
    message: "Invalid request."
  }
}

const failed = ({ code, message, type }: Failure): unknown => ({ error: { message, type, param: null, code } })

/** A span as Go prints it: `20ms`, `1s`, `6m0s`. */
const goSpan = (millis: number): string => {
  if (millis < 1000) return `${millis}ms`
  const hours = Math.floor(millis / 3_600_000)
  const minutes = Math.floor((millis % 3_600_000) / 60_000)
  const seconds = `${(millis % 60_000) / 1000}s`
  return hours > 0 ? `${hours}h${minutes}m${seconds}` : minutes > 0 ? `${minutes}m${seconds}` : seconds
}

const headers = (number: number, limits: ReadonlyArray<Left>): Record<string, string> =>
  Object.fromEntries([
    ["x-request-id", `req_${number}`],
    ...limits
      .filter(({ unit }) => unit === "requests" || unit === "tokens")
      .flatMap(({ limit, remaining, resetMillis, unit }) => [
        [`x-ratelimit-limit-${unit}`, String(limit)],
        [`x-ratelimit-remaining-${unit}`, String(remaining)],
        [`x-ratelimit-reset-${unit}`, goSpan(resetMillis)]
      ])
  ])

const shared = {
  failures,
  failed,
  headers,
  waitHeaders: (millis: number) => ({ "retry-after-ms": String(millis), "retry-after": secondsUp(millis) })
}

const chatUsage = (usage: Billed) => ({
  prompt_tokens: usage.inputTokens,
  completion_tokens: usage.outputTokens,
  total_tokens: usage.inputTokens + usage.outputTokens,
  prompt_tokens_details: { cached_tokens: usage.cachedInputTokens ?? 0, audio_tokens: 0 },
  completion_tokens_details: {
    reasoning_tokens: usage.reasoningTokens ?? 0,
    audio_tokens: 0,
    accepted_prediction_tokens: 0,
    rejected_prediction_tokens: 0
  }
})

const chatFinish = { stop: "stop", length: "length", tool: "tool_calls" }

const toolCallOf = ({ number, tool }: Reply, text: string) => ({
  id: `call_${number}`,
  type: "function",
  function: { name: tool, arguments: text }
})

export const chat: Wire = {
  ...shared,
  failedEvent: (failure) => sse(failed(failure)),
  json: (reply) => {
    const text = reply.pieces.join("")
    const message =
      reply.tool === undefined
        ? { role: "assistant", content: text, refusal: null, annotations: [] }
        : { role: "assistant", content: null, refusal: null, annotations: [], tool_calls: [toolCallOf(reply, text)] }
    return {
      id: `chatcmpl-${reply.number}`,
      object: "chat.completion",
      created: reply.created,
      model: reply.request.model,
      choices: [{ index: 0, message, logprobs: null, finish_reason: chatFinish[reply.finish] }],
      ...(reply.usage === undefined ? undefined : { usage: chatUsage(reply.usage) }),
      service_tier: "default",
      system_fingerprint: null
    }
  },
  events: (reply) => {
    const asked = field(reply.request.body, "stream_options", "include_usage") === true
    const chunk = (choices: ReadonlyArray<unknown>, usage: unknown = null) =>
      sse({
        id: `chatcmpl-${reply.number}`,
        object: "chat.completion.chunk",
        created: reply.created,
        model: reply.request.model,
        service_tier: "default",
        system_fingerprint: null,
        choices,
        ...(asked ? { usage } : undefined)
      })
    const choice = (delta: unknown, finish: string | null = null) =>
      chunk([{ index: 0, delta, logprobs: null, finish_reason: finish }])
    const opening =
      reply.tool === undefined
        ? { role: "assistant", content: "", refusal: null }
        : { role: "assistant", content: null, tool_calls: [{ index: 0, ...toolCallOf(reply, "") }] }
    return {
      head: choice(opening),
      pieces: reply.pieces.map((piece) =>
        choice(
          reply.tool === undefined ? { content: piece } : { tool_calls: [{ index: 0, function: { arguments: piece } }] }
        )
      ),
      tail:
        choice({}, chatFinish[reply.finish]) +
        (asked && reply.usage !== undefined ? chunk([], chatUsage(reply.usage)) : "") +
        sse("[DONE]")
    }
  }
}

const responsesUsage = (usage: Billed) => ({
  input_tokens: usage.inputTokens,
  input_tokens_details: { cached_tokens: usage.cachedInputTokens ?? 0 },
  output_tokens: usage.outputTokens,
  output_tokens_details: { reasoning_tokens: usage.reasoningTokens ?? 0 },
  total_tokens: usage.inputTokens + usage.outputTokens
})

/** The only output item of a reply, with this text so far. */
const itemOf = (reply: Reply, text: string | undefined) => {
  const status = text === undefined ? "in_progress" : reply.finish === "length" ? "incomplete" : "completed"
  return reply.tool === undefined
    ? {
        id: `msg_${reply.number}`,
        type: "message",
        status,
        role: "assistant",
        content: text === undefined ? [] : [partOf(text)]
      }
    : {
        id: `fc_${reply.number}`,
        type: "function_call",
        status,
        call_id: `call_${reply.number}`,
        name: reply.tool,
        arguments: text ?? ""
      }
}

const partOf = (text: string) => ({ type: "output_text", text, annotations: [], logprobs: [] })

const responseOf = (reply: Reply, text: string | undefined) => ({
  id: `resp_${reply.number}`,
  object: "response",
  created_at: reply.created,
  status: text === undefined ? "in_progress" : reply.finish === "length" ? "incomplete" : "completed",
  error: null,
  incomplete_details: text !== undefined && reply.finish === "length" ? { reason: "max_output_tokens" } : null,
  instructions: null,
  max_output_tokens: reply.request.maxTokens ?? null,
  metadata: {},
  model: reply.request.model,
  output: text === undefined ? [] : [itemOf(reply, text)],
  parallel_tool_calls: true,
  previous_response_id: null,
  reasoning: { effort: null, summary: null },
  service_tier: "default",
  store: false,
  temperature: 1,
  text: { format: { type: "text" } },
  tool_choice: "auto",
  tools: [],
  top_p: 1,
  truncation: "disabled",
  usage: text === undefined || reply.usage === undefined ? null : responsesUsage(reply.usage),
  user: null
})

export const responses: Wire = {
  ...shared,
  failedEvent: ({ code, message }) => sse({ type: "error", sequence_number: 0, code, message, param: null }, "error"),
  json: (reply) => responseOf(reply, reply.pieces.join("")),
  events: (reply): Events => {
    const text = reply.pieces.join("")
    const place = { item_id: itemOf(reply, text).id, output_index: 0 }
    const inPart = { ...place, content_index: 0 }
    let sequence = 0
    const event = (type: string, data: object) => sse({ type, sequence_number: sequence++, ...data }, type)
    const isText = reply.tool === undefined
    const opened =
      event("response.created", { response: responseOf(reply, undefined) }) +
      event("response.in_progress", { response: responseOf(reply, undefined) }) +
      event("response.output_item.added", { output_index: 0, item: itemOf(reply, undefined) })
    const head = isText ? opened + event("response.content_part.added", { ...inPart, part: partOf("") }) : opened
    const pieces = reply.pieces.map((delta) =>
      isText
        ? event("response.output_text.delta", { ...inPart, delta, logprobs: [] })
        : event("response.function_call_arguments.delta", { ...place, delta })
    )
    const closed = isText
      ? event("response.output_text.done", { ...inPart, text, logprobs: [] }) +
        event("response.content_part.done", { ...inPart, part: partOf(text) })
      : event("response.function_call_arguments.done", { ...place, name: reply.tool, arguments: text })
    const last = reply.finish === "length" ? "response.incomplete" : "response.completed"
    return {
      head,
      pieces,
      tail:
        closed +
        event("response.output_item.done", { output_index: 0, item: itemOf(reply, text) }) +
        event(last, { response: responseOf(reply, text) })
    }
  }
}

/** A vector that depends on its text alone. */
const vectorOf = (text: string, dimensions: number): ReadonlyArray<number> =>
  Array.from({ length: dimensions }, (_, index) => ((text.length * 31 + index * 17) % 200) / 100 - 1)

const encoded = (vector: ReadonlyArray<number>): string =>
  btoa(String.fromCharCode(...new Uint8Array(new Float32Array(vector).buffer)))

export const embeddings: Wire = {
  ...shared,
  failedEvent: chat.failedEvent,
  json: ({ request, usage }) => {
    const input = field(request.body, "input")
    const dimensions = Number(field(request.body, "dimensions") ?? 8)
    const isBase64 = field(request.body, "encoding_format") === "base64"
    return {
      object: "list",
      data: (Array.isArray(input) ? input : [input]).map((text, index) => {
        const vector = vectorOf(String(text), dimensions)
        return { object: "embedding", index, embedding: isBase64 ? encoded(vector) : vector }
      }),
      model: request.model,
      ...(usage === undefined
        ? undefined
        : { usage: { prompt_tokens: usage.inputTokens, total_tokens: usage.inputTokens } })
    }
  },
  events: () => ({ head: "", pieces: [], tail: "" })
}
