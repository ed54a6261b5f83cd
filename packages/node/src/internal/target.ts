import * as Result from "effect/Result"
import { InvalidStore } from "../Errors.ts"

/** What a url names. `shown` is what may be told of it, `secrets` are what may not. */
export type Target =
  | { readonly kind: "memory"; readonly shown: string; readonly secrets: ReadonlyArray<string> }
  | {
      readonly kind: "redis" | "postgres"
      readonly url: string
      readonly shown: string
      readonly secrets: ReadonlyArray<string>
    }
  | { readonly kind: "sqlite"; readonly path: string; readonly shown: string; readonly secrets: ReadonlyArray<string> }

const allowed = "memory, redis://…, rediss://…, postgres://…, postgresql://… or sqlite:PATH"

const kinds: Readonly<Record<string, "redis" | "postgres">> = {
  "redis:": "redis",
  "rediss:": "redis",
  "postgres:": "postgres",
  "postgresql:": "postgres"
}

const isSecret = /pass|secret|token|key|user/i

const invalid = (reason: string): Result.Result<never, InvalidStore> =>
  Result.fail(new InvalidStore({ option: "url", reason: `must be ${allowed}; ${reason}` }))

/** A part of a url as it is meant, or nothing if it is not written as one. */
const decoded = (part: string): string | undefined =>
  Result.getOrUndefined(Result.try({ try: () => decodeURIComponent(part), catch: () => undefined }))

const server = (kind: "redis" | "postgres", text: string, url: URL): Result.Result<Target, InvalidStore> => {
  const { host, password, pathname, protocol, searchParams, username } = url
  const written = [username, password].filter((part) => part !== "")
  const meant = written.map(decoded)
  if (meant.includes(undefined)) return invalid("a % in its user name or password must be written as %25")
  const given = [...searchParams].flatMap(([name, value]) => (isSecret.test(name) ? [value] : []))
  if (kind === "redis" && !/^\/?\d{0,9}$/.test(pathname)) return invalid("redis://…/ is followed by a number")
  if (kind === "redis" && host === "") return invalid("redis:// is followed by a host")
  return Result.succeed({
    kind,
    url: text,
    shown: `${protocol}//${host}${pathname}`,
    secrets: [...new Set([text, ...written, ...meant, ...given])].filter(
      (secret): secret is string => secret !== undefined && secret !== ""
    )
  })
}

/** Reads a url, and tells nothing of it when it is wrong. */
export const parse = (text: string): Result.Result<Target, InvalidStore> => {
  if (text === "memory") return Result.succeed({ kind: "memory", shown: text, secrets: [] })
  if (text.startsWith("sqlite:")) {
    const path = text.slice("sqlite:".length).replace(/^\/\/(?=\/)/, "")
    if (path === "") return invalid("sqlite: is followed by the path of a file")
    return Result.succeed({ kind: "sqlite", path, shown: `sqlite:${path}`, secrets: [] })
  }
  if (!/^(rediss?|postgres|postgresql):\/\//.test(text)) return invalid("it begins with something else")
  const url = URL.parse(text)
  const kind = kinds[url?.protocol ?? ""]
  return url === null || kind === undefined ? invalid("it is not written as a url") : server(kind, text, url)
}

const messagesOf = (cause: unknown, depth: number): ReadonlyArray<string> => {
  if (typeof cause !== "object" || cause === null || depth > 5) return typeof cause === "string" ? [cause] : []
  // Node says what is wrong with each address of a host in a list beside an empty message.
  const inner: unknown = Reflect.get(cause, "cause") ?? Reflect.get(cause, "reason") ?? Reflect.get(cause, "errors")
  const deeper = (Array.isArray(inner) ? inner : [inner]).flatMap((one) => messagesOf(one, depth + 1))
  const message: unknown = Reflect.get(cause, "message")
  return deeper.length > 0 ? deeper : typeof message === "string" && message !== "" ? [message] : []
}

/** What went wrong, in the words of whoever noticed it first, without any secret of the target. */
export const reasonOf = ({ secrets }: Target, cause: unknown): string => {
  const words = [...new Set(messagesOf(cause, 0))].join("; ") || "no reason was given"
  return secrets
    .toSorted((a, b) => b.length - a.length)
    .reduce((text, secret) => text.replaceAll(secret, "<redacted>"), words)
}
