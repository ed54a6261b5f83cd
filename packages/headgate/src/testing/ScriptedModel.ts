/**
 * A model that does as it is told: it answers, fails, waits and takes what a script says, and records every call.
 *
 * **When to use**
 *
 * Use it as the peer in tests and simulations of guarded calls, where a real model would cost money and time and would
 * not fail on demand. It waits on the `Clock`, so `TestClock` and `VirtualClock` drive it.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Usage from "../Usage.ts"

/**
 * What the model does with one call: answer, fail, or never say anything (for timeouts and interruption).
 *
 * `after` is the time until it does so; default: at once. `usage` is what an answer took; default: `{}`.
 *
 * @category models
 * @since 0.1.0
 */
export type Step<A, E> =
  | { readonly answer: A; readonly after?: Duration.Input | undefined; readonly usage?: Usage.Input | undefined }
  | { readonly fail: E; readonly after?: Duration.Input | undefined }
  | "silent"

/**
 * What the script is asked about. `index` counts all calls from 0, `attempt` those with this same request (as a `Map`
 * key: strings by value, objects by identity) from 1, `now` is the clock's time in milliseconds since 1970.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempt<Request> {
  readonly request: Request
  readonly attempt: number
  readonly index: number
  readonly now: number
}

/**
 * One step per call in the order of the calls, or a function of the call.
 *
 * @category models
 * @since 0.1.0
 */
export type Script<Request, A, E> = ReadonlyArray<Step<A, E>> | ((attempt: Attempt<Request>) => Step<A, E>)

/**
 * What became of a call. `startedAt` and `endedAt` are milliseconds since 1970; `endedAt` is absent while it runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call<Request> {
  readonly request: Request
  readonly attempt: number
  readonly startedAt: number
  readonly endedAt: number | undefined
  readonly outcome: "running" | "answered" | "failed" | "interrupted"
}

/**
 * An answer with what it took.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer<A> {
  readonly answer: A
  readonly usage: Usage.Input
}

/**
 * The model and its record.
 *
 * @category models
 * @since 0.1.0
 */
export interface ScriptedModel<Request, A, E> {
  /** Plays the script's next step. Dies with a `RangeError` when a list of steps has been used up. */
  readonly call: (request: Request) => Effect.Effect<Answer<A>, E>
  /** All calls so far, in the order in which they began. */
  readonly calls: Effect.Effect<ReadonlyArray<Call<Request>>>
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/**
 * Makes a model from a script. Each model has its own record and starts its list of steps from the beginning.
 *
 * **Example** (Failing once)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ScriptedModel, VirtualClock } from "headgate/testing"
 *
 * const program = Effect.gen(function*() {
 *   const model = yield* ScriptedModel.make<string, string, "busy">([
 *     { fail: "busy", after: "1 second" },
 *     { answer: "42", after: "3 seconds", usage: { inputTokens: 7, outputTokens: 1 } }
 *   ])
 *   const { answer, usage } = yield* Effect.retry(model.call("What is six by seven?"), { times: 1 })
 *   const calls = yield* model.calls
 *   return { answer, usage, calls: calls.map((call) => [call.attempt, call.outcome, call.endedAt]) }
 * })
 *
 * const { answer, usage, calls } = await Effect.runPromise(VirtualClock.run(program))
 * answer // => "42"
 * usage // => { inputTokens: 7, outputTokens: 1 }
 * calls // => [[1, "failed", 1000], [2, "answered", 4000]]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Request, A, E = never>(
  script: Script<Request, A, E>
): Effect.Effect<ScriptedModel<Request, A, E>> =>
  Effect.sync(() => {
    const calls: Array<Mutable<Call<Request>>> = []
    const attempts = new Map<Request, number>()

    const call = (request: Request): Effect.Effect<Answer<A>, E> =>
      Clock.clockWith((clock) => {
        const index = calls.length
        const attempt = (attempts.get(request) ?? 0) + 1
        const startedAt = clock.currentTimeMillisUnsafe()
        const step = typeof script === "function" ? script({ request, attempt, index, now: startedAt }) : script[index]
        if (step === undefined) {
          return Effect.die(new RangeError(`the script ends after ${index} calls, and this is another one`))
        }
        const record: Mutable<Call<Request>> = { request, attempt, startedAt, endedAt: undefined, outcome: "running" }
        attempts.set(request, attempt)
        calls.push(record)
        return Effect.onExit(play(step), (exit) =>
          Effect.sync(() => {
            record.endedAt = clock.currentTimeMillisUnsafe()
            record.outcome = Exit.isSuccess(exit) ? "answered" : Exit.hasInterrupts(exit) ? "interrupted" : "failed"
          })
        )
      })

    return { call, calls: Effect.sync(() => calls.map((record) => ({ ...record }))) }
  })

const play = <A, E>(step: Step<A, E>): Effect.Effect<Answer<A>, E> => {
  if (step === "silent") return Effect.never
  const end =
    "answer" in step ? Effect.succeed({ answer: step.answer, usage: step.usage ?? {} }) : Effect.fail(step.fail)
  return step.after === undefined ? end : Effect.andThen(Effect.sleep(step.after), end)
}
