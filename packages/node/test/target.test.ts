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
    ["sqlite://app.db", "sqlite", "sqlite:app.db"],
    ["sqlite://data/app.db", "sqlite", "sqlite:data/app.db"],
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
    "sqlite:",
    "sqlite://",
    "sqlite:hunter2.db?mode=ro",
    "postgres://app:12#hunter2@db/app",
    "postgres://app:12/hunter2@db/app",
    "postgres://app:12?hunter2@db/app",
    "postgres://app:12?hunter2=x@db/app"
  ])("%j is none, and is not told", (url) => {
    const { message, option, reason } = Result.getOrThrow(Result.flip(parse(url)))
    assert.strictEqual(option, "url")
    assert.match(reason, /^must be memory, redis:\/\/…, .* or sqlite:PATH; /)
    assert.notInclude(message, "hunter2")
  })
})

describe("the parameters of a url", () => {
  it.each([
    ["redis://:hunter2@h?db=3", "redis://… has no parameter db: TLS is rediss://…, a database redis://host/2"],
    ["rediss://:hunter2@h?tls=true&a=1", "redis://… has no parameters tls, a: "],
    [
      "postgres://app:hunter2@h/app?sslcert=a&pgbouncer=true",
      "postgres://… has no parameters sslcert, pgbouncer: it has"
    ],
    ["postgres://app:hunter2@h/app?SSLMODE=require", "postgres://… has no parameter SSLMODE: it has host, "],
    ["postgres://app@h/app?hunter2%20=1", "postgres://… has a parameter that it does not know: it has host, "],
    ["postgres://app@h/app?sslmode=require&sslmode=disable", "sslmode is given twice"],
    ["postgres://app@h/app?sslmode=no-verify", "sslmode must be disable, allow, prefer, require, "],
    ["postgres://app@h/app?sslmode=", "sslmode must be disable, "],
    ["postgres://app@h/app?ssl", "ssl must be true or false"],
    ["postgres://app@h/app?ssl=True", "ssl must be true or false"],
    ["postgres://app@h/app?ssl=true&sslmode=disable", "ssl and sslmode say the same: give one of them"],
    ["postgres://app@h/app?sslrootcert=", "sslrootcert must be a file"],
    [
      "postgres://app@h/app?sslrootcert=ca.pem&sslmode=disable",
      "sslrootcert is for TLS, which sslmode or ssl turns off"
    ],
    ["postgres://app@h/app?sslrootcert=ca.pem&ssl=false", "sslrootcert is for TLS, which sslmode or ssl turns off"]
  ])("%s: what is not understood is named", (url, reason) => {
    const { message } = Result.getOrThrow(Result.flip(parse(url)))
    assert.include(message, `; ${reason}`)
    assert.notInclude(message, "hunter2")
  })

  it.each([
    ["", undefined],
    ["?ssl=true", true],
    ["?ssl=1", true],
    ["?ssl=false", undefined],
    ["?ssl=0", undefined],
    ["?sslmode=require", undefined],
    ["?sslrootcert=/etc/my%20ca.pem&sslmode=verify-full", "/etc/my ca.pem"],
    ["?sslrootcert=ca.pem&sslmode=prefer", "ca.pem"],
    ["?sslrootcert=ca.pem&ssl=true", "ca.pem"],
    ["?host=/run&port=1&user=a&password=b&dbname=c&application_name=d&options=e&connect_timeout=3", undefined]
  ])("postgres://h/app%s is understood", (parameters, tls) => {
    const target = Result.getOrThrow(parse(`postgres://h/app${parameters}`))
    assert.strictEqual(target.kind === "postgres" ? target.tls : "another", tls)
  })
})

describe("why a store cannot be opened", () => {
  const target = Result.getOrThrow(parse("postgres://app:p%40ss@db/app?password=other&sslmode=allow"))

  it("is what was noticed first", () => {
    const cause = { message: "outer", reason: { message: "middle", cause: new Error("inner") } }
    assert.strictEqual(reasonOf(target, cause), "inner")
    const addresses = new AggregateError([new Error("refused ::1"), new Error("refused 127.0.0.1")])
    assert.strictEqual(reasonOf(target, { message: "outer", cause: addresses }), "refused ::1; refused 127.0.0.1")
    assert.strictEqual(reasonOf(target, undefined), "no reason was given")
  })

  it.each(["p@ss", "p%40ss", "other", "postgres://app:p%40ss@db/app?password=other&sslmode=allow"])(
    "does not tell %s",
    (secret) => {
      const reason = reasonOf(target, new Error(`${secret} is wrong, ${secret}!`))
      assert.strictEqual(reason, "<redacted> is wrong, <redacted>!")
    }
  )

  it.each([
    ["postgres://a:e@db/app", "permission denied", "p<redacted>rmission d<redacted>ni<redacted>d"],
    ["postgres://a:e@db/app", 'a was refused, "a" and a.', "<redacted> was r<redacted>fus<redacted>d"],
    ["postgres://app:secret@db/appdb", "permission denied for database appdb", "permission denied for database appdb"],
    ["postgres://app:secret@db/appdb", 'role "app" of my-app-1', 'role "<redacted>" of my-<redacted>-1'],
    ["postgres://h/appdb?user=app&password=pw", "app apple pwd", "<redacted> apple <redacted>d"],
    ["postgres://app_production:secret@db/app", "app_productions", "<redacted>s"],
    ["postgres://$1:(.*@db/app", "$1 has $10 and (.*)", "<redacted> has $10 and <redacted>)"],
    ["postgres://redacted:d@db/app", "redacted and d", "<redacted> an<redacted> <redacted>"],
    ["postgres://app:app@db/appdb", "apples", "<redacted>les"],
    ["postgres://app:ab@db/x?password=abc", "abcd abd", "<redacted>d <redacted>d"]
  ])("of %s, %j is told without secrets, once over", (url, words, told) => {
    assert.include(reasonOf(Result.getOrThrow(parse(url)), words), told)
  })
})
