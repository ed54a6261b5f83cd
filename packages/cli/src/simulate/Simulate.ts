/** `headgate simulate`: replays traffic against a policy before it costs anything. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { exitCodes } from "../exitCodes.ts"
import * as BuiltInTraffic from "./BuiltInTraffic.ts"
import { writeError, writeOut } from "../output.ts"
import * as Store from "../store.ts"
import * as Policy from "../Policy.ts"
import * as Replay from "./Replay.ts"
import { toJson } from "./Report.ts"
import { summarize } from "./summarize.ts"
import { toText } from "./reportText.ts"
import * as Trace from "./Trace.ts"
import { formats } from "./traceFormats.ts"

/** What should never happen did: a law did not hold, which the report names, or calls wait that nothing will wake. */
export class LawBroken extends Schema.TaggedError<LawBroken>()("LawBroken", { reason: Schema.String }) {
  override readonly [Runtime.errorExitCode] = exitCodes.law
  override get message(): string {
    return `this is a bug of headgate: ${this.reason}`
  }
  override get [CliError.userMessage](): string {
    return this.message
  }
}

const Seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 31 - 1 }))
const MaxOutput = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000_000 }))

const flags = {
  trace: Flag.String("trace").pipe(
    Flag.withDescription("Recorded traffic: a file, or - for standard input. Without it, generated traffic"),
    Flag.withMetavar("FILE"),
    Flag.optional
  ),
  format: Flag.Literals("format", formats).pipe(
    Flag.withDescription("The trace's format. Default: what its first line looks like"),
    Flag.optional
  ),
  skipBad: Flag.Boolean("skip-bad").pipe(
    Flag.withDescription("Pass over lines that can not be read, and count them"),
    Flag.withDefault(false)
  ),
  policy: Flag.String("policy").pipe(
    Flag.withDescription(`A policy file, or one of ${Policy.names.join(", ")}`),
    Flag.withMetavar("FILE|NAME"),
    Flag.withDefault("default")
  ),
  maxOutput: Flag.Int("max-output").pipe(
    Flag.withSchema(MaxOutput),
    Flag.withDescription(
      "Output tokens reserved per call, as max_tokens would be. Default: the trace's longest output"
    ),
    Flag.optional
  ),
  store: Store.temporaryFlag,
  seed: Flag.Int("seed").pipe(
    Flag.withSchema(Seed),
    Flag.withDescription("Decides the generated traffic, the provider's failures and the jitter"),
    Flag.withDefault(1)
  ),
  json: Flag.Boolean("json").pipe(Flag.withDescription("Write the report as JSON"), Flag.withDefault(false))
}

export const simulate = Command.make(
  "simulate",
  flags,
  Effect.fnUntraced(function* ({ format, json, maxOutput, policy: policyName, seed, skipBad, store, trace: source }) {
    const policy = yield* Policy.load(policyName)
    const trace = Option.isNone(source)
      ? BuiltInTraffic.make(seed)
      : yield* Trace.read({
          source: source.value,
          format: Option.getOrUndefined(format),
          onBadLine: skipBad ? "skip" : "fail"
        })
    const started = yield* Clock.monotonicTimeNanos
    const replay = yield* Replay.run({
      trace,
      policy,
      seed,
      store,
      maxOutputTokens: Option.getOrUndefined(maxOutput)
    }).pipe(Effect.catchTag("Deadlock", ({ message }) => Effect.fail(new LawBroken({ reason: message }))))
    const took = Number((yield* Clock.monotonicTimeNanos) - started) / 1e9

    const report = summarize(replay)
    yield* writeOut(json ? toJson(report) : toText(report))
    // The only number of the real clock, and so not on standard output.
    yield* writeError(speed(trace, took))
    for (const bad of trace.skipped.slice(0, 5)) yield* writeError(`passed over ${bad.message}\n`)
    if (report.violations.length > 0) return yield* new LawBroken({ reason: report.violations.join("; ") })
  }, Store.explained)
).pipe(
  Command.withDescription(
    "Replays recorded or generated LLM traffic through the real guard, on a virtual clock and against a scripted provider"
  ),
  Command.withExamples([
    { command: "headgate simulate", description: "An hour of generated traffic under the library's defaults" },
    { command: "headgate simulate --policy team", description: "The same under an example policy with rate limits" },
    {
      command: "headgate simulate --trace calls.csv --policy policy.json --json",
      description: "Your own traffic and policy, the report as data"
    },
    {
      command: "headgate simulate --store redis://localhost:6379",
      description: "Decided in Redis, under a prefix of its own that is removed at the end"
    }
  ])
)

const speed = ({ requests }: Trace.Trace, seconds: number): string => {
  const replayed = ((requests.at(-1)?.at ?? 0) - (requests[0]?.at ?? 0)) / 1000
  return `replayed ${Math.round(replayed)} s of traffic in ${seconds.toFixed(2)} s, ${Math.round(
    replayed / seconds
  )} times as fast\n`
}
