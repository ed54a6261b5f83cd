import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Call, Step } from "../LoopbackProvider.ts"
import type { Charges, Denied, ProviderLimits } from "./limits.ts"
import type { Exchange } from "./loopback.ts"
import { failureOf, replyOf } from "./replies.ts"
import { wires } from "./requests.ts"
import type { Failure, Wire } from "./wire.ts"

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

const millisOf = Duration.toMillis

type Headers = Readonly<Record<string, string>>

/** One request on its way to its end. `number` counts the requests from 1. */
export class Session {
  readonly call: Mutable<Call>
  readonly number: number
  private readonly exchange: Exchange
  private readonly limits: ProviderLimits
  private readonly clock: Clock.Clock
  private readonly wire: Wire

  constructor(exchange: Exchange, call: Call, number: number, limits: ProviderLimits, clock: Clock.Clock) {
    this.exchange = exchange
    this.call = call
    this.number = number
    this.limits = limits
    this.clock = clock
    this.wire = wires[call.request.format]
  }

  /** Said before the last byte is sent: whoever has the whole reply finds the record complete. */
  end(outcome: Call["outcome"]): void {
    if (this.call.outcome !== "running") return
    this.call.outcome = outcome
    this.call.endedAt = this.clock.currentTimeMillisUnsafe()
  }

  play(step: Step, charges: Charges): Effect.Effect<void> {
    if (step === "silent") return Effect.never
    const played =
      "answer" in step
        ? this.answer(step, charges)
        : Effect.suspend(() => this.fail(failureOf(this.call.request, step.fail, step.retryAfter), step.headers))
    return step.after === undefined ? played : Effect.andThen(this.sleepUntil(millisOf(step.after)), played)
  }

  /** Each wait counts from the start of the request, so that the time that writing takes adds nothing. */
  private sleepUntil(sinceStart: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const left = this.call.startedAt + sinceStart - this.clock.currentTimeMillisUnsafe()
      return left > 0 ? Effect.sleep(left) : Effect.void
    })
  }

  fail(failure: Failure, headers: Headers = {}): Effect.Effect<void> {
    const waiting = failure.wait === undefined ? {} : this.wire.waitHeaders(failure.wait)
    const sent = this.head(failure.status, { "content-type": "application/json", ...waiting, ...headers })
    this.end("failed")
    return Effect.andThen(sent, this.exchange.end(JSON.stringify(this.wire.failed(failure, this.number))))
  }

  /** There was no place in the limits. */
  deny({ limit, requested, unit, wait }: Denied): Effect.Effect<void> {
    const failure = failureOf(this.call.request, "rate_limit_exceeded", wait)
    return this.fail({
      ...failure,
      // OpenAI says by the type which of the limits it was.
      type: failure.type === "requests" && unit !== "requests" ? "tokens" : failure.type,
      message: `${failure.message} Limit: ${limit} ${unit} per minute, requested: ${requested}.`
    })
  }

  private head(status: number, headers: Headers): Effect.Effect<void> {
    const now = this.clock.currentTimeMillisUnsafe()
    this.call.status = status
    return this.exchange.head(status, {
      date: new Date(now).toUTCString(),
      ...this.wire.headers(this.number, this.limits.left(now), now),
      ...headers
    })
  }

  private readonly answer = Effect.fnUntraced(
    { self: this },
    function* (this: Session, step: Extract<Step, { readonly answer: unknown }>, charges: Charges) {
      const { call, exchange, wire } = this
      const { cutAfter, every, failAfter, headers, usageBlock = "sent" } = step
      const now = this.clock.currentTimeMillisUnsafe()
      const { billed, reply } = replyOf(call.request, step.answer, step.usage, this.number, now)
      const whole = { ...reply, usage: usageBlock === "sent" ? billed : undefined }
      const { inputTokens, outputTokens } = billed
      const bill = (share: number): void => {
        call.billed = { inputTokens, outputTokens: Math.floor(outputTokens * share) }
      }
      const close = (outcome: Call["outcome"]): void => {
        this.limits.settle(charges, { ...billed, ...call.billed }, this.clock.currentTimeMillisUnsafe())
        this.end(outcome)
      }

      if (!call.request.stream) {
        bill(1)
        close(cutAfter === undefined ? "answered" : "failed")
        yield* this.head(200, { "content-type": "application/json", ...headers })
        const text = JSON.stringify(wire.json(whole))
        if (cutAfter === undefined) return yield* exchange.end(text)
        yield* exchange.write(text.slice(0, text.length / 2))
        return yield* exchange.cut
      }

      const { head, pieces, tail } = wire.events(whole)
      yield* this.head(200, { "content-type": "text/event-stream; charset=utf-8", ...headers })
      bill(0)
      yield* exchange.write(head)
      for (const [index, piece] of pieces.entries()) {
        if (every !== undefined) yield* this.sleepUntil(millisOf(step.after ?? 0) + millisOf(every) * (index + 1))
        if (index === cutAfter || index === failAfter) break
        bill((index + 1) / pieces.length)
        yield* exchange.write(piece)
      }
      if (cutAfter !== undefined) {
        close("failed")
        return yield* exchange.cut
      }
      if (failAfter !== undefined) {
        close("failed")
        const failure = failureOf(call.request, "overloaded", undefined)
        return yield* exchange.end(wire.failedEvent(failure, this.number))
      }
      bill(1)
      close("answered")
      yield* exchange.end(tail)
    }
  )
}
