// Law 6: refused at every instant before `retryAfter`, admitted at it. Each instant is asked about in a ledger of its own
// that has gone through the same steps, so that asking cannot change what is asked about.
import { assert, describe, it } from "@effect/vitest"
import { type Quota, type QuotaStore, Window } from "headgate"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { generate, type Setting, type Step } from "./histories.ts"
import { account, admitted, Choices, command, plan, refused, seedOf, tokens, usage } from "./support.ts"

const ended = (ledger: Ledger, step: Step, hold: QuotaStore.Hold, now: number): void => {
  if (step.verb === "settle") ledger.settle(hold, usage(step.usage), now)
  else if (step.verb === "release") ledger.release(hold, now)
}

/** A ledger after these steps, and what it last refused. */
const play = ({ accounts, start }: Setting, steps: ReadonlyArray<Step>) => {
  const ledger = new Ledger()
  const holds: Array<QuotaStore.Hold> = []
  let now = start
  let last: { readonly asked: QuotaStore.Reserve; readonly refused: QuotaStore.Refused } | undefined
  for (const step of steps) {
    now += Math.max(0, step.wait)
    last = undefined
    if (step.verb === "reserve") {
      const of = step.accounts.map((place) => accounts[place]!)
      const asked = command(of, usage(step.usage), { ...step.options, id: undefined })
      const answer = ledger.reserve(asked, now)
      if (answer._tag === "Hold" && asked.mode !== "ask") holds.push(answer)
      if (answer._tag === "Refused") last = { asked: { ...asked, mode: "ask" }, refused: answer }
    } else if (step.verb === "record") {
      const of = step.accounts.map((place) => accounts[place]!)
      ledger.record(of, usage(step.usage), undefined, now)
    } else if ("hold" in step && holds.length > 0) {
      ended(ledger, step, holds[step.hold % holds.length]!, now)
    }
  }
  return { last, ledger, now }
}

/** Instants before a wait is over: the first ones, the last ones, and some between; all of them if there are few. */
const before = (choose: Choices, wait: number): ReadonlyArray<number> => {
  if (wait <= 40) return Array.from({ length: wait }, (_, instant) => instant)
  const between = Array.from({ length: 12 }, () => choose.between(0, wait - 1))
  return [0, 1, ...between, Math.floor(wait / 2), wait - 2, wait - 1]
}

