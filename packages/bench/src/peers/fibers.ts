// How the sides that are written with Effect are run: services resolved once, calls one after another in one fiber.
import { Effect, type Layer, ManagedRuntime } from "effect"

export interface Served<S> {
  readonly service: S
  readonly end: () => Promise<void>
}

/** A service of a layer, until `end`. */
export const serviceOf = async <I, S>(
  tag: Effect.Effect<S, never, I>,
  layer: Layer.Layer<I, unknown>
): Promise<Served<S>> => {
  const runtime = ManagedRuntime.make(layer)
  return { service: await runtime.runPromise(tag), end: () => runtime.dispose() }
}

/** Runs a call so many times, one after another, in one fiber. */
export const inOneFiber = (times: number, call: () => Effect.Effect<unknown, unknown>): Promise<void> =>
  Effect.runPromise(
    Effect.gen(function* () {
      for (let time = 0; time < times; time++) yield* call()
    })
  )

/** Runs a call so many times, by so many fibers at once. */
export const byFibers = (times: number, fibers: number, call: () => Effect.Effect<unknown, unknown>): Promise<void> => {
  let left = times
  const worker = Effect.gen(function* () {
    while (left-- > 0) yield* call()
  })
  return Effect.runPromise(
    Effect.forEach(Array.from({ length: Math.min(times, fibers) }), () => worker, {
      concurrency: "unbounded",
      discard: true
    })
  )
}
