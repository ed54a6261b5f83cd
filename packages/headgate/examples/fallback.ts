// What to do about each refusal, by its type: a cheaper model where the money is short, an answer to the user else.
import { Duration, Effect } from "effect"
import { ModelGuard } from "headgate"
import { LoopbackProvider } from "headgate/testing"
import OpenAI from "openai"

const ask = (openai: OpenAI, model: "gpt-4o" | "gpt-4o-mini", prompt: string, maxOutputTokens: number) =>
  Effect.tryPromise((signal) =>
    openai.chat.completions.create(
      { model, max_completion_tokens: maxOutputTokens, messages: [{ role: "user", content: prompt }] },
      { signal, maxRetries: 0 } // headgate retries, within its limits
    )
  ).pipe(
    ModelGuard.run({ model, input: prompt, maxOutputTokens }),
    Effect.map((reply) => `${model}: ${reply.choices[0]?.message.content}`)
  )

const answer = (openai: OpenAI, prompt: string) =>
  ask(openai, "gpt-4o", prompt, 1000).pipe(
    // Not now: the dear model is too dear for what is left of today.
    Effect.catchTag("BudgetExceeded", () => ask(openai, "gpt-4o-mini", prompt, 200)),
    Effect.catchTags({
      // Not even the cheap one, until then.
      BudgetExceeded: ({ retryAfter }) => Effect.succeed(`Come back in ${Duration.format(retryAfter)}`),
      // Never: no waiting makes it fit.
      RequestTooLarge: ({ limit, unit }) => Effect.succeed(`Too long: ${limit} ${unit} at most`),
      // The provider's own refusal, after all retries.
      UnknownError: ({ cause }) =>
        Effect.succeed(cause instanceof OpenAI.APIError ? `OpenAI says ${cause.status}` : "OpenAI is out of reach")
    })
  )

const program = Effect.gen(function* () {
  // In place of OpenAI: a provider on this machine. Its first answer takes most of the money.
  const { url } = yield* LoopbackProvider.make({
    script: [
      { answer: "A long answer.", usage: { inputTokens: 12, outputTokens: 700 } },
      { answer: "A short one.", usage: { inputTokens: 12, outputTokens: 20 } },
      { fail: { status: 403, message: "Not in your country." } }
    ]
  })
  const openai = new OpenAI({ apiKey: "sk-loopback", baseURL: `${url}/v1` })
  const prompts = ["How deep is the sea?", "And how wide?", "And how old?", "Why? ".repeat(2000)]
  return yield* Effect.forEach(prompts, (prompt) => answer(openai, prompt))
})

const guard = ModelGuard.layerMemory({
  budget: { maxTokensPerRequest: 4000, maxCostPerDay: "$0.015" }
})

await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(guard))) // => ["gpt-4o: A long answer.", "gpt-4o-mini: A short one.", "OpenAI says 403", "Too long: 4000 tokens at most"]
