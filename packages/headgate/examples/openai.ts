// The official SDK of OpenAI in code without Effect: its calls, whole and streamed, through a gate.
import { Effect } from "effect"
import { BudgetExceeded, Gate, ModelGuard } from "headgate"
import { LoopbackProvider } from "headgate/testing"
import OpenAI from "openai"

// One for the whole program.
const gate = Gate.make(
  ModelGuard.layerMemory({
    budget: { maxCostPerDay: "$100", per: { user: { maxCostPerDay: "$0.0002" } } },
    rateLimiter: { requestsPerMinute: 60, tokensPerMinute: 90_000 }
  })
)

const model = "gpt-4o-mini"
const request = (prompt: string) => ({
  model,
  max_completion_tokens: 200,
  messages: [{ role: "user" as const, content: prompt }]
})
const call = (user: string, prompt: string) => ({ model, input: prompt, maxOutputTokens: 200, subject: { user } })

const ask = async (openai: OpenAI, user: string, prompt: string) => {
  try {
    const reply = await gate.run(
      (signal) => openai.chat.completions.create(request(prompt), { signal }),
      call(user, prompt)
    )
    return reply.choices[0]?.message.content
  } catch (error) {
    if (error instanceof BudgetExceeded) return `No more today: ${error.quota} of ${error.subject.user}`
    throw error
  }
}

/** Prints the answer as it is written. Who leaves the loop pays for what has come. */
const read = async (openai: OpenAI, user: string, prompt: string, print: (text: string) => void) => {
  const stream = { stream: true, stream_options: { include_usage: true } } as const
  const chunks = gate.stream(
    (signal) => openai.chat.completions.create({ ...request(prompt), ...stream }, { signal }),
    call(user, prompt)
  )
  for await (const chunk of chunks) print(chunk.choices[0]?.delta.content ?? "")
}

const main = async (baseURL: string) => {
  // It would try each call three times, past the limits and the budget. The gate does that, within them.
  const openai = new OpenAI({ apiKey: "sk-loopback", baseURL, maxRetries: 0 })
  const answers = [await ask(openai, "ann", "How deep is the sea?"), await ask(openai, "ann", "And how wide?")]
  let printed = ""
  await read(openai, "bob", "How deep is the sea?", (text) => (printed += text))
  await gate.dispose()
  return { answers, printed }
}

// In place of OpenAI: a provider on this machine. Its answers take 180 tokens.
const script = () => ({ answer: "About 3,700 m.", usage: { inputTokens: 12, outputTokens: 180 } })
const program = Effect.flatMap(LoopbackProvider.make({ script }), ({ url }) => Effect.promise(() => main(`${url}/v1`)))

await Effect.runPromise(Effect.scoped(program)) // => { answers: ["About 3,700 m.", "No more today: maxCostPerDay of ann"], printed: "About 3,700 m." }
