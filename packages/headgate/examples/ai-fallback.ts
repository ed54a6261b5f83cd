// A cheaper model takes over when the budget has too little left for the dear one.
import { Effect, ExecutionPlan, Layer, Stream } from "effect"
import { type AiError, LanguageModel, Model } from "effect/ai"
import { ModelGuard } from "headgate"
import { GuardedLanguageModel } from "headgate/ai"

// In place of a provider's layer, such as those of @effect/ai-openai and @effect/ai-anthropic.
const provider = (text: string, outputTokens: number) =>
  Layer.effect(LanguageModel.LanguageModel)(
    LanguageModel.make({
      generateText: () =>
        Effect.succeed([
          { type: "text", text },
          {
            type: "finish",
            reason: "stop",
            usage: { inputTokens: { total: 60 }, outputTokens: { total: outputTokens } }
          }
        ]),
      streamText: () => Stream.empty
    })
  )

const dear = Model.make("test", "dear-model", provider("A long answer.", 400))
const cheap = Model.make("test", "cheap-model", provider("A short one.", 20))

const plan = ExecutionPlan.make(
  { provide: GuardedLanguageModel.layer({ maxOutputTokens: 500 }).pipe(Layer.provideMerge(dear)) },
  {
    provide: GuardedLanguageModel.layer({ maxOutputTokens: 50 }).pipe(Layer.provideMerge(cheap)),
    // Asked about the error of the dear model. What its provider refuses is none of ours.
    while: (error: AiError.AiError) => GuardedLanguageModel.refusalOf(error)?._tag === "BudgetExceeded"
  }
)

const ask = (prompt: string) =>
  LanguageModel.generateText({ prompt }).pipe(
    Effect.map((reply) => reply.text),
    Effect.withExecutionPlan(plan)
  )

// Around the plan, which makes the layers of its steps anew for each attempt.
const guard = ModelGuard.layerMemory({
  budget: { maxCostPerDay: "$0.015" },
  prices: {
    "dear-model": { input: "$3/M", output: "$20/M" },
    "cheap-model": { input: "$0.10/M", output: "$0.40/M" }
  }
})

const answers = Effect.forEach(["How deep is the sea?", "And how wide?"], ask)

await Effect.runPromise(Effect.provide(answers, guard)) // => ["A long answer.", "A short one."]
