import * as Result from "effect/Result"
import { InvalidStore } from "../Errors.ts"

/** What a url names. `shown` is what may be told of it, `secrets` are what may not. */
export type Target =
  | { readonly kind: "memory"; readonly shown: string; readonly secrets: RegExp | undefined }
  | {
      readonly kind: "redis" | "postgres"
      readonly url: string
      /** TLS, where the url asks for it in words that the driver does not read: `true`, or the file of an authority. */
      readonly tls: true | string | undefined
      readonly shown: string
      readonly secrets: RegExp | undefined
    }
  | { readonly kind: "sqlite"; readonly path: string; readonly shown: string; readonly secrets: RegExp | undefined }

const allowed = "memory, redis://…, rediss://…, postgres://…, postgresql://… or sqlite:PATH"

const kinds: Readonly<Record<string, "redis" | "postgres">> = {
  "redis:": "redis",
  "rediss:": "redis",
  "postgres:": "postgres",
  "postgresql:": "postgres"
}

const invalid = (reason: string): Result.Result<never, InvalidStore> =>
  Result.fail(new InvalidStore({ option: "url", reason: `must be ${allowed}; ${reason}` }))

/** A part of a url as it is meant, or nothing if it is not written as one. */
const decoded = (part: string): string | undefined =>
  Result.getOrUndefined(Result.try({ try: () => decodeURIComponent(part), catch: () => undefined }))

/** What is not told of a url. A short name of a user is only itself where it is a whole word. */
const secretsOf = (text: string, { password, searchParams, username }: URL): RegExp => {
  const names = [username, decoded(username), ...searchParams.getAll("user")]
  const secrets = [text, password, decoded(password), ...searchParams.getAll("password")]
  const patterns = [...new Set([...secrets, ...names])]
    .filter((secret): secret is string => secret !== undefined && secret !== "")
    .toSorted((a, b) => b.length - a.length)
    .map((secret) => {
      const pattern = secret.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")
      return secret.length > 11 || secrets.includes(secret)
        ? pattern
        : `(?<![\\p{L}\\p{N}_])${pattern}(?![\\p{L}\\p{N}_])`
    })
  return new RegExp(patterns.join("|"), "gu")
}

const sslModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
const understood: Readonly<Record<"redis" | "postgres", ReadonlyArray<string>>> = {
  redis: [],
  postgres: "host port user password dbname application_name options connect_timeout sslmode sslrootcert ssl".split(" ")
}

/** What is wrong with the parameters of a url: none is passed over, since it may be one that asks for TLS. */
const wrongParameters = (kind: "redis" | "postgres", { search, searchParams }: URL): string | undefined => {
  const names = [...searchParams.keys()]
  const unknown = names.filter((name) => !understood[kind].includes(name))
  if (unknown.length > 0) {
    // After a ? in a password, what looks like a parameter is none.
    const looksRight = !search.includes("@") && unknown.every((name) => /^[a-z][a-z0-9_-]{0,31}$/i.test(name))
    const which = `parameter${unknown.length === 1 ? "" : "s"} ${unknown.join(", ")}`
    const has =
      kind === "redis" ? "TLS is rediss://…, a database redis://host/2" : `it has ${understood[kind].join(", ")}`
    return `${kind}://… has ${looksRight ? `no ${which}` : "a parameter that it does not know"}: ${has}`
  }
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) return `${twice} is given twice`
  const [ssl, mode, authority] = ["ssl", "sslmode", "sslrootcert"].map((name) => searchParams.get(name))
  if (ssl != null && mode != null) return "ssl and sslmode say the same: give one of them"
  if (ssl != null && !/^(true|false|1|0)$/.test(ssl)) return "ssl must be true or false"
  if (mode != null && !sslModes.includes(mode)) return `sslmode must be ${sslModes.join(", ")}`
  if (authority === "") return "sslrootcert must be a file"
  const off = mode === "disable" || ssl === "false" || ssl === "0"
  return authority != null && off ? "sslrootcert is for TLS, which sslmode or ssl turns off" : undefined
}

const tlsOf = ({ searchParams }: URL): true | string | undefined =>
  searchParams.get("sslrootcert") ?? (/^(true|1)$/.test(searchParams.get("ssl") ?? "") ? true : undefined)

const server = (kind: "redis" | "postgres", text: string, url: URL): Result.Result<Target, InvalidStore> => {
  const { hash, host, password, pathname, protocol, username } = url
  if ([username, password].map(decoded).includes(undefined))
    return invalid("a % in its user name or password must be written as %25")
  if (kind === "redis" && !/^\/?\d{0,9}$/.test(pathname)) return invalid("redis://…/ is followed by a number")
  if (kind === "redis" && host === "") return invalid("redis:// is followed by a host")
  if (hash !== "" || pathname.includes("@")) return invalid("a # is written as %23, a / in a password as %2F")
  const wrong = wrongParameters(kind, url)
  if (wrong !== undefined) return invalid(wrong)
  return Result.succeed({
    kind,
    url: text,
    tls: tlsOf(url),
    shown: `${protocol}//${host}${pathname}`,
    secrets: secretsOf(text, url)
  })
}

/** Reads a url, and tells nothing of it when it is wrong. */
export const parse = (text: string): Result.Result<Target, InvalidStore> => {
  if (text === "memory") return Result.succeed({ kind: "memory", shown: text, secrets: undefined })
  if (text.startsWith("sqlite:")) {
    const path = text.slice("sqlite:".length).replace(/^\/\//, "")
    if (path === "") return invalid("sqlite: is followed by the path of a file")
    if (path.includes("?")) return invalid("sqlite:… has no parameters")
    return Result.succeed({ kind: "sqlite", path, shown: `sqlite:${path}`, secrets: undefined })
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
  return secrets === undefined ? words : words.replace(secrets, "<redacted>")
}
