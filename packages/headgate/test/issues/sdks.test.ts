// What goes wrong between others and their providers, through the vendors' own clients behind a gate. The same over
// Effect's HttpClient is in http.test.ts.
import Anthropic from "@anthropic-ai/sdk"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { type Gate, ModelGuard, type Retry, UnpricedModel } from "headgate"
import type { LoopbackProvider } from "headgate/testing"
import OpenAI from "openai"
import { chat, message, question, setUp, settled, streamed } from "../gates.ts"
import { paced, quiet } from "../http/support.ts"

type Clients = Effect.Success<ReturnType<typeof setUp>>
/** `own`: a signal of the caller's that only the SDK is given. */
type Options = Partial<Pick<Gate.Call, "model" | "signal" | "onUnknown">> & { readonly own?: AbortSignal }

const read = async (elements: AsyncIterable<unknown>) => {
  for await (const _ of elements);
}

const timeouts = [OpenAI.APIConnectionTimeoutError, Anthropic.APIConnectionTimeoutError]

/** Clients of short patience. */
const hurried = (clients: Clients): Clients => ({
  ...clients,
  openai: clients.openai.withOptions({ timeout: 80 }),
  anthropic: clients.anthropic.withOptions({ timeout: 80 })
})

type Ask = (clients: Clients, options?: Options) => Promise<unknown>

/** The two ways through a gate, for each vendor. */
const vendors: Readonly<Record<"openai" | "@anthropic-ai/sdk", { readonly run: Ask; readonly stream: Ask }>> = {
  openai: {
    run: ({ gate, openai }, options) =>
      gate.run((signal) => openai.chat.completions.create(chat, { signal: options?.own ?? signal }), {
        ...question,
        ...options
      }),
    stream: ({ gate, openai }, options) =>
      read(
        gate.stream(
          (signal) => openai.chat.completions.create({ ...chat, ...streamed }, { signal: options?.own ?? signal }),
          {
            ...question,
            ...options
          }
        )
      )
  },
  "@anthropic-ai/sdk": {
    run: ({ anthropic, gate }, options) =>
      gate.run((signal) => anthropic.messages.create(message, { signal: options?.own ?? signal }), {
        ...question,
        ...options
      }),
    stream: ({ anthropic, gate }, options) =>
      read(
        gate.stream(
          (signal) => anthropic.messages.create({ ...message, stream: true }, { signal: options?.own ?? signal }),
          {
            ...question,
            ...options
          }
        )
      )
  }
}

