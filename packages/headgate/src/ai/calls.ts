import type * as AiError from "effect/ai/AiError"
import * as Model from "effect/ai/Model"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ModelUsage from "../ModelUsage.ts"
import type { Subject } from "../Subject.ts"

/**
 * What is to be known of a guarded model.
 *
 * - `model`: its name, by which it is priced and estimated. Default: `Model.ModelName` of the context.
 * - `provider`: whose price is meant where several offer the model.
 * - `subject`: whose quotas a call draws on, or an effect that is asked at each call.
 * - `onUnknown`: what a call counts as that was interrupted and may have been billed. Default `"charge"`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly model?: string | undefined
  readonly provider?: string | undefined
  readonly subject?: Subject | Effect.Effect<Subject> | undefined
  readonly onUnknown?: "charge" | "release" | undefined
}

/** The part of a call's description that all calls of a model have in common. */
export interface Common {
  readonly model: string
  readonly provider: string | undefined
  readonly subject: Subject | undefined
  readonly onUnknown: "charge" | "release" | undefined
}

/** Where the options do not name the model, types ask for `Model.ModelName`. */
const nameOf = (model: string | undefined): Effect.Effect<string> =>
  model === undefined ? Effect.map(Effect.context(), Context.getUnsafe(Model.ModelName)) : Effect.succeed(model)

/** What is asked at each call. */
export const commonOf = ({ model, onUnknown, provider, subject }: Options): Effect.Effect<Effect.Effect<Common>> =>
  Effect.map(nameOf(model), (model) =>
    Effect.map(Effect.isEffect(subject) ? subject : Effect.succeed(subject), (subject) => ({
      model,
      provider,
      subject,
      onUnknown
    }))
  )

/** The usage that an error carries, as those of unusable answers do. */
export const usageOfError = ({ reason }: AiError.AiError): ModelUsage.ModelUsage | undefined =>
  "usage" in reason ? ModelUsage.fromReply({ usage: reason.usage }) : undefined
