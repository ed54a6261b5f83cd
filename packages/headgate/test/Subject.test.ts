import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Subject } from "headgate"

describe("Subject", () => {
  it("formats its dimensions in their order", () => {
    assert.strictEqual(Subject.format({ user: "42", model: "gpt-5.6" }), "user 42, model gpt-5.6")
    assert.strictEqual(Subject.format(Subject.none), "everyone")
  })

  it("is a record of texts", () => {
    assert.isTrue(Schema.is(Subject.Subject)({ user: "42" }))
    for (const value of [{ user: 42 }, null, "42"]) assert.isFalse(Schema.is(Subject.Subject)(value))
  })

  it("formats what has no prototype, and what looks like one", () => {
    const subject = Object.assign(Object.create(null), { user: "42" })
    assert.strictEqual(Subject.format(subject), "user 42")
    assert.strictEqual(Subject.format(JSON.parse(`{ "__proto__": "x" }`)), "__proto__ x")
  })
})
