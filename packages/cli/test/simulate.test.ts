import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import type { Report } from "../src/simulate/Report.ts"
import { decode, fromRoot, headgate, policyFile } from "./harness.ts"

const sums = ({ calls, refusals, failures, attempts }: Report) => {
  const sum = (rows: ReadonlyArray<{ readonly calls: number }>) => rows.reduce((sum, { calls }) => sum + calls, 0)
  assert.strictEqual(calls.answered + calls.refused + calls.failed, calls.total)
  assert.strictEqual(sum(refusals), calls.refused)
  assert.strictEqual(sum(failures), calls.failed)
  assert.isAtMost(sum(attempts), calls.total)
}

describe("headgate simulate", () => {
  for (const policy of ["default", "team", "agents", "strict"]) {
    it.effect(`replays the built-in traffic under ${policy}: each call once, no limit passed`, () =>
      Effect.gen(function* () {
        const { code, stdout } = yield* headgate(["simulate", "--policy", policy, "--json"])
        assert.strictEqual(code, 0)
        const report = decode(stdout)
        assert.strictEqual(report.calls.total, 3_600)
        assert.isTrue(report.trace.generated)
        sums(report)
        assert.deepStrictEqual(report.violations, [])
        assert.isAbove(report.limits.length, 0)
        for (const { worst } of report.limits) assert.isAtMost(worst.share, 1)
      })
    )
  }

  it.effect("writes the same bytes for the same seed, others for another", () =>
    Effect.gen(function* () {
      for (const format of [[], ["--json"]]) {
        const seed = (seed: string) => headgate(["simulate", "--policy", "team", "--seed", seed, ...format])
        const first = yield* seed("5")
        assert.strictEqual((yield* seed("5")).stdout, first.stdout)
        assert.notStrictEqual((yield* seed("6")).stdout, first.stdout)
      }
    })
  )

  it.effect("writes a report that a person reads, and how fast it was beside it", () =>
    Effect.gen(function* () {
      const { stderr, stdout } = yield* headgate(["simulate"])
      for (const part of [
        "3,600 generated calls",
        "answered",
        "waits",
        "attempts per call",
        "limits",
        "alerts, the first"
      ]) {
        assert.include(stdout, part)
      }
      assert.notInclude(stdout, "times as fast")
      assert.match(stderr, /^replayed \d+ s of traffic in /)
    })
  )

  it.effect("draws a bar on a terminal only", () =>
    Effect.gen(function* () {
      assert.include((yield* headgate(["simulate"], { terminal: "stderr" })).stderr, "░")
      assert.notInclude((yield* headgate(["simulate"])).stderr, "░")
    })
  )

  it.effect("reads standard input and counts what the trace says", () =>
    Effect.gen(function* () {
      const stdin = [
        "timestamp,input_tokens,output_tokens,cached_input_tokens,user",
        "2026-01-31 12:00:01,1000,10,400,ada",
        "2026-01-31 12:00:00,2000,20,0,ben"
      ].join("\n")
      const { code, stdout } = yield* headgate(["simulate", "--trace", "-", "--json"], { stdin })
      assert.strictEqual(code, 0)
      const report = decode(stdout)
      assert.deepStrictEqual(report.trace, {
        source: "standard input",
        format: "csv",
        generated: false,
        requests: 2,
        skippedLines: 0,
        firstArrival: "2026-01-31T12:00:00.000Z",
        lastArrival: "2026-01-31T12:00:01.000Z",
        lastEnd: "2026-01-31T12:00:01.550Z"
      })
      assert.deepStrictEqual(report.usage, {
        // 600 and 2,000 new tokens at $2.50 a million, 400 cached at $0.25, 30 written at $10; the estimates have 20 each.
        estimate: { tokens: 3_040, cost: 7_900_000 },
        actual: { tokens: 3_030, cost: 6_900_000 },
        overruns: 0
      })
    })
  )

  it.effect("names a bad line and its reason, or passes over it and counts it", () =>
    Effect.gen(function* () {
      const stdin = "timestamp,input_tokens,output_tokens\n0,1,1\n1,one,1\n\n2,1,1\n3,1\n"
      const failed = yield* headgate(["simulate", "--trace", "-"], { stdin })
      assert.strictEqual(failed.code, 1)
      assert.strictEqual(failed.stdout, "")
      assert.include(failed.stderr, 'standard input:3: input_tokens must be a whole number of tokens, got "one"')
      const skipped = yield* headgate(["simulate", "--trace", "-", "--skip-bad", "--json"], { stdin })
      assert.strictEqual(skipped.code, 0)
      const { trace } = decode(skipped.stdout)
      assert.strictEqual(trace.requests, 2)
      assert.strictEqual(trace.skippedLines, 2)
      assert.include(skipped.stderr, "passed over standard input:6: must have 3 columns")
    })
  )

  it.effect("says what is wrong with a trace as a whole", () =>
    Effect.gen(function* () {
      const wrong = (stdin: string, ...args: ReadonlyArray<string>) =>
        headgate(["simulate", "--trace", "-", "--skip-bad", ...args], { stdin })
      for (const [ran, message] of [
        [yield* wrong(""), "standard input: there is no request in it"],
        [yield* wrong("timestamp,input_tokens,output_tokens\n"), "standard input: there is no request in it"],
        [yield* wrong("1,2,3\n4,5,6"), "standard input:1: the first line must name the columns"],
        [yield* wrong("{}", "--format", "azure"), "standard input:1: the first line must name the columns TIMESTAMP"],
        [yield* headgate(["simulate", "--trace", "no-such-file.csv"]), "no-such-file.csv: there is no such file"]
      ] as const) {
        assert.strictEqual(ran.code, 1)
        assert.include(ran.stderr, message)
      }
    })
  )

  it.effect("counts a call that takes longer than reservationTtl once, when it has ended", () =>
    Effect.gen(function* () {
      const path = yield* policyFile({ budget: { maxTokensPerMinute: 1_000, reservationTtl: "1 second" } })
      const stdin = "timestamp,input_tokens,output_tokens\n0,100,20\n0,100,200\n"
      const { code, stdout } = yield* headgate(["simulate", "--trace", "-", "--policy", path, "--json"], { stdin })
      assert.strictEqual(code, 0)
      const [limit] = decode(stdout).limits
      assert.deepStrictEqual(limit?.worst, {
        amount: 420,
        share: 0.42,
        at: "1970-01-01T00:00:03.400Z",
        subject: "everyone",
        limit: 1_000
      })
    })
  )

  it.effect("ends with 2 when the command line is wrong, and with 0 when help was asked for", () =>
    Effect.gen(function* () {
      for (const args of [
        ["simulate", "--sneed", "1"],
        ["simulate", "--seed", "-1"],
        ["simulate", "--format", "xml"]
      ]) {
        assert.strictEqual((yield* headgate(args)).code, 2, args.join(" "))
      }
      for (const args of [[], ["--help"], ["simulate", "--help"], ["--version"]]) {
        assert.strictEqual((yield* headgate(args)).code, 0, args.join(" "))
      }
    })
  )

  it("runs as a process, with its exit codes", () => {
    const bin = fromRoot("packages/cli/src/bin.ts")
    const start = (...args: ReadonlyArray<string>) =>
      execFileSync(process.execPath, ["--conditions=@headgate/source", bin, ...args], {
        encoding: "utf8",
        stdio: "pipe"
      })
    decode(start("simulate", "--json"))
    const codeOf = (...args: ReadonlyArray<string>): unknown => {
      try {
        start(...args)
        return 0
      } catch (error) {
        return (error as { readonly status: unknown }).status
      }
    }
    assert.strictEqual(codeOf("simulate", "--policy", "nobody"), 1)
    assert.strictEqual(codeOf("simulate", "--polizy", "team"), 2)
  })

  it("ends quietly when nobody reads what it writes", async () => {
    for (const deaf of ["stdout", "stderr"] as const) {
      const child = spawn(
        process.execPath,
        ["--conditions=@headgate/source", fromRoot("packages/cli/src/bin.ts"), "simulate", "--json"],
        { stdio: ["ignore", "pipe", "pipe"] }
      )
      let heard = ""
      child[deaf].destroy()
      child[deaf === "stdout" ? "stderr" : "stdout"].on("data", (chunk) => (heard += String(chunk)))
      const [code] = await once(child, "close")
      assert.strictEqual(code, 0, heard)
      if (deaf === "stdout") assert.match(heard, /^replayed .* times as fast\n$/)
      else decode(heard)
    }
  })
})
