/** The rows of the ledger, and the types that its functions work on. */
export const tables = (p: string): ReadonlyArray<string> => [
  `CREATE TYPE ${p}_cell AS (
  key text, unit text, free boolean, kind text, length int8, live int8, refill int8,
  slot int8, until int8, recent int8, used int8, held int8, older int8[], fired float8[], fired_at int8[]
)`,
  `CREATE TYPE ${p}_quota AS (
  key text, unit text, free boolean, kind text, length int8, live int8, refill int8,
  capacity int8, start int8, until int8, alert_at float8[], frees boolean
)`,
  `CREATE TABLE ${p}_accounts (
  id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  plan text NOT NULL,
  value text NOT NULL,
  cells ${p}_cell[] NOT NULL DEFAULT '{}',
  throttled int8 NOT NULL DEFAULT 0,
  resets int8 NOT NULL,
  seen int8 NOT NULL DEFAULT 0,
  memory int8,
  forget_at int8,
  UNIQUE (plan, value)
) WITH (fillfactor = 40, toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.02)`,
  `CREATE INDEX ${p}_accounts_forget_at ON ${p}_accounts (forget_at)`,
  `CREATE TABLE ${p}_holds (
  id text PRIMARY KEY,
  content text NOT NULL,
  accounts int8[] NOT NULL,
  usage int8[] NOT NULL,
  ttl int8 NOT NULL,
  forced boolean NOT NULL DEFAULT false,
  expires_at int8 NOT NULL,
  extensions int4 NOT NULL DEFAULT 0,
  extension int8[],
  ended text,
  actual int8[],
  told jsonb,
  forget_at int8 NOT NULL
) WITH (fillfactor = 70)`,
  `CREATE INDEX ${p}_holds_forget_at ON ${p}_holds (forget_at)`,
  `CREATE TABLE ${p}_claims (
  account int8 NOT NULL,
  hold text NOT NULL,
  usage int8[] NOT NULL,
  state text NOT NULL,
  open boolean NOT NULL,
  charge boolean NOT NULL,
  expires_at int8 NOT NULL,
  booked_at int8 NOT NULL,
  resets int8 NOT NULL,
  PRIMARY KEY (account, hold)
)`,
  `CREATE INDEX ${p}_claims_due ON ${p}_claims (account, expires_at) WHERE open`,
  `CREATE INDEX ${p}_claims_released ON ${p}_claims (account, expires_at) WHERE open AND NOT charge`,
  // The store's time: no call is decided before it, whatever the server's clock says.
  `CREATE TABLE ${p}_clock (id int4 PRIMARY KEY, last int8 NOT NULL) WITH (fillfactor = 10)`,
  `INSERT INTO ${p}_clock (id, last) VALUES (1, 0)`,
  // One account under way in a function. limits[cell] is the quota of this call that looks at the cell, if one does.
  `CREATE TYPE ${p}_work AS (
  id int8, cells ${p}_cell[], quotas ${p}_quota[], places int4[], limits int4[],
  throttled int8, resets int8, seen int8, forget_at int8, throttle int8, memory int8, loud boolean, dirty boolean,
  mixed boolean
)`
]
