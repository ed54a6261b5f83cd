/** The `headgate` command. */
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as Command from "effect/cli/Command"
import { exitCodes } from "./exitCodes.ts"
import { simulate } from "./simulate/Simulate.ts"

const headgate = Command.make("headgate").pipe(
  Command.withDescription("Budgets, rate limits and retries around LLM calls"),
  Command.withSubcommands([simulate])
)

/** The command line is wrong; what and how has been shown. */
export class UsageError extends Schema.TaggedError<UsageError>()("UsageError", { message: Schema.String }) {
  override readonly [Runtime.errorExitCode] = exitCodes.usage
  override readonly [Runtime.errorReported] = false
}

/** Runs the command with these arguments. */
export const run = (args: ReadonlyArray<string>) =>
  Command.runWith(headgate, { version: "0.1.0" })(args).pipe(
    Effect.catchTag("ShowHelp", ({ errors }) =>
      errors.length === 0
        ? Effect.void
        : Effect.fail(new UsageError({ message: errors.map((error) => error.message).join("; ") }))
    )
  )
