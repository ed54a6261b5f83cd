import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Schema } from "effect"
import { Alert } from "headgate"

const fields = {
  message: "maxTokensPerMinute of user 42: 80 % of 100 tokens used",
  quota: "maxTokensPerMinute",
  subject: { user: "42" },
  threshold: 0.8,
  current: 0.85,
  timestamp: DateTime.makeUnsafe("2026-11-24T10:00:00.123Z")
}
const limited = { ...fields, unit: "tokens", limit: 100 } as const

const alerts: ReadonlyArray<Alert.Alert> = [
  { _tag: "ThresholdReached", ...limited },
  { _tag: "LimitHit", ...limited },
  { _tag: "Throttled", ...limited },
  { _tag: "Overrun", ...limited },
  { _tag: "StoreDegraded", ...fields }
]

describe("Alert", () => {
  for (const alert of alerts) {
    it.effect(`round trips through JSON: ${alert._tag}`, () =>
      Effect.gen(function* () {
        const json = JSON.parse(JSON.stringify(yield* Schema.encodeEffect(Alert.Alert)(alert)))
        assert.strictEqual(json.timestamp, "2026-11-24T10:00:00.123Z")
        const read = yield* Schema.decodeUnknownEffect(Alert.Alert)(json)
        assert.deepStrictEqual(read, alert)
      })
    )
  }

  it("is one of five kinds", () => {
    assert.isFalse(Schema.is(Alert.Alert)({ ...limited, _tag: "Other" }))
    assert.isFalse(Schema.is(Alert.Alert)({ ...fields, _tag: "LimitHit" }))
  })
})
