import * as Result from "effect/Result"

/** A JSON text; `undefined` for what is none. */
export const parseJson = (text: string): unknown => Result.getOrUndefined(Result.try((): unknown => JSON.parse(text)))

/** A field of a JSON value, or of what it holds. */
export const field = (value: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>(
    (inner, key) => (typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>)[key] : undefined),
    value
  )

/** The items of a list; none where it is no list. */
export const items = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : [])
