// What the faults find wrong, they name.
import { assert, describe, it } from "@effect/vitest"
import { Audit, eachOnce, type Entry } from "./audit.ts"

const entry = (ended: Entry["ended"], tokens: number, charge = false): Entry => ({ ended, tokens, charge })

const audit = new Audit(
  new Map([
    ["a", entry("settled", 10)],
    ["b", entry("settled", 20)],
    ["c", entry("recorded", 5)],
    ["d", entry("released", 20)],
    ["e", entry("open", 7, true)],
    ["f", entry("open", 5)]
  ])
)

describe("the audit of a fault", () => {
  it("names an id that was settled twice", () => {
    assert.throws(
      () =>
        eachOnce([
          ["a", 10],
          ["b", 20],
          ["a", 11]
        ]),
      "a was settled twice, with 10 and 11"
    )
  })

  it("names an id whose settlement is lost, or is another", () => {
    audit.has(new Map([["a", 10]]))
    assert.throws(() => audit.has(new Map([["e", 7]])), /^e was settled with 7, and is .*"open"/)
    assert.throws(() => audit.has(new Map([["b", 19]])), /^b was settled with 19, and is .*20/)
    assert.throws(() => audit.has(new Map([["g", 1]])), "g was settled with 1, and is forgotten")
  })

  it("names what has ended and nobody was told of", () => {
    assert.deepStrictEqual(audit.unheard(new Map([["a", 10]])), ["b", "c", "d"])
  })

  it("names the id that a counter counts twice or not at all", () => {
    audit.isSum(42)
    assert.throws(() => audit.isSum(52), "the counter is 52, 10 above the sum over ids: a is counted twice")
    assert.throws(() => audit.isSum(37), "the counter is 37, 5 below the sum over ids: c is counted not at all")
    assert.throws(() => audit.isSum(45), "the counter is 45, 3 above the sum over ids: more than one id is wrong")
  })
})
