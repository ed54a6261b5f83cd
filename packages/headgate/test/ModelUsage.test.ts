import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { AiError, Response } from "effect/ai"
import { ModelUsage } from "headgate"
import type { LanguageModelUsage } from "ai"
import type Anthropic from "@anthropic-ai/sdk"
import type { OpenAI } from "openai"

const defined = (usage: ModelUsage.ModelUsage | undefined) =>
  usage && Object.fromEntries(Object.entries(usage).filter(([_, value]) => value !== undefined))

// The vendors' own types keep these replies true to what is sent.
const chat: OpenAI.CompletionUsage = {
  prompt_tokens: 1200,
  completion_tokens: 300,
  total_tokens: 1500,
  prompt_tokens_details: { cached_tokens: 1024, audio_tokens: 7 },
  completion_tokens_details: { reasoning_tokens: 120, audio_tokens: 5, accepted_prediction_tokens: 0 }
}
const responses: OpenAI.Responses.ResponseUsage = {
  input_tokens: 1200,
  output_tokens: 300,
  total_tokens: 1500,
  input_tokens_details: { cached_tokens: 1000, cache_write_tokens: 100 },
  output_tokens_details: { reasoning_tokens: 250 }
}
const anthropic: Anthropic.Usage = {
  input_tokens: 50,
  output_tokens: 80,
  cache_creation_input_tokens: 300,
  cache_read_input_tokens: 2000,
  cache_creation: { ephemeral_5m_input_tokens: 100, ephemeral_1h_input_tokens: 200 },
  output_tokens_details: { thinking_tokens: 30 },
  inference_geo: null,
  server_tool_use: null,
  service_tier: "standard",
  speed: null
}
const vercel: LanguageModelUsage = {
  inputTokens: 1200,
  inputTokenDetails: { noCacheTokens: 100, cacheReadTokens: 1000, cacheWriteTokens: 100 },
  outputTokens: 300,
  outputTokenDetails: { textTokens: 200, reasoningTokens: 100 },
  totalTokens: 1500
}
const effect = (input: Partial<Response.Usage["inputTokens"]>, output: Partial<Response.Usage["outputTokens"]>) =>
  new Response.Usage({
    inputTokens: { uncached: undefined, total: undefined, cacheRead: undefined, cacheWrite: undefined, ...input },
    outputTokens: { total: undefined, text: undefined, reasoning: undefined, ...output }
  })

