/** The `headgate` command. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import { UsageError } from "./errors.ts"
import { reset } from "./Reset.ts"
import { simulate } from "./simulate/Simulate.ts"
import { status } from "./Status.ts"

const headgate = Command.make("headgate").pipe(
  Command.withDescription("Budgets, rate limits and retries around LLM calls"),
  Command.withSubcommands([simulate, status, reset])
)

/** Runs the command with these arguments. */
export const run = (args: ReadonlyArray<string>) =>
  Command.runWith(headgate, { version: "0.1.0" })(args).pipe(
    Effect.catchTag("ShowHelp", ({ errors }) =>
      errors.length === 0
        ? Effect.void
        : Effect.fail(new UsageError({ message: errors.map((error) => error.message).join("; ") }))
    )
  )
