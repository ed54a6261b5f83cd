import { assert, describe, it } from "@effect/vitest"
import { HttpClientRequest } from "effect/http"
import { recognize } from "../../src/http/internal/recognized.ts"

const messages = [{ role: "user", content: "Six by seven?" }]

const recognized = (path: string, body: unknown) =>
  recognize(HttpClientRequest.post(`http://localhost${path}`).pipe(HttpClientRequest.bodyJsonUnsafe(body)))

describe("recognize", () => {
  it("guards a request whose limits it cannot read", () => {
    const known = recognized("/v1/chat/completions", { model: "m", messages, max_tokens: -1, n: "2", stream: "yes" })
    assert.deepInclude(known, {
      api: "chat",
      model: "m",
      maxOutputTokens: undefined,
      outputs: undefined,
      stream: false
    })
    const both = recognized("/v1/chat/completions", {
      model: "m",
      messages,
      max_completion_tokens: null,
      max_tokens: 9
    })
    assert.strictEqual(both?.maxOutputTokens, 9)
  })

  it("knows a path that ends with a slash", () => {
    assert.strictEqual(recognized("/v1/responses/", { model: "m", input: "Hello" })?.api, "responses")
  })

  it.each([
    { generationConfig: { maxOutputTokens: 65_536, candidateCount: 4, responseModalities: ["TEXT", "IMAGE"] } },
    { generation_config: { max_output_tokens: 65_536, candidate_count: 4, response_modalities: ["TEXT", "IMAGE"] } }
  ])("reads Gemini's settings in both spellings: %j", (config) => {
    const known = recognized("/v1beta/models/m:generateContent", { contents: messages, ...config })
    assert.deepInclude(known, { model: "m", maxOutputTokens: 65_536, outputs: 4, modalities: ["image"] })
  })

  it("reads what an answer is to consist of", () => {
    const body = { model: "m", messages, modalities: ["text", "audio"] }
    assert.deepStrictEqual(recognized("/v1/chat/completions", body)?.modalities, ["audio"])
    assert.deepStrictEqual(recognized("/v1/chat/completions", { model: "m", messages })?.modalities, [])
  })
})
