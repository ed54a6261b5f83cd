/** The store of a command: which one, and what can go wrong with it. */
import { InvalidStore, Store, StoreUnreachable } from "@headgate/node"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Flag from "effect/cli/Flag"
import { Alerts, type QuotaStore, StoreError } from "headgate"
import { Unusable, UsageError } from "./errors.ts"

const urls = "redis://…, rediss://…, postgres://… or sqlite:PATH"

/** The flags of commands that look at a store that others use. */
export const flags = {
  store: Flag.Redacted("store").pipe(
    Flag.withDescription(`The store: ${urls}. Default: HEADGATE_STORE, where a password is better off`),
    Flag.withMetavar("URL"),
    Flag.optional
  ),
  prefix: Flag.String("prefix").pipe(
    Flag.withDescription(
      "What the names of its keys or tables begin with. Default: HEADGATE_STORE_PREFIX, or headgate"
    ),
    Flag.withMetavar("NAME"),
    Flag.optional
  )
}

/** The flag of a command that makes a store of its own there, and removes it. */
export const temporaryFlag = Flag.Redacted("store").pipe(
  Flag.withDescription(
    `Decide in a store: ${urls}, under a prefix of its own that is removed at the end, by the time of the replay. ` +
      "Default: memory"
  ),
  Flag.withMetavar("URL"),
  Flag.withDefault(Redacted.make("memory"))
)

type Wrong = Pick<InvalidStore, "option" | "reason">

const usageError = ({ option, reason }: Wrong): UsageError =>
  new UsageError({ message: `--${option === "url" ? "store" : "prefix"} ${reason}` })

/** What of a store's url may be shown. */
export const nameOf = (url: Redacted.Redacted): Effect.Effect<string, UsageError> =>
  Effect.mapError(Effect.fromResult(Store.describe(url)), usageError)

const ofAnotherProcess = new Set(["memory", "sqlite::memory:"])

const orElse = <A>(
  given: Option.Option<A>,
  variable: Config.Config<A>
): Effect.Effect<Option.Option<A>, Config.ConfigError> =>
  Option.isSome(given) ? Effect.succeed(given) : Effect.suspend(() => Config.option(variable))

/**
 * The store that others use, as the flags name it or else the environment: what is wrong there is told of whichever it was.
 * Memory is none, and one that nobody has made is a slip of the pen: it is not made here.
 */
export const chosen = Effect.fnUntraced(function* (given: {
  readonly store: Option.Option<Redacted.Redacted>
  readonly prefix: Option.Option<string>
}) {
  const wrong = ({ option, reason }: Wrong): UsageError | Unusable => {
    const error = { option, reason: reason.replace("memory, ", "") }
    if (option === "url" ? Option.isSome(given.store) : Option.isSome(given.prefix)) return usageError(error)
    return new Unusable({ message: `HEADGATE_STORE${option === "url" ? "" : "_PREFIX"} ${error.reason}` })
  }
  const url = yield* orElse(given.store, Config.Redacted("HEADGATE_STORE"))
  const prefix = yield* orElse(given.prefix, Config.String("HEADGATE_STORE_PREFIX"))
  if (Option.isNone(url)) {
    return yield* new UsageError({ message: `--store, or else HEADGATE_STORE, must name the store: ${urls}` })
  }
  const name = yield* Effect.mapError(Effect.fromResult(Store.describe(url.value)), wrong)
  if (ofAnotherProcess.has(name)) {
    return yield* wrong({ option: "url", reason: `must be shared: ${name} is in another process` })
  }
  const layer = Store.fromUrl(url.value, { prefix: Option.getOrUndefined(prefix), onMissing: "fail" })
  return {
    name,
    /** Gives the store to an effect. */
    open: <A, E>(effect: Effect.Effect<A, E, QuotaStore.QuotaStore>) =>
      Effect.provide(effect, Layer.provide(layer, Alerts.layer)).pipe(
        Effect.mapError((error) => (error instanceof InvalidStore ? wrong(error) : error))
      )
  }
})

export const unusable = ({ message }: StoreError): Unusable => new Unusable({ message: `the store failed: ${message}` })

type Broken = InvalidStore | StoreUnreachable | StoreError | Config.ConfigError

const explain = <E>(error: E): Exclude<E, Broken> | UsageError | Unusable => {
  if (error instanceof InvalidStore) return usageError(error)
  if (error instanceof StoreError) return unusable(error)
  return error instanceof StoreUnreachable || error instanceof Config.ConfigError
    ? new Unusable({ message: error.message })
    : (error as Exclude<E, Broken>)
}

/** What goes wrong with a store, in words and with an exit code. */
export const explained = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.mapError(explain),
    // A driver's own warnings say nothing that the error does not say better.
    Effect.provideService(References.MinimumLogLevel, "Error"),
    Effect.provideService(Logger.LogToStderr, true)
  )
