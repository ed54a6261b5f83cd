import { assert, describe, it } from "@effect/vitest"
import { Effect, Stdio } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Policy from "../src/Policy.ts"
import * as Replay from "../src/simulate/Replay.ts"
import type { Limit } from "../src/simulate/Report.ts"
import { summarize } from "../src/simulate/summarize.ts"
import type { Trace, TraceRequest } from "../src/simulate/Trace.ts"
import { decode, fromRoot, headgate, policyFile } from "./harness.ts"

const perMinute = { window: { _tag: "Sliding", length: "1 minute" } }

const rows = (limits: ReadonlyArray<Limit>, ...fields: ReadonlyArray<keyof Limit>) =>
  limits.map((limit) => fields.map((field) => limit[field]))

const trace = (...requests: ReadonlyArray<Partial<TraceRequest>>): Trace => ({
  source: "test",
  format: "generated",
  requests: requests.map((request, index) => ({
    index,
    at: index,
    inputTokens: 100,
    outputTokens: 10,
    cachedInputTokens: 0,
    user: undefined,
    model: undefined,
    ...request
  })),
  skipped: []
})

const replay = (policy: unknown, ...requests: ReadonlyArray<Partial<TraceRequest>>) =>
  Effect.flatMap(Policy.parse("test", JSON.stringify(policy)), (policy) =>
    Effect.provide(Replay.run({ trace: trace(...requests), policy, seed: 1 }), Stdio.layerTest({}))
  )

