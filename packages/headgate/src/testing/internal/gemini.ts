import { type Billed, type Failure, type Reply, sse as event, type Wire } from "./wire.ts"

/** Google ends its lines as HTTP does. */
const sse = (data: unknown): string => event(data).replaceAll("\n", "\r\n")

const failures: Wire["failures"] = {
  rate_limit_exceeded: {
    status: 429,
    type: "RESOURCE_EXHAUSTED",
    code: null,
    message: "You exceeded your current quota. Please retry later."
  },
  insufficient_quota: {
    status: 403,
    type: "PERMISSION_DENIED",
    code: "billing_disabled",
    message: "This API method requires billing to be enabled."
  },
  overloaded: { status: 503, type: "UNAVAILABLE", code: null, message: "The model is overloaded." },
  server_error: { status: 500, type: "INTERNAL", code: null, message: "An internal error has occurred." },
  unavailable: { status: 503, type: "UNAVAILABLE", code: null, message: "The service is currently unavailable." },
  invalid_request: { status: 400, type: "INVALID_ARGUMENT", code: null, message: "Invalid request." }
}

const failed = ({ message, status, type, wait }: Failure): unknown => ({
  error: {
    code: status,
    message,
    status: type,
    ...(wait === undefined
      ? undefined
      : { details: [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: `${wait / 1000}s` }] })
  }
})

/** Gemini counts thoughts beside the candidates, not in them. */
const usageOf = (usage: Billed) => {
  const thoughts = usage.reasoningTokens ?? 0
  return {
    promptTokenCount: usage.inputTokens,
    candidatesTokenCount: usage.outputTokens - thoughts,
    totalTokenCount: usage.inputTokens + usage.outputTokens,
    ...(usage.cachedInputTokens === undefined ? undefined : { cachedContentTokenCount: usage.cachedInputTokens }),
    ...(thoughts === 0 ? undefined : { thoughtsTokenCount: thoughts })
  }
}

const contentOf = (reply: Reply, parts: ReadonlyArray<unknown>, isLast: boolean) => ({
  candidates: [
    {
      content: { role: "model", parts },
      ...(isLast ? { finishReason: reply.finish === "length" ? "MAX_TOKENS" : "STOP" } : undefined),
      index: 0
    }
  ],
  ...(isLast && reply.usage !== undefined ? { usageMetadata: usageOf(reply.usage) } : undefined),
  modelVersion: reply.request.model,
  responseId: `response_${reply.number}`
})

const callOf = (reply: Reply) => ({ functionCall: { name: reply.tool, args: JSON.parse(reply.pieces.join("")) } })

export const gemini: Wire = {
  failures,
  failed,
  failedEvent: (failure) => sse(failed(failure)),
  headers: () => ({}),
  waitHeaders: () => ({}),
  json: (reply) => contentOf(reply, [reply.tool === undefined ? { text: reply.pieces.join("") } : callOf(reply)], true),
  // A call of a tool comes whole, in the last event.
  events: (reply) => ({
    head: "",
    pieces: reply.pieces.map((text) => (reply.tool === undefined ? sse(contentOf(reply, [{ text }], false)) : "")),
    tail: sse(contentOf(reply, reply.tool === undefined ? [{ text: "" }] : [callOf(reply)], true))
  })
}
