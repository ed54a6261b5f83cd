import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** The provider of the call that a fiber is in, where the call names it: what it says concerns no other provider. */
export const Provider = Context.Reference<string | undefined>("headgate/Provider", { defaultValue: () => undefined })

/** Runs an effect as a call at a provider, or at one that is not named. */
export const atProvider = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  provider: string | undefined
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) =>
    fiber.getRef(Provider) === provider
      ? self
      : Effect.updateContext(self, (context: Context.Context<R>) => Context.add(context, Provider, provider))
  )

/** The same for a stream. */
export const streamAtProvider = <A, E, R>(
  self: Stream.Stream<A, E, R>,
  provider: string | undefined
): Stream.Stream<A, E, R> =>
  Stream.updateContext(self, (context: Context.Context<R>) => Context.add(context, Provider, provider))
