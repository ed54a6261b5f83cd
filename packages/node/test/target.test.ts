import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { parse, reasonOf } from "../src/internal/target.ts"

const kindOf = (url: string) => Result.map(parse(url), ({ kind, shown }) => [kind, shown])

describe("the url of a store", () => {
  it.each([
    ["memory", "memory", "memory"],
    ["redis://localhost", "redis", "redis://localhost"],
    ["rediss://app:pw@cache.example:6380/2", "redis", "rediss://cache.example:6380/2"],
    ["redis://:p%40w@[::1]:6379", "redis", "redis://[::1]:6379"],
    ["postgres://app:pw@db/app?sslmode=require", "postgres", "postgres://db/app"],
    ["postgresql://db", "postgres", "postgresql://db"],
    ["sqlite:app.db", "sqlite", "sqlite:app.db"],
    ["sqlite:///var/lib/app.db", "sqlite", "sqlite:/var/lib/app.db"],
    ["sqlite::memory:", "sqlite", "sqlite::memory:"]
  ])("%s is one", (url, kind, shown) => {
    assert.deepStrictEqual(kindOf(url), Result.succeed([kind, shown]))
  })

  it.each([
    "",
    "Memory",
    "redis",
    "redis:localhost",
    "redis://",
    "redis://:hunter2@host:99999",
    "redis://:hunter2@host/first",
    "redis://:hunter2%@host",
    "postgres://hunter2 @:x",
    "mysql://app:hunter2@db/app",
    "app:hunter2@db",
    " redis://:hunter2@host",
    "sqlite:"
  ])("%j is none, and is not told", (url) => {
    const { message, option, reason } = Result.getOrThrow(Result.flip(parse(url)))
    assert.strictEqual(option, "url")
    assert.match(reason, /^must be memory, redis:\/\/…, .* or sqlite:PATH; /)
    assert.notInclude(message, "hunter2")
  })
})

describe("why a store cannot be opened", () => {
  const target = Result.getOrThrow(parse("postgres://app:p%40ss@db/app?password=other&sslmode=on"))

  it("is what was noticed first", () => {
    const cause = { message: "outer", reason: { message: "middle", cause: new Error("inner") } }
    assert.strictEqual(reasonOf(target, cause), "inner")
    const addresses = new AggregateError([new Error("refused ::1"), new Error("refused 127.0.0.1")])
    assert.strictEqual(reasonOf(target, { message: "outer", cause: addresses }), "refused ::1; refused 127.0.0.1")
    assert.strictEqual(reasonOf(target, undefined), "no reason was given")
  })

  it.each(["p@ss", "p%40ss", "other", "postgres://app:p%40ss@db/app?password=other&sslmode=on"])(
    "does not tell %s",
    (secret) => {
      const reason = reasonOf(target, new Error(`${secret} is wrong, ${secret}!`))
      assert.strictEqual(reason, "<redacted> is wrong, <redacted>!")
    }
  )
})
