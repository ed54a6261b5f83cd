import { describe, it } from "@effect/vitest"
import { Ledger } from "../../src/internal/ledger/ledger.ts"
import { check } from "./compare.ts"
import { seedOf } from "./support.ts"

const histories = Number(process.env["HEADGATE_HISTORIES"] ?? 2_000)

describe("random histories", () => {
  const seed = seedOf("random histories")

  it(`agree with the reference, ${histories} of them`, { timeout: 60_000 }, () => {
    for (let index = 0; index < histories; index++) check(seed + index, () => new Ledger())
  })
})
