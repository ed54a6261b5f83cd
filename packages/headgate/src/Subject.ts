/**
 * Whose quota a call draws on: a record of dimensions, such as `{ user: "42", model: "gpt-5.6" }`.
 *
 * A dimension counts only where a service has quotas for it (`per: { user: … }`); others are carried along. A subject
 * has at most 16 dimensions, and a value has 1 to 256 characters.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A record of dimensions.
 *
 * @category models
 * @since 0.1.0
 */
export type Subject = { readonly [dimension: string]: string }

/**
 * The schema of `Subject`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Subject = Schema.Record(Schema.String, Schema.String)

/**
 * The subject of calls that belong to nobody in particular.
 *
 * @category constructors
 * @since 0.1.0
 */
export const none: Subject = {}

/**
 * The subject in one line, for messages.
 *
 * **Example** (Formatting)
 *
 * ```ts
 * import { Subject } from "headgate"
 *
 * Subject.format({ user: "42", model: "gpt-5.6" }) // => "user 42, model gpt-5.6"
 * Subject.format({}) // => "everyone"
 * ```
 *
 * @category converting
 * @since 0.1.0
 */
export const format = (self: Subject): string =>
  Object.entries(self)
    .map(([dimension, value]) => `${dimension} ${value}`)
    .join(", ") || "everyone"
