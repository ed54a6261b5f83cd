import { fromReply, type ModelUsage } from "../../ModelUsage.ts"
import { isCount, modelUsageFault, wholeNumber } from "../input.ts"
import { type Closing, isLastWord } from "../provider/lastWord.ts"
import { invalidUsage } from "../refusal.ts"
import { outputIn } from "../provider/vendorOutput.ts"

/** How to read what the elements of a model's stream say. */
export interface Listening<in A> {
  /**
   * What an element brings of the answer: its text, or how many tokens it is. Default: the text where the vendors put it;
   * an element that is none of theirs counts with all its text.
   */
  readonly delivered?: ((element: A) => string | number) | undefined
  /**
   * What an element says of the whole call. It is given what an earlier one said. The last answer wins; what is delivered
   * after it is added. Default `ModelUsage.fromReply`.
   */
  readonly usage?: ((element: A, previous: ModelUsage | undefined) => ModelUsage | undefined) | undefined
}

/** What a stream of a model has said so far. */
export class Heard<A> {
  /** What has arrived of the answer, in tokens. */
  output = 0
  /** Whether the stream came to its own end. */
  isOver = false
  private readonly listening: Listening<A> & Closing<A>
  private readonly tokensOf: (text: string) => number
  private readonly most: number
  /** The part of the output that came as tokens. */
  private counted = 0
  private told: ModelUsage | undefined
  private toldAt = 0
  /** The output when it told its usage for the last time. */
  private lastAt: number | undefined

  /** `tokensOf` takes the text bit by bit and gives the tokens of all so far, of which there are at most `most`. */
  constructor(listening: Listening<A> & Closing<A>, tokensOf: (text: string) => number, most: number) {
    this.listening = listening
    this.tokensOf = tokensOf
    this.most = most
  }

  /** Takes in what an element delivers. Throws if that cannot be read. */
  deliver(element: A): void {
    const size = (this.listening.delivered ?? outputIn)(element)
    const isText = typeof size === "string"
    if (!isText && !isCount(size)) throw invalidUsage("delivered", `text, or ${wholeNumber}`, size)
    if (!isText) this.counted += size
    this.output = this.counted + Math.min(this.tokensOf(isText ? size : ""), this.most)
  }

  /** Takes in what an element says of the whole call, and gives what is known of that. Throws if that cannot be read. */
  listen(element: A): ModelUsage | undefined {
    const said = (this.listening.usage ?? fromReply)(element, this.told)
    if (said !== undefined) {
      const fault = modelUsageFault(said)
      if (fault !== undefined) throw fault
      this.told = said
      this.toldAt = this.output
      if ((this.listening.isLast ?? isLastWord)(element)) this.lastAt = this.output
    }
    return this.whole
  }

  /** What the stream itself says the call took, with what came after it said so. */
  get whole(): ModelUsage | undefined {
    return this.told && { ...this.told, outputTokens: this.told.outputTokens + this.output - this.toldAt }
  }

  /** The stream's own last word, if nothing came after it. Until it is over, only what vendors say at the end is one. */
  get final(): ModelUsage | undefined {
    const isLast = this.isOver || this.lastAt === this.output
    return isLast && this.output === this.toldAt ? this.told : undefined
  }
}
