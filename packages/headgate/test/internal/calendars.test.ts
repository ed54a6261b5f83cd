import { assert, describe, it } from "@effect/vitest"
import { Window } from "headgate"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { countsUntil } from "./referenceWindows.ts"
import { account, admitted, Choices, command, counters, refused, seedOf, tokens } from "./support.ts"

/** When what is spent at a moment comes back, as the ledger does it and not only as it says. */
const freeAfter = (window: Window.Window, spent: number): number => {
  const ledger = new Ledger()
  const accounts = [account([{ unit: "tokens", limit: 10, window }])]
  ledger.record(accounts, tokens(10), undefined, spent)
  const { retryAfter } = refused(ledger.reserve(command(accounts, tokens(1)), spent))
  assert.isAbove(retryAfter, 0)
  assert.deepStrictEqual(counters(ledger, accounts, spent + Math.floor(retryAfter / 2)), [[10, 0]])
  refused(ledger.reserve(command(accounts, tokens(1)), spent + retryAfter - 1))
  admitted(ledger.reserve(command(accounts, tokens(1)), spent + retryAfter))
  return spent + retryAfter
}

type Case = readonly [name: string, period: "day" | "week" | "month", zone: string, spent: string, free: string]

const cases: ReadonlyArray<Case> = [
  ["a day of UTC", "day", "UTC", "2026-11-24T10:00:00Z", "2026-11-25T00:00:00Z"],
  ["the first moment of a day", "day", "UTC", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"],
  ["the last millisecond of a day", "day", "UTC", "2026-11-24T23:59:59.999Z", "2026-11-25T00:00:00Z"],
  // litellm #34896: reset late by the offset, 9 hours in Tokyo, so that a day's money was for 32 hours.
  ["a day in Tokyo", "day", "Asia/Tokyo", "2026-11-24T14:59:59Z", "2026-11-24T15:00:00Z"],
  ["the next day in Tokyo", "day", "Asia/Tokyo", "2026-11-24T15:00:00Z", "2026-11-25T15:00:00Z"],
  ["a half hour's offset", "day", "Asia/Kolkata", "2026-11-24T18:29:59Z", "2026-11-24T18:30:00Z"],
  ["23 hours of spring in Los Angeles", "day", "America/Los_Angeles", "2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"],
  ["25 hours of fall in Los Angeles", "day", "America/Los_Angeles", "2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"],
  ["after the hour that repeats", "day", "America/Los_Angeles", "2026-11-01T09:30:00Z", "2026-11-02T08:00:00Z"],
  ["23 hours of spring in Berlin", "day", "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"],
  ["25 hours of fall in Berlin", "day", "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
  ["a spring without midnight in Cairo", "day", "Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-23T22:00:00Z"],
  ["the day that begins at one in Cairo", "day", "Africa/Cairo", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"],
  ["a spring without midnight in Beirut", "day", "Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-28T22:00:00Z"],
  [
    "a spring without midnight in Sao Paulo",
    "day",
    "America/Sao_Paulo",
    "2018-11-03T15:00:00Z",
    "2018-11-04T03:00:00Z"
  ],
  [
    "the day that begins at one in Sao Paulo",
    "day",
    "America/Sao_Paulo",
    "2018-11-04T03:00:00Z",
    "2018-11-05T02:00:00Z"
  ],
  ["a midnight that repeats in Havana", "day", "America/Havana", "2026-11-01T04:30:00Z", "2026-11-02T05:00:00Z"],
  ["the second midnight in Havana", "day", "America/Havana", "2026-11-01T05:30:00Z", "2026-11-02T05:00:00Z"],
  ["a week from Monday", "week", "UTC", "2026-11-29T23:59:59Z", "2026-11-30T00:00:00Z"],
  ["a week across a new year", "week", "UTC", "2026-12-31T00:00:00Z", "2027-01-04T00:00:00Z"],
  ["a week with a spring in it", "week", "Europe/Berlin", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"],
  ["a month of 30 days", "month", "UTC", "2026-11-24T10:00:00Z", "2026-12-01T00:00:00Z"],
  ["February", "month", "UTC", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"],
  ["February of a leap year", "month", "UTC", "2028-02-28T12:00:00Z", "2028-03-01T00:00:00Z"],
  ["the leap day", "day", "UTC", "2028-02-29T12:00:00Z", "2028-03-01T00:00:00Z"],
  ["the 31st", "month", "UTC", "2026-01-31T12:00:00Z", "2026-02-01T00:00:00Z"],
  ["December", "month", "Asia/Tokyo", "2026-12-31T14:59:59Z", "2026-12-31T15:00:00Z"],
  ["a month with a fall in it", "month", "America/Los_Angeles", "2026-11-01T07:00:00Z", "2026-12-01T08:00:00Z"]
]

describe("a calendar window", () => {
  for (const [name, period, timeZone, spent, free] of cases) {
    it(`ends on time: ${name}`, () => {
      const end = freeAfter(Window.calendar(period, { timeZone }), Date.parse(spent))
      assert.strictEqual(new Date(end).toISOString(), new Date(free).toISOString())
    })
  }

  it("begins its week on the day it is told", () => {
    const ends = ([0, 1, 2, 3, 4, 5, 6] as const).map((weekStartsOn) => {
      const window = Window.calendar("week", { weekStartsOn })
      // A Tuesday.
      return new Date(freeAfter(window, Date.parse("2026-11-24T10:00:00Z"))).toISOString().slice(0, 10)
    })
    assert.deepStrictEqual(ends, [
      "2026-11-29",
      "2026-11-30",
      "2026-12-01",
      "2026-11-25",
      "2026-11-26",
      "2026-11-27",
      "2026-11-28"
    ])
  })

  it("admits its limit once a day over two years of every change of the clock", { timeout: 30_000 }, () => {
    for (const timeZone of ["America/Los_Angeles", "Europe/Berlin", "Africa/Cairo", "America/Havana"]) {
      const ledger = new Ledger()
      const accounts = [account([{ unit: "tokens", limit: 1, window: Window.calendar("day", { timeZone }) }])]
      const day = new Intl.DateTimeFormat("en-CA", { timeZone, dateStyle: "short" })
      const days: Array<string> = []
      const [start, end] = [Date.parse("2026-01-01T12:00:00Z"), Date.parse("2027-12-31T12:00:00Z")]
      for (let at = start; at < end; at += 1_800_000) {
        const answer = ledger.reserve(command(accounts, tokens(1), { book: "now" }), at)
        if (answer._tag === "Hold") days.push(day.format(at))
      }
      assert.strictEqual(new Set(days).size, days.length)
      assert.strictEqual(days.length, 730)
    }
  })

  it(
    "ends when the clock on the wall says so, anywhere, at random moments of the next ten years",
    { timeout: 30_000 },
    () => {
      const choose = new Choices(seedOf("calendars"))
      const zones = Intl.supportedValuesOf("timeZone")
      for (let turn = 0; turn < 3_000; turn++) {
        const timeZone = choose.of(zones)
        const weekStartsOn = choose.of([0, 1, 6] as const)
        const window = Window.calendar(choose.of(["day", "week", "month"] as const), { timeZone, weekStartsOn })
        const spent = choose.between(Date.parse("2025-01-01T00:00:00Z"), Date.parse("2035-01-01T00:00:00Z"))
        if (window._tag !== "Calendar") continue
        const named = `${JSON.stringify(window)} at ${new Date(spent).toISOString()}`
        assert.strictEqual(freeAfter(window, spent), countsUntil(window, spent), named)
      }
    }
  )
})