describe.each(["openai", "@anthropic-ai/sdk"] as const)("through %s", (vendor) => {
  const ways = vendors[vendor]
  const both = [ways.run, ways.stream]

  it.effect("a stream that is aborted is settled on what was delivered, and not lost (litellm #14457, #33736)", () =>
    Effect.gen(function* () {
      const words = "one two three four five six seven eight nine ten"
      const clients = yield* setUp({ script: () => ({ answer: words, every: "1 second" }) as const })
      const { booked, provider } = clients
      const abort = new AbortController()
      const outcome = yield* Effect.forkChild(settled(ways.stream(clients, { signal: abort.signal })))
      yield* quiet(provider)
      yield* TestClock.adjust("4 seconds")
      yield* quiet(provider)
      abort.abort("the user went away")
      assert.deepStrictEqual(yield* Fiber.join(outcome), { error: "the user went away" })
      yield* quiet(provider)
      const { inputTokens, outputTokens } = (yield* provider.calls)[0]!.billed
      assert.strictEqual(outputTokens, 4)
      const { held, tokens } = yield* booked
      assert.strictEqual(held, 0)
      assert.isAtLeast(tokens, inputTokens + outputTokens)
      assert.isBelow(tokens, 63)
    })
  )

  it.effect("a reply without a usage block is charged its estimate, and is not free (litellm #14457)", () =>
    Effect.gen(function* () {
      const clients = yield* setUp({ script: () => ({ answer: "ok", usageBlock: "missing" }) as const })
      yield* Effect.promise(() => ways.run(clients))
      const whole = yield* clients.booked
      assert.deepStrictEqual([whole.held, whole.tokens > 50, whole.cost > 0], [0, true, true])
      yield* Effect.promise(() => ways.stream(clients))
      const after = yield* clients.booked
      assert.deepStrictEqual([after.held, after.tokens > whole.tokens, after.cost > whole.cost], [0, true, true])
    })
  )

  it.effect("an explicit zero is a zero (litellm #37992)", () =>
    Effect.gen(function* () {
      const clients = yield* setUp({ script: () => ({ answer: "ok", usage: { inputTokens: 0, outputTokens: 0 } }) })
      for (const ask of both) yield* Effect.promise(() => ask(clients))
      assert.deepStrictEqual(yield* clients.booked, { tokens: 0, cost: 0, held: 0 })
    })
  )

  it.effect(
    "a model that nobody knows is refused before it is called, and not free (litellm #25874, gbrain #2149)",
    () =>
      Effect.gen(function* () {
        const clients = yield* setUp()
        for (const ask of both) {
          const outcome = yield* settled(ask(clients, { model: "gpt-99-unheard-of" }))
          assert.instanceOf("error" in outcome && outcome.error, UnpricedModel)
        }
        assert.strictEqual((yield* clients.provider.totals).requests, 0)
      })
  )

  /** When the attempts of each way began, and how it ended. */
  const attemptsOf = (script: LoopbackProvider.Script, retry: Retry.Options = {}) =>
    Effect.forEach(both, (ask) =>
      Effect.gen(function* () {
        const clients = yield* setUp({ script }, { retry: { jitter: "none", ...retry } })
        const begin = yield* Clock.currentTimeMillis
        const outcome = yield* paced(clients.provider, settled(ask(clients)))
        const starts = (yield* clients.provider.calls).map(({ startedAt }) => startedAt - begin)
        const { held, tokens } = yield* clients.booked
        return { answered: "value" in outcome, starts, held, isFree: tokens === 0 }
      })
    )
  const refused = { answered: false, starts: [0], held: 0, isFree: true }
  const answeredAt = (...starts: ReadonlyArray<number>) => ({ answered: true, starts, held: 0, isFree: false })

  it.effect("insufficient_quota is not asked again (cognee #4679, LightRAG #3736, opencode #47685)", () =>
    Effect.gen(function* () {
      const ends = yield* attemptsOf(() => ({ fail: "insufficient_quota", retryAfter: "1 second" }))
      assert.deepStrictEqual(ends, [refused, refused])
    })
  )

  it.effect("Retry-After: 300 is 300 seconds, not 0.5 to 8 (openai-node), or a refusal at once", () =>
    Effect.gen(function* () {
      const script = [{ fail: "rate_limit_exceeded", headers: { "retry-after": "300" } }, { answer: "ok" }] as const
      const patient = yield* attemptsOf(script, { maxRetryAfter: "5 minutes" })
      assert.deepStrictEqual(patient, [answeredAt(0, 300_000), answeredAt(0, 300_000)])
      assert.deepStrictEqual(yield* attemptsOf(script), [refused, refused])
    })
  )

  it.effect("a date that cannot be read is no reason to come back at once (Anthropic SDK)", () =>
    Effect.gen(function* () {
      const headers = { "retry-after": "Tue, 99 Foo 2026 25:61:00 GMT" }
      const ends = yield* attemptsOf([{ fail: "rate_limit_exceeded", headers }, { answer: "ok" }], {
        initialBackoff: "4 seconds"
      })
      assert.deepStrictEqual(ends, [answeredAt(0, 4000), answeredAt(0, 4000)])
    })
  )

  it.effect("nobody waits for 3.5 days (oh-my-pi #7003, openai-agents #3266)", () =>
    Effect.gen(function* () {
      const headers = { "retry-after-ms": "302539000" }
      const ends = yield* attemptsOf(() => ({ fail: "rate_limit_exceeded", headers }))
      assert.deepStrictEqual(ends, [refused, refused])
    })
  )

  it.effect("a request that the SDK gives up after its timeout is tried again, and may have been billed", () =>
    Effect.forEach(both, (ask) =>
      Effect.gen(function* () {
        const clients = yield* setUp({ script: () => "silent" }, { retry: { jitter: "none", maxRetries: 1 } })
        for (const onUnknown of ["charge", "release"] as const) {
          const before = yield* clients.booked
          const { requests } = yield* clients.provider.totals
          const outcome = yield* paced(clients.provider, settled(ask(hurried(clients), { onUnknown })))
          const error = "error" in outcome ? outcome.error : undefined
          assert.isTrue(timeouts.some((timeout) => error instanceof timeout))
          assert.strictEqual((yield* clients.provider.totals).requests - requests, 2)
          const { held, tokens } = yield* clients.booked
          assert.strictEqual(held, 0)
          if (onUnknown === "release") assert.strictEqual(tokens, before.tokens)
          else assert.isAtLeast(tokens - before.tokens, 2 * 10)
        }
      })
    )
  )

  it.effect("a request that the caller aborts in the SDK is not tried again, and may have been billed", () =>
    Effect.forEach(both, (ask) =>
      Effect.gen(function* () {
        const clients = yield* setUp({ script: () => "silent" })
        const abort = new AbortController()
        const outcome = yield* Effect.forkChild(settled(ask(clients, { own: abort.signal })))
        yield* quiet(clients.provider)
        abort.abort()
        yield* paced(clients.provider, Fiber.join(outcome))
        assert.strictEqual((yield* clients.provider.totals).requests, 1)
        const { held, tokens } = yield* clients.booked
        assert.deepStrictEqual([held, tokens >= 10], [0, true])
      })
    )
  )

  it.effect("who is allowed to can wait for the 171 seconds of a low tier (hermes #26311, jcode #1183)", () =>
    Effect.gen(function* () {
      const script = [{ fail: "rate_limit_exceeded", retryAfter: "171 seconds" }, { answer: "ok" }] as const
      const ends = yield* attemptsOf(script, { maxRetryAfter: "3 minutes" })
      assert.deepStrictEqual(ends, [answeredAt(0, 171_000), answeredAt(0, 171_000)])
    })
  )
})

