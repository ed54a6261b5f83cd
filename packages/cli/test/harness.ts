import { NodeServices } from "@effect/platform-node"
import { Cause, Effect, Exit, Layer, Runtime, Schema, Sink, Stdio, Stream } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { run } from "../src/Headgate.ts"
import { Report } from "../src/simulate/Report.ts"

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

/** The report that `--json` writes. */
export const decode = (stdout: string): Report =>
  Schema.decodeUnknownSync(Schema.fromJsonString(Report))(stdout, { onExcessProperty: "error" })

/** A policy file, there until the scope ends. */
export const policyFile = (policy: unknown) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "headgate-"))),
      (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
    ),
    (directory) => {
      const path = join(directory, "policy.json")
      writeFileSync(path, JSON.stringify(policy))
      return path
    }
  )

/** A path from the root of the repository. */
export const fromRoot = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
