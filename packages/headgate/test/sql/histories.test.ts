// Random histories on both databases, step by step against the pure ledger: every answer and every counter.
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { type Quota, QuotaStore, Usage, Window } from "headgate"
import type { Entry } from "../../src/internal/ledger/accounts.ts"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { sharedSlots } from "../../src/internal/ledger/windows.ts"
import { agreeUnderChangedPlans } from "../internal/changedPlans.ts"
import { generate, type Setting, type Step } from "../internal/histories.ts"
import { account, Choices, command, seedOf, usage } from "../internal/support.ts"
import { missing, named, type PostgresServer, startPostgres } from "../servers/postgres.ts"
import { newPrefix, postgres, sqlite, storeLayer, TestClock, use } from "./support.ts"

const quotas: ReadonlyArray<Quota.Input> = [
  { unit: "tokens", limit: 100, window: Window.sliding("1 minute"), name: "sliding" },
  { unit: "tokens", limit: 100, window: Window.bucket({ refill: "1 minute" }), name: "bucket" }
]

const reserve = (wait: number, tokens: number): Step => {
  return { wait, verb: "reserve", accounts: [0], usage: { tokens }, options: { ttl: 100_000, onExpiry: "release" } }
}

const place = (wait: number, tokens: number): Step => {
  const options = { ttl: 5_000, book: "now", onExpiry: "release" } as const
  return { wait, verb: "reserve", accounts: [0], usage: { tokens }, options }
}

const extend = (wait: number, tokens: number): Step => {
  return { wait, verb: "extend", hold: 0, usage: { tokens }, again: "no" }
}

const record = (wait: number, tokens: number): Step => {
  return { wait, verb: "record", accounts: [0], usage: { tokens }, id: undefined }
}

type Answer = QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Conflict | QuotaStore.Booked

/** Without the ids that each store chooses for itself. */
const told = (answer: Answer) => {
  if (answer._tag === "Hold") return { _tag: answer._tag, alerts: answer.alerts }
  if (answer._tag !== "Refused") return answer
  const { account, quota, ...rest } = answer
  return { ...rest, quota: quota.name, plan: account.plan.id, value: account.value }
}

const show = (value: unknown): string =>
  JSON.stringify(value, (_, part) => (part === Infinity ? "Infinity" : part)) ?? "nothing"

/** The setting in a part of the database that no other history uses. */
const own = (name: string, { accounts, start }: Setting): Setting => {
  const plans = new Map<QuotaStore.Plan, QuotaStore.Plan>()
  for (const { plan } of accounts) {
    if (!plans.has(plan)) plans.set(plan, { ...plan, id: `${name} ${plan.id}` })
  }
  return { accounts: accounts.map(({ plan, value }) => ({ plan: plans.get(plan)!, value })), start }
}

interface Tested {
  readonly clock: TestClock
  readonly prefix: string
  /** Milliseconds after which the store forgets holds; the ledger never does. */
  readonly retention: number
}