const read: ReadonlyArray<readonly [vendor: string, reply: unknown, usage: ModelUsage.ModelUsage]> = [
  [
    "OpenAI's chat completions",
    { usage: chat },
    {
      inputTokens: 1200,
      outputTokens: 300,
      cachedInputTokens: 1024,
      inputAudioTokens: 7,
      reasoningTokens: 120,
      outputAudioTokens: 5
    }
  ],
  [
    "OpenAI's responses",
    { usage: responses },
    { inputTokens: 1200, outputTokens: 300, cachedInputTokens: 1000, cacheWriteTokens: 100, reasoningTokens: 250 }
  ],
  [
    "the end of a stream of OpenAI's responses",
    { type: "response.completed", response: { usage: responses } },
    { inputTokens: 1200, outputTokens: 300, cachedInputTokens: 1000, cacheWriteTokens: 100, reasoningTokens: 250 }
  ],
  [
    "OpenAI's images",
    {
      usage: {
        input_tokens: 60,
        output_tokens: 272,
        total_tokens: 332,
        input_tokens_details: { text_tokens: 10, image_tokens: 50 },
        output_tokens_details: { text_tokens: 0, image_tokens: 272 }
      }
    },
    { inputTokens: 60, outputTokens: 272, inputImageTokens: 50, outputImageTokens: 272 }
  ],
  [
    "OpenAI's embeddings, which have no output",
    { usage: { prompt_tokens: 8, total_tokens: 8 } },
    { inputTokens: 8, outputTokens: 0 }
  ],
  [
    "DeepSeek, which counts cache hits outside of the details",
    { usage: { prompt_tokens: 100, completion_tokens: 5, prompt_cache_hit_tokens: 64, prompt_cache_miss_tokens: 36 } },
    { inputTokens: 100, outputTokens: 5, cachedInputTokens: 64 }
  ],
  [
    "xAI, which counts reasoning beside the output",
    {
      usage: {
        prompt_tokens: 10,
        completion_tokens: 20,
        total_tokens: 130,
        completion_tokens_details: { reasoning_tokens: 100 }
      }
    },
    { inputTokens: 10, outputTokens: 120, reasoningTokens: 100 }
  ],
  [
    "Anthropic, which counts the cache beside the input",
    { usage: anthropic },
    {
      inputTokens: 2350,
      outputTokens: 80,
      cachedInputTokens: 2000,
      cacheWriteTokens: 300,
      cacheWrite1hTokens: 200,
      reasoningTokens: 30
    }
  ],
  [
    "Anthropic, with nothing in the cache",
    {
      usage: { input_tokens: 50, output_tokens: 80, cache_creation_input_tokens: null, cache_read_input_tokens: null }
    },
    { inputTokens: 50, outputTokens: 80 }
  ],
  [
    "Bedrock, which counts as Anthropic",
    { usage: { inputTokens: 50, outputTokens: 80, totalTokens: 2130, cacheReadInputTokens: 2000 } },
    { inputTokens: 2050, outputTokens: 80, cachedInputTokens: 2000 }
  ],
  [
    "the last part of a stream of Bedrock's",
    { metadata: { usage: { inputTokens: 50, outputTokens: 80, totalTokens: 130 }, metrics: { latencyMs: 900 } } },
    { inputTokens: 50, outputTokens: 80 }
  ],
  [
    "a proxy that counts the cache beside the prompt",
    { usage: { prompt_tokens: 50, completion_tokens: 80, prompt_tokens_details: { cached_tokens: 2000 } } },
    { inputTokens: 2050, outputTokens: 80, cachedInputTokens: 2000 }
  ],
  [
    "Gemini, which counts thoughts beside the output",
    {
      usageMetadata: {
        promptTokenCount: 500,
        toolUsePromptTokenCount: 40,
        candidatesTokenCount: 30,
        thoughtsTokenCount: 70,
        cachedContentTokenCount: 400,
        totalTokenCount: 640,
        promptTokensDetails: [
          { modality: "TEXT", tokenCount: 480 },
          { modality: "AUDIO", tokenCount: 20 }
        ],
        candidatesTokensDetails: [{ modality: "IMAGE", tokenCount: 10 }]
      }
    },
    {
      inputTokens: 540,
      outputTokens: 100,
      cachedInputTokens: 400,
      reasoningTokens: 70,
      inputAudioTokens: 20,
      outputImageTokens: 10
    }
  ],
  [
    "Gemini, for a prompt that was blocked",
    { usageMetadata: { promptTokenCount: 9, totalTokenCount: 9 } },
    { inputTokens: 9, outputTokens: 0 }
  ],
  [
    "Effect's usage",
    { usage: effect({ total: 1200, cacheRead: 1000, cacheWrite: 100 }, { total: 300, reasoning: 100 }) },
    { inputTokens: 1200, outputTokens: 300, cachedInputTokens: 1000, cacheWriteTokens: 100, reasoningTokens: 100 }
  ],
  [
    "Effect's usage by its parts",
    { usage: effect({ uncached: 100, cacheRead: 1000 }, { text: 200, reasoning: 100 }) },
    { inputTokens: 1100, outputTokens: 300, cachedInputTokens: 1000, reasoningTokens: 100 }
  ],
  [
    "the Vercel AI SDK",
    { usage: vercel },
    { inputTokens: 1200, outputTokens: 300, cachedInputTokens: 1000, cacheWriteTokens: 100, reasoningTokens: 100 }
  ],
  [
    "the Vercel AI SDK 5",
    { usage: { inputTokens: 12, outputTokens: 5, totalTokens: 17, cachedInputTokens: 10, reasoningTokens: 2 } },
    { inputTokens: 12, outputTokens: 5, cachedInputTokens: 10, reasoningTokens: 2 }
  ],
  [
    "all steps of the Vercel AI SDK 5, not the last one alone",
    { usage: { inputTokens: 1, outputTokens: 1 }, totalUsage: { inputTokens: 12, outputTokens: 5 } },
    { inputTokens: 12, outputTokens: 5 }
  ],
  [
    "a provider of the Vercel AI SDK",
    {
      usage: {
        inputTokens: { total: undefined, noCache: 2, cacheRead: 10, cacheWrite: 0 },
        outputTokens: { total: 5, text: 3, reasoning: 2 }
      }
    },
    { inputTokens: 12, outputTokens: 5, cachedInputTokens: 10, cacheWriteTokens: 0, reasoningTokens: 2 }
  ],
  ["an embedding of the Vercel AI SDK", { usage: { tokens: 8 } }, { inputTokens: 8, outputTokens: 0 }],
  [
    "our own words",
    { inputTokens: 8, outputTokens: 2, cachedInputTokens: 3 },
    { inputTokens: 8, outputTokens: 2, cachedInputTokens: 3 }
  ]
]

