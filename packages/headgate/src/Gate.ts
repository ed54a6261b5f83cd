/**
 * Guarded calls for code that knows promises only: a vendor's SDK in a program without Effect.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Cause from "effect/Cause"
import type * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as ModelGuard from "./ModelGuard.ts"
import * as ModelUsage from "./ModelUsage.ts"

/**
 * A call to be guarded, as `ModelGuard.Call` says it.
 *
 * - `usage`: what the reply says it took. Default `ModelUsage.fromReply`, which knows the words of the vendors' SDKs.
 * - `signal`: ends the call when it is aborted, while it waits or runs. One that was sent may have been billed, and is
 *   charged as `onUnknown` says.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call<in A = unknown> extends Omit<ModelGuard.Call<A>, "usage" | "usageOnError"> {
  readonly usage?: ((reply: A) => ModelUsage.ModelUsage | undefined) | undefined
  readonly usageOnError?: ((error: unknown) => ModelUsage.ModelUsage | undefined) | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Guards calls that are promises. `R` are the services of the layer it was made from.
 *
 * @category models
 * @since 0.1.0
 */
export interface Gate<R> {
  /**
   * Runs a guarded call. It is given a signal to pass on, which is aborted when the call is. Rejects with what the call
   * rejected with; with an error of headgate, told apart by `instanceof` or `_tag`; or with the reason of the signal.
   */
  readonly run: <A>(call: (signal: AbortSignal) => PromiseLike<A>, options: Call<A>) => Promise<A>
  /** Runs an effect on the services behind the gate: the budget's status, a handler of alerts. */
  readonly runtime: ManagedRuntime.ManagedRuntime<R, unknown>
  /** Ends the services. */
  readonly dispose: () => Promise<void>
  readonly [Symbol.asyncDispose]: () => Promise<void>
}

/**
 * Makes a gate of a layer, which is built when the first call comes. Make one for the program, not one for each call.
 *
 * **Gotchas**
 *
 * SDKs retry too. Tell them not to (`maxRetries: 0`), so that each attempt takes its place in the limits and is paid.
 *
 * **Example** (A vendor's SDK)
 *
 * ```ts
 * import { Budget, BudgetExceeded, Gate, ModelGuard } from "headgate"
 *
 * // As `openai.chat.completions.create(request, { signal, maxRetries: 0 })` answers.
 * const create = (_signal: AbortSignal) =>
 *   Promise.resolve({ choices: ["About 3,700 m."], usage: { prompt_tokens: 12, completion_tokens: 8 } })
 *
 * await using gate = Gate.make(
 *   ModelGuard.layerMemory({ budget: { maxCostPerDay: "$0.002" }, prices: { "my-model": { input: "$3/M", output: "$15/M" } } })
 * )
 *
 * const question = { model: "my-model", input: "How deep is the sea?", maxOutputTokens: 100 }
 * const reply = await gate.run(create, question)
 * reply.choices // => ["About 3,700 m."]
 *
 * const refusal = await gate.run(create, { ...question, maxOutputTokens: 125 }).catch((error) => error)
 * refusal instanceof BudgetExceeded // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R, E>(layer: Layer.Layer<R | ModelGuard.ModelGuard, E>): Gate<R | ModelGuard.ModelGuard> => {
  const runtime = ManagedRuntime.make(layer)
  const dispose = () => runtime.dispose()
  return {
    run: (call, { signal, usage = ModelUsage.fromReply, ...rest }) => {
      // A promise rejects with anything, and the caller gets back just that.
      // @effect-diagnostics-next-line unknownInEffectCatch:off
      const called = Effect.tryPromise({ try: call, catch: (error) => error })
      return runtime
        .runPromiseExit(ModelGuard.run(called, { ...rest, usage }), { signal })
        .then((exit) => (Exit.isSuccess(exit) ? exit.value : Promise.reject(reasonOf(exit.cause, signal))))
    },
    runtime,
    dispose,
    [Symbol.asyncDispose]: dispose
  }
}

const reasonOf = (cause: Cause.Cause<unknown>, signal: AbortSignal | undefined): unknown =>
  signal?.aborted && Cause.hasInterrupts(cause) ? signal.reason : Cause.squash(cause)