describe("the limits of a report", () => {
  it.effect("in shadow mode are watched, and passing them is no bug", () =>
    Effect.gen(function* () {
      const path = yield* policyFile({ budget: { maxTokensPerMinute: 20_000, mode: "shadow" } })
      const { code, stdout } = yield* headgate(["simulate", "--policy", path, "--json"])
      const { calls, limits, violations } = decode(stdout)
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(violations, [])
      assert.strictEqual(calls.refused, 0)
      assert.deepStrictEqual(rows(limits, "quota", "mode", "passed"), [["maxTokensPerMinute", "watched", "unenforced"]])
      const text = (yield* headgate(["simulate", "--policy", path])).stdout
      assert.include(text, "maxTokensPerMinute, watched")
      assert.include(text, "the budget is in shadow mode and refuses nothing")
      assert.notInclude(text, "LAWS BROKEN")
    })
  )

  it.effect("of a rate limiter are enforced beside a budget in shadow mode", () =>
    Effect.gen(function* () {
      const shadow = { budget: { maxTokensPerMinute: 1, mode: "shadow" }, rateLimiter: { requestsPerMinute: 9 } }
      const { limits } = summarize(yield* replay(shadow, {}))
      assert.deepStrictEqual(rows(limits, "quota", "mode", "passed"), [
        ["maxTokensPerMinute", "watched", "unenforced"],
        ["requestsPerMinute", "enforced", "never"]
      ])
    })
  )

  it.effect("name those that were passed because calls took more than was reserved", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* headgate(["simulate", "--max-output", "1", "--json"])
      assert.strictEqual(code, 0)
      const { alerts, limits, usage } = decode(stdout)
      assert.isAbove(usage.overruns, 0)
      assert.isAbove(alerts.counts["Overrun"] ?? 0, 0)
      // Each call that took more has reserved another amount: that is no reason for a row of its own.
      assert.strictEqual(alerts.rows.filter(({ alert }) => alert === "Overrun").length, 2)
      assert.deepStrictEqual(
        limits.filter(({ passed }) => passed !== "never").map(({ passed, quota }) => [quota, passed]),
        [["maxTokensPerHour", "byOverruns"]]
      )
      const text = (yield* headgate(["simulate", "--max-output", "1"])).stdout
      assert.match(text, /passed because calls took more than was reserved for them: maxTokensPerHour by \d,\d+\n/)
    })
  )

  it.effect("are not excused by what was taken too much of another unit, or too little of the same", () =>
    Effect.gen(function* () {
      const limited = {
        budget: {
          maxCostPerDay: "$0.01",
          quotas: [
            { unit: "tokens", limit: 300, ...perMinute },
            { unit: "outputTokens", limit: 100, ...perMinute }
          ]
        }
      }
      const real = yield* replay(limited, {}, {})
      assert.deepStrictEqual(summarize(real).violations, [])
      // As if headgate had let two calls of 200 tokens pass, which cost more than was reserved, and one of which wrote more.
      const calls = real.calls.map((call, index) => {
        const reserved = { ...call.estimate, tokens: 200, inputTokens: 140, outputTokens: 60 }
        const actual = { ...reserved, cost: 9_000_000 as typeof reserved.cost, outputTokens: 60 + index }
        return { ...call, estimate: reserved, actual, settled: actual }
      })
      const { limits, usage, violations } = summarize({ ...real, calls })
      assert.strictEqual(usage.overruns, 2)
      assert.deepStrictEqual(rows(limits, "quota", "passed"), [
        ["maxCostPerDay", "byOverruns"],
        ["tokens per 1m", "broken"],
        ["outputTokens per 1m", "broken"]
      ])
      assert.deepStrictEqual(
        violations.map((violation) => violation.split(" at ")[0]),
        ["tokens per 1m of everyone: 400 of 300", "outputTokens per 1m of everyone: 121 of 100"]
      )
    })
  )

  it.effect("show the subject that broke one before those that came nearer to theirs by overruns", () =>
    Effect.gen(function* () {
      const limited = { budget: { per: { user: { maxTokensPerMinute: 300 } } } }
      const real = yield* replay(limited, { user: "ada" }, { user: "ben" }, { user: "cem" })
      const take = { ada: [100, 900], ben: [310, 310], cem: [300, 300] } as const
      const calls = real.calls.map((call) => {
        const [reserved, taken] = take[call.subject["user"] as keyof typeof take]
        const actual = { ...call.actual, tokens: taken }
        return { ...call, estimate: { ...call.estimate, tokens: reserved }, actual, settled: actual }
      })
      const [limit] = summarize({ ...real, calls }).limits
      assert.deepStrictEqual([limit?.passed, limit?.worst.subject, limit?.total], ["broken", "ben", 1_510])
    })
  )

  it.effect("are as many as there are quotas, also of one default name", () =>
    Effect.gen(function* () {
      const quotas = [
        { unit: "inputTokens", limit: 2_000_000, ...perMinute },
        { unit: "inputTokens", limit: 400_000, cachedInput: "free", ...perMinute }
      ]
      for (const service of ["budget", "rateLimiter"]) {
        const policy = { budget: {}, [service]: { quotas } }
        const { limits } = summarize(yield* replay(policy, { inputTokens: 1_000, cachedInputTokens: 300 }, {}))
        assert.deepStrictEqual(rows(limits, "service", "quota", "limit", "cachedInput", "total"), [
          [service, "inputTokens per 1m", 2_000_000, "counted", 1_100],
          [service, "inputTokens per 1m (2)", 400_000, "free", 800]
        ])
      }
    })
  )

  it.effect("of one name are rows of their own where a value's override counts something else", () =>
    Effect.gen(function* () {
      const spend = (unit: string, limit: number | string) => ({
        quotas: [{ name: "spend", unit, limit, ...perMinute }]
      })
      const policy = {
        budget: { per: { user: spend("tokens", 500) }, overrides: { user: { ben: spend("requests", 7) } } }
      }
      const { limits } = summarize(yield* replay(policy, { user: "ada" }, { user: "ben" }, { user: "cem" }))
      assert.deepStrictEqual(rows(limits, "per", "quota", "unit", "limit", "subjects", "total"), [
        ["user", "spend", "tokens", 500, 2, 220],
        ["user", "spend", "requests", 7, 1, 1]
      ])
    })
  )

  it.effect("are those that the services keep, reached by a call or not", () =>
    Effect.gen(function* () {
      const policy = {
        budget: { maxTokensPerMinute: 0, per: { model: { maxCostPerDay: "$1" } }, timeZone: "Europe/Berlin" },
        rateLimiter: { requestsPerMinute: 60, burst: 5, concurrency: 3, per: { user: { requestsPerDay: 9 } } }
      }
      const { limits } = summarize(yield* replay(policy, { user: "ada" }, { user: "ada", model: "small" }))
      assert.deepStrictEqual(rows(limits, "service", "per", "quota", "unit", "limit", "window", "subjects"), [
        ["budget", "everyone", "maxTokensPerMinute", "tokens", 0, "per 1m", 0],
        ["budget", "model", "maxCostPerDay", "cost", 1_000_000_000, "per day (Europe/Berlin)", 0],
        ["rateLimiter", "everyone", "requestsPerMinute", "requests", 60, "per 1m bucket of 5", 0],
        ["rateLimiter", "everyone", "concurrency", "concurrency", 3, "at once", 0],
        ["rateLimiter", "user", "requestsPerDay", "requests", 9, "per 1d", 0]
      ])
    })
  )

  it("are read from no option: only the shape of a policy file knows their names", () => {
    const directory = fromRoot("packages/cli/src")
    const sources = readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))
    assert.isAbove(sources.length, 20)
    const naming = sources.filter((file) =>
      /maxTokensPer|maxCostPer|inputTokensPerMinute|requestsPerDay/.test(readFileSync(join(directory, file), "utf8"))
    )
    assert.deepStrictEqual(naming, ["policyFile.ts"])
  })
})
