import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { Alerts, QuotaStore } from "headgate"
import type { Target } from "./target.ts"

/** A store that is open, whatever it is over; what keeps it from opening is told by `reasonOf`. */
export type Opened = Layer.Layer<QuotaStore.QuotaStore, unknown, Alerts.Alerts>

export type Server = Extract<Target, { readonly url: string }>
export type File = Extract<Target, { readonly path: string }>

/** A store that is removed at the end, and has a time of its own. */
export interface Temporary {
  readonly prefix: string
  readonly now: () => number
  /** Removes what the store has left behind, by the effect that is found when it opens. */
  readonly remove: <E, E2, R>(found: Effect.Effect<Effect.Effect<void, E>, E2, R>) => Layer.Layer<never, E2, R>
}

/** Why a store is not opened where its tables are not to be made. */
export const noTables = (prefix: string): string => `it has no tables under the prefix ${prefix}`

/** The table by which a store of this prefix is known. It is made together with all others. */
export const tableOf = (prefix: string): string => `${prefix}_accounts`
