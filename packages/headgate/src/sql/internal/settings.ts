import type * as Duration from "effect/Duration"
import type { Later } from "../../internal/later.ts"

/** What the stores of both databases are made with. */
export interface Settings {
  /** The beginning of all names of tables and functions. */
  readonly prefix: string
  readonly timeout: Duration.Duration
  /** Milliseconds for which an ended or expired hold, and the id of a record, is remembered. */
  readonly retention: number
  /** An id that nobody has used. */
  readonly newId: () => string
  /** The store's clock in tests; the database's own unless given. */
  readonly clock: (() => number) | undefined
  /** By how many milliseconds the time that the database knows of may lag behind the time of its last call. */
  readonly tick: number
  /** How many open claims of an account a refusal looks at first. */
  readonly few: number
  readonly ttlOf: (ttl: number) => number
  readonly later: Later
}
