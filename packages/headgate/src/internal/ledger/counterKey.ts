import * as Duration from "effect/Duration"
import type { Quota } from "../../Quota.ts"
import type { Window } from "../../Window.ts"

/**
 * Which counter of an account a quota looks at, in shared stores. What a quota allows is no part of it, so that spending
 * is not forgotten when a limit is changed.
 */
export const keyOf = ({ cachedInput, name, unit, window }: Quota): string =>
  JSON.stringify([name, unit, cachedInput, ...windowKey(window)])

const windowKey = (window: Window): ReadonlyArray<string | number> => {
  switch (window._tag) {
    case "Sliding":
    case "Fixed":
      return [window._tag, Duration.toMillis(window.length)]
    case "Calendar":
      return [window._tag, window.period, window.timeZone, window.weekStartsOn]
    case "Bucket":
      return [window._tag, Duration.toMillis(window.refill)]
    case "Lifetime":
      return [window._tag]
  }
}
