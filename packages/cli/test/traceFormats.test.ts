import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { type Format, open } from "../src/simulate/traceFormats.ts"
import type { Row } from "../src/simulate/traceRow.ts"

/** The rows and the complaints of a trace, in the order of its lines. */
const readAll = (text: string, format?: Format): ReadonlyArray<Row | string> => {
  const [first = "", ...rest] = text.split("\n")
  const opened = open(first, format)
  if (Result.isFailure(opened)) return [opened.failure]
  const { firstLine, read } = opened.success
  return (firstLine === "header" ? rest : [first, ...rest]).map((line) => Result.merge(read(line)))
}

const row = (fields: Partial<Row>): Row => ({
  timestamp: 0,
  inputTokens: 0,
  outputTokens: 0,
  cachedInputTokens: 0,
  user: undefined,
  model: undefined,
  ...fields
})

describe("the Azure trace", () => {
  it("is read, its times as UTC", () => {
    assert.deepStrictEqual(
      readAll(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2024-05-10 00:00:00.009930+00:00,1,2"
      ),
      [
        row({ timestamp: Date.UTC(2023, 10, 16, 18, 15, 46, 680), inputTokens: 374, outputTokens: 44 }),
        row({ timestamp: Date.UTC(2024, 4, 10, 0, 0, 0, 9), inputTokens: 1, outputTokens: 2 })
      ]
    )
  })

  it("says what is wrong with a line, in the names of its columns", () => {
    assert.deepStrictEqual(
      readAll(
        "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n2023-11-16 18:15:46,-1,2\n2023-11-16 18:15:46,1,NaN\n1,2"
      ),
      [
        'TIMESTAMP must be milliseconds or a date such as 2026-01-31 12:00:00.000, got "yesterday"',
        'ContextTokens must be a whole number of tokens, got "-1"',
        'GeneratedTokens must be a whole number of tokens, got "NaN"',
        "must have 3 columns as the first line has, got 2"
      ]
    )
  })
})

describe("the Mooncake trace", () => {
  it("counts the leading blocks seen before as cached, up to the input", () => {
    const line = (input: number, ids: ReadonlyArray<number>) =>
      JSON.stringify({ timestamp: 5, input_length: input, output_length: 7, hash_ids: ids })
    const rows = readAll(
      [line(1500, [1, 2, 3]), line(1400, [1, 2, 4]), line(900, [1, 2]), line(900, [9, 1]), line(10, [])].join("\n")
    )
    assert.deepStrictEqual(
      rows.map((row) => (typeof row === "string" ? row : row.cachedInputTokens)),
      [0, 1024, 900, 0, 0]
    )
    assert.deepStrictEqual(rows[0], row({ timestamp: 5, inputTokens: 1500, outputTokens: 7 }))
  })

  it("says what is wrong with a line", () => {
    assert.deepStrictEqual(readAll('{"timestamp":0,"input_length":1,"output_length":2}\n{}\n[]\n{oops', "mooncake"), [
      "hash_ids must be a list of whole numbers, got nothing",
      "timestamp must be milliseconds or a date such as 2026-01-31 12:00:00.000, got nothing",
      "must be a JSON object, got []",
      "not a line of JSON"
    ])
  })
})

describe("our own format", () => {
  it("is read as CSV in any order of columns, with quotes and others passed over", () => {
    assert.deepStrictEqual(
      readAll(
        'user,output_tokens,timestamp,note,input_tokens,cached_input_tokens,model\n"Doe, ""J""",2,1000,x,10,4,small\n,2,0,,10,,'
      ),
      [
        row({
          timestamp: 1000,
          inputTokens: 10,
          outputTokens: 2,
          cachedInputTokens: 4,
          user: 'Doe, "J"',
          model: "small"
        }),
        row({ inputTokens: 10, outputTokens: 2 })
      ]
    )
  })

  it("is read as JSON lines", () => {
    assert.deepStrictEqual(
      readAll('{"timestamp":"2026-01-31T12:00:00Z","input_tokens":10,"output_tokens":2,"user":"a"}'),
      [row({ timestamp: Date.UTC(2026, 0, 31, 12), inputTokens: 10, outputTokens: 2, user: "a" })]
    )
  })

  it("says what is wrong with a line", () => {
    const line = (fields: object) => JSON.stringify({ timestamp: 0, input_tokens: 1, output_tokens: 1, ...fields })
    assert.deepStrictEqual(
      readAll(
        [
          line({ input_tokens: 1.5 }),
          line({ input_tokens: 2 ** 53 }),
          line({ output_tokens: null }),
          line({ timestamp: -1 }),
          line({ cached_input_tokens: 2 }),
          line({ user: 42 }),
          '{"timestamp":0,"input_tokens":1,"output_tokens":1,"model":"__proto__"}'
        ].join("\n")
      ),
      [
        "input_tokens must be a whole number of tokens, got 1.5",
        "input_tokens must be a whole number of tokens, got 9007199254740992",
        "output_tokens must be a whole number of tokens, got null",
        "timestamp must be milliseconds or a date such as 2026-01-31 12:00:00.000, got -1",
        "cached_input_tokens (2) is more than input_tokens (1)",
        "user must be a text of up to 256 characters, not __proto__, got 42",
        'model must be a text of up to 256 characters, not __proto__, got "__proto__"'
      ]
    )
  })

  it("needs its columns named", () => {
    assert.deepStrictEqual(readAll("1,2,3"), [
      "the first line must name the columns timestamp, input_tokens, output_tokens; missing: timestamp, input_tokens, output_tokens"
    ])
  })
})
