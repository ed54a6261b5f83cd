const maxLength = 160

const textOf = (cause: unknown): string => {
  if (typeof cause !== "object" || cause === null) return cause === undefined ? "" : String(cause)
  const found = ["message", "code"].map((name): unknown => Reflect.get(cause, name))
  return found.find((text): text is string => typeof text === "string" && text !== "") ?? ""
}

/** Names and passwords of users, where a url, a setting or the words of a server have them. */
const withoutSecrets = (text: string): string =>
  text
    .replace(/\/\/\S*@/g, "//<redacted>@")
    .replace(/\b(\w*(?:password|passwd|secret|token))=\S+/gi, "$1=<redacted>")
    .replace(/\b(user|role) (?:"[^"]*"|\S+(?= has no permissions))/gi, "$1 <redacted>")

/** What went wrong, in the words of whoever noticed it first: one line without secrets, or nothing. */
export const wordsOf = (cause: unknown): string => {
  let words = ""
  let at = cause
  for (let depth = 0; depth < 8 && at !== undefined && at !== null; depth++) {
    words = textOf(at) || words
    at = typeof at === "object" ? Reflect.get(at, "cause") : undefined
  }
  const line = withoutSecrets(words)
    .split(/[\r\n]/, 1)[0]!
    .trim()
  return line.length > maxLength ? `${line.slice(0, maxLength)}…` : line
}
