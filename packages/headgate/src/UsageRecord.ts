/**
 * One finished call as it is reported: who spent what, when.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Money from "./Money.ts"

const Fields = Schema.Struct({
  timestamp: Schema.DateTimeUtcFromString,
  tokens: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  cost: Money.FromUsd,
  model: Schema.String,
  requestId: Schema.String,
  userId: Schema.optionalKey(Schema.String),
  agentId: Schema.optionalKey(Schema.String)
})

const Json = Fields.pipe(Schema.encodeKeys({ requestId: "request_id", userId: "user_id", agentId: "agent_id" }))

// `Schema.Class` takes any struct-like schema at run time; its type knows plain structs only.
const classOf = Schema.Class<UsageRecord>("headgate/UsageRecord") as (
  schema: typeof Json
) => Schema.Class<UsageRecord, typeof Json & Pick<typeof Fields, "fields">, {}>

/**
 * A finished call that was not reserved beforehand, for `budget.record`. Its JSON form has the names of the Go package:
 * snake_case, `timestamp` as RFC 3339, `cost` in dollars. `userId`, `agentId` and `model` are its subject (`user`,
 * `agent`, `model`). A `requestId` recorded twice is booked once, as long as the store knows it. An empty `requestId` stands for none.
 *
 * **Example** (Reading the Go package's JSON)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Money, UsageRecord } from "headgate"
 *
 * const record = Schema.decodeUnknownSync(UsageRecord)({
 *   timestamp: "2026-11-24T10:00:00Z",
 *   tokens: 1200,
 *   cost: 0.0125,
 *   model: "gpt-5.6",
 *   request_id: "r-1",
 *   user_id: "42"
 * })
 * record.requestId // => "r-1"
 * Money.format(record.cost) // => "$0.0125"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class UsageRecord extends classOf(Json) {}
