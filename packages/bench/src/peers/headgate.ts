// Ours in memory, as its README says: a service of a layer, called in a fiber.
import { Effect } from "effect"
import { Budget, type Quota, Window } from "headgate"
import type { Contestant, Effort } from "../Contest.ts"
import { heapOfEach, subjectsIn, timed } from "../measure.ts"
import { inOneFiber, serviceOf } from "./fibers.ts"

const windows = [Window.sliding("1 minute"), Window.sliding("1 hour"), Window.calendar("day"), Window.calendar("month")]
const units = ["tokens", "cost", "requests"] as const

/** The first `count` of twelve quotas: three units in four windows each. */
export const quotasOf = (count: number, limit = 9_000_000_000_000_000): ReadonlyArray<Quota.Input> =>
  units.flatMap((unit) => windows.map((window) => ({ unit, limit, window }))).slice(0, count)

/** What a call is expected to take, and what it takes; cost in nano-dollars, as a price list gives it. */
export const estimate = { inputTokens: 1000, outputTokens: 200, cost: 10_000_000 as never }
export const actual = { inputTokens: 1000, outputTokens: 150, cost: 9_000_000 as never }

const budgetOf = (count: number, limit?: number) =>
  serviceOf(Budget.Budget, Budget.layerMemory({ per: { user: { quotas: quotasOf(count, limit) } } }))

const call = (budget: Budget.Service, user: string) =>
  Effect.flatMap(budget.reserve(estimate, { user }), (reservation) => budget.settle(reservation, actual))

/** A reservation and its settlement, for subjects in shuffled order. */
export const reserveAndSettle =
  (quotas: number, subjects: number) =>
  async (effort: Effort): Promise<Contestant> => {
    const { service: budget } = await budgetOf(quotas)
    const count = effort.subjects(subjects)
    const next = subjectsIn(count)
    const run = (times: number) => inOneFiber(times, () => call(budget, next()))
    await run(count)
    return timed(run, effort)
  }

const admitted = Effect.die("it was not refused")

/** A reservation that every quota refuses. */
export const refusal =
  (quotas: number) =>
  async (effort: Effort): Promise<Contestant> => {
    const { service: budget } = await budgetOf(quotas, 1200)
    await inOneFiber(1, () =>
      Effect.flatMap(budget.reserve({ ...estimate, cost: 1200 as never, requests: 1200 }, { user: "42" }), (all) =>
        budget.settle(all, all.estimate)
      )
    )
    const refused = () =>
      budget.reserve({ tokens: 1000, cost: 1000 as never }, { user: "42" }).pipe(
        Effect.andThen(admitted),
        Effect.catchTag("BudgetExceeded", () => Effect.void)
      )
    return timed((times) => inOneFiber(times, refused), effort)
  }

/** Heap that a subject keeps with 4 quotas, each of them used once. */
export const idleSubjects =
  (subjects: number) =>
  async (effort: Effort): Promise<Contestant> => {
    const { end, service: budget } = await budgetOf(4)
    await inOneFiber(1, () => call(budget, "warm-up"))
    const count = effort.subjects(subjects)
    let name = 0
    const fill = () => inOneFiber(count, () => call(budget, `user-${name++}`))
    return { round: () => heapOfEach(count, fill), end }
  }

/** How many times as much a decision costs with so many subjects as with one. */
export const growth =
  (subjects: number) =>
  async (effort: Effort): Promise<Contestant> => {
    const one = await reserveAndSettle(4, 1)(effort)
    const many = await reserveAndSettle(4, subjects)(effort)
    return { round: async () => (await many.round()) / (await one.round()) }
  }
