// Random histories, step by step on the server and on the pure ledger: every answer, wait, counter and alert is the same.
import { assert, beforeAll, it } from "@effect/vitest"
import { Effect, type Layer, ManagedRuntime } from "effect"
import { QuotaStore, type Usage } from "headgate"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { sharedSlots } from "../../src/internal/ledger/windows.ts"
import { agreeUnderChangedPlans } from "../internal/changedPlans.ts"
import { generate, type Setting, type Step } from "../internal/histories.ts"
import { command, seedOf, usage } from "../internal/support.ts"
import { describeRedis } from "../servers/redis.ts"
import { start, storeLayer, useServer } from "./support.ts"

const histories = Number(process.env["HEADGATE_REDIS_HISTORIES"] ?? 150)

type Answer = QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict | QuotaStore.Booked

const show = (value: unknown): string =>
  JSON.stringify(value, (_, part) => (part === Infinity ? "Infinity" : part)) ?? "nothing"

/** What of an answer both must say. A hold's id is the store's own affair; in memory a lost hold cannot be. */
const told = (answer: Answer | void) => (answer?._tag === "Hold" ? { _tag: "Hold", alerts: answer.alerts } : answer)

const run = Effect.fnUntraced(function* (
  store: QuotaStore.Service,
  setClock: (now: number) => Effect.Effect<unknown>,
  { accounts, start }: Setting,
  steps: ReadonlyArray<Step>
) {
  const ledger = new Ledger(sharedSlots)
  const holds: Array<{ hold: QuotaStore.Hold; model: QuotaStore.Hold; steps: number; last?: Usage.Usage }> = []
  let now = start
  let last = -Infinity
  for (const [index, step] of steps.entries()) {
    now += step.wait
    yield* setClock(now)
    const known = holds[("hold" in step ? step.hold : 0) % Math.max(1, holds.length)]
    let both: readonly [Answer | void, Answer | void]
    if (step.verb === "reserve") {
      const of = step.accounts.map((place) => accounts[place]!)
      const asked = command(of, usage(step.usage), step.options)
      const [hold, model] = [yield* store.reserve(asked), ledger.reserve(asked, now)]
      both = [hold, model]
      if (hold._tag === "Hold" && model._tag === "Hold" && asked.mode !== "ask") {
        const twice = holds.find((entry) => entry.model === model)
        if (twice === undefined) holds.push({ hold, model, steps: 0 })
        else if (twice.hold.id !== hold.id) return `step ${index}: another hold for the same id`
      }
    } else if (step.verb === "record") {
      const of = step.accounts.map((place) => accounts[place]!)
      both = [yield* store.record(of, usage(step.usage), step.id), ledger.record(of, usage(step.usage), step.id, now)]
    } else if (step.verb === "reset") {
      const of = step.accounts.map((place) => accounts[place]!)
      const target = step.plans ? { plans: of.map(({ plan }) => plan) } : { accounts: of }
      both = [yield* store.reset(target), ledger.reset(target, now)]
    } else if (known === undefined) {
      continue
    } else if (step.verb === "extend") {
      const isNew = step.again === "no" || known.last === undefined
      const number = isNew ? known.steps : known.steps - 1
      const more = step.again === "same" && known.last !== undefined ? known.last : usage(step.usage)
      both = [yield* store.extend(known.hold, more, number), ledger.extend(known.model, more, number, now)]
      if (isNew && both[1]?._tag === "Booked") {
        known.steps++
        known.last = more
      }
    } else if (step.verb === "settle") {
      both = [yield* store.settle(known.hold, usage(step.usage)), ledger.settle(known.model, usage(step.usage), now)]
    } else {
      both = [yield* store.release(known.hold), ledger.release(known.model, now)]
    }
    const at = `step ${index} at ${now - start} (${step.verb})`
    const [given, wanted] = both.map((answer) => show(told(answer)))
    if (given !== wanted) return `${at}: Redis answers ${given}\nwhere the ledger says ${wanted}`
    last = Math.max(last, now)
    const after = show(yield* store.status(accounts))
    const expected = show(ledger.status(accounts, last))
    if (after !== expected) return `${at}: Redis leaves ${after}\nwhere the ledger leaves ${expected}`
  }
  return undefined
})

describeRedis("random histories in Redis", () => {
  const seed = seedOf("random histories in Redis")
  const { layer, setClock } = useServer()
  let runtime: ManagedRuntime.ManagedRuntime<Layer.Success<typeof layer>, never>
  beforeAll(() => {
    runtime = ManagedRuntime.make(layer)
  })

  it.live(
    `agree with the ledger in as many slots, ${histories} of them`,
    () =>
      Effect.gen(function* () {
        const context = yield* Effect.promise(() => runtime.context())
        const play = (prefix: string, setting: Setting, steps: ReadonlyArray<Step>) =>
          Effect.gen(function* () {
            const store = yield* QuotaStore.QuotaStore
            return yield* run(store, (now) => setClock(prefix, now), setting, steps)
          }).pipe(Effect.provide(storeLayer({ prefix, clock: "key", timeout: "10 seconds" })), Effect.provide(context))
        let tries = 0
        for (let index = 0; index < histories; index++) {
          const [setting, steps] = generate(seed + index)
          const wrong = yield* play(`history-${tries++}`, setting, steps)
          if (wrong === undefined) continue
          let smallest = steps
          for (let at = 0; at < smallest.length;) {
            const wait = smallest[at]!.wait
            const rest = smallest
              .slice(at + 1)
              .map((step, index) => (index === 0 ? { ...step, wait: step.wait + wait } : step))
            const fewer = [...smallest.slice(0, at), ...rest]
            if ((yield* play(`history-${tries++}`, setting, fewer)) === undefined) at++
            else smallest = fewer
          }
          assert.fail(
            [
              `HEADGATE_SEED=${seed + index} HEADGATE_REDIS_HISTORIES=1`,
              yield* play(`history-${tries++}`, setting, smallest),
              ...setting.accounts.map(show),
              ...smallest.map(show)
            ].join("\n")
          )
        }
      }),
    60_000
  )

  it.live(
    `agree with the ledger while lists of quotas change, ${histories} of them`,
    () =>
      Effect.gen(function* () {
        const context = yield* Effect.promise(() => runtime.context())
        yield* Effect.gen(function* () {
          const store = yield* QuotaStore.QuotaStore
          let now = start
          for (let index = 0; index < histories; index++) {
            now = yield* agreeUnderChangedPlans(store, (now) => setClock("changes", now), seed + index, now)
          }
        }).pipe(
          Effect.provide(storeLayer({ prefix: "changes", clock: "key", timeout: "10 seconds" })),
          Effect.provide(context)
        )
      }),
    60_000
  )
})