const run = (name: string, setting: Setting, steps: ReadonlyArray<Step>, { clock, prefix, retention }: Tested) =>
  Effect.gen(function* () {
    const store = yield* QuotaStore.QuotaStore
    const sql = yield* SqlClient
    const { accounts, start } = own(name, setting)
    const ledger = new Ledger(sharedSlots)
    // Each history has a time of its own.
    yield* sql.unsafe(`UPDATE ${prefix}_clock SET last = 0`)
    const other = [account([], { id: `${name} other` })]
    let latest = start
    const holds: Array<readonly [hold: QuotaStore.Hold, pure: QuotaStore.Hold]> = []
    const extensions = new Map<string, readonly [step: number, more: Parameters<typeof usage>[0]]>()
    clock.now = start
    for (const [index, step] of steps.entries()) {
      if (step.wait < 0) {
        // What only looked something up has not told the store how late it is.
        yield* store.record(other, Usage.zero, undefined)
        ledger.status(other, clock.now)
      }
      clock.now += step.wait
      const { now } = clock
      latest = Math.max(latest, now)
      let answer: Answer | undefined
      let expected: Answer | undefined
      const [hold, pure] = holds[("hold" in step ? step.hold : 0) % Math.max(1, holds.length)] ?? []
      const of = "accounts" in step ? step.accounts.map((place) => accounts[place]!) : []
      const id = (id: string | undefined) =>
        id === undefined || retention < longRetention ? undefined : `${name} ${id}`
      if (step.verb === "reserve") {
        const asked = command(of, usage(step.usage), { ...step.options, id: id(step.options.id) })
        answer = yield* store.reserve(asked)
        expected = ledger.reserve(asked, now)
        if (answer._tag === "Hold" && expected._tag === "Hold" && asked.mode !== "ask") {
          const given = answer
          if (!holds.some(([known]) => known.id === given.id)) holds.push([answer, expected])
        }
      } else if (step.verb === "record") {
        answer = yield* store.record(of, usage(step.usage), id(step.id))
        expected = ledger.record(of, usage(step.usage), id(step.id), now)
      } else if (step.verb === "reset") {
        const target = step.plans ? { plans: of.map(({ plan }) => plan) } : { accounts: of }
        yield* store.reset(target)
        ledger.reset(target, now)
      } else if (hold === undefined || pure === undefined || (pure as Entry).expiresAt + retention < latest) {
        continue
      } else if (step.verb === "extend") {
        const last = extensions.get(hold.id)
        const number = (last?.[0] ?? -1) + (step.again === "no" || last === undefined ? 1 : 0)
        const more = step.again === "same" && last !== undefined ? last[1] : step.usage
        if (step.again === "no" || last === undefined) extensions.set(hold.id, [number, more])
        answer = yield* store.extend(hold, usage(more), number)
        expected = ledger.extend(pure, usage(more), number, now)
      } else if (step.verb === "settle") {
        answer = yield* store.settle(hold, usage(step.usage))
        expected = ledger.settle(pure, usage(step.usage), now)
      } else {
        answer = yield* store.release(hold)
        expected = ledger.release(pure, now)
      }
      const where = `${name}: step ${index} ${show(step)}`
      if (answer !== undefined && expected !== undefined) {
        assert.deepStrictEqual(show(told(answer)), show(told(expected)), where)
      }
      const status = yield* store.status(accounts)
      assert.deepStrictEqual(show(status), show(ledger.status(accounts, now)), `${where}: the counters after it`)
    }
  })

/** What random histories seldom or never do. */
const scripts: ReadonlyArray<
  readonly [name: string, quotas: ReadonlyArray<Quota.Input>, throttle: number, steps: ReadonlyArray<Step>]
> = [
  [
    "places that are given back when nobody ends them",
    [...quotas, { unit: "concurrency", limit: 2 }],
    0,
    [
      place(0, 40),
      place(1_000, 40),
      { wait: 0, verb: "reset", accounts: [0], plans: false },
      place(0, 30),
      { wait: 3_999, verb: "release", hold: 9 },
      { wait: 1, verb: "release", hold: 9 },
      place(1_001, 30),
      place(5_000, 30)
    ]
  ],
  [
    "extensions while a throttle lasts, and refused ones",
    quotas,
    10_000,
    [
      reserve(0, 50),
      reserve(1, 60),
      extend(1, 10),
      extend(1, 41),
      reserve(1, 1),
      extend(9_996, 1),
      reserve(1, 1),
      { wait: 0, verb: "settle", hold: 0, usage: { tokens: 70 }, again: "no" },
      reserve(0, 40),
      reserve(10_000, 40),
      reserve(9_999, 40)
    ]
  ],
  [
    "a refused extension that starts no throttle",
    quotas,
    10_000,
    [reserve(0, 50), reserve(0, 50), extend(1, 10), reserve(1, 0), reserve(0, 1)]
  ],
  [
    "an extension that two quotas refuse, which tells of both, once",
    quotas,
    0,
    [reserve(0, 80), extend(0, 30), reserve(0, 30), extend(1, 101), reserve(1, 101)]
  ],
  [
    "limits that are hit while a throttle lasts, and after it",
    [
      { unit: "tokens", limit: 100, window: Window.sliding("1 hour"), name: "wide" },
      { unit: "tokens", limit: 70, window: Window.sliding("2 hours"), name: "narrow" }
    ],
    1_000,
    [reserve(0, 60), reserve(0, 20), reserve(1, 45), reserve(1_000, 45), reserve(0, 45), reserve(1_000, 45)]
  ],
  [
    "alerts at the very end of their window",
    [
      { unit: "concurrency", limit: 1, name: "concurrency" },
      { unit: "tokens", limit: 100, window: Window.fixed("1 minute"), alertAt: [0.5], name: "fixed" },
      { unit: "tokens", limit: 1_000, window: Window.bucket({ refill: "1 minute" }), alertAt: [0.05], name: "bucket" }
    ],
    0,
    [
      reserve(0, 1),
      reserve(0, 1),
      reserve(59_999, 1),
      reserve(1, 1),
      reserve(1, 1),
      record(0, 50),
      record(30_000, 25),
      record(30_000, 25),
      record(0, 24),
      record(0, 1),
      record(60_000, 50),
      record(60_000, 50),
      record(3_000, 1)
    ]
  ]
]

