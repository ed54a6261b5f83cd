export interface Spent {
  readonly at: number
  readonly amount: number
}

/** The most that any span of this length holds: every span that ends where something was spent. */
export const worstSpan = (log: ReadonlyArray<Spent>, length: number): number => {
  let worst = 0
  let sum = 0
  let first = 0
  for (const { amount, at } of log) {
    sum += amount
    while (log[first]!.at <= at - length) sum -= log[first++]!.amount
    worst = Math.max(worst, sum)
  }
  return worst
}
