import * as Config from "effect/Config"
import { SourceError } from "effect/ConfigProvider"
import * as Effect from "effect/Effect"

/** Makes a service of configured options. What the maker throws about them is a `ConfigError` here. */
export const makeConfigured = <Options, A, R>(
  options: Config.Wrap<Options>,
  make: (options: Options) => Effect.Effect<A, never, R>
): Effect.Effect<A, Config.ConfigError, R> =>
  Effect.flatMap(Config.unwrap(options), (options) =>
    Effect.flatten(
      Effect.try({
        try: () => make(options),
        catch: (cause) => new Config.ConfigError(new SourceError({ message: String(cause), cause }))
      })
    )
  )