describe("an SDK's own retries", () => {
  it.effect(
    "stand within those of the gate, which sees one request of three: so they are turned off (code_puppy #317)",
    () =>
      Effect.gen(function* () {
        // The SDKs sleep in real time: a millisecond, as they are told.
        const script = () => ({ fail: "unavailable", headers: { "retry-after-ms": "1" } }) as const
        const requestsOf = Effect.fnUntraced(function* (maxRetries: number) {
          const clients = yield* setUp({ script }, { retry: { jitter: "none", maxRetries: 1 } })
          const { gate, openai, provider } = clients
          yield* paced(
            provider,
            settled(gate.run((signal) => openai.chat.completions.create(chat, { signal, maxRetries }), question))
          )
          const calls = yield* provider.calls
          return calls.map(({ request }) => request.headers["x-stainless-retry-count"])
        })
        assert.deepStrictEqual(yield* requestsOf(0), ["0", "0"])
        assert.deepStrictEqual(yield* requestsOf(2), ["0", "1", "2", "0", "1", "2"])
      })
  )
})

describe("calls of models that cost nothing", () => {
  it.effect("go on when the money is spent (litellm #14004), but their paid fallback does not escape (#41344)", () =>
    Effect.gen(function* () {
      const prices = { free: { input: "$0/M", output: "$0/M" }, paid: { input: "$1/M", output: "$1/M" } } as const
      const call = (model: keyof typeof prices) => ({ model, input: "hello", maxOutputTokens: 1000 })
      const reply = Effect.succeed({ usage: { prompt_tokens: 5, completion_tokens: 900 } })
      const asked = Effect.gen(function* () {
        yield* ModelGuard.run(reply, call("paid"))
        yield* ModelGuard.run(reply, call("free"))
        return yield* Effect.fail({ status: 400 }).pipe(
          ModelGuard.run(call("free")),
          Effect.catchIf(
            (error) => "status" in error,
            () => ModelGuard.run(reply, call("paid"))
          ),
          Effect.flip
        )
      })
      const error = yield* Effect.provide(
        asked,
        ModelGuard.layerMemory({ budget: { maxCostPerDay: "$0.0012" }, prices })
      )
      assert.strictEqual("_tag" in error && error._tag, "BudgetExceeded")
    })
  )
})
