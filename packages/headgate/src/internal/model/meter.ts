import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { InvalidUsage } from "../../Errors.ts"
import * as Usage from "../../Usage.ts"
import { checkUsage } from "../input.ts"
import type { Closing } from "../provider/lastWord.ts"

/** How to read what the elements of a stream take. */
export interface Measures<in A> {
  readonly delivered: (element: A) => Usage.Input
  readonly actual: (element: A) => Usage.Input | undefined
}

/** Adds up what a stream has delivered, beside what is held for it. */
export class Meter<A> {
  /** What is taken before any output; without a chunk, what is taken at most. */
  private readonly estimate: Usage.Usage
  private readonly chunk: Usage.Usage | undefined
  private readonly measures: Measures<A> & Closing<A>
  private held: Usage.Usage
  private delivered = Usage.zero
  /** What the stream itself says the whole call took: its last word. */
  private told: Usage.Usage | undefined = undefined
  /** Whether what it told is its last word, and nothing was delivered after it. */
  isFinal = false
  /** Whether an element has arrived. */
  begun = false
  /** Why something could not be read of an element, if that happened. */
  private complaint: unknown = undefined

  constructor(estimate: Usage.Usage, chunk: Usage.Usage | undefined, measures: Measures<A> & Closing<A>) {
    this.estimate = estimate
    this.chunk = chunk
    this.measures = measures
    this.held = this.total
  }

  /** What is to be reserved before anything is known. */
  get total(): Usage.Usage {
    return this.chunk === undefined ? this.estimate : Usage.sum(this.estimate, this.chunk)
  }

  /** Counts an element. Gives what must be held beside what is held for it, if anything. */
  count(element: A): Usage.Usage | undefined {
    this.begun = true
    this.listen(element)
    const size = this.read(this.measures.delivered, element, 0)
    const fits = size !== undefined && this.checked(Usage.sum(this.known(true), size), 0) !== undefined
    // One whose size is not known counts as a chunk.
    this.delivered = Usage.sum(this.delivered, fits ? size : (this.chunk ?? Usage.zero))
    if (this.chunk === undefined) return undefined
    const lacking = Usage.excess(this.known(true), this.held)
    return isNothing(lacking) ? undefined : { ...largest(lacking, this.chunk), cachedInputTokens: 0 }
  }

  /** Takes notice of what an element says of the whole call. */
  listen(element: A): void {
    this.told = this.read(this.measures.actual, element, this.estimate.requests) ?? this.told
    this.isFinal = this.measures.isLast?.(element) ?? false
  }

  extended(more: Usage.Usage): void {
    this.held = Usage.sum(this.held, more)
  }

  /** What the call took that came to its end, or told its last word. */
  get final(): Usage.Usage {
    return this.told ?? this.known(true)
  }

  /**
   * What the call took that was broken off: what was delivered, or what it or its end told if that is more. Without a
   * chunk the input's part of the estimate is not known, and the estimate counts unless `charge` is false.
   */
  partial(ended: Usage.Usage | undefined, charge: boolean): Usage.Usage {
    return largest(this.known(charge), this.told ?? Usage.zero, ended ?? Usage.zero)
  }

  /** Tells of what could not be read. */
  get complain(): Effect.Effect<void> {
    if (this.complaint === undefined) return Effect.void
    return Effect.logWarning("Charged a chunk, or the estimate, instead of an invalid usage", this.complaint)
  }

  private known(charge: boolean): Usage.Usage {
    if (this.chunk !== undefined) return Usage.sum(this.estimate, this.delivered)
    return charge ? largest(this.estimate, this.delivered) : { ...this.delivered, requests: this.estimate.requests }
  }

  private read(f: (element: A) => Usage.Input | undefined, element: A, requests: number): Usage.Usage | undefined {
    const said = Result.try(() => f(element))
    if (Result.isFailure(said)) this.complaint ??= said.failure
    else if (said.success !== undefined) return this.checked(said.success, requests)
  }

  private checked(input: Usage.Input, requests: number): Usage.Usage | undefined {
    const usage = checkUsage(input, requests)
    if (!(usage instanceof InvalidUsage)) return usage
    this.complaint ??= usage
  }
}

const isNothing = (usage: Usage.Usage): boolean =>
  usage.requests === 0 && usage.inputTokens === 0 && usage.outputTokens === 0 && usage.tokens === 0 && usage.cost === 0

/** The largest of some usages, field by field. */
const largest = (...usages: readonly [Usage.Usage, ...ReadonlyArray<Usage.Usage>]): Usage.Usage =>
  usages.reduce((a, b) => ({
    requests: Math.max(a.requests, b.requests),
    inputTokens: Math.max(a.inputTokens, b.inputTokens),
    outputTokens: Math.max(a.outputTokens, b.outputTokens),
    cachedInputTokens: Math.max(a.cachedInputTokens, b.cachedInputTokens),
    tokens: Math.max(a.tokens, b.tokens),
    cost: a.cost > b.cost ? a.cost : b.cost
  }))
