import { accounts } from "./accounts.ts"
import { cells } from "./cells.ts"
import { decisions } from "./decisions.ts"
import { tables } from "./tables.ts"
import { verbs } from "./verbs.ts"

/**
 * The ledger in PL/pgSQL: what is admitted, what is booked, and which alerts fire. The names and the order of things are
 * those of `internal/ledger/ledger.ts` and `internal/ledger/cell.ts`, which the tests hold this to. What only has to be told (waits,
 * messages, counters) is not decided here: a refusal returns the rows it was decided on, and the ledger itself explains it.
 *
 * Each function is one transaction. It locks the rows of its accounts in the order of plan and value, takes the time then
 * (never before the store's), and first lets holds expire that are due.
 */
export const schema = (prefix: string): ReadonlyArray<string> =>
  [tables, cells, accounts, decisions, verbs].flatMap((part) => part(prefix))
