// What a store knows of each id, read behind its back: the sum over ids, which its counters must be equal to.
import { assert } from "@effect/vitest"
import { Effect } from "effect"

export interface Entry {
  readonly ended: "settled" | "released" | "recorded" | "open"
  /** What was settled or recorded; what is held where it is open. */
  readonly tokens: number
  /** Whether it is charged when it expires. */
  readonly charge: boolean
}

export class Audit {
  readonly entries: ReadonlyMap<string, Entry>

  constructor(entries: ReadonlyMap<string, Entry>) {
    this.entries = entries
  }

  /** What must count as used once everything that is open has expired. */
  get used(): number {
    let sum = 0
    for (const entry of this.entries.values()) if (isCharged(entry)) sum += entry.tokens
    return sum
  }

  get open(): number {
    return [...this.entries.values()].filter(({ ended }) => ended === "open").length
  }

  /** Each settlement that was acknowledged is there, once and as it was told. */
  has(acknowledged: ReadonlyMap<string, number>): void {
    for (const [id, tokens] of acknowledged) {
      const entry = this.entries.get(id)
      if (entry?.ended !== "settled" || entry.tokens !== tokens) {
        assert.fail(`${id} was settled with ${tokens}, and is ${JSON.stringify(entry) ?? "forgotten"}`)
      }
    }
  }

  /** What has ended although nobody was told so: its caller was killed before it heard of it. */
  unheard(acknowledged: ReadonlyMap<string, number>): ReadonlyArray<string> {
    return this.ids((entry, id) => entry.ended !== "open" && !acknowledged.has(id))
  }

  /** A counter is the sum over ids. Where it is not, each id that alone explains it is named. */
  isSum(used: number): void {
    const more = used - this.used
    if (more === 0) return
    const amount = Math.abs(more)
    const ids = this.ids((entry) => isCharged(entry) && entry.tokens === amount)
    assert.fail(
      `the counter is ${used}, ${amount} ${more > 0 ? "above" : "below"} the sum over ids: ` +
        (ids.length === 0
          ? "more than one id is wrong"
          : `${ids.join(" or ")} is counted ${more > 0 ? "twice" : "not at all"}`)
    )
  }

  private ids(of: (entry: Entry, id: string) => boolean): ReadonlyArray<string> {
    return [...this.entries].flatMap(([id, entry]) => (of(entry, id) ? [id] : []))
  }
}

const isCharged = ({ charge, ended }: Entry): boolean =>
  ended === "settled" || ended === "recorded" || (ended === "open" && charge)

/** What was acknowledged of settlements, by their ids: each of them once. */
export const eachOnce = (told: Iterable<readonly [id: string, tokens: number]>): ReadonlyMap<string, number> => {
  const all = new Map<string, number>()
  for (const [id, tokens] of told) {
    if (all.has(id)) assert.fail(`${id} was settled twice, with ${all.get(id)} and ${tokens}`)
    all.set(id, tokens)
  }
  return all
}

/** The hold's record as `HOLD_FORMAT` of the script packs it. */
const lua = `
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local h = { struct.unpack('<BBdsBBBBddddsssss', redis.call('GET', key)) }
  local of = (h[5] == 1 and h[7] == 1) and h[17] or h[4]
  local ended = h[5] == 2 and 'recorded' or h[7] == 1 and 'settled' or h[7] == 2 and 'released' or 'open'
  found[#found + 1] = table.concat({ string.sub(key, #ARGV[1]), ended, h[1], string.match(of, '^%d+,%d+,%d+,%d+,(%d+)') }, ' ')
end
return found`

export const ofRedis = (
  send: <A>(command: string, ...args: ReadonlyArray<string>) => Effect.Effect<A>,
  prefix: string
): Effect.Effect<Audit> =>
  Effect.map(send<ReadonlyArray<string>>("EVAL", lua, "0", `{${prefix}}:hold:*`), (lines) => {
    const entries = lines.map((line): [string, Entry] => {
      const [tokens, charge, ended, ...id] = line.split(" ").toReversed()
      return [id.join(" "), { ended: ended as Entry["ended"], tokens: Number(tokens), charge: charge === "1" }]
    })
    return new Audit(new Map(entries))
  })

/** From the rows of holds in SQL: amounts are JSON, of which the fifth are tokens. */
export const ofRows = (rows: ReadonlyArray<Readonly<Record<string, unknown>>>): Audit =>
  new Audit(
    new Map(
      rows.map(({ actual, content, ended, id, usage }): [string, Entry] => {
        // What was released before it arrived has no content.
        const [verb] = JSON.parse(String(content) || "[]") as [string?]
        const end = verb === "record" ? "recorded" : ended === null ? "open" : (String(ended) as "settled" | "released")
        const amounts = JSON.parse(String(end === "settled" ? actual : usage)) as ReadonlyArray<number>
        return [String(id), { ended: end, tokens: amounts[4]!, charge: verb === "reserve, then charge" }]
      })
    )
  )
