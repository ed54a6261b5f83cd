import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Exit, Schema } from "effect"
import { Money, UsageRecord } from "headgate"

const decode = Schema.decodeUnknownExit(UsageRecord)

const json = {
  timestamp: "2026-11-24T10:00:00Z",
  tokens: 1_200,
  cost: 0.0125,
  model: "gpt-5.6",
  request_id: "r-1",
  user_id: "42",
  agent_id: "researcher"
}

describe("UsageRecord", () => {
  it.effect("reads the Go package's JSON", () =>
    Effect.gen(function* () {
      const record = yield* Schema.decodeUnknownEffect(UsageRecord)(JSON.parse(JSON.stringify(json)))
      assert.instanceOf(record, UsageRecord)
      assert.strictEqual(DateTime.toEpochMillis(record.timestamp), Date.parse(json.timestamp))
      assert.deepStrictEqual(
        [record.tokens, record.cost, record.model, record.requestId, record.userId, record.agentId],
        [1_200, Money.usd(0.0125), "gpt-5.6", "r-1", "42", "researcher"]
      )
    })
  )

  it.effect("writes the Go package's JSON", () =>
    Effect.gen(function* () {
      const record = new UsageRecord({
        timestamp: DateTime.makeUnsafe("2026-11-24T10:00:00Z"),
        tokens: 1_200,
        cost: Money.usd(0.0125),
        model: "gpt-5.6",
        requestId: "r-1",
        userId: "42",
        agentId: "researcher"
      })
      const written = yield* Schema.encodeEffect(UsageRecord)(record)
      assert.deepStrictEqual({ ...written }, { ...json, timestamp: "2026-11-24T10:00:00.000Z" })
      assert.deepStrictEqual(yield* Schema.decodeEffect(UsageRecord)(written), record)
    })
  )

  it.effect("leaves out who is not known", () =>
    Effect.gen(function* () {
      const { agent_id: _agent, user_id: _user, ...rest } = json
      const record = yield* Schema.decodeEffect(UsageRecord)(rest)
      assert.isUndefined(record.userId)
      assert.deepStrictEqual(Object.keys(yield* Schema.encodeEffect(UsageRecord)(record)).toSorted(), [
        "cost",
        "model",
        "request_id",
        "timestamp",
        "tokens"
      ])
    })
  )

  it("takes a time with an offset", () => {
    const record = Exit.getSuccess(decode({ ...json, timestamp: "2026-11-24T19:00:00.123+09:00" }))
    assert.strictEqual(
      DateTime.toEpochMillis(
        record.pipe((option) => (option._tag === "Some" ? option.value.timestamp : DateTime.makeUnsafe(0)))
      ),
      Date.parse("2026-11-24T10:00:00.123Z")
    )
  })

  it("keeps the smallest costs", () => {
    // The Go package truncated them to whole cents of a cent.
    const record = decode({ ...json, cost: 0.000000001 })
    assert.isTrue(Exit.isSuccess(record) && record.value.cost === 1)
  })

  const wrong = {
    "no time": { ...json, timestamp: undefined },
    "a time that is none": { ...json, timestamp: "yesterday" },
    "a negative cost": { ...json, cost: -0.01 },
    "a cost in text": { ...json, cost: "$1" },
    "negative tokens": { ...json, tokens: -1 },
    "a part of a token": { ...json, tokens: 1.5 },
    "no id": { ...json, request_id: undefined },
    "a user that is a number": { ...json, user_id: 42 },
    "the names of this package": { ...json, request_id: undefined, requestId: "r-1" },
    nothing: null
  }
  for (const [name, input] of Object.entries(wrong)) {
    it(`refuses ${name}`, () => assert.isTrue(Exit.isFailure(decode(input))))
  }
})
