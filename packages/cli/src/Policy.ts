/** A policy file: the options of the library's layers as JSON, and what the provider and its price list are like. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as CliError from "effect/cli/CliError"
import { Budget, Guard, type RateLimiter } from "headgate"
import { fileURLToPath } from "node:url"
import { exitCodes } from "./exitCodes.ts"
import { PolicyFile } from "./policyFile.ts"
import * as Price from "./simulate/Price.ts"
import * as Provider from "./simulate/Provider.ts"

/** What `--policy` takes by name: the library's defaults, and the examples that ship with the command. */
export const names = ["default", "team", "agents", "strict"] as const

export interface Policy {
  readonly name: string
  readonly budget: Budget.Options
  readonly rateLimiter: RateLimiter.Options
  /** The guard under this policy. */
  readonly guard: ReturnType<typeof Guard.layer>
  readonly provider: Provider.Options
  readonly price: Price.Price
}

/** A policy that can not be read. */
export class PolicyError extends Schema.TaggedError<PolicyError>()("PolicyError", {
  policy: Schema.String,
  reason: Schema.String
}) {
  override readonly [Runtime.errorExitCode] = exitCodes.input
  override get message(): string {
    return `policy ${this.policy}: ${this.reason}`
  }
  override get [CliError.userMessage](): string {
    return this.message
  }
}

const examples = new URL("../policies/", import.meta.url)

/** Loads a policy by name, or else from a file. */
export const load = Effect.fnUntraced(function* (nameOrFile: string) {
  if (nameOrFile === "default") return yield* make(nameOrFile, {})
  const known = names.find((name) => name === nameOrFile)
  const fileSystem = yield* FileSystem.FileSystem
  const path = known === undefined ? nameOrFile : fileURLToPath(new URL(`${known}.json`, examples))
  const error = (reason: string): PolicyError => new PolicyError({ policy: nameOrFile, reason })
  const text = yield* fileSystem
    .readFileString(path)
    .pipe(
      Effect.mapError((cause) =>
        error(cause.reason._tag === "NotFound" ? `neither a file nor one of ${names.join(", ")}` : cause.message)
      )
    )
  return yield* parse(nameOrFile, text)
})

/** Reads a policy from the text of its file. Every error names its place in the file. */
export const parse = (name: string, text: string): Effect.Effect<Policy, PolicyError> =>
  Effect.try({ try: (): unknown => JSON.parse(text), catch: (cause) => `not JSON: ${String(cause)}` }).pipe(
    Effect.flatMap((json) =>
      Effect.mapError(
        Schema.decodeUnknownEffect(PolicyFile)(json, { errors: "all", onExcessProperty: "error" }),
        (error) => error.message
      )
    ),
    Effect.mapError((reason) => new PolicyError({ policy: name, reason })),
    Effect.flatMap((file) => make(name, file))
  )

const make = (name: string, file: typeof PolicyFile.Type): Effect.Effect<Policy, PolicyError> => {
  const budget = file.budget ?? Budget.defaults
  const rateLimiter = file.rateLimiter ?? {}
  return Effect.try({
    // What the layers find wrong that the shape of the file does not tell: they throw a RangeError that names it.
    try: () => Guard.layer({ budget, rateLimiter, retry: file.retry ?? {}, tracing: "none" }),
    catch: (cause) => new PolicyError({ policy: name, reason: cause instanceof Error ? cause.message : String(cause) })
  }).pipe(
    Effect.map((guard) => ({
      name,
      budget,
      rateLimiter,
      guard,
      provider: { ...Provider.defaults, ...file.provider },
      price: file.price ?? Price.defaults
    }))
  )
}
