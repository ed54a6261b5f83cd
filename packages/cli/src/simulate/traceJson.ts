/** Traces with a JSON object on each line: our own, and Mooncake's. */
import * as Result from "effect/Result"
import { type Fields, type ReadLine, readRow, readTime, readTokens, show } from "./traceRow.ts"

export const readJson: ReadLine = (line) => Result.flatMap(parseObject(line), (fields) => readRow(fields))

const parseObject = (line: string): Result.Result<Fields, string> =>
  Result.try({ try: (): unknown => JSON.parse(line), catch: () => "not a line of JSON" }).pipe(
    Result.flatMap((value) =>
      typeof value === "object" && value !== null && !Array.isArray(value)
        ? Result.succeed(value as Fields)
        : Result.fail(`must be a JSON object, got ${show(value)}`)
    )
  )

const blockTokens = 512

/** Counts as cached the leading blocks that any earlier request had: those a prefix cache would still hold. */
export const mooncakeReader = (): ReadLine => {
  const seen = new Set<number>()
  return (line) =>
    Result.gen(function* () {
      const fields = yield* parseObject(line)
      const timestamp = yield* readTime(fields["timestamp"], "timestamp")
      const inputTokens = yield* readTokens(fields["input_length"], "input_length")
      const outputTokens = yield* readTokens(fields["output_length"], "output_length")
      const blocks = fields["hash_ids"]
      if (!Array.isArray(blocks) || !blocks.every((block) => Number.isSafeInteger(block))) {
        return yield* Result.fail(`hash_ids must be a list of whole numbers, got ${show(blocks)}`)
      }
      const firstNew = blocks.findIndex((block) => !seen.has(block))
      const known = firstNew === -1 ? blocks.length : firstNew
      for (const block of blocks) seen.add(block)
      const cachedInputTokens = Math.min(blockTokens * known, inputTokens)
      return { timestamp, inputTokens, outputTokens, cachedInputTokens, user: undefined, model: undefined }
    })
}
