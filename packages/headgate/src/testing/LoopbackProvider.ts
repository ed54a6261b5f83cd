/**
 * A provider of models on the loopback interface: it speaks the wire formats of OpenAI (chat completions, responses,
 * embeddings), Anthropic (messages) and Gemini (`generateContent`) as JSON and as server-sent events, does as a script
 * says, keeps its own limits, and counts everything.
 *
 * **When to use**
 *
 * Use it where real clients are to be tested over real sockets: vendors' SDKs, `fetch`, an agent as a whole. Point their
 * base URL at it. Where no client takes part, `ScriptedModel` is enough.
 *
 * **Details**
 *
 * It waits on the `Clock` and tells the time by it, so `TestClock` paces it, and the same calls in the same order get
 * the same bytes. Errors, their headers and the headers of limits have the shape that the vendor of each format gives
 * them. It needs Node, and nothing but `node:http`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { type Limits, ProviderLimits, type TokenCharge } from "./internal/limits.ts"
import { type Exchange, serve } from "./internal/loopback.ts"
import { failureOf, type Fails } from "./internal/replies.ts"
import { formatOf, requestOf } from "./internal/requests.ts"
import { Session } from "./internal/session.ts"
import type { Billed, Request, ToolCall } from "./internal/wire.ts"

export type { Limits, TokenCharge } from "./internal/limits.ts"
export type { Fails } from "./internal/replies.ts"
export type { Billed, FailureName, Format, Request, ToolCall } from "./internal/wire.ts"

/**
 * What the provider does with one request: answer, fail, or never say anything.
 *
 * - `answer`: a text, which streams word by word, or a call of a tool.
 * - `after`: the time until it begins. `every`: the time before each piece of a stream. Default: none.
 * - `usage`: what it bills. Default: a token for every four letters of input, and for every word of output, of which no
 *   more than `max_tokens` come. `usageBlock: "missing"` bills it without saying so.
 * - `cutAfter`: after so many pieces of a stream, when the next one is due, or in the middle of a JSON reply, the socket
 *   closes. `failAfter`: then comes an event of the error `overloaded`.
 * - `fail`: an error by its name, in the vendor's shape, or by its parts. `retryAfter` is said as the vendor says it.
 * - `headers`: headers to add or replace.
 *
 * @category models
 * @since 0.1.0
 */
export type Step =
  | {
      readonly answer: string | ToolCall
      readonly after?: Duration.Input | undefined
      readonly every?: Duration.Input | undefined
      readonly usage?: Billed | undefined
      readonly usageBlock?: "sent" | "missing" | undefined
      readonly cutAfter?: number | undefined
      readonly failAfter?: number | undefined
      readonly headers?: Readonly<Record<string, string>> | undefined
    }
  | {
      readonly fail: Fails
      readonly after?: Duration.Input | undefined
      readonly retryAfter?: Duration.Input | undefined
      readonly headers?: Readonly<Record<string, string>> | undefined
    }
  | "silent"

/**
 * What the script is asked about: a request that has a place in the limits. `index` counts these from 0, `attempt` those
 * of the same path and body from 1, `now` is the clock's time in milliseconds since 1970.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempt {
  readonly request: Request
  readonly attempt: number
  readonly index: number
  readonly now: number
}

/**
 * One step per request in the order of their arrival, or a function of the request.
 *
 * @category models
 * @since 0.1.0
 */
export type Script = ReadonlyArray<Step> | ((attempt: Attempt) => Step)

/**
 * What became of a request. `status` is absent until the reply begins, `endedAt` while it runs; `billed` is what has been
 * billed so far. A stream that was cut has failed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  readonly request: Request
  readonly attempt: number
  readonly startedAt: number
  readonly endedAt: number | undefined
  readonly outcome: "running" | "answered" | "failed" | "interrupted"
  readonly status: number | undefined
  readonly billed: { readonly inputTokens: number; readonly outputTokens: number }
}

/**
 * All requests together: how many there were, how many of them were answered with 429, and the tokens billed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Totals {
  readonly requests: number
  readonly rateLimited: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly tokens: number
}

/**
 * The options of a provider.
 *
 * - `script`: default: every request is answered with `"ok"`.
 * - the limits: buckets of that size, full at first, that refill evenly within a minute. Default: none. A request beyond
 *   them gets a 429 that says when to come again, takes nothing, and does not reach the script.
 * - `tokenCharge`: what a request takes of `tokensPerMinute`: `"estimated"` (default), as OpenAI does, the larger of
 *   `max_tokens` and a quarter of the letters, at its start and for good; `"settled"`, as Anthropic and Bedrock do, their
 *   sum, corrected by what it took at its end; or a number of your own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Limits {
  readonly script?: Script | undefined
  readonly tokenCharge?: TokenCharge | undefined
}

/**
 * The provider and its record.
 *
 * @category models
 * @since 0.1.0
 */
