// The benchmarks work: each row is measured once in tiny sizes. What they measure is no test.
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Row } from "../src/race.ts"
import { isRedisAvailable, missingPostgres } from "./servers.ts"

const bench = (...args: ReadonlyArray<string>): ReadonlyArray<Row> => {
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    [fileURLToPath(new URL("../src/bench.ts", import.meta.url)), "--json", "--rounds", "1", ...args],
    { encoding: "utf8", env: { ...process.env, NODE_OPTIONS: "--conditions=@headgate/source" }, maxBuffer: 2 ** 26 }
  )
  assert.strictEqual(status, 0, stderr)
  return JSON.parse(stdout).rows
}

const hasServers = isRedisAvailable && missingPostgres === undefined

describe("npm run bench", () => {
  it.skipIf(!hasServers)("gives every row of every table as data", () => {
    const rows = bench("--quick")
    assert.isAbove(rows.length, 60)
    for (const { against, goal, name, ours, peer, ratio, rounds, table, unit } of rows) {
      for (const text of [table, name, against, unit]) assert.isNotEmpty(text)
      for (const number of [ours, peer, ratio]) assert.isTrue(Number.isFinite(number), `${name}: ${number}`)
      if (goal !== undefined) assert.isAbove(goal, 0)
      assert.deepStrictEqual(rounds, [{ ours, peer, ratio: ours / peer }])
    }
    const titles = new Set(rows.map(({ table }) => table))
    assert.strictEqual(titles.size, 11)
    const of = (text: string) => rows.filter(({ name }) => name.includes(text))
    for (const { ours } of of("commands per decision")) assert.strictEqual(ours, 1)
    assert.strictEqual(of("commands per decision").length, 3)
    for (const { ours } of of("spent, 1,000 calls at once")) assert.isAtMost(ours, 1)
    assert.strictEqual(of("spent, 1,000 calls at once").length, 3)
  })

  it("runs each side in a process of its own, for every round where it must", () => {
    const [overshoot, ...others] = bench("--only", "spent, 1,000 calls")
    assert.strictEqual(overshoot!.ratio, 1)
    assert.deepStrictEqual(
      others.map(({ peer }) => peer),
      [10, 10]
    )
    assert.strictEqual(bench("--only", "bundle, without effect").length, 6)
  })

  it("says what it can not do", () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [fileURLToPath(new URL("../src/bench.ts", import.meta.url)), "--rounds", "0"],
      { encoding: "utf8" }
    )
    assert.strictEqual(status, 1)
    assert.include(stderr, "--rounds must be a whole number from 1, got 0")
  })
})
