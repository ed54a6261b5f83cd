// An agent whose tool is another agent. Each sub-agent has an allowance of its own and can never spend more than the
// agent above it has left; the one that runs out lets a cheaper model sum up what it has found.
import { Effect, Layer, Schema, Stream } from "effect"
import { type AiError, LanguageModel, Prompt, type Response, Tool, Toolkit } from "effect/ai"
import { Budget, ModelGuard, Money } from "headgate"
import { GuardedLanguageModel } from "headgate/ai"

const Research = Tool.make("Research", {
  description: "Asks a researcher",
  parameters: Schema.Struct({ topic: Schema.String }),
  success: Schema.String
})
const Tools = Toolkit.make(Research)

/** Asks until nothing more comes. */
const findAll = (topic: string) =>
  Effect.gen(function* () {
    const found: Array<string> = []
    const search = Effect.gen(function* () {
      while (true) {
        const { text } = yield* LanguageModel.generateText({ prompt: `More about ${topic} than ${found.length} facts` })
        if (text === "That is all.") return `${found.length} facts about ${topic}`
        found.push(text)
      }
    })
    return yield* Effect.catchIf(search, ranOut, () =>
      LanguageModel.generateText({ prompt: `Sum up: ${found.join(" ")}` }).pipe(
        Effect.provide(small),
        Effect.map(({ text }) => `${text} of ${found.length} facts about ${topic}`)
      )
    )
  })

const ranOut = (error: AiError.AiError) => GuardedLanguageModel.refusalOf(error)?._tag === "BudgetExceeded"

const researchers = Tools.toLayer(
  Effect.gen(function* () {
    const services = yield* Effect.context<LanguageModel.LanguageModel | ModelGuard.ModelGuard>()
    return {
      Research: ({ topic }) =>
        findAll(topic).pipe(Budget.withAllowance("$0.01"), Effect.provideContext(services), Effect.orDie)
    }
  })
)

const agent = LanguageModel.generateText({ prompt: "Tell me about the sea.", toolkit: Tools }).pipe(
  Effect.map((reply) => reply.toolResults.map(({ result }) => result)),
  Effect.provide(researchers),
  Budget.withAllowance("$0.05")
)

// In place of a provider's layer: a model that sends researchers after two topics, of which one has no end.
const provider = Layer.effect(LanguageModel.LanguageModel)(
  LanguageModel.make({
    generateText: ({ prompt }) => Effect.succeed([...answer(JSON.stringify(Prompt.make(prompt).content)), finish]),
    streamText: () => Stream.empty
  })
)
const answer = (asked: string): Array<Response.PartEncoded> => {
  if (asked.includes("Tell me")) {
    return ["fish", "wrecks"].map((topic) => ({ type: "tool-call", id: topic, name: "Research", params: { topic } }))
  }
  if (asked.includes("Sum up")) return [{ type: "text", text: "A summary" }]
  return [{ type: "text", text: asked.includes("fish than 2") ? "That is all." : "A fact." }]
}
const finish: Response.FinishPartEncoded = {
  type: "finish",
  reason: "stop",
  usage: { inputTokens: { total: 40 }, outputTokens: { total: 100 } }
}

const small = GuardedLanguageModel.layer({ model: "small-model", maxOutputTokens: 100 }).pipe(Layer.provide(provider))
const large = GuardedLanguageModel.layer({ model: "large-model", maxOutputTokens: 200 }).pipe(Layer.provide(provider))

const guard = ModelGuard.layerMemory({
  budget: Budget.defaults,
  rateLimiter: { requestsPerMinute: 60, concurrency: 1 },
  prices: {
    "large-model": { input: "$10/M", output: "$15/M" },
    "small-model": { input: "$0.10/M", output: "$0.40/M" }
  }
})

const program = Effect.gen(function* () {
  const told = yield* agent
  const { costUsedDay } = yield* Budget.Budget.use((budget) => budget.status())
  return { told, cost: Money.format(costUsedDay) }
}).pipe(Effect.provide(Layer.provideMerge(large, guard)))

await Effect.runPromise(program) // => { told: ["2 facts about fish", "A summary of 4 facts about wrecks"], cost: "$0.015244" }
