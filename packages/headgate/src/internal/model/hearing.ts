import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Subject } from "../../Subject.ts"
import { type Feedback, feedbackOf } from "../provider/signals.ts"

/**
 * The headers of a reply that is no error, or of the response it keeps. Nothing else of it is heard: the rest is a model's,
 * which can say anything.
 */
const headersOf = (reply: unknown): unknown => {
  if (Predicate.hasProperty(reply, "headers")) return reply.headers
  const response = Predicate.hasProperty(reply, "response") ? reply.response : undefined
  return Predicate.hasProperty(response, "headers") ? response.headers : undefined
}

/** Tells a rate limiter what a reply says of the provider's limits. A reply that cannot be read is still an answer. */
export const hearing =
  (tell: (feedback: Feedback, subject: Subject | undefined) => Effect.Effect<void, Error>) =>
  (reply: unknown, subject?: Subject): Effect.Effect<void> =>
    Effect.ignoreCause(
      Effect.suspend(() => {
        const headers = headersOf(reply)
        if (headers === undefined) return Effect.void
        return Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const feedback = feedbackOf({ headers }, now)
          return feedback === undefined ? Effect.void : tell(feedback, subject)
        })
      })
    )
