import { NodeServices } from "@effect/platform-node"
import {
  Cause,
  ConfigProvider,
  Effect,
  Exit,
  Layer,
  Option,
  Queue,
  Runtime,
  Schema,
  Sink,
  Stdio,
  Stream,
  Terminal
} from "effect"
import { TerminalCapabilities } from "effect/cli"
import { TestConsole } from "effect/testing"
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
  /** Done whenever something is written to standard error, which is a terminal then. */
  readonly onProgress?: Effect.Effect<void>
  readonly env?: Readonly<Record<string, string>>
  /** The keys that are typed at a terminal. Without them there is none. */
  readonly keys?: ReadonlyArray<string>
}

/** A terminal at which these keys are typed; what is shown there goes to `shown`. */
const terminal = (keys: ReadonlyArray<string>, shown: Array<string>): Layer.Layer<Terminal.Terminal> =>
  Layer.succeed(Terminal.Terminal)(
    Terminal.make({
      columns: Effect.succeed(80),
      rows: Effect.succeed(24),
      size: Effect.never,
      readInput: Effect.gen(function* () {
        const queue = yield* Queue.make<Terminal.UserInput, Cause.Done>()
        for (const name of keys) {
          // What Node's terminal makes of it.
          const ctrl = name === "ctrl+c"
          const key = { name: ctrl ? "c" : name, ctrl, meta: false, shift: false }
          yield* Queue.offer(queue, { input: Option.some(key.name), key })
          if (ctrl) yield* Queue.end(queue)
        }
        return queue
      }),
      readLine: Effect.never,
      display: (text) => Effect.sync(() => shown.push(text))
    })
  )

/** Runs the command in this process with what it reads and writes in texts. */
export const headgate = (args: ReadonlyArray<string>, options?: Options): Effect.Effect<Ran> =>
  Effect.gen(function* () {
    const stdout: Array<string> = []
    const stderr: Array<string> = []
    const into = (texts: Array<string>) => () =>
      Sink.forEach((chunk: string | Uint8Array) =>
        Effect.andThen(
          Effect.sync(() => texts.push(typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk))),
          texts === stderr ? (options?.onProgress ?? Effect.void) : Effect.void
        )
      )
    const stdio = Stdio.layerTest({
      stdin: Stream.make(new TextEncoder().encode(options?.stdin ?? "")),
      stdout: into(stdout),
      stderr: into(stderr),
      stderrIsTerminal: Effect.succeed(options?.terminal === "stderr" || options?.onProgress !== undefined)
    })
    const canPrompt = options?.keys !== undefined
    const exit = yield* run(args).pipe(
      Effect.provide(
        Layer.mergeAll(NodeServices.layer, TestConsole.layer, stdio, terminal(options?.keys ?? [], stdout))
      ),
      Effect.provideService(TerminalCapabilities.TerminalCapabilities, {
        canColor: false,
        canAnimate: false,
        canPrompt
      }),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env: { ...options?.env } })),
      Effect.exit
    )
    return {
      code: yield* Effect.callback<number>((resume) =>
        Runtime.defaultTeardown(exit, (code) => resume(Effect.succeed(code)))
      ),
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
