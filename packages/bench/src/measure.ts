// How one round of a side is measured, inside of its process.
import type { Contestant, Effort } from "./Contest.ts"

/** `--expose-gc` gives it; a quick run goes without. */
export const collect = (): void => globalThis.gc?.()

const clock = async (run: () => unknown): Promise<number> => {
  const start = performance.now()
  await run()
  return performance.now() - start
}

/**
 * Microseconds per time of `run`. It is warmed up with ever more times until a round is long enough; young garbage of
 * the last round is collected before the next one begins. A full collection would also throw away the optimised code that
 * refers to what it collects (V8: "embedded weak objects cleared"), and rounds would measure how fast that is made again.
 */
export const timed = async (run: (times: number) => unknown, { millis }: Effort): Promise<Contestant> => {
  let times = 8
  let took = 0
  while (took < millis) {
    times = took * 4 > millis ? Math.ceil((times * millis * 1.05) / took) : times * 4
    took = await clock(() => run(times))
  }
  return {
    round: async () => {
      globalThis.gc?.({ type: "minor" })
      return ((await clock(() => run(times))) * 1000) / times
    }
  }
}

/** Bytes of heap that each of `count` leaves behind once `fill` has made them. */
export const heapOfEach = async (count: number, fill: () => unknown): Promise<number> => {
  const used = async (): Promise<number> => {
    for (let times = 0; times < 3; times++) {
      collect()
      await new Promise((resolve) => setImmediate(resolve))
    }
    return process.memoryUsage().heapUsed
  }
  const before = await used()
  await fill()
  return ((await used()) - before) / count
}

/** The value below which this share of the values lies. */
export const quantile = (values: ReadonlyArray<number>, share: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const low = sorted[Math.floor(at)]!
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at))
}

export const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5)

/** A random order that is the same in each run and on each side: Fisher and Yates with a linear congruential generator. */
export const shuffled = (count: number): Uint32Array => {
  const order = Uint32Array.from({ length: count }, (_, index) => index)
  let state = 42
  for (let index = count - 1; index > 0; index--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const other = Math.floor((state / 2 ** 32) * (index + 1))
    const value = order[index]!
    order[index] = order[other]!
    order[other] = value
  }
  return order
}

/** Names of subjects in an order that jumps about in memory; a single one is always the same. */
export const subjectsIn = (count: number): (() => string) => {
  const names = Array.from({ length: count }, (_, index) => `user-${index}`)
  const order = shuffled(count)
  let at = 0
  return () => {
    if (++at >= count) at = 0
    return names[order[at]!]!
  }
}
