// The words of this package. A contest is a piece of work that headgate and its peers do in turns.

/** How hard to try: a quick run shows that everything works, and measures nothing. */
export interface Effort {
  /** How long one round of a timed side takes, in milliseconds. */
  readonly millis: number
  /** Scales numbers of subjects. */
  readonly subjects: (full: number) => number
}

export const full: Effort = { millis: 200, subjects: (full) => full }

export const quick: Effort = { millis: 2, subjects: (full) => Math.max(1, Math.ceil(full / 1000)) }

/** A side that is ready: each round gives a number in the unit of its contest. */
export interface Contestant {
  readonly round: () => number | Promise<number>
  readonly end?: () => unknown
}

/** One side. It is loaded in a process of its own, which runs nothing of the other sides. */
export interface Side {
  readonly name: string
  readonly load: (effort: Effort) => Contestant | Promise<Contestant>
}

export interface Peer extends Side {
  /** The highest ratio of ours to this peer that we may have. */
  readonly goal?: number
}

export interface Contest {
  readonly name: string
  /** What one number of it is; less is better. */
  readonly unit: "µs" | "ms" | "B" | "kB" | "commands" | "× the limit" | "× as much"
  readonly ours: Side
  readonly peers: ReadonlyArray<Peer>
  /** Rounds, where the usual number takes too long or says nothing more. */
  readonly rounds?: number
  /** A process for each round: for what a process can show only once. */
  readonly fresh?: boolean
  /** What limits it, and the next idea: told where a goal is missed. */
  readonly limits?: string
}

/** Contests that belong together, and how they are measured. */
export interface Table {
  readonly title: string
  readonly how: string
  readonly contests: ReadonlyArray<Contest>
}

/** A side that is always the same number. */
export const fixed = (name: string, value: number): Side => ({ name, load: () => ({ round: () => value }) })
