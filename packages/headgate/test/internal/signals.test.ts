import { assert, describe, it } from "@effect/vitest"
import { Duration, Schema } from "effect"
import { AiError } from "effect/ai"
import { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import { RateLimitExceeded, Retry } from "headgate"
import { retryAfterOf } from "../../src/internal/provider/providerError.ts"
import { feedbackOf } from "../../src/internal/provider/signals.ts"
import { membersOf } from "../../src/internal/provider/structuredFields.ts"

const now = Date.parse("2026-11-24T10:00:00Z")

type Line = readonly [unit: string, remaining: number, limit: number | undefined, resetAfter: number]

/** The feedback with its spans in milliseconds, and its limits in the order of their units: `Headers` sorts by name. */
const said = (reply: unknown) => {
  const feedback = feedbackOf(reply, now)
  return (
    feedback && {
      ...(feedback.limits && {
        limits: feedback.limits
          .map(({ limit, remaining, resetAfter, unit }): Line => [
            unit,
            remaining,
            limit,
            Duration.toMillis(resetAfter)
          ])
          .toSorted()
      }),
      ...(feedback.retryAfter !== undefined && { retryAfter: Duration.toMillis(feedback.retryAfter) })
    }
  )
}

const inHeaders = (headers: Record<string, string>) => said({ headers })

const request = HttpClientRequest.post("https://model.example/v1/responses")

describe("feedbackOf", () => {
  it.each<readonly [string, Record<string, string>, Array<Line>]>([
    [
      "OpenAI",
      {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-reset-tokens": "6m0s"
      },
      [
        ["requests", 59, 60, 1000],
        ["tokens", 149_984, 150_000, 360_000]
      ]
    ],
    [
      "Groq, whose requests are a day's",
      {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14370",
        "x-ratelimit-reset-requests": "2m59.56s",
        "x-ratelimit-limit-tokens": "18000",
        "x-ratelimit-remaining-tokens": "17997",
        "x-ratelimit-reset-tokens": "7.66s"
      },
      [
        ["requests", 14_370, 14_400, 179_560],
        ["tokens", 17_997, 18_000, 7660]
      ]
    ],
    [
      "Cerebras, with two windows of one unit",
      {
        "x-ratelimit-remaining-requests-day": "14399",
        "x-ratelimit-reset-requests-day": "33011.382867",
        "x-ratelimit-remaining-tokens-minute": "40000",
        "x-ratelimit-limit-tokens-minute": "60000",
        "x-ratelimit-reset-tokens-minute": "11.382867"
      },
      [
        ["requests", 14_399, undefined, 33_011_383],
        ["tokens", 40_000, 60_000, 11_383]
      ]
    ],
    [
      "Anthropic",
      {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-24T10:00:01Z",
        "anthropic-ratelimit-input-tokens-limit": "20000",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-24T10:01:00.250Z",
        "anthropic-ratelimit-output-tokens-remaining": "4000",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-24T09:59:00Z",
        "anthropic-ratelimit-unified-5h-remaining": "3",
        "anthropic-ratelimit-unified-5h-reset": "2026-11-24T12:00:00Z"
      },
      [
        ["inputTokens", 0, 20_000, 60_250],
        ["outputTokens", 4000, undefined, 0],
        ["requests", 49, 50, 1000]
      ]
    ],
    [
      "Fireworks",
      { "x-ratelimit-remaining-tokens-generated": "10", "x-ratelimit-reset-tokens-generated": "20ms" },
      [["outputTokens", 10, undefined, 20]]
    ],
    [
      "OpenRouter, with a reset since 1970",
      { "x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": `${now + 45_000}` },
      [["requests", 0, 20, 45_000]]
    ],
    [
      "a reset since 1970 in seconds",
      { "x-ratelimit-remaining": "0", "x-ratelimit-reset": `${now / 1000 + 45}` },
      [["requests", 0, undefined, 45_000]]
    ],
    [
      "the older RateLimit fields",
      { "ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "7", "ratelimit-reset": "30" },
      [["requests", 7, 100, 30_000]]
    ],
    [
      "the RateLimit field",
      {
        ratelimit: '"minute";r=49;t=30, "tokens";r=5',
        "ratelimit-policy": '"minute";q=50;w=60;pk=:cHNr:, "tokens";q=1000;qu="tokens";w=60'
      },
      [
        ["requests", 49, 50, 30_000],
        ["tokens", 5, 1000, 60_000]
      ]
    ],
    ["the RateLimit field without a policy", { RateLimit: "default;r=0;t=12" }, [["requests", 0, undefined, 12_000]]],
    [
      "the RateLimit field as a dictionary",
      { ratelimit: "limit=100, remaining=50, reset=7", "ratelimit-policy": "100;w=60" },
      [["requests", 50, 100, 7000]]
    ]
  ])("reads the headers of %s", (_, headers, limits) => {
    assert.deepStrictEqual(inHeaders(headers), { limits })
    const upper = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value]))
    assert.deepStrictEqual(inHeaders(upper), { limits })
    assert.deepStrictEqual(said(new Response(null, { headers })), { limits })
    const response = HttpClientResponse.fromWeb(request, new Response("", { status: 429, headers }))
    assert.deepStrictEqual(said(response), { limits })
    const reason = new HttpClientError.StatusCodeError({ request, response })
    assert.deepStrictEqual(said(new HttpClientError.HttpClientError({ reason })), { limits })
  })

  it.each<readonly [string, Record<string, string>, "gradually" | undefined]>([
    ["OpenAI and Groq", lines({ limit: "9", remaining: "5", reset: "1s" }), "gradually"],
    ["OpenAI, without the limit", lines({ remaining: "5", reset: "1s" }), undefined],
    [
      "Anthropic",
      {
        "anthropic-ratelimit-input-tokens-limit": "9",
        "anthropic-ratelimit-input-tokens-remaining": "5",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-24T10:00:01Z"
      },
      "gradually"
    ],
    [
      "Cerebras, whose windows have names",
      {
        "x-ratelimit-remaining-tokens-minute": "5",
        "x-ratelimit-limit-tokens-minute": "9",
        "x-ratelimit-reset-tokens-minute": "11"
      },
      undefined
    ],
    ["OpenRouter", { "x-ratelimit-limit": "9", "x-ratelimit-remaining": "5", "x-ratelimit-reset": "45" }, undefined],
    ["the RateLimit field", { ratelimit: '"a";r=5;t=30', "ratelimit-policy": '"a";q=9;w=60' }, undefined]
  ])("knows how the limits of %s come back", (_, headers, recovers) => {
    const { limits } = feedbackOf({ headers }, now) ?? {}
    assert.deepStrictEqual([limits?.length, limits?.[0]?.remaining, limits?.[0]?.recovers], [1, 5, recovers])
  })

  it("reads what an AiError keeps of the reply", () => {
    const headers = {
      "retry-after-ms": "1500",
      "x-ratelimit-remaining-requests": "0",
      "x-ratelimit-reset-requests": "2s"
    }
    const reason = new AiError.RateLimitError({ http: { response: { status: 429, headers } } })
    assert.deepStrictEqual(said(AiError.make({ module: "Model", method: "generateText", reason })), {
      limits: [["requests", 0, undefined, 2000]],
      retryAfter: 1500
    })
  })

  it("reads Gemini's RetryInfo from the body, an SDK's fields, and an SDK's message", () => {
    const details = [
      { "@type": "type.googleapis.com/google.rpc.QuotaFailure", violations: [{ quotaId: "PerMinute" }] },
      { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "34.4s" }
    ]
    const body = { error: { code: 429, message: "Quota exceeded", status: "RESOURCE_EXHAUSTED", details } }
    assert.deepStrictEqual(said(body), { retryAfter: 34_400 })
    assert.deepStrictEqual(said({ status: 429, errorDetails: details }), { retryAfter: 34_400 })
    assert.deepStrictEqual(said(Object.assign(new Error(JSON.stringify(body)), { status: 429 })), {
      retryAfter: 34_400
    })
    assert.deepStrictEqual(said({ statusCode: 429, responseBody: JSON.stringify(body, null, 2) }), {
      retryAfter: 34_400
    })
    assert.isTrue(Retry.isRetryable({ status: 429, error: body }))
    for (const retryDelay of ["soon", "", "-3s", 34, null]) {
      assert.isUndefined(said({ error: { details: [{ ...details[1], retryDelay }] } }))
    }
  })

  it("hears nothing from this library's own refusals", () => {
    const retryAfter = Duration.seconds(5)
    assert.deepStrictEqual(said({ retryAfter }), { retryAfter: 5000 })
    assert.isUndefined(said(new RateLimitExceeded({ quota: "q", subject: {}, limit: 1, remaining: 0, retryAfter })))
  })

  it.each<readonly [string, Record<string, string>]>([
    ["no header that it knows", { "content-type": "application/json" }],
    ["a reset alone", { "x-ratelimit-reset-requests": "1s" }],
    ["what remains alone", { "x-ratelimit-remaining-requests": "5" }],
    ["a limit of zero, which some send for none", lines({ limit: "0", remaining: "0", reset: "1s" })],
    ["a negative rest", lines({ remaining: "-1", reset: "1s" })],
    ["a rest said twice", lines({ remaining: "5, 5", reset: "1s" })],
    ["a reset that is no span", lines({ remaining: "5", reset: "soon" })],
    ["a reset with more behind it", lines({ remaining: "5", reset: "6m0s!" })],
    ["a reset of the wrong month", lines({ remaining: "5", reset: "2026-13-24T10:00:00Z" })],
    ["a reset without its zone", lines({ remaining: "5", reset: "2026-11-24T10:00:00" })],
    ["a unit that is not ours", { ratelimit: '"b";r=1;t=2', "ratelimit-policy": '"b";q=5;w=9;qu="content-bytes"' }],
    ["places under way", { ratelimit: '"b";r=1;t=2', "ratelimit-policy": '"b";q=5;qu="concurrent-requests"' }],
    ["an unclosed text", { ratelimit: '"minute;r=49;t=30' }],
    ["a list that breaks off", { ratelimit: '"minute";r=49;t=30,' }],
    ["a parameter without a name", { ratelimit: '"minute";;r=49;t=30' }],
    ["parameters of the wrong type", { ratelimit: '"minute";r="49";t=30' }],
    ["a negative parameter", { ratelimit: '"minute";r=-1;t=30' }]
  ])("asks for nothing at %s", (_, headers) => assert.isUndefined(inHeaders(headers)))

  const spaced = ["Tue, ", "24 Nov 2026 ", " GMT", " "]
  const words =
    '0 1 5 60 429 1.5 . - + e3 0x NaN Infinity m s ms µs h d us soon null , ; = : * / \\ ( r t q w " ÿ ' +
    "6m0s 2026-11-24 T 10:00:00 Z +02:00 limit"
  const fragments = Schema.Literals(spaced.concat(words.split(" ")))
  const Garbage = Schema.Array(fragments).check(Schema.isMaxLength(6))
  const names = ["retry-after", "retry-after-ms", "ratelimit", "ratelimit-policy", "ratelimit-remaining"]
  const Headers = Schema.Struct({
    known: Schema.Array(Schema.Struct({ name: Schema.Literals([...names, ...lineNames()]), value: Garbage })),
    strange: Schema.Array(Schema.Struct({ name: Schema.String, value: Schema.String }))
  })

  /** Nothing and zero may be said in many ways, but they must be said. */
  const saysZero = (text: string) =>
    /^\s*0+(\.0+)?\s*$/.test(text) || /^([0.]+(ns|us|µs|ms|s|m|h|d))+$/.test(text.trim())

  it.prop(
    "never throws, and never takes garbage for a wait of zero, for NaN or for less than nothing",
    [Headers],
    ([{ known, strange }]) => {
      const headers: Record<string, string> = {}
      for (const { name, value } of strange) headers[name] = value
      for (const { name, value } of known) headers[name] = value.join("")
      const { limits = [], retryAfter } = inHeaders(headers) ?? {}
      for (const [, ...numbers] of limits) {
        for (const number of numbers) {
          assert.isTrue(number === undefined || (Number.isSafeInteger(number) && Number(number) >= 0), String(number))
        }
      }
      if (retryAfter === undefined) return
      assert.isTrue(Number.isSafeInteger(retryAfter) && retryAfter >= 0, String(retryAfter))
      if (retryAfter > 0) return
      const texts = [headers["retry-after"], headers["retry-after-ms"]].filter((text) => text !== undefined)
      assert.isTrue(texts.some(saysZero), JSON.stringify(headers))
    },
    { arbitrary: { runs: 3000 } }
  )

  it.prop(
    "reads every span that Go prints",
    [Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 400_000_000 }))],
    ([millis]) => {
      const h = Math.floor(millis / 3_600_000)
      const m = Math.floor((millis % 3_600_000) / 60_000)
      const s = (millis % 60_000) / 1000
      const text = millis < 1000 ? `${millis}ms` : `${h > 0 ? `${h}h` : ""}${h > 0 || m > 0 ? `${m}m` : ""}${s}s`
      const feedback = inHeaders({ ...lines({ remaining: "1", reset: text }), "retry-after": text })
      assert.deepStrictEqual(feedback, { limits: [["requests", 1, undefined, millis]], retryAfter: millis })
    },
    { arbitrary: { runs: 1000 } }
  )

  const at = (seconds: number) => new Date(now + seconds * 1000)

  it.each([30, -30, 86_400])(
    "measures dates by the clock of the reply's date, when ours is %d seconds ahead",
    (ahead) => {
      const headers = {
        date: at(-ahead).toUTCString(),
        "retry-after": at(-ahead + 20).toUTCString(),
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": at(-ahead + 25).toISOString()
      }
      const feedback = { limits: [["requests", 0, 50, 25_000] satisfies Line], retryAfter: 20_000 }
      assert.deepStrictEqual(inHeaders(headers), feedback)
      assert.deepStrictEqual(said(new Response(null, { headers })), feedback)
      assert.strictEqual(retryAfterOf({ status: 429, headers }, now), 20_000)
      assert.strictEqual(retryAfterOf({ retryAfter: headers["retry-after"], response: { headers } }, now), 20_000)
      const inSeconds = `${(now - ahead * 1000) / 1000 + 5}`
      assert.deepStrictEqual(
        inHeaders({ date: headers.date, "x-ratelimit-remaining": "0", "x-ratelimit-reset": inSeconds }),
        { limits: [["requests", 0, undefined, 5000]] }
      )
    }
  )

  it("measures dates by our clock where the reply's date cannot be read, and spans by none", () => {
    const date = "Tue, 99 Foo 2026 25:61:00 GMT"
    assert.deepStrictEqual(inHeaders({ date, "retry-after": at(20).toUTCString() }), { retryAfter: 20_000 })
    assert.deepStrictEqual(inHeaders({ date: at(-30).toUTCString(), "retry-after": "20" }), { retryAfter: 20_000 })
  })

  it("takes no date that is past, or is now, for word that the wait is over", () => {
    for (const seconds of [-86_400, -1, 0]) {
      assert.isUndefined(inHeaders({ "retry-after": at(seconds).toUTCString() }))
      assert.isUndefined(inHeaders({ date: at(100).toUTCString(), "retry-after": at(100 + seconds).toUTCString() }))
      assert.isUndefined(said({ status: 503, retryAfter: at(seconds).toUTCString() }))
    }
    assert.deepStrictEqual(inHeaders({ "retry-after": "0" }), { retryAfter: 0 })
  })

  it("keeps a hint of 3.5 days as what it is", () => {
    const error = { status: 429, headers: { "retry-after": "302539" } }
    assert.deepStrictEqual(said(error), { retryAfter: 302_539_000 })
    assert.strictEqual(retryAfterOf(error, now), 302_539_000)
  })
})

