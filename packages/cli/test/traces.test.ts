import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { existsSync } from "node:fs"
import { Report } from "../src/simulate/Report.ts"
import { fromRoot, headgate } from "./harness.ts"

const traces = [
  { file: "AzureLLMInferenceTrace_conv.csv", format: "azure", requests: 19_366, seconds: 3_501 },
  { file: "mooncake_conversation_trace.jsonl", format: "mooncake", requests: 12_031, seconds: 3_536 }
] as const

/** A policy that every recorded trace runs into: budgets refuse, the limiter delays, the provider has its own limits. */
const policies = ["default", "team", "agents", "strict"] as const

describe("recorded traffic", () => {
  for (const { file, format, requests, seconds } of traces) {
    const path = fromRoot(`../shared/traces/${file}`)
    if (!existsSync(path)) {
      it.skip(`${file}: skipped, because ../shared/traces does not have it`, () => {})
      continue
    }
    for (const policy of policies) {
      it.effect(
        `${file} under ${policy}: each request once, no window above its limit, 500 times as fast`,
        () =>
          Effect.gen(function* () {
            // The processor's time: what else the machine does is no failure of ours.
            const started = process.cpuUsage()
            const { code, stderr, stdout } = yield* headgate([
              "simulate",
              "--trace",
              path,
              "--policy",
              policy,
              "--json"
            ])
            const { system, user } = process.cpuUsage(started)
            const took = (system + user) / 1_000_000
            assert.strictEqual(code, 0, stderr)
            const report = Schema.decodeUnknownSync(Schema.fromJsonString(Report))(stdout)
            assert.strictEqual(report.trace.format, format)
            assert.strictEqual(report.calls.total, requests)
            assert.strictEqual(report.calls.answered + report.calls.refused + report.calls.failed, requests)
            assert.deepStrictEqual(report.violations, [])
            for (const { quota, worst } of report.limits) assert.isAtMost(worst.share, 1, quota)
            assert.isAtLeast(seconds / took, 500)
          }),
        60_000
      )
    }
  }
})
