// A side in a process of its own: what one side loads, compiles and leaves on the heap does not reach the other.
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import type { Contestant } from "./Contest.ts"

const child = fileURLToPath(new URL("child.ts", import.meta.url))

/** What a child answers: that it is ready (without a value), the value of a round, or what went wrong. */
export interface Answer {
  readonly value?: number
  readonly error?: string
}

const answerOf = async (process: ChildProcess): Promise<number | undefined> => {
  const over = new AbortController()
  const answered = once(process, "message", over).then(([answer]): Answer => answer)
  const ended = once(process, "exit", over).then(([code]): Answer => ({ error: `its process ended with ${code}` }))
  const answer = await Promise.race([answered, ended])
  over.abort()
  if (answer.error !== undefined) throw new Error(answer.error)
  return answer.value
}

/** Loads side `index` of a contest (0 is ours) in a new process. */
export const isolated = async (contest: string, index: number): Promise<Contestant> => {
  const process = fork(child, [contest, String(index)], {
    execArgv: ["--expose-gc", "--max-old-space-size=8192", "--disable-warning=ExperimentalWarning"]
  })
  await answerOf(process)
  return {
    round: async () => {
      process.send("round")
      return (await answerOf(process))!
    },
    end: async () => {
      if (process.exitCode !== null) return
      const ended = once(process, "exit")
      process.send("end")
      await ended
    }
  }
}
