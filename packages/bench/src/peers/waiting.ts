// Calls that wait for one of ten places; each gives its place up after it was suspended once.
import Bottleneck from "bottleneck"
import { Effect, Semaphore } from "effect"
import { RateLimiter } from "headgate"
import PQueue from "p-queue"
import type { Contestant, Effort } from "../Contest.ts"
import { timed } from "../measure.ts"
import { byFibers, serviceOf } from "./fibers.ts"

const places = 10
/** How many calls stand in line at once. */
const crowd = 1000

const effects = (call: Effect.Effect<unknown, unknown>, effort: Effort): Promise<Contestant> =>
  timed((times) => byFibers(times, crowd, () => call), effort)

const promises = (call: (run: () => Promise<void>) => Promise<unknown>, effort: Effort): Promise<Contestant> =>
  timed(async (times) => {
    let left = times
    const worker = async () => {
      while (left-- > 0) await call(suspended)
    }
    await Promise.all(Array.from({ length: Math.min(times, crowd) }, worker))
  }, effort)

const suspended = (): Promise<void> => Promise.resolve()

export const headgate = async (effort: Effort): Promise<Contestant> => {
  const { service } = await serviceOf(RateLimiter.RateLimiter, RateLimiter.layerMemory({ concurrency: places }))
  const call = service.withPermit({}, {}, (permit, restore) =>
    Effect.onExit(restore(Effect.yieldNow), () => Effect.orDie(service.settle(permit, {})))
  )
  return effects(call, effort)
}

export const semaphore = async (effort: Effort): Promise<Contestant> => {
  const semaphore = await Effect.runPromise(Semaphore.make(places))
  return effects(semaphore.withPermits(1)(Effect.yieldNow), effort)
}

export const pQueue = (effort: Effort): Promise<Contestant> => {
  const queue = new PQueue({ concurrency: places })
  return promises((run) => queue.add(run), effort)
}

export const bottleneck = (effort: Effort): Promise<Contestant> => {
  const limiter = new Bottleneck({ maxConcurrent: places })
  return promises((run) => limiter.schedule(run), effort)
}
