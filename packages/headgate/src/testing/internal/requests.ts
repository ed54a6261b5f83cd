import { messages } from "./anthropic.ts"
import { gemini } from "./gemini.ts"
import { chat, embeddings, responses } from "./openai.ts"
import { field, type Format, type Request, textOf, type Wire } from "./wire.ts"

export const wires: Readonly<Record<Format, Wire>> = { chat, responses, embeddings, messages, gemini }

const paths: ReadonlyArray<readonly [path: RegExp, format: Format]> = [
  [/\/chat\/completions$/, "chat"],
  [/\/responses$/, "responses"],
  [/\/embeddings$/, "embeddings"],
  [/\/messages$/, "messages"],
  [/\/models\/[^/:]+:(?:generateContent|streamGenerateContent)$/, "gemini"]
]

const numberAt = (body: unknown, ...path: ReadonlyArray<string>): number | undefined => {
  const value = field(body, ...path)
  return typeof value === "number" ? value : undefined
}

/** Which of the APIs a path belongs to. */
export const formatOf = (path: string): Format | undefined => paths.find(([pattern]) => pattern.test(path))?.[1]

export const requestOf = (
  format: Format,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: unknown
): Request => {
  const texts = ["system", "systemInstruction", "instructions", "messages", "input", "contents"]
  return {
    format,
    model: format === "gemini" ? path.replace(/^.*\/models\/|:\w+$/g, "") : String(field(body, "model")),
    stream: format === "gemini" ? path.endsWith(":streamGenerateContent") : field(body, "stream") === true,
    prompt: textOf(texts.map((key) => field(body, key))),
    maxTokens:
      numberAt(body, "max_completion_tokens") ??
      numberAt(body, "max_output_tokens") ??
      numberAt(body, "max_tokens") ??
      numberAt(body, "generationConfig", "maxOutputTokens"),
    headers,
    body
  }
}
