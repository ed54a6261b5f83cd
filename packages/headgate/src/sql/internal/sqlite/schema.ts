/** The rows that the ledger is loaded from and saved to. Times are milliseconds since the epoch; the rest is JSON. */
export const schema = (p: string): ReadonlyArray<string> => [
  `CREATE TABLE ${p}_accounts (
  id INTEGER PRIMARY KEY,
  plan TEXT NOT NULL,
  value TEXT NOT NULL,
  cells TEXT NOT NULL,
  throttled INTEGER NOT NULL,
  resets INTEGER NOT NULL,
  seen INTEGER NOT NULL,
  memory INTEGER,
  forget_at INTEGER,
  UNIQUE (plan, value)
)`,
  `CREATE INDEX ${p}_accounts_forget_at ON ${p}_accounts (forget_at)`,
  `CREATE TABLE ${p}_holds (
  id TEXT PRIMARY KEY,
  content TEXT NOT NULL,
  accounts TEXT NOT NULL,
  usage TEXT NOT NULL,
  ttl INTEGER NOT NULL,
  forced INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  extensions INTEGER NOT NULL,
  extension TEXT,
  ended TEXT,
  forget_at INTEGER NOT NULL
) WITHOUT ROWID`,
  `CREATE INDEX ${p}_holds_forget_at ON ${p}_holds (forget_at)`,
  `CREATE TABLE ${p}_claims (
  account INTEGER NOT NULL,
  hold TEXT NOT NULL,
  usage TEXT NOT NULL,
  state TEXT NOT NULL,
  open INTEGER NOT NULL,
  charge INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  booked_at INTEGER NOT NULL,
  resets INTEGER NOT NULL,
  PRIMARY KEY (account, hold)
) WITHOUT ROWID`,
  `CREATE INDEX ${p}_claims_due ON ${p}_claims (account, expires_at) WHERE open`,
  `CREATE INDEX ${p}_claims_released ON ${p}_claims (account, expires_at) WHERE open AND charge = 0`,
  // The store's time: no call is decided before it, whatever the machine's clock says.
  `CREATE TABLE ${p}_clock (id INTEGER PRIMARY KEY, last INTEGER NOT NULL)`,
  `INSERT INTO ${p}_clock (id, last) VALUES (1, 0)`
]
