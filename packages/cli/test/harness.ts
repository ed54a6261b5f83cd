import { NodeServices } from "@effect/platform-node"
import { Cause, Effect, Exit, Layer, Runtime, Sink, Stdio, Stream } from "effect"
import { fileURLToPath } from "node:url"
import { run } from "../src/Headgate.ts"

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface Options {
  readonly stdin?: string
  readonly terminal?: "stderr"
}

/** Runs the command in this process with what it reads and writes in texts. */
export const headgate = (args: ReadonlyArray<string>, options?: Options): Effect.Effect<Ran> =>
  Effect.gen(function* () {
    const stdout: Array<string> = []
    const stderr: Array<string> = []
    const into = (texts: Array<string>) => () =>
      Sink.forEach((chunk: string | Uint8Array) =>
        Effect.sync(() => texts.push(typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk)))
      )
    const stdio = Stdio.layerTest({
      stdin: Stream.make(new TextEncoder().encode(options?.stdin ?? "")),
      stdout: into(stdout),
      stderr: into(stderr),
      stderrIsTerminal: Effect.succeed(options?.terminal === "stderr")
    })
    const exit = yield* Effect.exit(Effect.provide(run(args), Layer.merge(NodeServices.layer, stdio)))
    return {
      code: Exit.isSuccess(exit) ? 0 : Runtime.getErrorExitCode(Cause.squash(exit.cause)),
      stdout: stdout.join(""),
      stderr: stderr.join("") + (Exit.isSuccess(exit) ? "" : Cause.pretty(exit.cause))
    }
  })

/** A path from the root of the repository. */
export const fromRoot = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