describe("ModelUsage.fromReply", () => {
  it.each(read)("reads %s", (_, reply, usage) => {
    assert.deepStrictEqual(defined(ModelUsage.fromReply(reply)), usage)
  })

  const missing: ReadonlyArray<readonly [string, unknown]> = [
    ["no reply", undefined],
    ["text", "usage"],
    ["metadata of the caller's own", { metadata: { usage: "billing" } }],
    ["a reply without usage", { choices: [] }],
    ["a usage that is null", { usage: null }],
    ["an output alone", { usage: { output_tokens: 5 } }],
    ["an input alone", { usage: { inputTokens: { total: 5 }, outputTokens: {} } }],
    ["a total alone", { usage: { total_tokens: 5 } }],
    ["NaN, as older SDKs say where nothing is known", { usage: { promptTokens: NaN, completionTokens: NaN } }],
    ["a negative count", { usage: { prompt_tokens: -1, completion_tokens: 1 } }],
    ["a fraction", { usage: { prompt_tokens: 1.5, completion_tokens: 1 } }],
    ["a count above 2^53", { usage: { prompt_tokens: 2 ** 53, completion_tokens: 1 } }],
    ["a part that is no count", { usage: { prompt_tokens: 1, completion_tokens: 1, cachedInputTokens: -1 } }],
    ["more reasoning than output", { usage: { inputTokens: 1, outputTokens: 1, reasoningTokens: 2 } }],
    ["a total below its parts", { usage: { prompt_tokens: 10, total_tokens: 5 } }]
  ]
  it.each(missing)("reads nothing from %s", (_, reply) => {
    assert.isUndefined(ModelUsage.fromReply(reply))
  })

  it("takes from earlier parts of a stream what a part leaves out", () => {
    const start = ModelUsage.fromReply({
      type: "message_start",
      message: { usage: { ...anthropic, output_tokens: 1, output_tokens_details: null } }
    })
    assert.strictEqual(start?.inputTokens, 2350)
    const text = ModelUsage.fromReply({ type: "content_block_delta", delta: { text: "a" } }, start)
    assert.isUndefined(text)
    const end = ModelUsage.fromReply({ type: "message_delta", usage: { output_tokens: 80 } }, start)
    assert.deepStrictEqual(defined(end), { ...defined(start), outputTokens: 80 })
    const whole = ModelUsage.fromReply(
      { type: "message_delta", usage: { input_tokens: 60, cache_read_input_tokens: null, output_tokens: 80 } },
      start
    )
    assert.strictEqual(whole?.inputTokens, 2360)
  })

  it("reads what an AiError carries", () => {
    const usage = { promptTokens: 15, completionTokens: 5, totalTokens: 20 }
    const { usage: carried } = new AiError.InvalidOutputError({ description: "", usage })
    assert.deepStrictEqual(defined(ModelUsage.fromReply({ usage: carried })), { inputTokens: 15, outputTokens: 5 })
  })
})

describe("ModelUsage.make", () => {
  const whole = { inputTokens: 100, outputTokens: 10 }
  it.effect("takes what can be", () =>
    Effect.gen(function* () {
      for (const usage of [
        whole,
        { inputTokens: 0, outputTokens: 0 },
        { ...whole, cachedInputTokens: 60, cacheWriteTokens: 40, inputAudioTokens: 100, reasoningTokens: 10 }
      ]) {
        assert.strictEqual(yield* ModelUsage.make(usage), usage)
        assert.isTrue(Schema.is(ModelUsage.ModelUsage)(usage))
      }
    })
  )

  const wrong: ReadonlyArray<readonly [field: string, usage: ModelUsage.ModelUsage]> = [
    ["inputTokens", { ...whole, inputTokens: NaN }],
    ["outputTokens", { ...whole, outputTokens: -1 }],
    ["cachedInputTokens", { ...whole, cachedInputTokens: 0.5 }],
    ["cachedInputTokens", { ...whole, cachedInputTokens: 101 }],
    ["cacheWriteTokens", { ...whole, cachedInputTokens: 60, cacheWriteTokens: 41 }],
    ["cacheWrite1hTokens", { ...whole, cacheWrite1hTokens: 1 }],
    ["inputImageTokens", { ...whole, inputAudioTokens: 60, inputImageTokens: 41 }],
    ["reasoningTokens", { ...whole, reasoningTokens: 11 }],
    ["outputAudioTokens", { ...whole, outputAudioTokens: Infinity }]
  ]
  it.effect.each(wrong)("names %s of %j", ([field, usage]) =>
    Effect.gen(function* () {
      assert.strictEqual((yield* Effect.flip(ModelUsage.make(usage))).field, field)
      assert.isFalse(Schema.is(ModelUsage.ModelUsage)(usage))
    })
  )
})
