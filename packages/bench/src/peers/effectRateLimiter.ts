// Effect's own persistence/RateLimiter in memory: one `consume` per quota.
import { Effect, Layer } from "effect"
import { RateLimiter } from "effect/persistence"
import type { Contestant, Effort } from "../Contest.ts"
import { heapOfEach, subjectsIn, timed } from "../measure.ts"
import { inOneFiber, serviceOf } from "./fibers.ts"

const windows = ["1 minute", "1 hour", "1 day", "30 days"] as const

const limiterOf = () =>
  serviceOf(RateLimiter.RateLimiter, RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory)))

const optionsOf = (quota: number, key: string, limit: number) => ({
  key: `quota-${quota}/${key}`,
  limit,
  window: windows[quota % windows.length]!
})

const consumeAll = (limiter: RateLimiter.RateLimiter, quotas: number, key: string) =>
  Effect.gen(function* () {
    for (let quota = 0; quota < quotas; quota++) {
      yield* limiter.consume({ ...optionsOf(quota, key, 9_000_000_000_000), tokens: 1200 })
    }
  })

/** All quotas one after another, for subjects in shuffled order. */
export const consume =
  (quotas: number, subjects: number) =>
  async (effort: Effort): Promise<Contestant> => {
    const { service: limiter } = await limiterOf()
    const count = effort.subjects(subjects)
    const next = subjectsIn(count)
    const run = (times: number) => inOneFiber(times, () => consumeAll(limiter, quotas, next()))
    await run(count)
    return timed(run, effort)
  }

const admitted = Effect.die("it was not refused")

/** A `consume` that is refused. */
export const refusal = async (effort: Effort): Promise<Contestant> => {
  const { service: limiter } = await limiterOf()
  const options = { ...optionsOf(0, "42", 1200), tokens: 1200 }
  await inOneFiber(1, () => limiter.consume(options))
  const refused = () =>
    limiter.consume(options).pipe(
      Effect.andThen(admitted),
      Effect.catchTag("RateLimiterError", () => Effect.void)
    )
  return timed((times) => inOneFiber(times, refused), effort)
}

/** Heap that a subject keeps with 4 quotas, each of them used once. */
export const idleSubjects =
  (subjects: number) =>
  async (effort: Effort): Promise<Contestant> => {
    const { end, service: limiter } = await limiterOf()
    await inOneFiber(1, () => consumeAll(limiter, 4, "warm-up"))
    const count = effort.subjects(subjects)
    let name = 0
    const fill = () => inOneFiber(count, () => consumeAll(limiter, 4, `user-${name++}`))
    return { round: () => heapOfEach(count, fill), end }
  }
