import { assert, it } from "@effect/vitest"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { setTimeout } from "node:timers/promises"
import { describeRedis, startServer } from "../../headgate/test/servers/redis.ts"
import { fromRoot } from "./harness.ts"

describeRedis("headgate simulate --store, interrupted", () => {
  it("ends with 130 and leaves nothing in the store", async () => {
    const server = await startServer()
    const keys = () =>
      Number(spawnSync("redis-cli", ["-p", String(server.port), "dbsize"], { encoding: "utf8" }).stdout)
    const bin = fromRoot("packages/cli/src/bin.ts")
    const args = ["--conditions=@headgate/source", bin, "simulate", "--store", server.url]
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
    const ended = once(child, "exit")
    while (keys() < 20) {
      assert.strictEqual(child.exitCode, null)
      await setTimeout(10)
    }
    child.kill("SIGINT")
    assert.deepStrictEqual((await ended)[0], 130)
    assert.strictEqual(keys(), 0)
    await server.end()
  })
})
