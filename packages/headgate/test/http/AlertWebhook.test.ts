// Alerts posted to a real server on the loopback interface.
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Queue, type Scope } from "effect"
import { FetchHttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { type Alert, Alerts } from "headgate"
import { AlertWebhook } from "headgate/http"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

const alert = (
  tag: "LimitHit" | "Throttled",
  user = "42",
  message = "a call would have brought it to 110 %"
): Alert.Alert => ({
  _tag: tag,
  message,
  quota: "maxCostPerDay",
  subject: { user },
  unit: "cost",
  limit: 100,
  threshold: 1,
  current: 1.1,
  timestamp: DateTime.makeUnsafe(0)
})

interface Post {
  readonly body: unknown
  readonly headers: NodeJS.Dict<string | Array<string>>
}

/** A server that answers with these statuses in turn, then with 200. */
const listen = (
  ...statuses: ReadonlyArray<number>
): Effect.Effect<{ readonly url: string; readonly posts: Queue.Queue<Post> }, never, Scope.Scope> =>
  Effect.gen(function* () {
    const posts = yield* Queue.unbounded<Post>()
    const left = [...statuses]
    const server = createServer((request, response) => {
      let text = ""
      request.setEncoding("utf8").on("data", (part: string) => (text += part))
      request.on("end", () => {
        response.writeHead(left.shift() ?? 200).end()
        Queue.offerUnsafe(posts, { body: JSON.parse(text), headers: request.headers })
      })
    })
    yield* Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void)))
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
    )
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, posts }
  })

const alerts = (options: AlertWebhook.Options) =>
  AlertWebhook.layer(options).pipe(Layer.provideMerge(Alerts.layer), Layer.provide(FetchHttpClient.layer))

const publish = (...told: ReadonlyArray<Alert.Alert>) => Alerts.Alerts.use((alerts) => alerts.publishAll(told))
const drained = Alerts.Alerts.use((alerts) => alerts.drained)

describe("AlertWebhook", () => {
  it.effect("posts alerts in Slack's form, in order", () =>
    Effect.gen(function* () {
      const { posts, url } = yield* listen()
      yield* Effect.gen(function* () {
        yield* publish(alert("LimitHit"), alert("Throttled", "7"))
        yield* drained
        const first = yield* Queue.take(posts)
        assert.deepStrictEqual(first.body, { text: "*LimitHit* user=42: a call would have brought it to 110 %" })
        assert.strictEqual(first.headers["content-type"], "application/json")
        assert.strictEqual(first.headers["x-team"], "ops")
        const second = yield* Queue.take(posts)
        assert.deepStrictEqual(second.body, { text: "*Throttled* user=7: a call would have brought it to 110 %" })
      }).pipe(Effect.provide(alerts({ url, headers: { "x-team": "ops" } })))
    })
  )

  it("lets nobody format the text or mention anyone by the name of a user", () => {
    const { text } = AlertWebhook.slackBody(alert("LimitHit", "<!channel> *now*", "a & b"))
    assert.strictEqual(text, "*LimitHit* user=&lt;!channel&gt; \u200B*now\u200B*: a &amp; b")
  })

  it.effect("posts only the kinds asked for, in a form of your own", () =>
    Effect.gen(function* () {
      const { posts, url } = yield* listen()
      const options = { url, only: ["Throttled"] as const, body: ({ quota }: Alert.Alert) => ({ quota }) }
      yield* Effect.andThen(publish(alert("LimitHit"), alert("Throttled")), drained).pipe(
        Effect.provide(alerts(options))
      )
      assert.deepStrictEqual(
        (yield* Queue.takeAll(posts)).map(({ body }) => body),
        [{ quota: "maxCostPerDay" }]
      )
    })
  )

  it.effect("tries again where the receiver is busy, and never holds up who publishes", () =>
    Effect.gen(function* () {
      const { posts, url } = yield* listen(503, 429)
      const scheduled = yield* Queue.unbounded<void>()
      const retry = { jitter: "none", onRetry: () => Queue.offer(scheduled, undefined) } as const
      yield* Effect.gen(function* () {
        yield* publish(alert("LimitHit"))
        yield* publish(alert("Throttled"))
        yield* Queue.take(scheduled)
        yield* TestClock.adjust("1 second")
        yield* Queue.take(scheduled)
        yield* TestClock.adjust("2 seconds")
        yield* drained
        const texts = (yield* Queue.takeAll(posts)).map(({ body }) => (body as { text: string }).text.slice(0, 5))
        assert.deepStrictEqual(texts, ["*Limi", "*Limi", "*Limi", "*Thro"])
      }).pipe(Effect.provide(alerts({ url, retry })))
    })
  )

  it.effect("passes over what the receiver refuses, and goes on with the next", () =>
    Effect.gen(function* () {
      const { posts, url } = yield* listen(400)
      yield* Effect.andThen(publish(alert("LimitHit"), alert("Throttled")), drained).pipe(
        Effect.provide(alerts({ url }))
      )
      assert.strictEqual((yield* Queue.takeAll(posts)).length, 2)
    })
  )
})
