import * as Effect from "effect/Effect"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as Inspectable from "effect/Inspectable"
import { pipeArguments } from "effect/Pipeable"
import * as Stream from "effect/Stream"
import { parseJson } from "./json.ts"

type Response = HttpClientResponse.HttpClientResponse
type Bytes = Stream.Stream<Uint8Array, HttpClientError.HttpClientError>

/** A reply with another body: that of the original has been read, or is being guarded. */
class Reply extends Inspectable.Class implements Response {
  readonly [HttpIncomingMessage.TypeId] = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId] = HttpClientResponse.TypeId
  private readonly original: Response
  private readonly body: Effect.Effect<Response, HttpClientError.HttpClientError>
  private readonly bytes: Bytes

  constructor(original: Response, body: Effect.Effect<Response, HttpClientError.HttpClientError>, stream: Bytes) {
    super()
    this.original = original
    this.body = body
    this.bytes = stream
  }

  get request() {
    return this.original.request
  }
  get url() {
    return this.original.url
  }
  get status() {
    return this.original.status
  }
  get headers() {
    return this.original.headers
  }
  get cookies() {
    return this.original.cookies
  }
  get remoteAddress() {
    return this.original.remoteAddress
  }
  get upgrade() {
    return this.original.upgrade
  }
  /** Holds on to the reply until the reading has begun: one that nobody holds is given up. */
  private read<A>(f: (body: Response) => Effect.Effect<A, HttpClientError.HttpClientError>) {
    return Effect.suspend(() => Effect.flatMap(this.body, f))
  }
  get stream() {
    return Stream.suspend(() => this.bytes)
  }
  get text() {
    return this.read((body) => body.text)
  }
  get json() {
    return this.read((body) => body.json)
  }
  get urlParamsBody() {
    return this.read((body) => body.urlParamsBody)
  }
  get formData() {
    return this.read((body) => body.formData)
  }
  get arrayBuffer() {
    return this.read((body) => body.arrayBuffer)
  }
  toJSON() {
    return this.original.toJSON()
  }
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/** A body of these bytes. Of the original only what says how to read them goes along. */
const bodyOf = (original: Response, bytes: Uint8Array<ArrayBuffer>): Response => {
  const type = original.headers["content-type"]
  return HttpClientResponse.fromWeb(
    original.request,
    new Response(bytes, { headers: type === undefined ? {} : { "content-type": type } })
  )
}

/** A reply whose body has been read, and can be read again any number of times. */
export interface Read {
  readonly response: Response
  readonly json: unknown
}

/** Reads a reply to its end. */
export const read = (original: Response): Effect.Effect<Read, HttpClientError.HttpClientError> =>
  Effect.map(original.arrayBuffer, (buffer) => {
    const bytes = new Uint8Array(buffer)
    const json = parseJson(new TextDecoder().decode(bytes))
    const body = Effect.sync(() => bodyOf(original, bytes))
    return {
      response: new Reply(
        original,
        body,
        Stream.suspend(() => Stream.succeed(bytes))
      ),
      json
    }
  })

const joined = (chunks: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

/** A reply whose body is this stream, which can be read once. */
export const streaming = (original: Response, stream: Bytes): Response =>
  new Reply(
    original,
    Effect.map(Stream.runCollect(stream), (chunks) => bodyOf(original, joined(chunks))),
    stream
  )

/**
 * Fails with a reply's status. The body goes along as its cause: whether a 429 is worth a retry stands there. A body that
 * cannot be read says nothing.
 */
export const failWithStatus = (
  original: Response,
  description: string | undefined
): Effect.Effect<never, HttpClientError.HttpClientError> =>
  read(original).pipe(
    Effect.orElseSucceed((): Read => ({ response: original, json: undefined })),
    Effect.flatMap(({ json, response }) =>
      Effect.fail(
        new HttpClientError.HttpClientError({
          reason: new HttpClientError.StatusCodeError({
            request: original.request,
            response,
            ...(json === undefined ? undefined : { cause: json }),
            description
          })
        })
      )
    )
  )
