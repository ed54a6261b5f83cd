import type { Subject } from "../../Subject.ts"
import * as Usage from "../../Usage.ts"
import { closed, Entry, Pace, type Paced, type Word } from "./pace.ts"
import type { Account, Plan, QuotaStatus, Refused } from "../verbs.ts"

const planOf = (id: string, dimension: string | undefined): Plan => ({
  id,
  dimension,
  quotas: [closed],
  throttle: 0,
  alerts: "thresholds"
})

/**
 * The paces of a rate limiter: one of everyone, one per model, and one per model of each provider that calls name. Those of
 * idle models are forgotten, as accounts are, in two generations.
 */
export class Paces {
  private readonly everyone: Pace
  private readonly general: ReadonlyArray<Pace>
  private readonly name: string
  private readonly memory: number
  private young = new Map<string, Pace>()
  private old = new Map<string, Pace>()
  private turnsAt = Infinity
  private last = -Infinity

  constructor(name: string, memory: number) {
    this.everyone = new Pace({ plan: planOf(`${name}/provider`, undefined), value: "" })
    this.general = [this.everyone]
    this.name = name
    this.memory = memory
  }

  /** Number of models in memory. */
  get size(): number {
    return this.young.size + this.old.size
  }

  /** The paces that concern a subject, at a provider if that is known. */
  of(subject: Subject, clock: number, provider?: string): ReadonlyArray<Pace> {
    const own = this.own(subject, clock, undefined)
    if (own === this.everyone) return this.general
    return provider === undefined ? [this.everyone, own] : [this.everyone, own, this.own(subject, clock, provider)]
  }

  /** How long the provider's word keeps calls away, where that is what refused. */
  keepsAway(refused: Refused): number {
    return "keepsAway" in refused ? (refused as Paced).keepsAway : 0
  }

  /** What holds a usage back longest, if anything does. */
  refusal(paces: ReadonlyArray<Pace>, usage: Usage.Usage, clock: number): Refused | undefined {
    const now = this.at(clock)
    let longest: Paced | undefined
    let keepsAway = 0
    for (const pace of paces) {
      const refused = pace.refusal(usage, now)
      if (refused === undefined) continue
      keepsAway = Math.max(keepsAway, refused.keepsAway)
      if (refused.retryAfter > (longest?.retryAfter ?? 0)) longest = refused
    }
    return longest === undefined || longest.keepsAway === keepsAway ? longest : ({ ...longest, keepsAway } as Paced)
  }

  /** Counts a call, whatever anyone says. */
  enter(paces: ReadonlyArray<Pace>, usage: Usage.Usage, clock: number): Entry {
    return new Entry(paces, usage, this.at(clock))
  }

  /**
   * Takes the provider at its word on its own part of the subject's model, or on everyone, given in answer to a call if that
   * is known. How long it asks to stay away is believed for so long as there is patience.
   */
  tell(
    word: Word,
    subject: Subject,
    answered: Entry | undefined,
    clock: number,
    patience = Infinity,
    provider?: string
  ): Account {
    const pace = this.own(subject, clock, provider)
    pace.tell(
      word,
      answered?.tickets.find((ticket) => ticket.pace === pace),
      patience,
      this.at(clock)
    )
    return pace.account
  }

  /** A call is over, and took this. Whether more calls may go for that. */
  settle(entry: Entry, actual: Usage.Usage, clock: number): boolean {
    entry.exceed(Usage.excess(actual, entry.usage), this.at(clock))
    return entry.settle()
  }

  status(subject: Subject, clock: number): ReadonlyArray<QuotaStatus> {
    const now = this.at(clock)
    const model = modelOf(subject)
    const own = [...this.old.values(), ...this.young.values()].filter(({ account }) => account.value === model)
    return [this.everyone, ...own].flatMap((pace) => pace.status(now))
  }

  private own(subject: Subject, clock: number, provider: string | undefined): Pace {
    const model = modelOf(subject)
    if (model === undefined) return this.everyone
    const now = this.at(clock)
    if (this.size === 0) this.turnsAt = now + this.memory
    if (now >= this.turnsAt) this.turn(now)
    const key = provider === undefined ? model : `${provider}\u0000${model}`
    let pace = this.young.get(key)
    if (pace === undefined) {
      const id = `${this.name}/provider${provider === undefined ? "" : `/${provider}`}:model`
      pace = this.old.get(key) ?? new Pace({ plan: planOf(id, "model"), value: model })
      this.old.delete(key)
      this.young.set(key, pace)
    }
    return pace
  }

  private turn(now: number): void {
    const idle = now >= this.turnsAt + this.memory
    const kept = [...this.old, ...(idle ? this.young : [])].filter(([_, pace]) => !pace.isIdle(now))
    this.old = new Map(idle ? kept : [...this.young, ...kept])
    this.young = new Map()
    this.turnsAt = now + this.memory
  }

  /** Time never runs backwards. */
  at(clock: number): number {
    return (this.last = Math.max(this.last, Math.floor(clock)))
  }
}

const modelOf = (subject: Subject): string | undefined => (Object.hasOwn(subject, "model") ? subject.model : undefined)

const known = new WeakMap<object, Map<string, Paces>>()

/** The paces of all rate limiters of one name on one store. */
export const pacesOf = (store: object, name: string, memory: number): Paces => {
  let named = known.get(store)
  if (named === undefined) known.set(store, (named = new Map()))
  let paces = named.get(name)
  if (paces === undefined) named.set(name, (paces = new Paces(name, memory)))
  return paces
}
