type Value = string | number

/** A member of a list (`"a";b=1`) or, with a key, of a dictionary (`a=1;b=2`). */
export interface Member {
  readonly key: string | undefined
  readonly value: Value
  readonly parameters: ReadonlyMap<string, Value>
}

const token = /\s*("(?:[^"\\]|\\["\\])*"|:[A-Za-z0-9+/=]*:|[\w.*+-]+|[;,=])\s*/y

const tokensOf = (text: string): ReadonlyArray<string> | undefined => {
  const tokens: Array<string> = []
  token.lastIndex = 0
  while (token.lastIndex < text.length) {
    const found = token.exec(text)
    if (found === null) return undefined
    tokens.push(found[1]!)
  }
  return tokens
}

const isMark = (text: string | undefined): boolean => text === undefined || /^[;,=]$/.test(text)

const valueOf = (text: string): Value =>
  text.startsWith('"')
    ? text.slice(1, -1).replace(/\\(.)/g, "$1")
    : /^-?\d{1,15}(\.\d+)?$/.test(text)
      ? Number(text)
      : text

/**
 * The members of a structured field (RFC 9651), as far as rate limits use it. `undefined` when any part of it cannot be
 * read: then none of it counts.
 */
export const membersOf = (text: string): ReadonlyArray<Member> | undefined => {
  const tokens = tokensOf(text)
  if (tokens === undefined) return undefined
  const members: Array<Member> = []
  let at = 0
  /** `name`, or `name=value`. */
  const pair = (): { readonly name: string; readonly value: string | undefined } | undefined => {
    const name = tokens[at]
    if (name === undefined || isMark(name)) return undefined
    at++
    if (tokens[at] !== "=") return { name, value: undefined }
    const value = tokens[at + 1]
    if (value === undefined || isMark(value)) return undefined
    at += 2
    return { name, value }
  }
  while (at < tokens.length) {
    const head = pair()
    if (head === undefined) return undefined
    const parameters = new Map<string, Value>()
    while (tokens[at] === ";") {
      at++
      const parameter = pair()
      if (parameter === undefined) return undefined
      parameters.set(parameter.name.toLowerCase(), valueOf(parameter.value ?? ""))
    }
    members.push({
      key: head.value === undefined ? undefined : head.name.toLowerCase(),
      value: valueOf(head.value ?? head.name),
      parameters
    })
    if (at < tokens.length && (tokens[at++] !== "," || at === tokens.length)) return undefined
  }
  return members
}
