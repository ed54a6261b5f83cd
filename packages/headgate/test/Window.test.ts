import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Schema } from "effect"
import { Window } from "headgate"

const windows: ReadonlyArray<readonly [window: Window.Window, words: string, json: unknown]> = [
  [Window.sliding("1 minute"), "per 1m", { _tag: "Sliding" }],
  [Window.sliding("90 seconds"), "per 1m 30s", { _tag: "Sliding" }],
  [Window.fixed("1 hour"), "per fixed 1h", { _tag: "Fixed" }],
  [Window.calendar("day"), "per day (UTC)", { _tag: "Calendar", period: "day", timeZone: "UTC", weekStartsOn: 1 }],
  [
    Window.calendar("week", { timeZone: "America/Los_Angeles", weekStartsOn: 0 }),
    "per week (America/Los_Angeles)",
    { _tag: "Calendar", period: "week", timeZone: "America/Los_Angeles", weekStartsOn: 0 }
  ],
  [Window.bucket({ refill: "1 minute" }), "per 1m bucket", { _tag: "Bucket" }],
  [Window.bucket({ refill: "1 minute", burst: 5 }), "per 1m bucket of 5", { _tag: "Bucket", burst: 5 }],
  [Window.bucket({ refill: "1 day", burst: "$2" }), "per 1d bucket of 2000000000", { _tag: "Bucket", burst: 2e9 }],
  [Window.lifetime, "in total", { _tag: "Lifetime" }]
]

describe("Window", () => {
  for (const [window, words, json] of windows) {
    it.effect(`round trips through JSON: ${words}`, () =>
      Effect.gen(function* () {
        assert.strictEqual(Window.format(window), words)
        const written = JSON.parse(JSON.stringify(yield* Schema.encodeEffect(Window.Window)(window)))
        assert.deepInclude(written, json)
        const read = yield* Schema.decodeUnknownEffect(Window.Window)(written)
        assert.deepStrictEqual(Window.format(read), words)
        assert.deepStrictEqual(yield* Schema.encodeEffect(Window.Window)(read), written)
      })
    )
  }

  it("reads durations in words", () => {
    const read = Schema.decodeSync(Window.Window)({ _tag: "Sliding", length: "5 minutes" })
    assert.strictEqual(read._tag === "Sliding" ? Duration.toMillis(read.length) : 0, 300_000)
  })

  const impossible: ReadonlyArray<readonly [name: string, make: () => Window.Window, message: RegExp]> = [
    ["no length", () => Window.sliding(0), /Window\.sliding: length must be a duration of 1 millisecond to 36500 days/],
    ["less than a millisecond", () => Window.sliding("999 micros"), /length must be/],
    ["a negative length", () => Window.sliding(-1), /got -1/],
    ["NaN", () => Window.sliding(NaN), /got NaN/],
    ["an infinite length", () => Window.sliding(Infinity), /got Infinity/],
    ["more than 100 years", () => Window.sliding("36501 days"), /got 36501 days/],
    ["a fixed window of nothing", () => Window.fixed(0), /Window\.fixed: length must be .*got 0/],
    ["a bucket of nothing", () => Window.bucket({ refill: 0 }), /Window\.bucket: refill must be .*got 0/],
    [
      "a bucket slower than a day",
      () => Window.bucket({ refill: "25 hours" }),
      /1 millisecond to 1 days, got 25 hours/
    ],
    ["a burst of 0", () => Window.bucket({ refill: "1 minute", burst: 0 }), /burst must be .*at least 1, got 0/],
    ["a burst of 1.5", () => Window.bucket({ refill: "1 minute", burst: 1.5 }), /burst must be .*got 1.5/],
    ["a burst of NaN", () => Window.bucket({ refill: "1 minute", burst: NaN }), /burst must be .*got NaN/],
    [
      "no such zone",
      () => Window.calendar("day", { timeZone: "Mars/Olympus" }),
      /timeZone must be an IANA time zone, got Mars/
    ],
    ["an empty zone", () => Window.calendar("day", { timeZone: "" }), /timeZone must be an IANA time zone, got /]
  ]
  for (const [name, make, message] of impossible) {
    it(`is not made with ${name}`, () => {
      assert.throws(make, RangeError)
      assert.throws(make, message)
    })
  }

  it("is not made of what its types do not allow", () => {
    const calendar: (period: never, options?: object) => Window.Window = Window.calendar
    const sliding: (span: never) => Window.Window = Window.sliding
    const untyped = (value: unknown) => value as never
    assert.throws(() => calendar(untyped("year")), /period must be "day", "week" or "month", got year/)
    assert.throws(() => calendar(untyped("week"), { weekStartsOn: 7 }), /weekStartsOn must be 0 \(Sunday\) to 6, got 7/)
    for (const span of ["soon", "", null, undefined, {}, []]) assert.throws(() => sliding(untyped(span)), RangeError)
  })

  const wrong: ReadonlyArray<unknown> = [
    { _tag: "Sliding", length: "soon" },
    { _tag: "Sliding", length: "0 millis" },
    { _tag: "Sliding", length: "Infinity" },
    { _tag: "Sliding" },
    { _tag: "Calendar", period: "year", timeZone: "UTC", weekStartsOn: 1 },
    { _tag: "Calendar", period: "day", timeZone: "Nowhere", weekStartsOn: 1 },
    { _tag: "Bucket", refill: "1 minute", burst: 0 },
    { _tag: "Fortnight" },
    "1 minute",
    null
  ]
  for (const json of wrong) {
    it(`is not read from ${JSON.stringify(json)}`, () => {
      assert.isTrue(Exit.isFailure(Schema.decodeUnknownExit(Window.Window)(json)))
    })
  }
})
