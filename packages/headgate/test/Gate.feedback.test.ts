// What the vendors' clients keep of a reply's headers is honoured: in their errors, and in their answers.
import { createAnthropic } from "@ai-sdk/anthropic"
import { createOpenAI } from "@ai-sdk/openai"
import { assert, describe, it } from "@effect/vitest"
import { generateText } from "ai"
import { Clock, Effect } from "effect"
import type { LoopbackProvider } from "headgate/testing"
import { chat, message, question, setUp, settled, streamed } from "./gates.ts"
import { paced } from "./http/support.ts"

type Clients = Effect.Success<ReturnType<typeof setUp>>
type Ask = (clients: Clients) => Promise<unknown>

const drain = async (elements: AsyncIterable<unknown>) => {
  for await (const _ of elements);
}
const vercel = { prompt: "Six by seven?", maxOutputTokens: 50, maxRetries: 0 }

const doors = {
  openai: ({ gate, openai }) => gate.run((signal) => openai.chat.completions.create(chat, { signal }), question),
  "a stream of openai": ({ gate, openai }) =>
    drain(gate.stream((signal) => openai.chat.completions.create({ ...chat, ...streamed }, { signal }), question)),
  "@anthropic-ai/sdk": ({ anthropic, gate }) =>
    gate.run((signal) => anthropic.messages.create(message, { signal }), question),
  "a stream of @anthropic-ai/sdk": ({ anthropic, gate }) =>
    drain(gate.stream((signal) => anthropic.messages.create({ ...message, stream: true }, { signal }), question)),
  "ai with OpenAI": ({ gate, provider }) =>
    gate.run(() => {
      const model = createOpenAI({ apiKey: "none", baseURL: `${provider.url}/v1` }).chat("my-model")
      return generateText({ ...vercel, model })
    }, question),
  "ai with Anthropic": ({ gate, provider }) =>
    gate.run(() => {
      const model = createAnthropic({ apiKey: "none", baseURL: `${provider.url}/v1` })("my-model")
      return generateText({ ...vercel, model })
    }, question)
} satisfies Record<string, Ask>

const names = Object.keys(doors) as ReadonlyArray<keyof typeof doors>

/** In the words of both vendors: none of 20 requests is left for 30 seconds. */
const nothingLeft = {
  "x-ratelimit-limit-requests": "20",
  "x-ratelimit-remaining-requests": "0",
  "x-ratelimit-reset-requests": "30s",
  "anthropic-ratelimit-requests-limit": "20",
  "anthropic-ratelimit-requests-remaining": "0",
  "anthropic-ratelimit-requests-reset": "1970-01-01T00:00:30Z"
}

/** Calls one after another: when each request began, and how often the provider was asked. */
const startsOf = Effect.fnUntraced(function* (ask: Ask, script: LoopbackProvider.Script, calls = 1) {
  const clients = yield* setUp({ script }, { retry: { jitter: "none", initialBackoff: "1 second" } })
  const { provider } = clients
  const outcomes = yield* paced(
    provider,
    Effect.forEach(Array(calls).keys(), () => settled(ask(clients))),
    "100 millis"
  )
  const starts = (yield* provider.calls).map(({ startedAt }) => startedAt)
  return { starts, answered: outcomes.map((outcome) => "value" in outcome), now: yield* Clock.currentTimeMillis }
})

const fail = { fail: "rate_limit_exceeded" } as const
const answer = { answer: "It is 42." } as const

describe.each(names)("of %s, the headers", (name) => {
  const ask = doors[name]

  it.effect("of a 429 say when to come again, to the millisecond", () =>
    Effect.gen(function* () {
      const seconds = yield* startsOf(ask, [{ ...fail, headers: { "retry-after": "7" } }, answer])
      assert.deepStrictEqual(seconds.starts, [0, 7000])
      const date = yield* startsOf(ask, [
        { ...fail, headers: { "retry-after": "Thu, 01 Jan 1970 00:00:40 GMT" } },
        answer
      ])
      assert.strictEqual(date.starts[1], 40_000)
      const millis = yield* startsOf(ask, [{ ...fail, headers: { "retry-after-ms": "7300" } }, answer])
      assert.strictEqual(millis.starts[1]! - millis.starts[0]!, 7300)
    })
  )

  it.effect("of an error say whether to come again", () =>
    Effect.gen(function* () {
      const no = yield* startsOf(ask, [{ ...fail, headers: { "x-should-retry": "false" } }, answer])
      assert.deepStrictEqual([no.starts.length, no.answered], [1, [false]])
      const never = yield* startsOf(ask, [{ fail: "insufficient_quota" }, answer])
      assert.deepStrictEqual([never.starts.length, never.answered], [1, [false]])
    })
  )

  it.effect("of a 429 tell the others what is left", () =>
    Effect.gen(function* () {
      const headers = { ...nothingLeft, "x-should-retry": "false" }
      const { answered, starts } = yield* startsOf(ask, [{ ...fail, headers }, answer], 2)
      assert.deepStrictEqual(answered, [false, true])
      assert.isAtLeast(starts[1]!, 1500)
    })
  )

  it.effect("of an answer tell the others what is left", () =>
    Effect.gen(function* () {
      const { answered, starts } = yield* startsOf(ask, [{ ...answer, headers: nothingLeft }, answer], 2)
      assert.deepStrictEqual(answered, [true, true])
      // One of 20 comes back in 1.5 seconds.
      assert.isAtLeast(starts[1]!, 1500)
      assert.isAtMost(starts[1]!, 1700)
    })
  )
})
