/**
 * Guarded calls for code that knows promises only: a vendor's SDK in a program without Effect.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as ModelGuard from "./ModelGuard.ts"

/**
 * A call to be guarded, as `ModelGuard.Call` says it.
 *
 * - `signal`: ends the call when it is aborted, while it waits or runs. One that was sent may have been billed, and is
 *   charged as `onUnknown` says. Where it is aborted already, nothing is called.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call<in A = unknown> extends ModelGuard.Call<A> {
  readonly signal?: AbortSignal | undefined
}

/**
 * A streamed call to be guarded, as `ModelGuard.StreamCall` says it.
 *
 * - `signal`: ends the stream when it is aborted, also while nobody reads it. It is charged for what was delivered.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamCall<in A = unknown> extends ModelGuard.StreamCall<A> {
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
  /**
   * Runs a guarded call whose reply is a stream, once for each `for await`. More is held for it as it comes, and it is
   * settled on what it says it took, or on what was delivered when the loop is left before its end. It rejects as `run`
   * does, and is repeated only as long as nothing has come.
   */
  readonly stream: <A>(
    call: (signal: AbortSignal) => AsyncIterable<A> | PromiseLike<AsyncIterable<A>>,
    options: StreamCall<A>
  ) => AsyncIterable<A>
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
 * - SDKs retry too: those of OpenAI, of Anthropic and Vercel's `ai` twice if not told otherwise. Tell them not to
 *   (`maxRetries: 0`). Else each attempt of ours is up to three requests, of which the limits and the budget see one, and
 *   they may come back sooner than the provider asked. It cannot be noticed from here.
 * - What the provider says remains of its limits is read from the response that the SDKs of OpenAI and Anthropic keep, and
 *   Vercel's `ai`. Return their promise itself: what an `async` function makes of it has lost that.
 * - `streamText` of `ai` hides errors in its parts: guard the model instead, as `examples/vercel.ts` does.
 * - OpenAI tells the usage of a streamed chat completion only if the request has `stream_options: { include_usage: true }`.
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
 * **Example** (A stream)
 *
 * ```ts
 * import { Gate, ModelGuard } from "headgate"
 *
 * // As `openai.chat.completions.create({ ...request, stream: true, stream_options }, { signal, maxRetries: 0 })` answers.
 * async function* create(_signal: AbortSignal) {
 *   yield { choices: [{ delta: { content: "About " } }] }
 *   yield { choices: [{ delta: { content: "3,700 m." } }] }
 *   yield { choices: [], usage: { prompt_tokens: 12, completion_tokens: 8 } }
 * }
 *
 * await using gate = Gate.make(
 *   ModelGuard.layerMemory({ budget: { maxCostPerDay: "$1" }, prices: { "my-model": { input: "$3/M", output: "$15/M" } } })
 * )
 *
 * let text = ""
 * const chunks = gate.stream(create, { model: "my-model", input: "How deep is the sea?", maxOutputTokens: 100 })
 * for await (const { choices } of chunks) text += choices[0]?.delta.content ?? ""
 * text // => "About 3,700 m."
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R, E>(layer: Layer.Layer<R | ModelGuard.ModelGuard, E>): Gate<R | ModelGuard.ModelGuard> => {
  const runtime = ManagedRuntime.make(layer)
  const dispose = () => runtime.dispose()
  return {
    run: (call, { signal, ...options }) => {
      if (signal?.aborted) return Promise.reject(signal.reason)
      const called = (signal: AbortSignal) => Promise.resolve(answeredBy(call(signal)))
      return runtime
        .runPromiseExit(ModelGuard.run(heard(called, options), options), { signal })
        .then((exit) => (Exit.isSuccess(exit) ? exit.value : Promise.reject(reasonOf(exit.cause, signal))))
    },
    stream: (call, { signal, ...options }) => {
      const guarded = ModelGuard.stream(opened(call, options), options)
      const elements = Stream.toAsyncIterable(
        Stream.unwrap(Effect.map(runtime.contextEffect, (services) => Stream.provideContext(guarded, services)))
      )
      return { [Symbol.asyncIterator]: () => endedBy(signal, elements[Symbol.asyncIterator]()) }
    },
    runtime,
    dispose,
    [Symbol.asyncDispose]: dispose
  }
}

const itself = (error: unknown): unknown => error

const reasonOf = (cause: Cause.Cause<unknown>, signal: AbortSignal | undefined): unknown =>
  signal?.aborted && Cause.hasInterrupts(cause) ? signal.reason : Cause.squash(cause)

/** A reply, and the response that it came in if that is known. */
interface Answered<A> {
  readonly data: A
  readonly response?: unknown
}

/** The SDKs of OpenAI and Anthropic give the response too, with its headers, to who asks for it in place of `then`. */
const answeredBy = <A>(promise: PromiseLike<A>): PromiseLike<Answered<A>> =>
  Predicate.hasProperty(promise, "withResponse") && typeof promise.withResponse === "function"
    ? promise.withResponse()
    : promise.then((data) => ({ data }))

/** A call that tells the rate limiter what its reply says of the provider's limits. */
const heard = <A>(
  call: (signal: AbortSignal) => Promise<Answered<A>>,
  { model, subject }: Pick<ModelGuard.Call, "model" | "subject">
): Effect.Effect<A, unknown, ModelGuard.ModelGuard> =>
  // A promise rejects with anything, and the caller gets back just that.
  // @effect-diagnostics-next-line unknownInEffectCatch:off
  Effect.flatMap(Effect.tryPromise({ try: call, catch: itself }), ({ data, response }) =>
    response === undefined
      ? Effect.succeed(data)
      : Effect.as(
          ModelGuard.ModelGuard.use((guard) => guard.heard(response, { model, ...subject })),
          data
        )
  )

type Opening<A> = (signal: AbortSignal) => AsyncIterable<A> | PromiseLike<AsyncIterable<A>>

/** A call's elements. Its signal is aborted when they are over: some iterators cannot be left while they wait. */
const opened = <A>(
  call: Opening<A>,
  options: Pick<ModelGuard.Call, "model" | "subject">
): Stream.Stream<A, unknown, ModelGuard.ModelGuard> =>
  Stream.unwrap(
    Effect.acquireRelease(
      Effect.sync(() => new AbortController()),
      (controller) => Effect.sync(() => controller.abort())
    ).pipe(
      Effect.flatMap(({ signal }) =>
        heard(() => {
          const elements = call(signal)
          return Promise.resolve(Symbol.asyncIterator in elements ? { data: elements } : answeredBy(elements))
        }, options)
      ),
      Effect.map((elements) => Stream.fromAsyncIterable(elements, itself))
    )
  )

/** An iterator that a signal ends at once, and not only when somebody asks for more. */
const endedBy = <A>(signal: AbortSignal | undefined, elements: AsyncIterator<A>): AsyncIterator<A> => {
  let over = false
  const leave = () => {
    over = true
    signal?.removeEventListener("abort", abort)
  }
  const close = (): Promise<IteratorResult<A>> => elements.return!()
  const abort = (): void => void close().catch(() => undefined)
  signal?.addEventListener("abort", abort)
  const next = (): Promise<IteratorResult<A>> =>
    signal?.aborted && !over ? close().then(() => Promise.reject(signal.reason)) : elements.next()
  return {
    next: () =>
      next().then(
        (result) => {
          if (result.done && signal?.aborted && !over) return Promise.reject(signal.reason)
          if (result.done) leave()
          return result
        },
        (error) => {
          leave()
          return Promise.reject(error)
        }
      ),
    return: () => {
      leave()
      return close()
    }
  }
}
