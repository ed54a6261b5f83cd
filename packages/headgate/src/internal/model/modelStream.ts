import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { InvalidUsage, UnpricedModel } from "../../Errors.ts"
import type { ModelUsage } from "../../ModelUsage.ts"
import type * as Money from "../../Money.ts"
import type * as Usage from "../../Usage.ts"
import { Heard, type Listening } from "./heard.ts"
import { isCount } from "../input.ts"
import type { Closing } from "../provider/lastWord.ts"
import { type Modality, priced, pricedEnd, pricedMost, type Till } from "./modelCall.ts"
import { invalidUsage } from "../refusal.ts"
import type { Measures } from "./meter.ts"

/** What a streamed call is held for. */
interface Plan {
  readonly inputTokens: number
  /** What it takes before any output. */
  readonly estimate: Usage.Input
  /** What is held ahead for output. */
  readonly chunk: Usage.Input
  /** All that it can take. */
  readonly atMost: Usage.Input
}

/** Prices what a streamed call is held for, `chunk` tokens of output at a time. */
export const planOf = (
  till: Till,
  most: ModelUsage,
  chunk: number,
  modalities?: ReadonlyArray<Modality>
): Effect.Effect<Plan, InvalidUsage | UnpricedModel> => {
  if (!isCount(chunk) || chunk === 0) return Exit.fail(invalidUsage("chunk", "a whole number from 1", chunk))
  const input = { ...most, outputTokens: 0 }
  const outputTokens = Math.min(chunk, most.outputTokens)
  return Effect.map(
    Effect.all([
      pricedMost(till, input, modalities),
      pricedMost(till, most, modalities),
      till.cost(input),
      till.cost({ ...input, outputTokens })
    ]),
    ([estimate, atMost, before, after]) => ({
      inputTokens: most.inputTokens,
      estimate,
      chunk: { outputTokens, cost: (after - before) as Money.Money },
      atMost
    })
  )
}

/** An element of a stream with what it took. */
export interface Measured<A> {
  readonly element: A
  readonly delivered: Result.Result<Usage.Input, unknown>
  readonly whole: Result.Result<Usage.Input | undefined, unknown>
  /** Whether that is the stream's last word. */
  readonly isLast: boolean
}

/** Prices the elements of a stream, one after another. `inputTokens` is what the input is taken to be. */
export const measuring = <A>(
  till: Till,
  heard: Heard<A>,
  inputTokens: number
): ((element: A) => Effect.Effect<Measured<A>>) => {
  let output = 0
  let paid: Money.Money | undefined

  const costUpTo = (outputTokens: number) => till.cost({ inputTokens, outputTokens })

  const delivered = Effect.fnUntraced(function* () {
    const outputTokens = heard.output - output
    if (outputTokens === 0) return {}
    const before = paid ?? (yield* costUpTo(output))
    const after = yield* costUpTo(heard.output)
    output = heard.output
    paid = after
    return { outputTokens, cost: (after - before) as Money.Money }
  })

  return Effect.fnUntraced(function* (element: A) {
    const brought = Result.try(() => heard.deliver(element))
    const said = Result.try(() => heard.listen(element))
    const whole: Measured<A>["whole"] = Result.isFailure(said)
      ? Result.fail(said.failure)
      : said.success === undefined
        ? Result.succeed(undefined)
        : yield* Effect.result(priced(till, said.success))
    return {
      element,
      delivered: Result.isFailure(brought) ? Result.fail(brought.failure) : yield* Effect.result(delivered()),
      whole,
      isLast: Result.isSuccess(whole) && heard.final !== undefined
    }
  })
}

/** A stream whose elements are priced, and how to read them. */
interface Priced<A, E, R> extends Measures<Measured<A>>, Closing<Measured<A>> {
  readonly elements: Stream.Stream<Measured<A>, E, R>
  readonly actualOnError: () => Usage.Input | undefined
}

interface StreamedModelCall<in A, in E> extends Listening<A>, Closing<A> {
  readonly maxOutputTokens?: number | undefined
  readonly outputs?: number | undefined
  readonly usageOnError?: ((error: E) => ModelUsage | undefined) | undefined
}

/** Prices a stream's elements, and the error that it may end with. `meter` counts the text of one run. */
export const pricedStream = <A, E, R>(
  self: Stream.Stream<A, E, R>,
  { maxOutputTokens = Infinity, outputs = 1, ...call }: StreamedModelCall<A, E>,
  till: Till,
  plan: Plan,
  meter: Effect.Effect<(text: string) => number>
): Priced<A, E, R> => {
  const reading = { usage: () => undefined, usageOnError: call.usageOnError }
  let took: Usage.Input | undefined
  const run = (tokensOf: (text: string) => number): Stream.Stream<Measured<A>, E, R> => {
    const heard = new Heard(call, tokensOf, maxOutputTokens * outputs)
    const measure = measuring(till, heard, plan.inputTokens)
    took = undefined
    return self.pipe(
      Stream.mapArrayEffect((elements) => Effect.forEach(elements, measure)),
      Stream.onEnd(Effect.sync(() => (heard.isOver = true))),
      Stream.ensuring(Effect.suspend(() => (heard.final === undefined ? Effect.void : till.observe(heard.final)))),
      Stream.tapError((error) =>
        Effect.map(pricedEnd(till, Exit.fail(error), reading, plan.estimate), (usage) => {
          took = usage
        })
      )
    )
  }
  return {
    elements: Stream.unwrap(Effect.map(meter, run)),
    delivered: ({ delivered }) => Result.getOrThrow(delivered),
    actual: ({ whole }) => Result.getOrThrow(whole),
    isLast: ({ isLast }) => isLast,
    actualOnError: () => took
  }
}
