import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Listening } from "../../internal/model/heard.ts"
import type { Closing } from "../../internal/provider/lastWord.ts"
import { partsOf, type Part } from "./parts.ts"
import { streaming } from "./replies.ts"
import type { Api } from "./recognized.ts"

type Response = HttpClientResponse.HttpClientResponse

/** What a guarded reply gives: at first the reply itself, whose body has not begun, then its bytes. */
export type Element = { readonly response: Response } | { readonly bytes: Uint8Array | undefined; readonly part: Part }

/** How to read what the elements say. */
export const reading: Listening<Element> & Closing<Element> = {
  delivered: (element) => ("part" in element ? element.part.delivered : ""),
  usage: (element) => ("part" in element ? element.part.usage : undefined),
  isLast: (element) => "part" in element && element.part.isLast
}

/** The reply, then its body, each piece of it with what it holds. */
export const elementsOf = <E, R>(
  attempt: Effect.Effect<Response, E, R>,
  api: Api
): Stream.Stream<Element, E | HttpClientError.HttpClientError, R> =>
  Stream.unwrap(
    Effect.map(attempt, (response) => {
      const read = partsOf(api, (response.headers["content-type"] ?? "").startsWith("text/event-stream"))
      const body = Stream.map(response.stream, (bytes): Element => ({ bytes, part: read(bytes) }))
      const end = Stream.suspend(() => Stream.succeed<Element>({ bytes: undefined, part: read(undefined) }))
      return Stream.succeed<Element>({ response }).pipe(Stream.concat(body), Stream.concat(end))
    })
  )

/** Closes the calls of replies that nobody reads and nobody holds any more. */
const abandoned = new FinalizationRegistry<() => void>((close) => close())

/** An error of a body: the client's own, or why the guard ended it. */
const toBodyError = (response: Response, error: unknown): HttpClientError.HttpClientError =>
  HttpClientError.isHttpClientError(error)
    ? error
    : new HttpClientError.HttpClientError({
        reason: new HttpClientError.DecodeError({
          request: response.request,
          response,
          cause: error,
          description: error instanceof Error ? error.message : undefined
        })
      })

/**
 * Starts a guarded stream of elements and gives its reply, whose body is the rest. The call ends with the body, when its
 * reader is interrupted, or when the reply is let go of unread.
 */
export const replyOf = <E, R>(elements: Stream.Stream<Element, E, R>): Effect.Effect<Response, E, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.uninterruptibleMask((restore) => {
      const scope = Scope.makeUnsafe()
      const close = (exit: Exit.Exit<unknown, unknown>) => Scope.close(scope, exit)
      return Scope.provide(Stream.toPull(elements), scope).pipe(
        Effect.flatMap((pull) =>
          Effect.map(
            Pull.catchDone(pull, () => Effect.die("a guarded reply has no beginning")),
            ([head, ...rest]) => ({ head, rest, pull })
          )
        ),
        restore,
        Effect.onError((cause) => close(Exit.failCause(cause))),
        Effect.map(({ head, pull, rest }) => {
          const { response } = head as Extract<Element, { readonly response: Response }>
          let isOpen = true
          const bytes = Stream.fromArray(rest).pipe(
            Stream.concat(Stream.fromPull(Effect.succeed(pull))),
            Stream.flatMap((element) =>
              "bytes" in element && element.bytes !== undefined ? Stream.succeed(element.bytes) : Stream.empty
            ),
            Stream.mapError((error) => toBodyError(response, error)),
            Stream.provideContext(context),
            Stream.onExit((exit) => close(exit))
          )
          const body = Stream.suspend((): Stream.Stream<Uint8Array, HttpClientError.HttpClientError> => {
            if (!isOpen) return Stream.fail(toBodyError(response, new Error("the body has been read")))
            isOpen = false
            abandoned.unregister(scope)
            return bytes
          })
          const reply = streaming(response, body)
          abandoned.register(reply, () => Effect.runForkWith(context)(close(Exit.interrupt())), scope)
          return reply
        })
      )
    })
  )
