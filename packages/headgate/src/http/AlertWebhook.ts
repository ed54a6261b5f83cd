/**
 * Alerts for people: each is posted to a webhook.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { Alert } from "../Alert.ts"
import * as Alerts from "../Alerts.ts"
import * as Retry from "../Retry.ts"

/**
 * The options of a webhook.
 *
 * - `url`: where alerts are posted. It is a secret: whoever knows it can post.
 * - `only`: the kinds of alerts to post. Default: all.
 * - `body`: what is posted as JSON. Default: `{ "text": … }`, as Slack, Mattermost and Discord (at `/slack`) take it.
 * - `headers`: headers to send along.
 * - `retry`: how a failed post is tried again. Default `Retry.defaults`, without a retry budget.
 * - `timeout`: how long one alert may take, with all its retries. Default 1 minute.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly url: string | URL
  readonly only?: ReadonlyArray<Alert["_tag"]> | undefined
  readonly body?: ((alert: Alert) => Schema.Json) | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly retry?: Retry.Options | undefined
  readonly timeout?: Duration.Input | undefined
}

/**
 * What Slack is told of an alert: `*LimitHit* user=42: …`. What comes from a subject cannot format the text or mention
 * anyone.
 *
 * @category constructors
 * @since 0.1.0
 */
export const slackBody = ({ _tag, message, subject }: Alert): { readonly text: string } => {
  const whose = Object.entries(subject).map(([dimension, value]) => ` ${dimension}=${value}`)
  return { text: `*${_tag}*${plain(whose.join(""))}: ${plain(message)}` }
}

/** Slack's own three escapes; a space that is not seen keeps the rest from being markup. */
const plain = (text: string): string =>
  text.replace(/[&<>]/g, (sign) => `&${escapes[sign]};`).replace(/[*_~`]/g, (sign) => `\u200B${sign}`)

const escapes: Readonly<Record<string, string>> = { "&": "amp", "<": "lt", ">": "gt" }

/**
 * Posts alerts, one after another, in a fiber of its own: no call waits for it. What cannot be posted in time is logged
 * and passed over, and when alerts come faster than they can be posted, the oldest are lost. Redirects are not followed
 * unless the client does.
 *
 * **Example** (Alerts in a channel)
 *
 * ```ts no-run
 * import { Layer } from "effect"
 * import { FetchHttpClient } from "effect/http"
 * import { AlertsLive, BudgetLive } from "headgate"
 * import { AlertWebhook } from "headgate/http"
 *
 * const live = Layer.mergeAll(
 *   BudgetLive,
 *   AlertWebhook.layer({ url: "https://hooks.slack.com/services/…", only: ["LimitHit", "StoreDegraded"] })
 * ).pipe(Layer.provide(AlertsLive), Layer.provide(FetchHttpClient.layer))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = ({
  body = slackBody,
  headers = {},
  only,
  retry,
  timeout = "1 minute",
  url
}: Options): Layer.Layer<never, never, Alerts.Alerts | HttpClient.HttpClient> => {
  const policy = Retry.schedule({ budget: "none", ...retry })
  return Layer.effectDiscard(
    Effect.gen(function* () {
      const alerts = yield* Alerts.Alerts
      const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)
      const request = HttpClientRequest.setHeaders(HttpClientRequest.post(url), headers)
      const post = (alert: Alert) =>
        HttpClientRequest.bodyJson(request, body(alert)).pipe(
          Effect.flatMap(client.execute),
          Effect.scoped,
          Effect.retry(policy)
        )
      yield* alerts.handle((alert) => (only === undefined || only.includes(alert._tag) ? post(alert) : Effect.void), {
        timeout
      })
    })
  )
}
