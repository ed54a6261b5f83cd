// What a database keeps, and what it forgets.
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { type Quota, type QuotaStore, Window } from "headgate"
import { newQuotasBegin } from "../internal/changedPlans.ts"
import { keepTheLimitWithOtherSlots, withSlots } from "../internal/otherSlots.ts"
import { account, command, tokens } from "../internal/support.ts"
import { describeDatabases } from "./databases.ts"
import { counters, hold, TestClock, use } from "./support.ts"

const total = { unit: "tokens", limit: 1_000_000, window: Window.lifetime, name: "total" } as const
const day = { unit: "tokens", limit: 100, window: Window.calendar("day"), name: "day" } as const
const minute = { unit: "tokens", limit: 100, window: Window.sliding("1 minute"), name: "minute" } as const

type Answer = QuotaStore.Hold | QuotaStore.Refused | QuotaStore.Booked | QuotaStore.Conflict

const told = (answer: Answer): ReadonlyArray<string> =>
  "alerts" in answer ? answer.alerts.map(({ _tag, threshold }) => `${_tag} ${threshold}`) : [answer._tag]

describeDatabases("what is kept", (database) => {
  it("lets no span pass its limit on accounts that were saved in other slots", async () => {
    const clock = new TestClock()
    const { makeStore } = await withSlots(12, () => import("../../src/sql/internal/make.ts"))
    const { layer, prefix } = database.store({ clock: () => clock.now })
    await use(layer, (store) =>
      Effect.flatMap(makeStore({ prefix, clock: () => clock.now }), (before) =>
        keepTheLimitWithOtherSlots(before, store, (now) => Effect.sync(() => (clock.now = now)), clock.now)
      ).pipe(Effect.scoped, Effect.provide(Layer.fresh(database.client())))
    )
  })

  it("tells a threshold once a window, whatever other list of quotas is asked for in between", async () => {
    const clock = new TestClock()
    const wide = account([{ ...minute, alertAt: [0.5, 0.8] }, total], { id: "plan" })
    const narrow = account([total], { id: "plan" })
    const half = ["ThresholdReached 0.5"]
    await use(database.store({ clock: () => clock.now }).layer, (store) =>
      Effect.gen(function* () {
        const other = store.record([narrow], tokens(1), undefined)
        const place = hold(yield* store.reserve(command([wide], tokens(60), { book: "now" })))
        assert.deepStrictEqual(told(place), half)
        yield* other
        assert.deepStrictEqual(told(yield* store.record([wide], tokens(1), undefined)), [])
        // Nothing is used any more, but the window goes on.
        yield* store.release(place)
        yield* other
        assert.deepStrictEqual(told(yield* store.record([wide], tokens(60), undefined)), [])
        clock.now += 65_000
        yield* other
        assert.deepStrictEqual(told(yield* store.record([wide], tokens(60), undefined)), half)
        yield* store.reset({ accounts: [narrow] })
        assert.deepStrictEqual(told(yield* store.record([wide], tokens(60), undefined)), half)
      })
    )
  })

  it("tells each threshold once in turns with others, and those of a limit that was raised", async () => {
    const clock = new TestClock()
    const fixed = { ...minute, window: Window.fixed("1 minute"), alertAt: [0.5] }
    const finer = { ...fixed, alertAt: [0.5, 0.7, 0.8, 0.9] }
    const raised = { ...fixed, limit: 184 }
    await use(database.store({ clock: () => clock.now }).layer, (store) =>
      Effect.gen(function* () {
        const under = (...quotas: ReadonlyArray<Quota.Input>) => [account(quotas, { id: "plan" })]
        const record = (amount: number, ...quotas: ReadonlyArray<Quota.Input>) =>
          Effect.map(store.record(under(...quotas), tokens(amount), undefined), told)
        const refusal = (quota: Quota.Input) =>
          Effect.map(store.reserve(command(under(quota), tokens(100))), (answer) =>
            answer._tag === "Refused" ? told(answer) : [answer._tag]
          )
        const reached = (...shares: ReadonlyArray<number>) => shares.map((share) => `ThresholdReached ${share}`)
        assert.deepStrictEqual(yield* record(60, fixed), reached(0.5))
        // Under a list with another quota, too.
        assert.deepStrictEqual(yield* record(1, finer, total), [])
        assert.deepStrictEqual(yield* record(1, fixed), [])
        assert.deepStrictEqual(yield* refusal(finer), ["LimitHit 1"])
        assert.deepStrictEqual(yield* refusal(fixed), [])
        assert.deepStrictEqual(yield* record(20, total, finer), reached(0.7, 0.8))
        assert.deepStrictEqual(yield* record(1, fixed), [])
        assert.deepStrictEqual(yield* record(10, finer), reached(0.9))
        assert.deepStrictEqual(yield* record(1, raised), reached(0.5))
        assert.deepStrictEqual(yield* refusal(raised), ["LimitHit 1"])
        assert.deepStrictEqual(yield* record(0, finer), [])
        assert.deepStrictEqual(yield* record(1, raised), [])
        // In a new window it is told again, also where others have brought it there.
        clock.now += 60_000
        assert.deepStrictEqual(yield* record(75, total), [])
        assert.deepStrictEqual(yield* record(1, fixed), reached(0.5))
        assert.deepStrictEqual(yield* refusal(finer), ["LimitHit 1"])
        assert.deepStrictEqual(yield* record(1, finer), reached(0.7))
        assert.deepStrictEqual(yield* record(1, fixed), [])
      })
    )
  })

  it("tells a threshold in a new window that an expired hold reached while another list of quotas was asked for", async () => {
    const clock = new TestClock()
    const wide = account([{ ...minute, window: Window.fixed("1 minute"), alertAt: [0.3] }], { id: "plan" })
    const narrow = account([total], { id: "plan" })
    await use(database.store({ clock: () => clock.now }).layer, (store) =>
      Effect.gen(function* () {
        assert.deepStrictEqual(told(yield* store.record([wide], tokens(30), undefined)), ["ThresholdReached 0.3"])
        hold(yield* store.reserve(command([wide], tokens(60), { ttl: 60_000 })))
        clock.now += 60_000
        yield* store.record([narrow], tokens(1), undefined)
        assert.deepStrictEqual(told(yield* store.record([wide], tokens(1), undefined)), ["ThresholdReached 0.3"])
      })
    )
  })

  it("does not let a window be spent twice when its clock jumps ahead by a day and comes back", async () => {
    const clock = new TestClock()
    const start = clock.now
    const hour = 3_600_000
    const users = account([{ ...minute, window: Window.sliding("1 hour"), alertAt: [1] }], { dimension: "user" })
    const [spender, other] = ["spender", "other"].map((value) => [{ plan: users.plan, value }])
    await use(database.store({ clock: () => clock.now }).layer, (store) =>
      Effect.gen(function* () {
        const spend = store.reserve(command(spender!, tokens(100), { book: "now" }))
        const spentAt = (answer: Effect.Success<typeof spend>) => hold(answer).alerts[0]!.timestamp.epochMilliseconds
        assert.strictEqual(spentAt(yield* spend), start)
        clock.now += 24 * hour
        // So many that it has forgotten what it may. PostgreSQL does so with one call in five.
        for (let call = 0; call < 100; call++) yield* store.record(other!, tokens(0), undefined)
        clock.now = start + 1_000
        assert.isAtLeast(spentAt(yield* spend), start + 24 * hour)
        clock.now += 2 * hour
        const refused = yield* store.reserve(command(spender!, tokens(1)))
        assert.strictEqual(refused._tag, "Refused")
        clock.now = start + 25 * hour + 5 * 60_000
        hold(yield* store.reserve(command(spender!, tokens(1))))
      })
    )
  })

  it("keeps what is spent when a limit is raised, and holds on quotas that are added", async () => {
    const low = account([minute], { id: "plan" })
    const concurrency = { unit: "concurrency", limit: 10 } as const
    const high = account([{ ...minute, limit: 200 }, { ...total, limit: 50 }, concurrency], { id: "plan" })
    await use(database.store().layer, (store) =>
      Effect.gen(function* () {
        yield* store.record([low], tokens(60), undefined)
        const open = hold(yield* store.reserve(command([low], tokens(30))))
        const refused = yield* store.reserve(command([high], tokens(21)))
        assert.deepStrictEqual(refused._tag === "Refused" && [refused.quota.name, refused.held], ["total", 30])
        assert.deepStrictEqual(yield* counters(store, [high]), [
          [60, 30],
          [0, 30],
          [0, 1]
        ])
        yield* store.settle(open, tokens(10))
        assert.deepStrictEqual(yield* counters(store, [high]), [
          [70, 0],
          [10, 0],
          [0, 0]
        ])
        assert.deepStrictEqual(yield* counters(store, [low]), [[70, 0]])
      })
    )
  })

  it("takes any text as a name", async () => {
    const texts = ["\0", "\ud800", "\\u0000", '"', "'; DROP TABLE t; --", "{}", "é\u{1F600}", "x".repeat(256)]
    await use(database.store().layer, (store) =>
      Effect.forEach(texts, (text) =>
        Effect.gen(function* () {
          const odd = account([{ ...total, name: text }], { id: text, dimension: "user" })
          const of = [{ plan: odd.plan, value: text }]
          const one = hold(yield* store.reserve(command(of, tokens(3), { id: text })))
          assert.strictEqual(one.id, text)
          yield* store.settle(one, tokens(2))
          assert.deepStrictEqual(yield* counters(store, of), [[2, 0]])
          yield* store.reset({ plans: [odd.plan] })
          assert.deepStrictEqual(yield* counters(store, of), [[0, 0]])
        })
      )
    )
  })

  it("shows a quota that is new with what is held, as a call will find it", async () => {
    const clock = new TestClock()
    await use(database.store({ clock: () => clock.now }).layer, (store) =>
      newQuotasBegin(store, (by) => Effect.sync(() => void (clock.now += by)))
    )
  })

  it("gives back nothing on a new counter that was booked before it", async () => {
    const clock = new TestClock()
    const before = account([minute], { id: "plan" })
    const next = account([minute, day], { id: "plan" })
    await use(database.store({ clock: () => clock.now }).layer, (store) =>
      Effect.gen(function* () {
        const used = Effect.map(store.status([next]), ({ quotas }) => quotas.map(({ used }) => used))
        const charged = hold(yield* store.reserve(command([before], tokens(20), { ttl: 1_000 })))
        const place = hold(yield* store.reserve(command([before], tokens(50), { book: "now" })))
        clock.now += 1_000
        yield* store.record([before], tokens(0), undefined)
        yield* store.record([next], tokens(60), undefined)
        const later = hold(yield* store.reserve(command([next], tokens(5), { book: "now", mode: "force" })))
        yield* store.release(place)
        yield* store.settle(charged, tokens(1))
        assert.deepStrictEqual(yield* used, [135, 65])
        yield* store.release(later)
        assert.deepStrictEqual(yield* used, [130, 60])
      })
    )
  })

  it("gives back nothing on a counter that only another value of the plan has", async () => {
    const clock = new TestClock()
    const { plan: before } = account([minute], { id: "plan" })
    const { plan } = account([minute, day], { id: "plan" })
    const [first, second] = ["first", "second"].map((value) => ({ plan: before, value }))
    await use(database.store({ clock: () => clock.now }).layer, (store) =>
      Effect.gen(function* () {
        yield* store.record([{ plan, value: "first" }], tokens(10), undefined)
        const options = { ttl: 1_000, onExpiry: "release" } as const
        hold(yield* store.reserve(command([second!], tokens(50), options)))
        const place = hold(yield* store.reserve(command([second!], tokens(30), { book: "now" })))
        clock.now += 1_000
        yield* store.record([first!, second!], tokens(60), undefined)
        yield* store.release(place)
        yield* store.record([{ plan, value: "second" }], tokens(5), undefined)
        const counted = Effect.map(store.status([{ plan, value: "second" }]), ({ quotas }) =>
          quotas.map(({ held, used }) => used + held)
        )
        const [, ofDay] = yield* counted
        assert.isAtLeast(ofDay!, 5)
        hold(yield* store.reserve(command([second!], tokens(50), { ...options, mode: "force" })))
        clock.now += 1_000
        yield* store.reset({ plans: [before] })
        assert.deepStrictEqual(yield* counted, [0, 0])
      })
    )
  })

  it("counts in a month of its own what was used while only another list of quotas was asked for", async () => {
    const clock = new TestClock(Date.UTC(2026, 0, 15))
    const monthly = account([minute, { ...day, window: Window.calendar("month"), name: "month" }], { id: "plan" })
    const other = account([minute], { id: "plan" })
    await use(database.store({ clock: () => clock.now }).layer, (store) =>
      Effect.gen(function* () {
        yield* store.record([monthly], tokens(40), undefined)
        // A month is not as long as the one before it.
        clock.now = Date.UTC(2026, 2, 2)
        yield* store.record([other], tokens(7), undefined)
        assert.strictEqual((yield* store.status([monthly])).quotas[1]!.used, 7)
      })
    )
  })

  it("does not set its time back by a reset that finds no account", async () => {
    const clock = new TestClock()
    const start = clock.now
    const everyone = account([minute])
    await use(database.store({ clock: () => clock.now, tick: 0 }).layer, (store) =>
      Effect.gen(function* () {
        yield* store.record([everyone], tokens(100), undefined)
        clock.now = start + 90_000
        yield* store.record([account([minute], { id: "other" })], tokens(1), undefined)
        clock.now = start
        yield* store.reset({ plans: [account([minute], { id: "nobody's" }).plan] })
        assert.strictEqual((yield* store.status([everyone])).quotas[0]!.used, 0)
      })
    )
  })

  it.each(["settled", "refused", "asked"] as const)(
    "grows no further with calls that are %s and each name four values that are new",
    { timeout: 60_000 },
    async (what) => {
      const clock = new TestClock()
      const store = database.store({ clock: () => clock.now, retention: "1 minute" })
      const plans = ["a", "b", "c", "d"].map((id) => account([minute], { id, dimension: id }).plan)
      const amount = tokens(what === "refused" ? 101 : 1)
      const mode = what === "asked" ? "ask" : "enforce"
      await use(store.layer, (service) =>
        Effect.gen(function* () {
          for (let call = 0; call < 400; call++) {
            const of = plans.map((plan) => ({ plan, value: `${call}` }))
            const answer = yield* service.reserve(command(of, amount, { mode, ttl: 60_000 }))
            if (what === "settled") yield* service.settle(hold(answer), amount)
            clock.now += 10_000
          }
        })
      )
      // An account is of no use any more after 6 minutes, 36 calls. PostgreSQL forgets with one call in five.
      assert.isAtMost(await Effect.runPromise(store.count("accounts")), 4 * (36 + 60))
      assert.isAtMost(await Effect.runPromise(store.count("holds")), 100)
    }
  )
})
