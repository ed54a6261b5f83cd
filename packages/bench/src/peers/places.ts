// A place in a rate limit that has room: requests per minute, one limit.
import Bottleneck from "bottleneck"
import { Layer } from "effect"
import { RateLimiter as EffectRateLimiter } from "effect/persistence"
import { RateLimiter } from "headgate"
import { RateLimiter as Limiter } from "limiter"
import PQueue from "p-queue"
import { RateLimiterMemory } from "rate-limiter-flexible"
import type { Contestant, Effort } from "../Contest.ts"
import { timed } from "../measure.ts"
import { inOneFiber, serviceOf } from "./fibers.ts"

const limit = 1_000_000_000_000

const promises = (call: () => Promise<unknown>, effort: Effort): Promise<Contestant> =>
  timed(async (times) => {
    for (let time = 0; time < times; time++) await call()
  }, effort)

const done = (): Promise<void> => Promise.resolve()

export const headgate = async (effort: Effort): Promise<Contestant> => {
  const { service } = await serviceOf(RateLimiter.RateLimiter, RateLimiter.layerMemory({ requestsPerMinute: limit }))
  return timed((times) => inOneFiber(times, () => service.tryAcquire()), effort)
}

export const effect = async (effort: Effort): Promise<Contestant> => {
  const layer = EffectRateLimiter.layer.pipe(Layer.provide(EffectRateLimiter.layerStoreMemory))
  const { service } = await serviceOf(EffectRateLimiter.RateLimiter, layer)
  return timed((times) => inOneFiber(times, () => service.consume({ key: "all", limit, window: "1 minute" })), effort)
}

export const limiter = (effort: Effort): Promise<Contestant> => {
  const limiter = new Limiter({ tokensPerInterval: limit, interval: "minute" })
  return promises(() => limiter.removeTokens(1), effort)
}

export const rateLimiterFlexible = (effort: Effort): Promise<Contestant> => {
  const limiter = new RateLimiterMemory({ points: limit, duration: 60 })
  return promises(() => limiter.consume("all"), effort)
}

export const bottleneck = async (effort: Effort): Promise<Contestant> => {
  const limiter = new Bottleneck({
    reservoir: limit,
    reservoirRefreshAmount: limit,
    reservoirRefreshInterval: 60_000
  })
  return { ...(await promises(() => limiter.schedule(done), effort)), end: () => limiter.disconnect() }
}

export const pQueue = (effort: Effort): Promise<Contestant> => {
  const queue = new PQueue({ intervalCap: limit, interval: 60_000 })
  return promises(() => queue.add(done), effort)
}