export interface LoopbackProvider {
  /** `http://127.0.0.1:<port>`. OpenAI's clients want `/v1` behind it. */
  readonly url: string
  /** All requests so far, in the order in which they came. */
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
  readonly totals: Effect.Effect<Totals>
}

/**
 * Starts a provider that serves until the scope ends. A list of steps that has been used up answers with status 500.
 *
 * **Example** (A busy provider)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { LoopbackProvider } from "headgate/testing"
 *
 * const program = Effect.gen(function*() {
 *   const provider = yield* LoopbackProvider.make({
 *     script: [{ fail: "rate_limit_exceeded", retryAfter: "2 seconds" }, { answer: "It is 42." }]
 *   })
 *   const ask = Effect.promise(() =>
 *     fetch(`${provider.url}/v1/chat/completions`, {
 *       method: "POST",
 *       body: JSON.stringify({ model: "gpt-5-mini", messages: [{ role: "user", content: "Six by seven?" }] })
 *     })
 *   )
 *   const busy = yield* ask
 *   const answered = yield* ask
 *   const { choices } = yield* Effect.promise(() => answered.json())
 *   return [busy.status, busy.headers.get("retry-after"), choices[0].message.content, yield* provider.totals]
 * })
 *
 * const [status, retryAfter, text, totals] = await Effect.runPromise(Effect.scoped(program))
 * status // => 429
 * retryAfter // => "2"
 * text // => "It is 42."
 * totals // => { requests: 2, rateLimited: 1, inputTokens: 4, outputTokens: 3, tokens: 7 }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<LoopbackProvider, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { script = () => ({ answer: "ok" }) as const, tokenCharge = "estimated" } = options
    const clock = yield* Clock.Clock
    const limits = new ProviderLimits(options, tokenCharge, clock.currentTimeMillisUnsafe())
    const calls: Array<Call> = []
    const attempts = new Map<string, number>()
    let admitted = 0

    const open = (exchange: Exchange, request: Request, startedAt: number): Session => {
      const key = `${exchange.path} ${exchange.body}`
      const attempt = (attempts.get(key) ?? 0) + 1
      attempts.set(key, attempt)
      const call: Call = {
        request,
        attempt,
        startedAt,
        endedAt: undefined,
        outcome: "running",
        status: undefined,
        billed: { inputTokens: 0, outputTokens: 0 }
      }
      return new Session(exchange, call, calls.push(call), limits, clock)
    }

    const received = (exchange: Exchange, request: Request): Effect.Effect<void> =>
      Effect.suspend(() => {
        const now = clock.currentTimeMillisUnsafe()
        const session = open(exchange, request, now)
        const charges = limits.take(request, now)
        if ("unit" in charges) return session.deny(charges)
        const index = admitted++
        const { attempt } = session.call
        const step = typeof script === "function" ? script({ request, attempt, index, now }) : script[index]
        const played =
          step === undefined
            ? session.fail(
                failureOf(request, { status: 500, message: `the script ends after ${index} steps` }, undefined),
                {
                  "x-should-retry": "false"
                }
              )
            : session.play(step, charges)
        return Effect.onExit(played, (exit) =>
          Effect.sync(() => session.end(Exit.isSuccess(exit) ? "failed" : "interrupted"))
        )
      })

    const refuse = (exchange: Exchange, status: number, message: string): Effect.Effect<void> =>
      Effect.andThen(
        exchange.head(status, { "content-type": "application/json" }),
        exchange.end(JSON.stringify({ error: { message, type: "invalid_request_error", param: null, code: null } }))
      )

    const handle = (exchange: Exchange): Effect.Effect<void> => {
      const format = formatOf(exchange.path)
      if (format === undefined || exchange.method !== "POST") return refuse(exchange, 404, `no ${exchange.path} here`)
      return Effect.matchEffect(readJson(exchange.body), {
        onFailure: () => refuse(exchange, 400, "the body is no JSON"),
        onSuccess: (body) => received(exchange, requestOf(format, exchange.path, exchange.headers, body))
      })
    }

    const port = yield* serve(handle)
    return {
      url: `http://127.0.0.1:${port}`,
      calls: Effect.sync(() => calls.map((call) => ({ ...call }))),
      totals: Effect.sync(() => totalsOf(calls))
    }
  })

const readJson = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.Unknown))

const totalsOf = (calls: ReadonlyArray<Call>): Totals => {
  const sum = (count: (call: Call) => number) => calls.reduce((total, call) => total + count(call), 0)
  const inputTokens = sum(({ billed }) => billed.inputTokens)
  const outputTokens = sum(({ billed }) => billed.outputTokens)
  return {
    requests: calls.length,
    rateLimited: sum(({ status }) => (status === 429 ? 1 : 0)),
    inputTokens,
    outputTokens,
    tokens: inputTokens + outputTokens
  }
}
