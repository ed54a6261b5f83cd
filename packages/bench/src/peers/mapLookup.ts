// The floor of anything that keeps a record per subject: look it up in a Map, and count.
import type { Contestant, Effort } from "../Contest.ts"
import { subjectsIn, timed } from "../measure.ts"

const lookup = (subjects: number, effort: Effort): Promise<Contestant> => {
  const count = effort.subjects(subjects)
  const next = subjectsIn(count)
  const records = new Map<string, { used: number }>()
  for (let index = 0; index < count; index++) records.set(next(), { used: 0 })
  return timed((times) => {
    for (let time = 0; time < times; time++) records.get(next())!.used++
  }, effort)
}

/** How many times as much it costs with so many subjects as with one. */
export const growth =
  (subjects: number) =>
  async (effort: Effort): Promise<Contestant> => {
    const one = await lookup(1, effort)
    const many = await lookup(subjects, effort)
    return { round: async () => (await many.round()) / (await one.round()) }
  }
