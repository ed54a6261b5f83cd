// All tables, in the order of the report.
import type { Contest, Peer, Side, Table } from "./Contest.ts"
import { decisions } from "./tables/decisions.ts"
import { guards } from "./tables/guards.ts"
import { overshoot } from "./tables/overshoot.ts"
import { redis } from "./tables/redis.ts"
import { refusals } from "./tables/refusals.ts"
import { retries } from "./tables/retries.ts"
import { simulations } from "./tables/simulations.ts"
import { sizes } from "./tables/sizes.ts"
import { sql } from "./tables/sql.ts"
import { subjects } from "./tables/subjects.ts"
import { waiting } from "./tables/waiting.ts"

export const tables: ReadonlyArray<Table> = [
  decisions,
  refusals,
  waiting,
  guards,
  retries,
  subjects,
  overshoot,
  redis,
  sql,
  simulations,
  sizes
]

export const contestNamed = (name: string): Contest => {
  const contest = tables.flatMap(({ contests }) => contests).find((contest) => contest.name === name)
  if (contest === undefined) throw new RangeError(`there is no contest ${name}`)
  return contest
}

/** Ours first. */
export const sidesOf = ({ ours, peers }: Contest): readonly [Side, ...Array<Peer>] => [ours, ...peers]
