/** `headgate reset`: sets what is used of quotas to nothing, once somebody has said yes. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Prompt from "effect/cli/Prompt"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import { QuotaStore, Subject } from "headgate"
import { UsageError } from "./errors.ts"
import { writeOut } from "./output.ts"
import * as Quotas from "./quotas.ts"
import * as Store from "./store.ts"

const confirmed = Effect.fnUntraced(function* (what: string) {
  const { canPrompt } = yield* TerminalCapabilities
  if (!canPrompt) {
    return yield* new UsageError({ message: `to reset ${what} without a terminal to ask at, say --yes` })
  }
  return yield* Prompt.run(Prompt.Confirm({ message: `Reset ${what}? What calls hold stays held.`, initial: false }))
})

export const reset = Command.make(
  "reset",
  {
    ...Store.flags,
    ...Quotas.flags,
    yes: Flag.Boolean("yes").pipe(Flag.withDescription("Ask nothing"), Flag.withDefault(false))
  },
  Effect.fnUntraced(
    function* ({ policy, prefix, store, subject, yes }) {
      const { name, open } = yield* Store.chosen({ store, prefix })
      const quotas = yield* Quotas.load(policy)
      const subjects = yield* Quotas.subjectsOf(quotas, subject)
      const { budget, rateLimiter } = yield* quotas.accountsOf(subjects)
      const own = [...budget, ...rateLimiter].filter(({ plan }) => plan.dimension !== undefined)
      const target = subjects.length > 0 ? { accounts: own } : { plans: yield* quotas.plans }
      const whose =
        subjects.length > 0
          ? subjects.map(Subject.format).join(", ")
          : ["everyone", ...quotas.dimensions.map((dimension) => `each ${dimension}`)].join(", ")
      const what = `what is used of the quotas of ${whose} in ${name}`
      if (!yes && !(yield* confirmed(what))) return yield* writeOut("nothing was reset\n")
      yield* open(QuotaStore.QuotaStore.use((store) => store.reset(target)))
      yield* writeOut(`reset ${what}\n`)
    },
    Effect.scoped,
    Store.explained
  )
).pipe(
  Command.withDescription(
    "Sets what is used of quotas to nothing: of everyone and all subjects, or of the subjects named. What is held stays"
  ),
  Command.withExamples([
    {
      command: "headgate reset --store redis://localhost:6379 --policy policy.json --subject user=42",
      description: "Asks first, then gives user 42 what the quotas per user allow"
    },
    { command: "headgate reset --store sqlite:app.db --yes", description: "All quotas of the environment" }
  ])
)
