import type { Contest, Table } from "../Contest.ts"
import type { Database } from "../peers/sql.ts"

const contest = (title: string, database: Database): Contest => ({
  name: `${title}, reserve, 4 quotas, 100 subjects, 16 in flight`,
  unit: "µs",
  rounds: 5,
  ours: {
    name: "headgate",
    load: (effort) => import("../peers/sql.ts").then((peer) => peer.headgate(database)(effort))
  },
  peers: [
    {
      name: "one upsert of one counter",
      load: (effort) => import("../peers/sql.ts").then((peer) => peer.upsert(database)(effort))
    }
  ]
})

export const sql: Table = {
  title: "A decision in a database",
  how:
    "PostgreSQL with its default settings on loopback, SQLite in a file with a write-ahead log and `synchronous = full`. The peer is the " +
    "least that a counter needs, through the same client: one `INSERT … ON CONFLICT DO UPDATE … RETURNING`.",
  contests: [contest("PostgreSQL", "postgres"), contest("SQLite", "sqlite")]
}