describe("membersOf", () => {
  const member = (value: string | number, parameters: Record<string, string | number> = {}, key?: string) => ({
    key,
    value,
    parameters: new Map(Object.entries(parameters))
  })
  it("reads lists, dictionaries, parameters and escapes", () => {
    assert.deepStrictEqual(membersOf(""), [])
    assert.deepStrictEqual(membersOf('"a\\"b";q=1;F , c;x="y"'), [
      member('a"b', { q: 1, f: "" }),
      member("c", { x: "y" })
    ])
    assert.deepStrictEqual(membersOf("limit=10;w=1.5, rest=-2"), [
      member(10, { w: 1.5 }, "limit"),
      member(-2, {}, "rest")
    ])
  })
  it.each(['"', "a b", "a,", ",a", "a;", "a;=1", "a=", "=a", "a=1=2", "a;b==1", "a,,b", "(a b)", "\u0000"])(
    "reads nothing of %j",
    (text) => assert.isUndefined(membersOf(text))
  )
})

function lines(parts: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(parts).map(([part, value]) => [`x-ratelimit-${part}-requests`, value]))
}

function lineNames(): ReadonlyArray<string> {
  return ["limit", "remaining", "reset"].flatMap((part) => [
    `x-ratelimit-${part}-requests`,
    `x-ratelimit-${part}-tokens`,
    `anthropic-ratelimit-input-tokens-${part}`,
    `ratelimit-${part}`
  ])
}
