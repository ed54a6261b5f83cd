// Runs the rounds of a contest: ours, first peer, second peer, ours again, and so on.
import { type Contest, type Contestant, quick } from "./Contest.ts"
import { isolated } from "./isolate.ts"
import { median } from "./measure.ts"
import { sidesOf } from "./tables.ts"

export interface Round {
  readonly ours: number
  readonly peer: number
  readonly ratio: number
}

/** Ours against one peer. `ours`, `peer` and `ratio` are the medians of the rounds; less is better. */
export interface Row {
  readonly table: string
  readonly name: string
  readonly against: string
  readonly ours: number
  readonly peer: number
  readonly unit: Contest["unit"]
  readonly ratio: number
  readonly goal?: number
  readonly rounds: ReadonlyArray<Round>
  readonly limits?: string
}

export interface Options {
  readonly rounds: number
  /** `"quick"` runs all in this process, with tiny sizes: it shows that everything works, and measures nothing. */
  readonly effort: "full" | "quick"
}

const load = (contest: Contest, index: number, { effort }: Options): Contestant | Promise<Contestant> =>
  effort === "quick" ? sidesOf(contest)[index]!.load(quick) : isolated(contest.name, index)

const once = async (contest: Contest, index: number, options: Options): Promise<number> => {
  const contestant = await load(contest, index, options)
  try {
    return await contestant.round()
  } finally {
    await contestant.end?.()
  }
}

/** The numbers of each side, round by round. */
const numbersOf = async (contest: Contest, options: Options): Promise<ReadonlyArray<ReadonlyArray<number>>> => {
  const sides = sidesOf(contest)
  const numbers = sides.map((): Array<number> => [])
  const rounds = Math.min(options.rounds, contest.rounds ?? options.rounds)
  const ready: Array<Contestant> = []
  try {
    if (contest.fresh !== true) for (const index of sides.keys()) ready.push(await load(contest, index, options))
    for (let round = 0; round < rounds; round++) {
      for (const index of sides.keys()) {
        numbers[index]!.push(await (ready[index]?.round() ?? once(contest, index, options)))
      }
    }
  } finally {
    for (const contestant of ready) await contestant.end?.()
  }
  return numbers
}

export const race = async (table: string, contest: Contest, options: Options): Promise<ReadonlyArray<Row>> => {
  const [ours = [], ...theirs] = await numbersOf(contest, options)
  return contest.peers.map(({ goal, name }, index) => {
    const peer = theirs[index]!
    const rounds = ours.map((ours, round) => ({ ours, peer: peer[round]!, ratio: ours / peer[round]! }))
    return {
      table,
      name: contest.name,
      against: name,
      ours: median(ours),
      peer: median(peer),
      unit: contest.unit,
      ratio: median(rounds.map(({ ratio }) => ratio)),
      ...(goal === undefined ? {} : { goal }),
      rounds,
      ...(contest.limits === undefined ? {} : { limits: contest.limits })
    }
  })
}