describe("retryAfter", () => {
  const seed = seedOf("retryAfter")

  it("is exact after random histories, of all windows, quotas and dimensions at once", { timeout: 60_000 }, () => {
    let waits = 0
    for (let index = 0; index < 500; index++) {
      const [setting, steps] = generate(seed + index)
      const choose = new Choices(seed + index)
      for (let length = 1; length <= Math.min(steps.length, 25); length++) {
        const played = steps.slice(0, length)
        const { last, now } = play(setting, played)
        if (last === undefined || !Number.isFinite(last.refused.retryAfter)) continue
        const { retryAfter } = last.refused
        waits++
        const at = (wait: number) => play(setting, played).ledger.reserve(last.asked, now + wait)._tag
        const named = `HEADGATE_SEED=${seed + index}, ${length} steps, wait ${retryAfter}`
        assert.isAbove(retryAfter, 0, named)
        for (const wait of before(choose, retryAfter)) assert.strictEqual(at(wait), "Refused", `${named}: at ${wait}`)
        assert.strictEqual(at(retryAfter), "Hold", named)
      }
    }
    assert.isAbove(waits, 150)
  })

  const windows: ReadonlyArray<readonly [name: string, window: Window.Window]> = [
    ["sliding", Window.sliding(300)],
    ["fixed", Window.fixed(300)],
    ["bucket", Window.bucket({ refill: 300 })],
    ["bucket with a burst", Window.bucket({ refill: 300, burst: 40 })]
  ]
  for (const [name, window] of windows) {
    for (const onExpiry of ["charge", "release"] as const) {
      it(`is exact to the millisecond, every one of them: ${name}, holds that ${onExpiry}`, () => {
        const accounts = [account([{ unit: "tokens", limit: 37, window }])]
        const prepare = () => {
          const ledger = new Ledger()
          ledger.record(accounts, tokens(13), undefined, 1_001)
          admitted(ledger.reserve(command(accounts, tokens(9), { ttl: 50, onExpiry }), 1_010))
          admitted(ledger.reserve(command(accounts, tokens(11), { ttl: 170, onExpiry }), 1_030))
          return ledger
        }
        for (const amount of [18, 25, 30, 37]) {
          const { retryAfter } = refused(prepare().reserve(command(accounts, tokens(amount)), 1_031))
          assert.isFinite(retryAfter)
          for (let wait = 0; wait < retryAfter; wait++) {
            refused(prepare().reserve(command(accounts, tokens(amount)), 1_031 + wait))
          }
          admitted(prepare().reserve(command(accounts, tokens(amount)), 1_031 + retryAfter))
        }
      })
    }
  }

  it("waits for a hold in a bucket that has room but for it", () => {
    const ledger = new Ledger()
    const accounts = [account([{ unit: "tokens", limit: 100, window: Window.bucket({ refill: "1 hour" }) }])]
    ledger.record(accounts, tokens(2), undefined, 0)
    admitted(ledger.reserve(command(accounts, tokens(98), { ttl: 500, onExpiry: "release" }), 31))
    assert.strictEqual(refused(ledger.reserve(command(accounts, tokens(26)), 31)).retryAfter, 500)
  })

  it("is that of the slowest quota of all dimensions", () => {
    const ledger = new Ledger()
    const quota = (name: string, window: Window.Window): Quota.Input => ({ name, unit: "tokens", limit: 10, window })
    const everyone = account([quota("minute", Window.sliding("1 minute")), quota("hour", Window.fixed("1 hour"))])
    const models = plan([quota("bucket", Window.bucket({ refill: "1 day" }))], { id: "model", dimension: "model" })
    const accounts = [everyone, { plan: models, value: "gpt-5.6" }]
    ledger.record(accounts, tokens(10), undefined, 0)
    const answer = refused(ledger.reserve(command(accounts, tokens(10)), 0))
    assert.deepStrictEqual([answer.quota.name, answer.retryAfter], ["bucket", 86_400_000])
    const some = refused(ledger.reserve(command(accounts, tokens(1)), 0))
    assert.deepStrictEqual([some.quota.name, some.retryAfter], ["bucket", 8_640_000])
  })

  it("is that of concurrency when the oldest call under way expires", () => {
    const ledger = new Ledger()
    const accounts = [account([{ unit: "concurrency", limit: 2 }])]
    admitted(ledger.reserve(command(accounts, tokens(0), { ttl: 9_000 }), 0))
    admitted(ledger.reserve(command(accounts, tokens(0), { ttl: 5_000 }), 1_000))
    assert.strictEqual(refused(ledger.reserve(command(accounts, tokens(0)), 2_000)).retryAfter, 4_000)
    refused(ledger.reserve(command(accounts, tokens(0)), 5_999))
    admitted(ledger.reserve(command(accounts, tokens(0)), 6_000))
  })

  it("is infinite where only a settlement or a reset makes room", () => {
    const ledger = new Ledger()
    const accounts = [account([{ unit: "tokens", limit: 10, window: Window.lifetime }])]
    const hold = admitted(ledger.reserve(command(accounts, tokens(10)), 0))
    assert.strictEqual(refused(ledger.reserve(command(accounts, tokens(1)), 0)).retryAfter, Infinity)
    ledger.settle(hold, tokens(9), 0)
    admitted(ledger.reserve(command(accounts, tokens(1)), 0))
  })

  it("leaves out what a hold that asks for more holds itself", () => {
    const ledger = new Ledger()
    const accounts = [account([{ unit: "tokens", limit: 100, window: Window.lifetime }])]
    const other = admitted(ledger.reserve(command(accounts, tokens(40), { ttl: 1_000, onExpiry: "release" }), 0))
    const hold = admitted(ledger.reserve(command(accounts, tokens(50), { ttl: 5_000, onExpiry: "release" }), 0))
    const later = refused(ledger.extend(hold, tokens(30), 0, 0))
    assert.deepStrictEqual([later.reason, later.retryAfter], ["exceeded", 1_000])
    assert.strictEqual(refused(ledger.extend(hold, tokens(51), 0, 0)).retryAfter, Infinity)
    assert.strictEqual(refused(ledger.extend(hold, tokens(101), 0, 0)).reason, "tooLarge")
    ledger.settle(other, tokens(40), 0)
    assert.strictEqual(refused(ledger.extend(hold, tokens(30), 0, 0)).retryAfter, Infinity)
  })

  it("covers a throttle", () => {
    const ledger = new Ledger()
    const quota = { unit: "tokens", limit: 10, window: Window.fixed("1 second") } as const
    const accounts = [account([quota], { throttle: 5_000 })]
    ledger.record(accounts, tokens(10), undefined, 0)
    const first = refused(ledger.reserve(command(accounts, tokens(1)), 0))
    assert.deepStrictEqual([first.reason, first.retryAfter, first.until], ["exceeded", 5_000, 5_000])
    const second = refused(ledger.reserve(command(accounts, tokens(1)), 4_999))
    assert.deepStrictEqual([second.reason, second.retryAfter, second.until], ["throttled", 1, 5_000])
    admitted(ledger.reserve(command(accounts, tokens(1)), 5_000))
  })
})
