/** What more than one command can fail with. */
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as CliError from "effect/cli/CliError"
import { exitCodes } from "./exitCodes.ts"

/** The command line is wrong. */
export class UsageError extends Schema.TaggedError<UsageError>()("UsageError", { message: Schema.String }) {
  override readonly [Runtime.errorExitCode] = exitCodes.usage
  override readonly [Runtime.errorReported] = false
  override get [CliError.userMessage](): string {
    return this.message
  }
}

/** What the command needs can not be used: a store that does not answer, a variable that is wrong. */
export class Unusable extends Schema.TaggedError<Unusable>()("Unusable", { message: Schema.String }) {
  override readonly [Runtime.errorExitCode] = exitCodes.input
  override get [CliError.userMessage](): string {
    return this.message
  }
}
