// Retry policies around a promise: one that is kept, or one that is broken twice first.
import { ConstantBackoff, handleAll, retry as cockatielRetry } from "cockatiel"
import { Effect, Schedule } from "effect"
import { policy, Retry } from "headgate"
import pRetry from "p-retry"
import type { Contestant, Effort } from "../Contest.ts"
import { timed } from "../measure.ts"
import { byFibers, inOneFiber, serviceOf } from "./fibers.ts"

class Unavailable extends Error {
  readonly status = 503
}

/** Made once: what is measured is the policy, not the making of errors. */
const unavailable = new Unavailable("unavailable")
const answer = Promise.resolve("answered")

/** How often a call fails before it is answered. */
export type Failures = 0 | 2

/** A call that fails so often, for each of its callers. */
const failing = (failures: Failures): (() => Promise<string>) => {
  let left: number = failures
  return () => (left-- > 0 ? Promise.reject(unavailable) : answer)
}

/** A call that pauses takes turns with a thousand others, so that the pauses of a millisecond do not count. */
const atOnce = 1000

const promises = (call: (run: () => Promise<string>) => Promise<string>, failures: Failures, effort: Effort) =>
  timed(async (times) => {
    if (failures === 0) {
      for (let time = 0; time < times; time++) await call(() => answer)
      return
    }
    for (let done = 0; done < times; done += atOnce) {
      const size = Math.min(atOnce, times - done)
      await Promise.all(Array.from({ length: size }, () => call(failing(failures))))
    }
  }, effort)

type Attempt = Effect.Effect<string, Unavailable>

const attemptOf = (run: () => Promise<string>): Attempt =>
  Effect.tryPromise({ try: run, catch: (error) => error as Unavailable })

const effects = (
  call: (attempt: Attempt) => Effect.Effect<unknown, unknown>,
  failures: Failures,
  effort: Effort
): Promise<Contestant> =>
  timed(
    (times) =>
      failures === 0
        ? inOneFiber(times, () => call(attemptOf(() => answer)))
        : byFibers(times, atOnce, () => call(attemptOf(failing(failures)))),
    effort
  )

/** The same pause everywhere, and a retry budget that is not used up by calls that all fail twice. */
const options = (failures: Failures): Retry.Options =>
  failures === 0
    ? {}
    : {
        initialBackoff: "1 millis",
        maxBackoff: "1 millis",
        jitter: "none",
        budget: Retry.makeBudget({ capacity: 1e15 })
      }

/** `Retry.run` of ours. */
export const headgate =
  (failures: Failures) =>
  async (effort: Effort): Promise<Contestant> => {
    const { service } = await serviceOf(Retry.Retry, Retry.layer(options(failures)))
    return effects(service.run, failures, effort)
  }

/** Our `policy` in `Effect.retry`. */
export const headgatePolicy =
  (failures: Failures) =>
  async (effort: Effort): Promise<Contestant> => {
    const { service } = await serviceOf(Retry.Retry, Retry.layer(options(failures)))
    const retried = (attempt: Attempt) => Effect.provideService(Effect.retry(attempt, policy), Retry.Retry, service)
    return effects(retried, failures, effort)
  }

/** `Effect.retry` with the options that its documentation shows. */
export const effect =
  (failures: Failures) =>
  (effort: Effort): Promise<Contestant> => {
    const schedule = failures === 0 ? Schedule.exponential("1 second") : Schedule.exponential("1 millis", 1)
    const retryable = (error: Unavailable) => error.status >= 500
    return effects((attempt) => Effect.retry(attempt, { schedule, times: 3, while: retryable }), failures, effort)
  }

/** The promise alone: what no policy can go below. */
export const bare = (effort: Effort): Promise<Contestant> => effects((attempt) => attempt, 0, effort)

export const pRetryOf =
  (failures: Failures) =>
  (effort: Effort): Promise<Contestant> => {
    const pause = failures === 0 ? {} : { minTimeout: 1, factor: 1 }
    return promises((run) => pRetry(run, { retries: 3, ...pause }), failures, effort)
  }

export const cockatiel =
  (failures: Failures) =>
  (effort: Effort): Promise<Contestant> => {
    const retry = cockatielRetry(handleAll, { maxAttempts: 3, backoff: new ConstantBackoff(1) })
    return promises((run) => retry.execute(run), failures, effort)
  }
