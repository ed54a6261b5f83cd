// The vendors' official clients in a rush, through a gate, against a provider with limits of its own.
import { createOpenAI } from "@ai-sdk/openai"
import { assert, describe, it } from "@effect/vitest"
import { generateText } from "ai"
import { Clock, Effect } from "effect"
import { ModelGuard, RateLimitExceeded, type RateLimiter } from "headgate"
import type { LoopbackProvider } from "headgate/testing"
import { chat, message, question, setUp, settled, streamed } from "./gates.ts"
import { paced } from "./http/support.ts"

const limits = { requestsPerMinute: 20, tokensPerMinute: 20_000 }
const minutes = 60_000

/** An answer of 40 to 220 words, each a token, after two seconds. */
const script = ({ index }: { readonly index: number }) => {
  const answer = Array.from({ length: 40 + (index % 7) * 30 }, (_, word) => `w${word}`).join(" ")
  return { answer, after: "2 seconds" } as const
}

type Clients = Effect.Success<ReturnType<typeof setUp>>

/** Asks for an answer of at most so many tokens. */
type Ask = (clients: Clients, user: string, maxOutputTokens: number) => Promise<unknown>

/** How 200 calls end that all want in at once, and what both sides have counted. */
const rush = Effect.fnUntraced(function* (
  asks: ReadonlyArray<Ask>,
  answers: LoopbackProvider.Options = {},
  rateLimiter: RateLimiter.Options = {}
) {
  const clients = yield* setUp({ ...limits, script, ...answers }, { rateLimiter: { ...limits, ...rateLimiter } })
  const { booked, provider } = clients
  const outcomes = yield* paced(
    provider,
    Effect.forEach(
      Array(200).keys(),
      (index) => settled(asks[index % asks.length]!(clients, `${index}`, 400 + (index % 5) * 500)),
      { concurrency: "unbounded" }
    )
  )
  const { rateLimited, requests, tokens } = yield* provider.totals
  const { held, tokens: settledTokens } = yield* booked
  assert.strictEqual(held, 0)
  assert.strictEqual(settledTokens, tokens)
  assert.isAtMost(rateLimited - 1, requests / 100)
  return {
    answered: outcomes.filter((outcome) => "value" in outcome).length,
    refused: outcomes.filter((outcome) => "error" in outcome && outcome.error instanceof RateLimitExceeded).length,
    now: yield* Clock.currentTimeMillis
  }
})

const drain = async (elements: AsyncIterable<unknown>) => {
  for await (const _ of elements);
}

const viaOpenai: Ask = ({ gate, openai }, user, max) =>
  gate.run((signal) => openai.chat.completions.create({ ...chat, user, max_completion_tokens: max }, { signal }), {
    ...question,
    maxOutputTokens: max
  })
const viaOpenaiStream: Ask = ({ gate, openai }, user, max) =>
  drain(
    gate.stream(
      (signal) =>
        openai.chat.completions.create({ ...chat, ...streamed, user, max_completion_tokens: max }, { signal }),
      { ...question, maxOutputTokens: max }
    )
  )
const viaAnthropic: Ask = ({ anthropic, gate }, user_id, max) =>
  gate.run((signal) => anthropic.messages.create({ ...message, metadata: { user_id }, max_tokens: max }, { signal }), {
    ...question,
    maxOutputTokens: max
  })
const viaAnthropicStream: Ask = ({ anthropic, gate }, user_id, max) =>
  drain(
    gate.stream(
      (signal) =>
        anthropic.messages.create({ ...message, metadata: { user_id }, max_tokens: max, stream: true }, { signal }),
      { ...question, maxOutputTokens: max }
    )
  )
const viaVercel: Ask = ({ gate, provider }, user, max) =>
  gate.run(
    (abortSignal) =>
      generateText({
        model: createOpenAI({ apiKey: "none", baseURL: `${provider.url}/v1` }).chat("my-model"),
        prompt: `${user}: six by seven?`,
        maxOutputTokens: max,
        maxRetries: 0,
        abortSignal
      }),
    { ...question, maxOutputTokens: max }
  )

/** From Effect, which is given the response with the reply. */
const viaEffect: Ask = ({ gate, openai }, user, max) =>
  gate.runtime.runPromise(
    Effect.tryPromise((signal) =>
      openai.chat.completions.create({ ...chat, user, max_completion_tokens: max }, { signal }).withResponse()
    ).pipe(ModelGuard.run({ ...question, maxOutputTokens: max }))
  )

describe("Gate, when 200 calls want in at 20 requests and 20,000 tokens a minute", () => {
  for (const [name, asks, answers] of [
    ["openai", [viaOpenai], {}],
    ["openai, each second one a stream,", [viaOpenai, viaOpenaiStream], {}],
    ["@anthropic-ai/sdk", [viaAnthropic], { tokenCharge: "settled" }],
    ["@anthropic-ai/sdk, each second one a stream,", [viaAnthropic, viaAnthropicStream], { tokenCharge: "settled" }],
    ["ai", [viaVercel], {}],
    ["openai in Effect", [viaEffect], {}]
  ] as const) {
    it.effect(`brings all of ${name} through with next to no 429, and counts as the provider does`, () =>
      Effect.gen(function* () {
        const { answered, now } = yield* rush(asks, answers)
        assert.strictEqual(answered, 200)
        assert.isAtMost(now, 16 * minutes)
      })
    )
  }

  it.effect("ends each that minds to wait with an answer or a refusal", () =>
    Effect.gen(function* () {
      const { answered, now, refused } = yield* rush([viaOpenai, viaOpenaiStream], {}, { maxWait: "8 minutes" })
      assert.strictEqual(answered + refused, 200)
      assert.isAtLeast(answered, 100)
      assert.isAbove(refused, 0)
      assert.isAtMost(now, 9 * minutes)
    })
  )
})
