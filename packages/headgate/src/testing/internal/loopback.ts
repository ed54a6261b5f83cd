/// <reference types="node" />
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { IncomingMessage, ServerResponse } from "node:http"

/** One request over its socket, and what can be sent back. */
export interface Exchange {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly head: (status: number, headers: Readonly<Record<string, string>>) => Effect.Effect<void>
  /** Ends when the text is on its way. */
  readonly write: (text: string) => Effect.Effect<void>
  readonly end: (text?: string) => Effect.Effect<void>
  /** Closes the socket, whatever has been promised. */
  readonly cut: Effect.Effect<void>
}

const headersOf = (request: IncomingMessage): Record<string, string> =>
  Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]))

const bodyOf = (request: IncomingMessage): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let text = ""
    request.setEncoding("utf8")
    request.on("data", (chunk: string) => (text += chunk))
    request.on("end", () => resume(Effect.succeed(text)))
  })

const exchangeOf = (request: IncomingMessage, response: ServerResponse, body: string): Exchange => ({
  method: request.method ?? "GET",
  path: (request.url ?? "/").replace(/\?.*$/, ""),
  headers: headersOf(request),
  body,
  head: (status, headers) =>
    Effect.sync(() => {
      response.sendDate = false
      response.writeHead(status, headers)
    }),
  write: (text) => Effect.callback((resume) => void response.write(text, () => resume(Effect.void))),
  end: (text = "") => Effect.callback((resume) => void response.end(text, () => resume(Effect.void))),
  cut: Effect.sync(() => response.destroy())
})

/**
 * Serves HTTP on a free port of the loopback interface until the scope ends, one fiber for each request, and gives the
 * port. A fiber whose client goes away is interrupted.
 */
export const serve = (handle: (exchange: Exchange) => Effect.Effect<void>): Effect.Effect<number, never, Scope.Scope> =>
  Effect.gen(function* () {
    // Loaded here, so that the other modules of `headgate/testing` need no Node.
    const { createServer } = yield* Effect.promise(() => import("node:http"))
    const run = yield* FiberSet.makeRuntime<never, void>()
    const server = createServer((request, response) => {
      const handled = Effect.flatMap(bodyOf(request), (body) => handle(exchangeOf(request, response, body)))
      const fiber = run(
        Effect.catchCause(handled, (cause) =>
          Effect.andThen(
            Effect.logError("The loopback provider broke", cause),
            Effect.sync(() => response.destroy())
          )
        )
      )
      response.on("close", () => {
        if (!response.writableFinished) fiber.interruptUnsafe()
      })
    })
    // No decision is made by the machine's clock.
    Object.assign(server, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 })
    const listening = Effect.callback<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(
          typeof address === "object" && address !== null
            ? Effect.succeed(address.port)
            : Effect.die(new Error("the loopback server has no port"))
        )
      })
    })
    const close = Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeAllConnections()
    })
    return yield* Effect.acquireRelease(listening, () => close)
  })
