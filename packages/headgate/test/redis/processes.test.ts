// One budget for several processes, and processes that are killed in the middle of a call.
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Alerts, type QuotaStore, Window } from "headgate"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { makeStore } from "../../src/redis/store.ts"
import { account } from "../internal/support.ts"
import { describeRedis } from "../servers/redis.ts"
import { useServer } from "./support.ts"

const script = fileURLToPath(new URL("worker.ts", import.meta.url))

const start = (work: object) => {
  const args = ["--conditions=@headgate/source", script, JSON.stringify(work)]
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
  let text = ""
  child.stdout.on("data", (data) => (text += String(data)))
  const done = new Promise<string>((resolve) => child.once("close", () => resolve(text)))
  return { child, done }
}

interface Told {
  readonly calls: number
  readonly admitted: number
  readonly refused: number
  readonly settled: number
  readonly alerts: Readonly<Record<string, number>>
}

const quotas = (limit: number) =>
  [
    { unit: "tokens", limit, name: "total", window: Window.lifetime, alertAt: [0.5, 0.8, 1] },
    { unit: "tokens", limit, name: "hour", window: Window.sliding("1 hour") },
    { unit: "tokens", limit, name: "day", window: Window.calendar("day") }
  ] as const

describeRedis("several processes on one budget in Redis", () => {
  const { layer, port, send } = useServer()

  const withStore = <A, E>(prefix: string, test: (store: QuotaStore.Service) => Effect.Effect<A, E>) =>
    Effect.flatMap(makeStore({ prefix }), test).pipe(
      Effect.scoped,
      Effect.provide([layer, Alerts.layer], { local: true })
    )

  /** What the records of all holds say together: what was settled, and what is open. */
  const audit = (prefix: string) =>
    send<ReadonlyArray<number>>(
      "EVAL",
      `local settled, open, holds = 0, 0, 0
       for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
         local h = { struct.unpack('<BBBBBBdddddssssss', redis.call('GET', key)) }
         local tokens = function(text) return tonumber(string.match(text, '^%d+,%d+,%d+,%d+,(%d+)')) end
         holds = holds + 1
         if h[5] == 1 then settled = settled + tokens(h[13]) elseif h[5] == 0 then open = open + tokens(h[12]) end
       end
       return { settled, open, holds }`,
      "0",
      `{${prefix}}:hold:*`
    )

  it.live(
    "4 processes x 16 fibers, 20,000 calls: never over, nearly all of it used, and the sum over ids",
    () =>
      withStore("shared", (store) =>
        Effect.gen(function* () {
          const limit = 350_000
          const work = { port: port(), prefix: "shared", fibers: 16, calls: 5_000, limit, ttl: 600_000 }
          const workers = [0, 1, 2, 3].map(() => start(work).done)
          const texts = yield* Effect.promise(() => Promise.all(workers))
          const told = texts.map((text) => JSON.parse(text) as Told)
          const sum = (of: (told: Told) => number) => told.reduce((sum, one) => sum + of(one), 0)
          const [total, hour, day] = (yield* store.status([account(quotas(limit), { id: "shared" })])).quotas
          const [settled, open] = yield* audit("shared")
          console.log(
            `${sum(({ calls }) => calls)} calls, ${sum(({ admitted }) => admitted)} admitted, ` +
              `${((total!.used / limit) * 100).toFixed(2)} % used`
          )
          assert.isAtLeast(
            sum(({ calls }) => calls),
            20_000
          )
          assert.isAtMost(total!.used, limit)
          assert.isAtLeast(total!.used, limit * 0.995)
          assert.deepStrictEqual([total!.held, hour!.held, day!.held], [0, 0, 0])
          assert.deepStrictEqual([hour!.used, day!.used], [total!.used, total!.used])
          assert.strictEqual(
            sum(({ settled }) => settled),
            total!.used
          )
          assert.deepStrictEqual([settled, open], [total!.used, 0])
          // Alerts: each once over all processes.
          const alerts = new Map<string, number>()
          for (const one of told) {
            for (const [name, count] of Object.entries(one.alerts)) alerts.set(name, (alerts.get(name) ?? 0) + count)
          }
          assert.strictEqual(alerts.get("ThresholdReached total 0.5"), 1)
          assert.strictEqual(alerts.get("ThresholdReached total 0.8"), 1)
          assert.isTrue(
            [...alerts.values()].every((count) => count === 1),
            JSON.stringify([...alerts])
          )
        })
      ),
    60_000
  )

  it.live(
    "kill -9 of workers: nothing is held after the time to live and a second, nothing is settled twice",
    () =>
      withStore("killed", (store) =>
        Effect.gen(function* () {
          const limit = 100_000_000
          const accounts = [account(quotas(limit), { id: "shared" })]
          const work = { port: port(), prefix: "killed", fibers: 16, calls: -1, limit, ttl: 1_000 }
          const counters = Effect.map(store.status(accounts), ({ quotas }) => quotas[0]!)
          for (let round = 0; round < 2; round++) {
            const workers = [0, 1].map(() => start(work))
            const before = (yield* counters).used
            while ((yield* counters).used < before + 2_000) yield* Effect.sleep("20 millis")
            for (const { child, done } of workers) {
              child.kill("SIGKILL")
              yield* Effect.promise(() => done)
            }
          }
          const dangling = (yield* counters).held
          yield* Effect.sleep("2 seconds")
          const after = yield* counters
          const [settled = 0, open = 0, holds] = yield* audit("killed")
          console.log(`${holds} holds, ${dangling} tokens were held by the killed, now ${after.held}`)
          assert.isAbove(open, 0)
          assert.strictEqual(after.held, 0)
          // Those of the killed are charged when they expire.
          assert.strictEqual(after.used, settled + open)
          assert.isAtLeast(open, dangling)
        })
      ),
    60_000
  )
})
