// The table of faults: what happens, how often in a test and how often in full.
import { clocks } from "./clocks.ts"
import type { Fault } from "./fault.ts"
import { lostAnswers, restarted, stopped } from "./outages.ts"
import { cutConnections } from "./postgres.ts"
import { alerts, killed, processes } from "./processes.ts"
import { refusals } from "./refusals.ts"
import { replicas } from "./replicas.ts"
import { cutTransactions, fullDisk } from "./sqlite.ts"

export const redisFaults: ReadonlyArray<Fault> = [
  processes("Redis", { processes: 4, fibers: 16, calls: 20_000 }, { processes: 8, fibers: 64, calls: 200_000 }),
  killed("Redis", { processes: 3, fibers: 8, millis: 1500 }, { processes: 8, fibers: 64, millis: 30_000 }),
  alerts("Redis", { processes: 4, fibers: 4, windows: 2 }, { processes: 8, fibers: 16, windows: 20 }),
  restarted("Redis", { times: 5, fibers: 16 }, { times: 50, fibers: 16 }),
  stopped({ millis: 1200, fibers: 16 }, { millis: 5000, fibers: 64 }),
  lostAnswers("Redis", { unknown: 200 }, { unknown: 10_000 }),
  ...refusals,
  replicas({ calls: 10 }, { calls: 50 }),
  clocks("Redis", { steps: 300 }, { steps: 2000 })
]

export const postgresFaults: ReadonlyArray<Fault> = [
  processes("PostgreSQL", { processes: 3, fibers: 16, calls: 1500 }, { processes: 8, fibers: 64, calls: 20_000 }),
  killed("PostgreSQL", { processes: 3, fibers: 4, millis: 1500 }, { processes: 8, fibers: 8, millis: 30_000 }),
  alerts("PostgreSQL", { processes: 3, fibers: 4, windows: 2 }, { processes: 8, fibers: 4, windows: 20 }),
  restarted("PostgreSQL", { times: 4, fibers: 16 }, { times: 50, fibers: 16 }),
  cutConnections,
  lostAnswers("PostgreSQL", { unknown: 100 }, { unknown: 5_000 }),
  clocks("PostgreSQL", { steps: 200 }, { steps: 2000 })
]

export const sqliteFaults: ReadonlyArray<Fault> = [
  processes("SQLite", { processes: 2, fibers: 8, calls: 1000 }, { processes: 8, fibers: 64, calls: 100_000 }),
  killed("SQLite", { processes: 2, fibers: 8, millis: 1500 }, { processes: 8, fibers: 8, millis: 30_000 }),
  alerts("SQLite", { processes: 2, fibers: 4, windows: 2 }, { processes: 8, fibers: 4, windows: 20 }),
  cutTransactions,
  fullDisk,
  clocks("SQLite", { steps: 300 }, { steps: 2000 })
]
