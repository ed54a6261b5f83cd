import { assert, describe, it } from "@effect/vitest"
import { isLastWord } from "../../src/internal/provider/lastWord.ts"

const chunk = (choices: ReadonlyArray<object>) => ({ object: "chat.completion.chunk", choices, usage: {} })

describe("the last word of a stream", () => {
  it.each<readonly [string, unknown]>([
    ["OpenAI's chunk without choices", chunk([])],
    ["the chunk in which all choices finish", chunk([{ index: 0, delta: {}, finish_reason: "stop" }])],
    ["response.completed", { type: "response.completed", response: { usage: {} } }],
    ["response.incomplete", { type: "response.incomplete", response: { usage: {} } }],
    ["response.failed", { type: "response.failed", response: { usage: {} } }],
    ["Anthropic's message_delta", { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: {} }],
    ["Gemini's last part", { candidates: [{ finishReason: "STOP" }], usageMetadata: {} }],
    ["Bedrock's metadata", { metadata: { usage: {} } }],
    ["the finish of Effect and of Vercel's ai", { type: "finish", usage: {} }]
  ])("is %s", (_, part) => assert.isTrue(isLastWord(part)))

  it.each<readonly [string, unknown]>([
    ["a count that runs along with a choice", chunk([{ index: 0, delta: { content: "It" }, finish_reason: null }])],
    ["the end of one choice of two", chunk([{ index: 0, finish_reason: "stop" }, { index: 1 }])],
    ["response.in_progress", { type: "response.in_progress", response: { usage: null } }],
    ["Anthropic's message_start", { type: "message_start", message: { usage: {} } }],
    ["a message_delta without a reason", { type: "message_delta", delta: { stop_reason: null }, usage: {} }],
    ["a part of Gemini's", { candidates: [{ content: {} }], usageMetadata: {} }],
    ["a step of Vercel's ai", { type: "finish-step", usage: {} }],
    ["what nobody knows", { usage: { input_tokens: 1, output_tokens: 1 } }],
    ["no part at all", null]
  ])("is not %s", (_, part) => assert.isFalse(isLastWord(part)))
})
