import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as QuotaStore from "../../QuotaStore.ts"
import * as Window from "../../Window.ts"
import { account, type Advance, type ContractTest, makeTool, plan, same, tokens } from "./contract.ts"

const length = 60_000
const limit = 1_000

interface Open {
  readonly hold: QuotaStore.Hold
  readonly amount: number
}

/** Random histories against a log of what was done: no slots, no counters, only sums over the log. */
export const make = (advance: Advance): ReadonlyArray<ContractTest> =>
  ["one", "two", "three"].map((seed): ContractTest => ({
    name: `agrees with a plain log over a random history: ${seed}`,
    effect: history(advance, seed).pipe(Random.withSeed(seed))
  }))

const history = (advance: Advance, seed: string) =>
  Effect.gen(function* () {
    const { ask, store } = yield* makeTool
    const accounts = [
      account(
        plan(`history-${seed}`, [
          { unit: "tokens", limit: 50_000, window: Window.lifetime, name: "total" },
          { unit: "tokens", limit, window: Window.sliding("1 minute"), name: "minute" },
          { unit: "concurrency", limit: 5 }
        ])
      )
    ]
    const open: Array<Open> = []
    const spent: Array<{ readonly at: number; readonly amount: number }> = []
    let now = 0
    const spend = (amount: number) => spent.push({ at: now, amount })
    const sum = (entries: ReadonlyArray<{ readonly amount: number }>) =>
      entries.reduce((sum, { amount }) => sum + amount, 0)
    const inSpan = () => sum(spent.filter(({ at }) => at > now - length))

    for (let step = 0; step < 300; step++) {
      const amount = yield* Random.nextIntBetween(1, 300)
      const held = sum(open)
      const action = yield* Random.nextIntBetween(0, 10)
      if (action < 5) {
        const answer = yield* ask(accounts, tokens(amount), { ttl: 3_600_000 })
        if (answer._tag === "Hold") {
          open.push({ hold: answer, amount })
          yield* same("law 5: no span above the limit", inSpan() + held + amount <= limit, true)
          yield* same("no more than five at once", open.length <= 5, true)
        } else if (answer._tag === "Refused" && answer.quota.name === "minute") {
          // A slot counts until it has wholly left: the store may see a twelfth of the window more than the log.
          const seen = sum(spent.filter(({ at }) => at > now - length - length / 12))
          yield* same("refused for a reason", seen + held + amount > limit, true)
        }
      } else if (action < 8) {
        const [ended] = open.splice(yield* Random.nextIntBetween(0, Math.max(1, open.length)), 1)
        if (ended !== undefined && action === 5) yield* store.release(ended.hold)
        else if (ended !== undefined) {
          // At times the call took more than was held for it.
          const actual = Math.floor(ended.amount * (yield* Random.nextBetween(0.3, 1.05)))
          yield* store.settle(ended.hold, tokens(actual))
          spend(actual)
        }
      } else {
        const wait = yield* Random.nextIntBetween(1, 10_000)
        yield* advance(wait)
        now += wait
      }
      const { quotas } = yield* store.status(accounts)
      const [total, minute, concurrency] = quotas
      yield* same("law 4: used is the sum of what was spent", total?.used, sum(spent))
      yield* same("law 4: held is the sum of what is open", [total?.held, minute?.held], [sum(open), sum(open)])
      yield* same("law 5: every span is counted", (minute?.used ?? 0) >= inSpan(), true)
      yield* same("concurrency is what is under way", concurrency?.held, open.length)
    }
  })
