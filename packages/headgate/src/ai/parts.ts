import type * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Stream from "effect/Stream"
import * as ModelUsage from "../ModelUsage.ts"

type Part = Response.AnyPart

/** What a whole answer says that the call took, or its last part. */
export const usageOf = ({ usage }: { readonly usage: Response.Usage }): ModelUsage.ModelUsage | undefined =>
  ModelUsage.fromReply({ usage })

export const usageOfPart = (part: Part): ModelUsage.ModelUsage | undefined =>
  part.type === "finish" ? usageOf(part) : undefined

/** Reads the output in the parts of one stream. What a tool is called with counts once: as it arrives, or when it is whole. */
export const outputOf = (): ((part: Part) => string) => {
  const arriving = new Set<string>()
  return (part) => {
    switch (part.type) {
      case "text-delta":
      case "reasoning-delta":
      case "tool-params-delta":
        return part.delta
      case "tool-params-start":
        arriving.add(part.id)
        return part.name
      case "tool-call":
        return arriving.has(part.id) ? "" : part.name + JSON.stringify(part.params)
      default:
        return ""
    }
  }
}

/** The end of a stream of which a part told an error: that part, and what came after it. */
export class BrokenOff<P extends Part> {
  readonly _tag = "BrokenOff"
  readonly parts: ReadonlyArray<P>
  /** How the stream failed after that, if it did. */
  readonly failure: AiError.AiError | undefined

  constructor(parts: ReadonlyArray<P>, failure?: AiError.AiError) {
    this.parts = parts
    this.failure = failure
  }

  /** What the provider said. */
  get error(): unknown {
    const part: Part | undefined = this.parts[0]
    return part?.type === "error" ? part.error : undefined
  }

  get usage(): ModelUsage.ModelUsage | undefined {
    return this.parts.reduce<ModelUsage.ModelUsage | undefined>((told, part) => usageOfPart(part) ?? told, undefined)
  }
}

/** Makes the part of a stream that tells an error its failure, so that it counts as one. */
export const failing = <P extends Part, R>(
  self: Stream.Stream<P, AiError.AiError, R>
): Stream.Stream<P, AiError.AiError | BrokenOff<P>, R> =>
  Stream.suspend(() => {
    const rest: Array<P> = []
    const isBefore = (part: P): boolean => {
      if (rest.length === 0 && part.type !== "error") return true
      rest.push(part)
      return false
    }
    const end = (failure?: AiError.AiError) => new BrokenOff(rest, failure)
    return self.pipe(
      Stream.filter(isBefore),
      Stream.mapError((error) => (rest.length === 0 ? error : end(error))),
      Stream.concat(Stream.suspend(() => (rest.length === 0 ? Stream.empty : Stream.fail(end()))))
    )
  })

/** What `failing` took out of the stream. */
export const toldBy = <P extends Part>({ failure, parts }: BrokenOff<P>): Stream.Stream<P, AiError.AiError> =>
  Stream.concat(Stream.fromIterable(parts), failure === undefined ? Stream.empty : Stream.fail(failure))
