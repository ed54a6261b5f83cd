import * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Estimator from "../Estimator.ts"
import { type Modality, modalitiesWhere } from "../internal/model/modelCall.ts"

/** How a file counts. */
export type FileSize = (file: Prompt.FilePart) => Estimator.Part

/** What a model reads. */
export interface Question {
  readonly prompt: Prompt.RawInput
  readonly tools?: ReadonlyArray<Tool.Any> | undefined
  /** What the answer is to look like. */
  readonly schema?: Schema.Constraint | undefined
}

/** All that is sent to a model: the messages, the definitions of the tools, and the schema of the answer. */
export const inputOf = ({ prompt, schema, tools = [] }: Question, sizeOf: FileSize): Estimator.Input => [
  ...Prompt.make(prompt).content.flatMap((message) =>
    message.role === "system" ? [message.content] : message.content.flatMap((part) => partsOf(part, sizeOf))
  ),
  ...tools.map((tool) => definitionOf(tool, () => [tool.name, Tool.getDescription(tool), Tool.getJsonSchema(tool)])),
  ...(schema === undefined ? [] : [definitionOf(schema, () => Tool.getJsonSchemaFromSchema(schema))])
]

const partsOf = (part: Prompt.Part, sizeOf: FileSize): ReadonlyArray<Estimator.Part> => {
  switch (part.type) {
    case "text":
    case "reasoning":
      return [part.text]
    case "file":
      return [sizeOf(part)]
    case "tool-call":
      return [part.name + json(part.params)]
    case "tool-result":
      return part.modelOutput === undefined
        ? [part.name + json(part.result)]
        : [part.name, ...part.modelOutput.flatMap((output) => partsOf(output, sizeOf))]
    case "tool-approval-request":
    case "tool-approval-response":
      return []
  }
}

/** A file as it is sent: its bytes or the text that encodes it. What is behind a link is not known. */
export const bytesOf: FileSize = ({ data, mediaType }) => {
  if (typeof data === "string") return data
  if (!(data instanceof URL)) return { bytes: data.byteLength }
  return data.protocol === "data:" ? data.href : { tokens: mediaType.startsWith("image/") ? 4096 : 32_768 }
}

/** What the files of a prompt are, besides text. */
export const modalitiesOf = ({ prompt }: Question): ReadonlyArray<Modality> => {
  const types = Prompt.make(prompt).content.flatMap((message) =>
    typeof message.content === "string"
      ? []
      : message.content.flatMap((part) => (part.type === "file" ? [part.mediaType] : []))
  )
  return modalitiesWhere((modality) => types.some((type) => type.startsWith(`${modality}/`)))
}

/** What has no JSON is not sent, and a model that is given it fails on its own. */
const json = (value: unknown): string =>
  Result.getOrElse(
    Result.try(() => JSON.stringify(value) ?? ""),
    () => ""
  )

/** Definitions are made once and sent with every call. */
const definitions = new WeakMap<object, string>()

const definitionOf = (owner: object, make: () => unknown): string => {
  const known = definitions.get(owner)
  if (known !== undefined) return known
  const definition = Result.getOrElse(
    Result.try(() => JSON.stringify(make())),
    () => ""
  )
  definitions.set(owner, definition)
  return definition
}
