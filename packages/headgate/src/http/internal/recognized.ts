import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { parseJson } from "./json.ts"

/** The APIs that are known. `"chat"`, `"responses"` and `"embeddings"` are OpenAI's, `"messages"` Anthropic's. */
export type Api = "chat" | "responses" | "embeddings" | "messages" | "gemini"

/** What a request says that matters to its guard. */
export interface Recognized {
  readonly api: Api
  readonly model: string
  readonly provider: string | undefined
  readonly stream: boolean
  readonly maxOutputTokens: number | undefined
  readonly outputs: number | undefined
  readonly body: unknown
}

const Count = Schema.optional(Schema.NullOr(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))))
const Flag = Schema.optional(Schema.NullOr(Schema.Boolean))
// Azure has the model in its path.
const Model = Schema.optional(Schema.String)

const Chat = Schema.Struct({
  model: Model,
  messages: Schema.Array(Schema.Unknown),
  max_tokens: Count,
  max_completion_tokens: Count,
  n: Count,
  stream: Flag
})

const Responses = Schema.Struct({
  model: Model,
  input: Schema.optional(Schema.Union([Schema.String, Schema.Array(Schema.Unknown)])),
  max_output_tokens: Count,
  stream: Flag
})

const Embeddings = Schema.Struct({ model: Model, input: Schema.Union([Schema.String, Schema.Array(Schema.Unknown)]) })

const Messages = Schema.Struct({
  model: Schema.String,
  messages: Schema.Array(Schema.Unknown),
  max_tokens: Count,
  stream: Flag
})

const Gemini = Schema.Struct({
  contents: Schema.Unknown,
  generationConfig: Schema.optional(Schema.NullOr(Schema.Struct({ maxOutputTokens: Count, candidateCount: Count })))
})

type Limits = Omit<Recognized, "api" | "provider" | "body" | "model"> & { readonly model: string | undefined }

const reader =
  <A>(schema: Schema.ConstraintDecoder<A>, read: (request: A, path: string) => Limits) =>
  (body: unknown, path: string): Limits | undefined =>
    Option.match(Schema.decodeUnknownOption(schema)(body), {
      onNone: () => undefined,
      onSome: (request) => read(request, path)
    })

const orNone = <A>(value: A | null | undefined): A | undefined => value ?? undefined

const apis: ReadonlyArray<readonly [path: RegExp, api: Api, read: ReturnType<typeof reader>]> = [
  [
    /\/chat\/completions$/,
    "chat",
    reader(Chat, ({ max_completion_tokens, max_tokens, model, n, stream }) => ({
      model,
      stream: stream === true,
      maxOutputTokens: orNone(max_completion_tokens ?? max_tokens),
      outputs: orNone(n)
    }))
  ],
  [
    /\/responses$/,
    "responses",
    reader(Responses, ({ max_output_tokens, model, stream }) => ({
      model,
      stream: stream === true,
      maxOutputTokens: orNone(max_output_tokens),
      outputs: undefined
    }))
  ],
  [
    /\/embeddings$/,
    "embeddings",
    reader(Embeddings, ({ model }) => ({ model, stream: false, maxOutputTokens: 0, outputs: undefined }))
  ],
  [
    /\/v1\/messages$/,
    "messages",
    reader(Messages, ({ max_tokens, model, stream }) => ({
      model,
      stream: stream === true,
      maxOutputTokens: orNone(max_tokens),
      outputs: undefined
    }))
  ],
  [
    /\/models\/[^/:]+:(generateContent|streamGenerateContent)$/,
    "gemini",
    reader(Gemini, ({ generationConfig }, path) => ({
      model: path.replace(/^.*\/models\/|:\w+$/g, ""),
      stream: path.endsWith(":streamGenerateContent"),
      maxOutputTokens: orNone(generationConfig?.maxOutputTokens),
      outputs: orNone(generationConfig?.candidateCount)
    }))
  ]
]

/** Whose hosts these are, in the words of the table of prices. */
const hosts: ReadonlyArray<readonly [host: RegExp, provider: string]> = [
  [/(^|\.)openai\.azure\.com$/, "azure"],
  [/(^|\.)openai\.com$/, "openai"],
  [/(^|\.)anthropic\.com$/, "anthropic"],
  [/(^|\.)googleapis\.com$/, "google"],
  [/(^|\.)openrouter\.ai$/, "openrouter"],
  [/(^|\.)groq\.com$/, "groq"],
  [/(^|\.)mistral\.ai$/, "mistral"],
  [/(^|\.)deepseek\.com$/, "deepseek"],
  [/(^|\.)x\.ai$/, "x-ai"]
]

const textOf = ({ body }: HttpClientRequest.HttpClientRequest): string | undefined => {
  if (body._tag === "Uint8Array") return body.text ?? new TextDecoder().decode(body.body)
  return body._tag === "Raw" && typeof body.body === "string" ? body.body : undefined
}

/** Reads a request; `undefined` for one that is none of these APIs'. */
export const recognize = (request: HttpClientRequest.HttpClientRequest): Recognized | undefined => {
  if (request.method !== "POST") return undefined
  const url = Option.getOrUndefined(HttpClientRequest.toUrl(request))
  if (url === undefined) return undefined
  const [, api, read] = apis.find(([path]) => path.test(url.pathname)) ?? []
  if (api === undefined || read === undefined) return undefined
  const text = textOf(request)
  const body = text === undefined ? undefined : parseJson(text)
  const limits = read(body, url.pathname)
  const model = limits?.model ?? /\/deployments\/([^/]+)\//.exec(url.pathname)?.[1]
  if (limits === undefined || model === undefined) return undefined
  const provider = hosts.find(([host]) => host.test(url.hostname))?.[1]
  return { ...limits, api, model: decodeURIComponent(model), provider, body }
}
