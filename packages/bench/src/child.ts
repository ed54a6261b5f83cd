// The process of one side: node child.ts <contest> <index of the side>. Runs a round whenever it is told to.
import { full } from "./Contest.ts"
import type { Answer } from "./isolate.ts"
import { contestNamed, sidesOf } from "./tables.ts"

const answer = (answer: Answer): void => {
  process.send!(answer)
}

const failed = (error: unknown): void => answer({ error: String(error instanceof Error ? error.stack : error) })

const [name = "", index = ""] = process.argv.slice(2)

process.once("disconnect", () => process.exit())
try {
  const contestant = await sidesOf(contestNamed(name))[Number(index)]!.load(full)
  process.on("message", async (message) => {
    try {
      if (message === "round") return answer({ value: await contestant.round() })
      await contestant.end?.()
      process.exit()
    } catch (error) {
      failed(error)
    }
  })
  answer({})
} catch (error) {
  failed(error)
}
