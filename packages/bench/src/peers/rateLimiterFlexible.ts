// rate-limiter-flexible as its README and wiki say: RateLimiterMemory, and RateLimiterUnion of them with a prefix each.
import { RateLimiterMemory, RateLimiterUnion } from "rate-limiter-flexible"
import type { Contestant, Effort } from "../Contest.ts"
import { heapOfEach, subjectsIn, timed } from "../measure.ts"

/** A minute, an hour, a day and a week: a month is longer than its timers can be. */
const durations = [60, 3600, 86_400, 604_800]

const limitersOf = (count: number, points: number) =>
  Array.from({ length: count }, (_, index) => {
    const duration = durations[index % durations.length]!
    return new RateLimiterMemory({ keyPrefix: `quota-${index}`, points, duration })
  })

const unionOf = (count: number, points = 9_000_000_000_000) => new RateLimiterUnion(...limitersOf(count, points))

/** `consume` for subjects in shuffled order. */
export const consume =
  (quotas: number, subjects: number) =>
  async (effort: Effort): Promise<Contestant> => {
    const union = unionOf(quotas)
    const count = effort.subjects(subjects)
    const next = subjectsIn(count)
    const run = async (times: number) => {
      for (let time = 0; time < times; time++) await union.consume(next(), 1200)
    }
    await run(count)
    return timed(run, effort)
  }

const refusalOf = async (limiter: RateLimiterUnion | RateLimiterMemory, effort: Effort): Promise<Contestant> => {
  await limiter.consume("42", 1200)
  return timed(async (times) => {
    for (let time = 0; time < times; time++) {
      try {
        await limiter.consume("42", 1000)
      } catch {
        continue
      }
      throw new Error("it was not refused")
    }
  }, effort)
}

/** A `consume` that every member of a union refuses. */
export const unionRefusal = (quotas: number) => (effort: Effort) => refusalOf(unionOf(quotas, 1200), effort)

/** A `consume` that a single limiter refuses. */
export const refusal = (effort: Effort) => refusalOf(limitersOf(1, 1200)[0]!, effort)

/** Heap that a subject keeps with 4 quotas, each of them used once. */
export const idleSubjects =
  (subjects: number) =>
  async (effort: Effort): Promise<Contestant> => {
    const union = unionOf(4)
    await union.consume("warm-up", 1200)
    const count = effort.subjects(subjects)
    const fill = async () => {
      for (let index = 0; index < count; index++) await union.consume(`user-${index}`, 1200)
    }
    return { round: () => heapOfEach(count, fill), end: () => union }
  }
