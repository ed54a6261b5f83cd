// What is said in a url of TLS is done, or the store does not open.
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Store, StoreUnreachable } from "@headgate/node"
import { Effect, Layer, Redacted } from "effect"
import { Alerts } from "headgate"
import { spawnSync } from "node:child_process"
import { chmodSync, chownSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { missing, named, owner, startPostgres } from "../../headgate/test/servers/postgres.ts"

const isOwn = process.env["HEADGATE_TEST_PG"] === undefined
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0

/** A server that has TLS by a certificate of its own, which is in a file. */
const server = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "headgate-tls-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  )
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "my ca.pem")]
  const request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
  spawnSync("openssl", [...request.split(" "), "-keyout", key, "-out", certificate])
  chmodSync(folder, 0o755)
  chmodSync(key, 0o600)
  const who = owner()
  if (who !== undefined) chownSync(key, who.uid, who.gid)
  const settings = ["ssl = on", `ssl_key_file = '${key}'`, `ssl_cert_file = '${certificate}'`]
  const { url } = yield* Effect.acquireRelease(
    Effect.promise(() => startPostgres({ settings })),
    (server) => Effect.promise(() => server.stop())
  )
  return { url, certificate }
})

/** Whether each connection of the store is encrypted, as the server sees it. */
const encrypted = (url: string, parameters: string) =>
  Effect.gen(function* () {
    yield* Layer.build(Store.fromUrl(`${url}${parameters}`).pipe(Layer.provide(Alerts.layer)))
    const sql = yield* PgClient.PgClient
    const rows = yield* sql<{ readonly ssl: boolean }>`
      SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'headgate'`
    return [...new Set(rows.map(({ ssl }) => ssl))]
  }).pipe(Effect.scoped, Effect.provide(PgClient.layer({ url: Redacted.make(url) }), { local: true }))

describe.skipIf(missing !== undefined || !isOwn || !hasOpenssl)(named("TLS to PostgreSQL"), () => {
  it.live("is what a url asks for, by the certificates that it names", () =>
    Effect.gen(function* () {
      const { certificate, url } = yield* server
      const authority = `sslrootcert=${encodeURIComponent(certificate)}`
      assert.deepStrictEqual(yield* encrypted(url, ""), [false])
      for (const parameters of [`?${authority}`, `?${authority}&ssl=true`, `?sslmode=verify-full&${authority}`]) {
        assert.deepStrictEqual(yield* encrypted(url, parameters), [true], parameters)
      }
      const error = yield* Effect.flip(encrypted(url, "?ssl=true"))
      assert.instanceOf(error, StoreUnreachable)
      assert.match(error.reason, /self-signed certificate/)
    })
  )

  it.live("is not left out where the server has none, or the file of the authority is not there", () =>
    Effect.gen(function* () {
      const { url } = yield* Effect.acquireRelease(
        Effect.promise(() => startPostgres()),
        (server) => Effect.promise(() => server.stop())
      )
      for (const [parameters, reason] of [
        ["?ssl=true", /^The server does not support TLS$/],
        ["?sslrootcert=/no/such.pem", /ENOENT: .*\/no\/such\.pem/]
      ] as const) {
        const error = yield* Effect.flip(encrypted(url, parameters))
        assert.instanceOf(error, StoreUnreachable)
        assert.match(error.reason, reason)
      }
    })
  )
})