const longRetention = 3650 * 86_400_000

const share = Number(process.env["HEADGATE_HISTORIES"] ?? 2_500) / 2_500

const suite = (name: string, many: number, client: () => Layer.Layer<SqlClient, unknown>) => {
  const clock = new TestClock()
  const prefix = newPrefix()
  const tested = { clock, prefix, retention: longRetention }
  const layer = (retention = longRetention) =>
    storeLayer({ clock: () => clock.now, tick: 0, few: 2, prefix, retention }).pipe(Layer.provideMerge(client()))
  const runAll = <E>(all: Effect.Effect<void, E, QuotaStore.QuotaStore | SqlClient>, retention?: number) =>
    Effect.runPromise(Effect.orDie(Effect.provide(all, layer(retention))))

  it.each(scripts)("agree with the ledger: %s", async (title, quotas, throttle, steps) => {
    const setting = { accounts: [account(quotas, { id: title, throttle })], start: clock.now }
    await runAll(run(title, setting, steps, tested))
  })

  it("agree with the ledger on steps of extensions that came twice", () =>
    use(layer(), (store) =>
      Effect.gen(function* () {
        const ledger = new Ledger(sharedSlots)
        const asked = command([account(quotas, { id: "twice" })], usage({ tokens: 1 }))
        const [one, pure] = [yield* store.reserve(asked), ledger.reserve(asked, clock.now)]
        if (one._tag !== "Hold" || pure._tag !== "Hold") return assert.fail("refused")
        for (const [step, tokens] of [
          [0, 1],
          [0, 1],
          [0, 2],
          [1, 3],
          [0, 1],
          [0, 9],
          [1, 3],
          [1, 4],
          [0, 0],
          [7, 0],
          [1, 3]
        ] as const) {
          const answer = yield* store.extend(one, usage({ tokens, requests: tokens && 1 }), step)
          assert.deepStrictEqual(answer, ledger.extend(pure, usage({ tokens, requests: tokens && 1 }), step, clock.now))
        }
      })
    ))

  const histories = Math.ceil(many * share)
  it.each([
    ["", longRetention],
    [", forgetting holds after a second", 1000]
  ])(`agree with the ledger, ${histories} of them%s`, { timeout: 300_000 }, async (what, retention) => {
    const seed = seedOf(`random histories on ${name}${what}`)
    await runAll(
      Effect.gen(function* () {
        for (let index = 0; index < histories; index++) {
          const [setting, steps] = generate(seed + index)
          yield* run(`HEADGATE_SEED=${seed + index}${what}`, setting, steps, { ...tested, retention })
        }
      }),
      retention
    )
  })

  it(`agree with the ledger while lists of quotas change, ${histories} of them`, { timeout: 300_000 }, () => {
    const seed = seedOf(`lists of quotas that change on ${name}`)
    const setClock = (now: number) => Effect.sync(() => void (clock.now = now))
    const { now: start } = new TestClock()
    return runAll(
      Effect.gen(function* () {
        const store = yield* QuotaStore.QuotaStore
        const sql = yield* SqlClient
        for (let index = 0; index < histories; index++) {
          // A time of its own: what ran before may have left the store at a later one.
          yield* sql.unsafe(`UPDATE ${prefix}_clock SET last = 0`)
          const later = new Choices(seed + index).between(0, 31_536_000_000)
          yield* agreeUnderChangedPlans(store, setClock, seed + index, start + later)
        }
      }).pipe(Effect.orDie)
    )
  })
}

describe("random histories on SQLite", () => {
  suite("SQLite", 150, () => sqlite(":memory:"))
})

describe.skipIf(missing !== undefined)(named("random histories on PostgreSQL"), () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres({ settings: ["synchronous_commit = off"] })
  }, 60_000)
  afterAll(() => server.stop())
  suite("PostgreSQL", 40, () => postgres(server.url))
})
