import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { type Modality, modalitiesWhere } from "../../internal/model/modelCall.ts"
import { field, parseJson } from "./json.ts"

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
  /** What it asks for besides text. */
  readonly modalities: ReadonlyArray<Modality>
  readonly body: unknown
}

// A limit that cannot be read, such as the -1 by which some servers mean none, is none: the call is guarded all the same.
const Count = Schema.optional(Schema.Unknown)
const Flag = Schema.optional(Schema.Unknown)
const Modalities = Schema.optional(Schema.Unknown)
// Azure has the model in its path.
const Model = Schema.optional(Schema.String)

const Chat = Schema.Struct({
  model: Model,
  messages: Schema.Array(Schema.Unknown),
  max_tokens: Count,
  max_completion_tokens: Count,
  n: Count,
  modalities: Modalities,
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

const Gemini = Schema.Struct({ contents: Schema.Unknown })

interface Limits {
  readonly model: string | undefined
  readonly stream: boolean
  readonly maxOutputTokens: number | undefined
  readonly outputs: number | undefined
  readonly modalities?: unknown
}

const reader =
  <A>(schema: Schema.ConstraintDecoder<A>, read: (request: A, path: string, body: unknown) => Limits) =>
  (body: unknown, path: string): Limits | undefined =>
    Option.match(Schema.decodeUnknownOption(schema)(body), {
      onNone: () => undefined,
      onSome: (request) => read(request, path, body)
    })

const countOf = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined

/** `["text", "audio"]`, in whatever case. */
const modalitiesOf = (value: unknown): ReadonlyArray<Modality> => {
  const words = Array.isArray(value) ? value.map((word) => String(word).toLowerCase()) : []
  return modalitiesWhere((modality) => words.includes(modality))
}

const apis: ReadonlyArray<readonly [path: RegExp, api: Api, read: ReturnType<typeof reader>]> = [
  [
    /\/chat\/completions$/,
    "chat",
    reader(Chat, ({ max_completion_tokens, max_tokens, modalities, model, n, stream }) => ({
      model,
      stream: stream === true,
      maxOutputTokens: countOf(max_completion_tokens) ?? countOf(max_tokens),
      outputs: countOf(n),
      modalities
    }))
  ],
  [
    /\/responses$/,
    "responses",
    reader(Responses, ({ max_output_tokens, model, stream }) => ({
      model,
      stream: stream === true,
      maxOutputTokens: countOf(max_output_tokens),
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
      maxOutputTokens: countOf(max_tokens),
      outputs: undefined
    }))
  ],
  [
    /\/models\/[^/:]+:(generateContent|streamGenerateContent)$/,
    "gemini",
    // Of its words each may be written in two ways.
    reader(Gemini, (_, path, body) => {
      const config = field(body, "generationConfig") ?? field(body, "generation_config")
      const said = (name: string, other: string) => field(config, name) ?? field(config, other)
      return {
        model: path.replace(/^.*\/models\/|:\w+$/g, ""),
        stream: path.endsWith(":streamGenerateContent"),
        maxOutputTokens: countOf(said("maxOutputTokens", "max_output_tokens")),
        outputs: countOf(said("candidateCount", "candidate_count")),
        modalities: said("responseModalities", "response_modalities")
      }
    })
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
  const path = url.pathname.replace(/\/+$/, "")
  const [, api, read] = apis.find(([known]) => known.test(path)) ?? []
  if (api === undefined || read === undefined) return undefined
  const text = textOf(request)
  const body = text === undefined ? undefined : parseJson(text)
  const limits = read(body, path)
  const model = limits?.model ?? /\/deployments\/([^/]+)\//.exec(path)?.[1]
  if (limits === undefined || model === undefined) return undefined
  const provider = hosts.find(([host]) => host.test(url.hostname))?.[1]
  const { maxOutputTokens, outputs, stream } = limits
  const modalities = modalitiesOf(limits.modalities)
  return { api, model: decodeURIComponent(model), provider, stream, maxOutputTokens, outputs, modalities, body }
}
