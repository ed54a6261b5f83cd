// The contract of `QuotaStore` on a real server, with a clock that the tests move.
import { beforeAll, it } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"
import { QuotaStoreTest } from "headgate/testing"
import { describeRedis } from "../servers/redis.ts"
import { start, storeLayer, useServer } from "./support.ts"

describeRedis("QuotaStore in Redis", () => {
  const { layer, moveClock, send, setClock } = useServer()
  beforeAll(() => Effect.runPromise(setClock("contract", start)))
  QuotaStoreTest.suite("Redis", storeLayer({ prefix: "contract", clock: "key" }).pipe(Layer.provide(layer)), it.live, {
    advance: (duration) => moveClock("contract", Duration.toMillis(duration)),
    failing: Effect.acquireRelease(send("ACL", "SETUSER", "default", "-evalsha"), () =>
      send("ACL", "SETUSER", "default", "+evalsha")
    )
  })
})
