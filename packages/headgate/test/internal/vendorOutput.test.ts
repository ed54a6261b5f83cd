import { createOpenAI } from "@ai-sdk/openai"
import type Anthropic from "@anthropic-ai/sdk"
import { assert, describe, it } from "@effect/vitest"
import { streamText } from "ai"
import { Effect } from "effect"
import { Response } from "effect/ai"
import { LoopbackProvider } from "headgate/testing"
import OpenAI from "openai"
import { knownOutputIn, outputIn } from "../../src/internal/provider/vendorOutput.ts"

const all = (parts: ReadonlyArray<unknown>): string => parts.map(outputIn).join("")
const collect = <A>(open: () => PromiseLike<AsyncIterable<A>> | AsyncIterable<A>) =>
  Effect.promise(async () => {
    const parts: Array<A> = []
    for await (const part of await open()) parts.push(part)
    return parts
  })

describe("the output in a stream's parts", () => {
  it.effect("is all that the clients get of text, and of what tools are called with", () =>
    Effect.gen(function* () {
      const tool = { tool: "weather", input: { city: "Zürich" } }
      const provider = yield* LoopbackProvider.make({
        script: ({ index }) => ({ answer: index % 2 === 0 ? "It is 42." : tool })
      })
      const baseURL = `${provider.url}/v1`
      const openai = new OpenAI({ apiKey: "none", baseURL, maxRetries: 0 })
      const vercel = createOpenAI({ apiKey: "none", baseURL }).chat("gpt-5-mini")
      const messages = [{ role: "user" as const, content: "Hi" }]
      const request = { model: "gpt-5-mini", stream: true } as const
      const opens = [
        () => openai.chat.completions.create({ ...request, messages, stream_options: { include_usage: true } }),
        () => openai.responses.create({ ...request, input: "Hi" })
      ]
      for (const open of opens) {
        assert.strictEqual(all(yield* collect<unknown>(open)), "It is 42.")
        assert.strictEqual(all(yield* collect<unknown>(open)), JSON.stringify(tool.input))
      }
      assert.strictEqual(all(yield* collect(() => streamText({ model: vercel, messages }).stream)), "It is 42.")
    })
  )

  it("is read in Anthropic's, Gemini's and Effect's words", () => {
    const events: ReadonlyArray<Anthropic.RawMessageStreamEvent> = [
      {
        type: "content_block_delta",
        index: 0,
        delta: { type: "thinking_delta", thinking: "Hm. " }
      },
      { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "It is 42." } },
      { type: "content_block_delta", index: 2, delta: { type: "input_json_delta", partial_json: "{}" } },
      { type: "content_block_stop", index: 2 },
      { type: "message_stop" }
    ]
    assert.strictEqual(all(events), "Hm. It is 42.{}")
    assert.strictEqual(outputIn({ type: "message_delta", delta: { stop_reason: "end_turn" } }), "")
    assert.strictEqual(outputIn({ candidates: [{ content: { role: "model", parts: [{ text: "It is" }] } }] }), "It is")
    assert.strictEqual(outputIn(Response.makePart("text-delta", { id: "1", delta: "It is" })), "It is")
  })

  const data = "iVBORw0KGgo".repeat(1000)
  const chunk = (delta: object) => ({ object: "chat.completion.chunk", choices: [{ index: 0, delta }] })
  const content = (...parts: ReadonlyArray<object>) => ({ candidates: [{ content: { role: "model", parts } }] })
  const block = (delta: object) => ({ type: "content_block_delta", index: 0, delta })
  it.each<readonly [string, string, unknown]>([
    ["Gemini's image", "Here.", content({ text: "Here." }, { inlineData: { mimeType: "image/png", data } })],
    ["Gemini's image in snake case", "", content({ inline_data: { mime_type: "image/png", data } })],
    ["the seal of Gemini's thoughts", "So.", content({ text: "So.", thought: true, thoughtSignature: data })],
    ["the sound of a chat", "Hi", chunk({ audio: { id: "1", data, transcript: "Hi", expires_at: 9 } })],
    ["the sound of a response", "", { type: "response.audio.delta", delta: data }],
    ["the sound of a realtime response", "", { type: "response.output_audio.delta", delta: data }],
    [
      "OpenRouter's image",
      "",
      chunk({ content: "", images: [{ type: "image_url", image_url: { url: `data:image/png;base64,${data}` } }] })
    ],
    [
      "OpenRouter's sealed reasoning",
      "",
      chunk({ reasoning_details: [{ type: "reasoning.encrypted", data, format: "a-v1" }] })
    ],
    ["Anthropic's seal", "", block({ type: "signature_delta", signature: data })],
    [
      "what Anthropic quotes",
      "",
      block({ type: "citations_delta", citation: { cited_text: "The sea.", document_title: "Sea" } })
    ],
    ["a sealed item", "", { type: "response.reasoning.delta", delta: { encrypted_content: data } }]
  ])("does not count %s by its letters", (_, text, part) => assert.strictEqual(outputIn(part), text))

  const details = [{ type: "reasoning.text", text: "Hm.", signature: data, format: "anthropic-claude-v1", index: 0 }]
  it.each<readonly [string, string, unknown]>([
    ["reasoning that stands in two places once", "Hm.", chunk({ reasoning: "Hm.", reasoning_details: details })],
    ["reasoning under two names once", "Hm.", chunk({ reasoning_content: "Hm.", reasoning: "Hm." })],
    ["reasoning in its one place", "Hm.", chunk({ reasoning: null, reasoning_details: details })],
    ["a summary of it", "So.", chunk({ reasoning_details: [{ type: "reasoning.summary", summary: "So." }] })],
    ["what is heard of sound", "Hi", { type: "response.audio_transcript.delta", delta: "Hi" }],
    [
      "all that Gemini calls a tool with",
      `{"name":"a","data":"b"}`,
      content({ functionCall: { name: "t", args: { name: "a", data: "b" } } })
    ]
  ])("counts %s", (_, text, part) => assert.strictEqual(outputIn(part), text))

  it("is a text itself, and all text in what nobody knows", () => {
    assert.strictEqual(outputIn("It is"), "It is")
    assert.strictEqual(outputIn({ message: { role: "assistant", content: "It is" }, done: false }), "It is")
    assert.strictEqual(outputIn({ data: "It is" }), "It is")
    assert.strictEqual(knownOutputIn({ message: { content: "It is" } }), undefined)
    assert.strictEqual(outputIn(null), "")
  })
})
