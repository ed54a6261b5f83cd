// Vercel's `ai`: a middleware that guards every call of a model, also each step of an agent with tools.
import { createOpenAI } from "@ai-sdk/openai"
import { generateText, type LanguageModelMiddleware, streamText, wrapLanguageModel } from "ai"
import { Effect } from "effect"
import { Budget, Gate, ModelGuard } from "headgate"
import { LoopbackProvider } from "headgate/testing"

const gate = Gate.make(
  ModelGuard.layerMemory({
    budget: { maxTokensPerDay: 1_000_000 },
    rateLimiter: { requestsPerMinute: 60, concurrency: 10 }
  })
)

type Call = Parameters<NonNullable<LanguageModelMiddleware["wrapGenerate"]>>[0]

const callOf = ({ model, params }: Pick<Call, "model" | "params">) => ({
  model: model.modelId,
  input: JSON.stringify([params.prompt, params.tools]),
  maxOutputTokens: params.maxOutputTokens,
  signal: params.abortSignal
})

const guarded: LanguageModelMiddleware = {
  wrapGenerate: (call) => gate.run(call.doGenerate, callOf(call)),
  wrapStream: (call) => {
    const parts = gate.stream(() => call.doStream().then(({ stream }) => stream), callOf(call))
    return Promise.resolve({ stream: readable(parts[Symbol.asyncIterator]()) })
  }
}

const readable = <A>(parts: AsyncIterator<A>) =>
  new ReadableStream<A>({
    pull: async (reader) => {
      const { done, value } = await parts.next()
      if (done) reader.close()
      else reader.enqueue(value)
    },
    cancel: async () => void (await parts.return?.())
  })

const main = async (baseURL: string) => {
  const openai = createOpenAI({ apiKey: "sk-loopback", baseURL })
  const model = wrapLanguageModel({ model: openai("gpt-5-mini"), middleware: guarded })
  // The gate retries, within the limits and the budget: `ai` is not to do it once more around it.
  const options = { model, maxOutputTokens: 500, maxRetries: 0 }
  const { text } = await generateText({ ...options, prompt: "How deep is the sea?" })
  let printed = ""
  for await (const word of streamText({ ...options, prompt: "And how wide?" }).textStream) printed += word
  const { tokensUsedDay } = await gate.runtime.runPromise(Budget.Budget.use((budget) => budget.status()))
  await gate.dispose()
  return { text, printed, tokens: tokensUsedDay }
}

// In place of OpenAI: a provider on this machine.
const script = () => ({ answer: "About 3,700 m.", usage: { inputTokens: 12, outputTokens: 8 } })
const program = Effect.flatMap(LoopbackProvider.make({ script }), ({ url }) => Effect.promise(() => main(`${url}/v1`)))

await Effect.runPromise(Effect.scoped(program)) // => { text: "About 3,700 m.", printed: "About 3,700 m.", tokens: 40 }
