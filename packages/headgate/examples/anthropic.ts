// The official SDK of Anthropic in Effect: a message, and one that is read as it is written.
import Anthropic from "@anthropic-ai/sdk"
import { Data, Effect, Stream } from "effect"
import { Budget, ModelGuard } from "headgate"
import { LoopbackProvider } from "headgate/testing"

class ClaudeError extends Data.TaggedError("ClaudeError")<{ readonly cause: unknown }> {}
const failed = (cause: unknown) => new ClaudeError({ cause })

const model = "claude-sonnet-5"
const request = (prompt: string) => ({
  model,
  max_tokens: 500,
  messages: [{ role: "user" as const, content: prompt }]
})
const call = (prompt: string) => ({ model, input: prompt, maxOutputTokens: 500 })

/** The guard reads the cause of the error: it waits as long as Anthropic asks, and asks again what is worth it. */
const ask = (claude: Anthropic, prompt: string) =>
  Effect.tryPromise({
    // With the response: its headers say what is left, and pace the limiter.
    try: (signal) => claude.messages.create(request(prompt), { signal }).withResponse(),
    catch: failed
  }).pipe(
    ModelGuard.run(call(prompt)),
    Effect.map(({ data }) => data.content.map((block) => (block.type === "text" ? block.text : "")).join(""))
  )

/** Held for chunk by chunk, and settled on what has come, should it be interrupted. */
const read = (claude: Anthropic, prompt: string) =>
  // Suspended, so that another attempt is another request.
  Stream.suspend(() => Stream.fromAsyncIterable(claude.messages.stream(request(prompt)), failed)).pipe(
    ModelGuard.stream(call(prompt)),
    Stream.map((event) =>
      event.type === "content_block_delta" && event.delta.type === "text_delta" ? event.delta.text : ""
    )
  )

const program = Effect.gen(function* () {
  // In place of Anthropic: a provider on this machine, which is too busy at first.
  const { url } = yield* LoopbackProvider.make({
    script: [{ fail: "overloaded" }, { answer: "About 3,700 m." }, { answer: "As wide as the world." }]
  })
  // Its own retries would be requests that the guard knows nothing of.
  const claude = new Anthropic({ apiKey: "sk-loopback", baseURL: url, maxRetries: 0 })
  const answer = yield* ask(claude, "How deep is the sea?")
  const written = yield* Stream.runCollect(read(claude, "And how wide?").pipe(Stream.filter((text) => text !== "")))
  const { tokensUsedDay } = yield* Budget.Budget.use((budget) => budget.status())
  return { answer, written, tokens: tokensUsedDay }
})

const guard = ModelGuard.layerMemory({
  budget: { maxTokensPerDay: 1_000_000, maxCostPerDay: "$50" },
  rateLimiter: { requestsPerMinute: 50, inputTokensPerMinute: 30_000, outputTokensPerMinute: 8000 },
  retry: { initialBackoff: "50 millis" }
})

await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(guard))) // => { answer: "About 3,700 m.", written: ["As ", "wide ", "as ", "the ", "world."], tokens: 17 }
