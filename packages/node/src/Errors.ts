import * as Schema from "effect/Schema"

/**
 * The url or the prefix of a store is not one. Says what is allowed; what was given may hold a password, so it is not
 * told.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidStore extends Schema.TaggedError<InvalidStore>("headgate/InvalidStore")("InvalidStore", {
  option: Schema.Literals(["url", "prefix"]),
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.option} ${this.reason}`
  }
}

/**
 * The store could not be opened: nobody answers there, it lets nobody in, or it is not what its url says. `store` and
 * `reason` are free of user names and passwords.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreUnreachable extends Schema.TaggedError<StoreUnreachable>("headgate/StoreUnreachable")(
  "StoreUnreachable",
  {
    store: Schema.String,
    reason: Schema.String
  }
) {
  override get message(): string {
    return `the store ${this.store} cannot be opened: ${this.reason}`
  }
}
