// A suite once for each shared store, with the url of a server of its own.
import { afterAll, beforeAll, describe } from "@effect/vitest"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { missing, named, type PostgresServer, startPostgres } from "./postgres.ts"
import { describeRedis, type Server, startServer } from "./redis.ts"

export type StoreKind = "Redis" | "PostgreSQL" | "SQLite"

/** `url` is there once the tests run. */
export const describeStores = (name: string, tests: (url: () => string, kind: StoreKind) => void): void => {
  describeRedis(`${name}: Redis`, () => {
    let server: Server
    beforeAll(async () => {
      server = await startServer()
    })
    afterAll(() => server.end())
    tests(() => server.url, "Redis")
  })

  describe.skipIf(missing !== undefined)(named(`${name}: PostgreSQL`), () => {
    let server: PostgresServer
    beforeAll(async () => {
      server = await startPostgres()
    })
    afterAll(() => server.stop())
    tests(() => server.url, "PostgreSQL")
  })

  describe(`${name}: SQLite`, () => {
    const folder = mkdtempSync(join(tmpdir(), "headgate-sqlite-"))
    afterAll(() => rmSync(folder, { recursive: true }))
    tests(() => `sqlite:${join(folder, "store.db")}`, "SQLite")
  })
}
