/**
 * The ledger in PL/pgSQL: what is admitted, what is booked, and which alerts fire. The names and the order of things are
 * those of `internal/ledger.ts` and `internal/cell.ts`, which the tests hold this to. What only has to be told (waits,
 * messages, counters) is not decided here: a refusal returns the rows it was decided on, and the ledger itself explains it.
 *
 * Each function is one transaction. It locks the rows of its accounts in the order of plan and value, takes the time then
 * (never before what these accounts have seen), and first lets holds expire that are due.
 */
export const schema = (p: string): ReadonlyArray<string> => [
  `CREATE TYPE ${p}_cell AS (
  key text, unit text, free boolean, kind text, length int8, live int8, refill int8,
  slot int8, until int8, recent int8, used int8, held int8, older int8[], fired int8[]
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
  // One account under way in a function. limits[cell] is the quota of this call that looks at the cell, if one does.
  `CREATE TYPE ${p}_work AS (
  id int8, cells ${p}_cell[], quotas ${p}_quota[], places int4[], limits int4[],
  throttled int8, resets int8, seen int8, forget_at int8, throttle int8, memory int8, loud boolean, dirty boolean,
  mixed boolean
)`,
  fn(
    `${p}_amount(unit text, free boolean, u int8[]) RETURNS int8 IMMUTABLE`,
    `BEGIN
  RETURN CASE unit
    WHEN 'requests' THEN u[1]
    WHEN 'inputTokens' THEN CASE WHEN free THEN u[2] - u[4] ELSE u[2] END
    WHEN 'outputTokens' THEN u[3]
    WHEN 'tokens' THEN CASE WHEN free THEN u[5] - u[4] ELSE u[5] END
    WHEN 'cost' THEN u[6]
    ELSE 1
  END;
END`
  ),
  // Lets go of what no longer counts at a time. A calendar's periods are the caller's; of those before the one it knows it
  // matters only that they are over.
  fn(
    `${p}_advance(c ${p}_cell, at int8, q ${p}_quota) RETURNS ${p}_cell IMMUTABLE`,
    `DECLARE
  slot int8;
  periods int8;
BEGIN
  IF c.used = 0 AND c.recent = 0 THEN RETURN c; END IF;
  CASE c.kind
    WHEN 'slots' THEN
      slot := at / c.length;
      IF slot = c.slot THEN RETURN c; END IF;
      IF c.slot < slot - c.live THEN
        c.used := 0;
        c.older := NULL;
      ELSE
        WHILE c.older[1] < slot - c.live LOOP
          c.used := c.used - c.older[2];
          c.older := c.older[3:];
        END LOOP;
        IF c.recent > 0 THEN c.older := c.older || ARRAY[c.slot, c.recent]; END IF;
      END IF;
      c.slot := slot;
      c.recent := 0;
    WHEN 'bucket' THEN
      periods := (at - c.slot) / c.length;
      IF periods::numeric * c.refill >= c.recent THEN
        c.recent := 0;
      ELSIF periods > 0 THEN
        c.slot := c.slot + periods * c.length;
        c.recent := c.recent - periods * c.refill;
      END IF;
      c.used := greatest(0, c.recent - div((at - c.slot)::numeric * c.refill, c.length));
      IF c.used = 0 THEN c.recent := 0; END IF;
    WHEN 'calendar' THEN
      IF q.start IS NULL THEN
        IF at >= c.until THEN
          c.used := 0;
          c.recent := 0;
        END IF;
      ELSIF c.slot >= q.start THEN
        c.until := q.until;
      ELSIF at >= q.start OR at >= coalesce(c.until, 0) THEN
        c.used := 0;
        c.recent := 0;
      END IF;
    ELSE NULL;
  END CASE;
  RETURN c;
END`
  ),
  // Lets alerts fire again whose window is over, if usage has fallen back below them.
  fn(
    `${p}_rearm(c ${p}_cell, at int8, q ${p}_quota) RETURNS ${p}_cell IMMUTABLE`,
    `DECLARE
  thresholds int4 := coalesce(cardinality(q.alert_at), 0);
  fired int8;
BEGIN
  IF c.fired IS NULL OR q.key IS NULL THEN RETURN c; END IF;
  IF cardinality(c.fired) <> thresholds + 1 THEN
    c.fired := NULL;
    RETURN c;
  END IF;
  FOR place IN 1..thresholds + 1 LOOP
    fired := c.fired[place];
    CONTINUE WHEN fired = 0;
    CONTINUE WHEN place <= thresholds AND c.used >= q.alert_at[place] * q.capacity;
    IF (CASE c.kind
      WHEN 'slots' THEN (fired / c.length + c.live + 1) * c.length <= at
      WHEN 'bucket' THEN fired + c.length <= at
      WHEN 'calendar' THEN fired < q.start AND at >= q.start
      WHEN 'now' THEN fired + 60000 <= at
      ELSE false
    END) THEN
      c.fired[place] := 0;
    END IF;
  END LOOP;
  RETURN c;
END`
  ),
  // Counts an amount as used. If loud, marks the thresholds that this reaches.
  fn(
    `${p}_use(c ${p}_cell, amount int8, at int8, q ${p}_quota, loud boolean) RETURNS ${p}_cell IMMUTABLE`,
    `BEGIN
  IF amount = 0 THEN RETURN c; END IF;
  c := ${p}_advance(c, at, q);
  IF c.fired IS NOT NULL THEN c := ${p}_rearm(c, at, q); END IF;
  IF c.used = 0 AND c.recent = 0 THEN
    c.older := NULL;
    CASE c.kind
      WHEN 'slots' THEN c.slot := at / c.length;
      WHEN 'bucket' THEN c.slot := at;
      WHEN 'calendar' THEN
        IF at >= q.start THEN
          c.slot := q.start;
          c.until := q.until;
        ELSE
          c.slot := at;
          c.until := q.start;
        END IF;
      ELSE NULL;
    END CASE;
  END IF;
  c.recent := c.recent + amount;
  c.used := c.used + amount;
  IF loud AND q.capacity > 0 THEN
    FOR place IN 1..coalesce(cardinality(q.alert_at), 0) LOOP
      EXIT WHEN c.used < q.alert_at[place] * q.capacity;
      IF c.fired IS NULL THEN c.fired := array_fill(0::int8, ARRAY[cardinality(q.alert_at) + 1]); END IF;
      IF c.fired[place] = 0 THEN c.fired[place] := greatest(1, at); END IF;
    END LOOP;
  END IF;
  RETURN c;
END`
  ),
  // Takes back up to an amount of what was booked then, as far as it still counts. The cell was advanced.
  fn(
    `${p}_refund(c ${p}_cell, amount int8, booked int8, at int8) RETURNS ${p}_cell IMMUTABLE`,
    `DECLARE
  slot int8 := c.slot;
  back int8 := amount;
BEGIN
  CASE c.kind
    WHEN 'bucket' THEN
      back := least(c.used, greatest(0, amount - div((at - booked)::numeric * c.refill, c.length)));
    WHEN 'slots' THEN slot := booked / c.length;
    WHEN 'calendar' THEN
      IF booked < c.slot THEN RETURN c; END IF;
    ELSE NULL;
  END CASE;
  IF slot = c.slot THEN
    back := least(back, c.recent);
    c.recent := c.recent - back;
    c.used := c.used - back;
    RETURN c;
  END IF;
  FOR i IN 1..coalesce(cardinality(c.older), 0) BY 2 LOOP
    IF c.older[i] = slot THEN
      back := least(back, c.older[i + 1]);
      c.used := c.used - back;
      c.older[i + 1] := c.older[i + 1] - back;
      IF c.older[i + 1] = 0 THEN c.older := c.older[:i - 1] || c.older[i + 2:]; END IF;
      EXIT;
    END IF;
  END LOOP;
  RETURN c;
END`
  ),
  // Which thresholds have fired between two states of a cell, as [account, quota, place, used].
  fn(
    `${p}_told(told jsonb, before int8[], c ${p}_cell, account int4, quota int4, at int8) RETURNS jsonb IMMUTABLE`,
    `BEGIN
  FOR place IN 1..cardinality(c.fired) - 1 LOOP
    IF c.fired[place] = greatest(1, at) AND before[place] IS DISTINCT FROM c.fired[place] THEN
      told := coalesce(told, '[]') || jsonb_build_array(jsonb_build_array(account - 1, quota - 1, place - 1, c.used));
    END IF;
  END LOOP;
  RETURN told;
END`
  ),
  // Lets holds expire that are due: what they hold is charged or released at the time at which they expired.
  fn(
    `${p}_sweep(w ${p}_work, at int8) RETURNS ${p}_work`,
    `DECLARE
  claim ${p}_claims;
  c ${p}_cell;
  q ${p}_quota;
  amount int8;
BEGIN
  FOR claim IN
    SELECT * FROM ${p}_claims k WHERE k.account = w.id AND k.open AND k.expires_at <= at ORDER BY k.expires_at
  LOOP
    w.dirty := true;
    FOR i IN 1..cardinality(w.cells) LOOP
      c := w.cells[i];
      amount := ${p}_amount(c.unit, c.free, claim.usage);
      q := CASE WHEN w.limits[i] IS NULL THEN NULL ELSE w.quotas[w.limits[i]] END;
      IF c.kind = 'now' THEN
        c.held := c.held - amount;
      ELSIF claim.state = 'held' THEN
        c.held := c.held - amount;
        IF claim.charge THEN c := ${p}_use(c, amount, claim.expires_at, q, false); END IF;
      ELSIF claim.state = 'booked' AND NOT claim.charge THEN
        c := ${p}_advance(c, claim.expires_at, q);
        IF claim.resets = w.resets THEN c := ${p}_refund(c, amount, claim.booked_at, claim.expires_at); END IF;
      END IF;
      w.cells[i] := c;
    END LOOP;
    UPDATE ${p}_claims k SET
      open = false,
      state = CASE WHEN claim.charge THEN 'booked' ELSE 'gone' END,
      booked_at = CASE WHEN claim.state = 'booked' THEN claim.booked_at ELSE claim.expires_at END,
      resets = CASE WHEN claim.state = 'booked' THEN claim.resets ELSE w.resets END
    WHERE k.account = w.id AND k.hold = claim.hold;
  END LOOP;
  RETURN w;
END`
  ),
  fn(
    `${p}_save(w ${p}_work, at int8) RETURNS void`,
    `DECLARE
  c ${p}_cell;
  forget int8 := w.forget_at;
BEGIN
  IF w.memory IS NULL THEN
    forget := NULL;
  ELSIF forget < at + 2 * w.memory THEN
    forget := at + 3 * w.memory;
  END IF;
  FOREACH c IN ARRAY CASE WHEN w.mixed THEN w.cells ELSE '{}' END LOOP
    IF forget IS NOT NULL AND c.kind = 'bucket' AND c.used > 0 THEN
      forget := greatest(forget, at + least(4e15, (div(c.used, c.refill) + 2) * c.length)::int8);
    END IF;
    IF c.kind = 'ever' AND (c.used > 0 OR c.recent > 0) THEN forget := NULL; END IF;
  END LOOP;
  UPDATE ${p}_accounts a SET
    cells = w.cells, throttled = w.throttled, resets = w.resets, seen = at, memory = w.memory, forget_at = forget
  WHERE a.id = w.id;
END`
  ),
  // Locks the accounts of a call, makes those that are missing, and brings them to the time of the call.
  fn(
    `${p}_open(accounts jsonb, clock int8, OUT works ${p}_work[], OUT at int8)`,
    `DECLARE
  asked record;
  found_ ${p}_accounts;
  w ${p}_work;
  q ${p}_quota;
  c ${p}_cell;
  cells ${p}_cell[];
  quotas ${p}_quota[];
  places int4[];
  limits int4[];
  place int4;
BEGIN
  works := array_fill(NULL::${p}_work, ARRAY[jsonb_array_length(accounts)]);
  at := 0;
  FOR asked IN
    SELECT j, o FROM jsonb_array_elements(accounts) WITH ORDINALITY x(j, o)
    ORDER BY (j ->> 'plan') COLLATE "C", (j ->> 'value') COLLATE "C"
  LOOP
    LOOP
      SELECT * INTO found_ FROM ${p}_accounts a
      WHERE a.plan = asked.j ->> 'plan' AND a.value = asked.j ->> 'value' FOR UPDATE;
      EXIT WHEN FOUND;
      INSERT INTO ${p}_accounts (plan, value, resets, memory, forget_at)
      VALUES (asked.j ->> 'plan', asked.j ->> 'value', ${p}_now(clock), (asked.j ->> 'memory')::int8, 0)
      ON CONFLICT DO NOTHING;
    END LOOP;
    w := NULL;
    w.id := found_.id;
    w.cells := found_.cells;
    w.throttled := found_.throttled;
    w.resets := found_.resets;
    w.seen := found_.seen;
    w.forget_at := found_.forget_at;
    w.throttle := (asked.j ->> 'throttle')::int8;
    -- What remembers for ever does so whatever plan asks; otherwise the longest memory counts.
    w.memory := found_.memory;
    IF asked.j ? 'memory' AND found_.memory IS NOT NULL THEN
      w.memory := CASE
        WHEN (asked.j ->> 'memory')::int8 IS NULL THEN NULL
        ELSE greatest(found_.memory, (asked.j ->> 'memory')::int8)
      END;
    END IF;
    w.loud := (asked.j ->> 'loud')::boolean;
    w.dirty := found_.seen = 0;
    w.quotas := ARRAY(SELECT x FROM jsonb_populate_recordset(NULL::${p}_quota, asked.j -> 'quotas') x);
    works[asked.o] := w;
    at := greatest(at, found_.seen);
  END LOOP;
  at := greatest(at, ${p}_now(clock));
  FOR n IN 1..cardinality(works) LOOP
    w := works[n];
    cells := w.cells;
    quotas := w.quotas;
    limits := array_fill(NULL::int4, ARRAY[cardinality(cells) + cardinality(quotas)]);
    places := array_fill(NULL::int4, ARRAY[cardinality(quotas)]);
    w.mixed := cardinality(cells) <> cardinality(quotas);
    FOR i IN 1..cardinality(quotas) LOOP
      q := quotas[i];
      IF at < q.start OR at >= q.until THEN
        RAISE EXCEPTION 'calendar' USING ERRCODE = 'HG001', DETAIL = at::text;
      END IF;
      IF q.kind = 'bucket' OR q.kind = 'ever' THEN w.mixed := true; END IF;
      place := NULL;
      c := cells[i];
      IF c.key = q.key THEN
        place := i;
      ELSE
        FOR other IN 1..cardinality(cells) LOOP
          c := cells[other];
          IF c.key = q.key THEN
            place := other;
            EXIT;
          END IF;
        END LOOP;
      END IF;
      IF place IS NOT NULL THEN
        places[i] := place;
        limits[place] := i;
        IF c.kind <> q.kind OR c.refill IS DISTINCT FROM q.refill THEN
          c.kind := q.kind;
          c.refill := q.refill;
          cells[place] := c;
        END IF;
      END IF;
    END LOOP;
    w.limits := limits;
    IF EXISTS (SELECT FROM ${p}_claims k WHERE k.account = w.id AND k.open AND k.expires_at <= at) THEN
      w.cells := cells;
      w := ${p}_sweep(w, at);
      cells := w.cells;
    END IF;
    FOR i IN 1..cardinality(quotas) LOOP
      place := places[i];
      IF place IS NULL THEN
        -- A quota that is new here: what is held already is held on it too.
        q := quotas[i];
        c := (q.key, q.unit, q.free, q.kind, q.length, q.live, q.refill, 0, NULL, 0, 0, 0, NULL, NULL);
        IF w.seen > 0 THEN
          SELECT coalesce(sum(${p}_amount(q.unit, q.free, k.usage)), 0) INTO c.held FROM ${p}_claims k
          WHERE k.account = w.id AND k.open AND (k.state = 'held' OR q.kind = 'now');
        END IF;
        cells := cells || c;
        place := cardinality(cells);
        places[i] := place;
        limits[place] := i;
        w.dirty := true;
      ELSE
        c := cells[place];
        IF c.used <> 0 OR c.recent <> 0 THEN cells[place] := ${p}_advance(c, at, quotas[i]); END IF;
      END IF;
    END LOOP;
    w.cells := cells;
    w.limits := limits;
    w.places := places;
    works[n] := w;
  END LOOP;
END`
  ),
  fn(
    `${p}_now(clock int8) RETURNS int8`,
    `BEGIN
  RETURN coalesce(clock, floor(extract(epoch FROM clock_timestamp()) * 1000)::int8);
END`
  ),
  // Whether a usage fits on all accounts. One call under way stays one, however often it is extended.
  fn(
    `${p}_fits(works ${p}_work[], at int8, u int8[], extending boolean) RETURNS boolean`,
    `DECLARE
  w ${p}_work;
  c ${p}_cell;
  q ${p}_quota;
  amount int8;
  cells ${p}_cell[];
  quotas ${p}_quota[];
  places int4[];
BEGIN
  FOREACH w IN ARRAY works LOOP
    IF NOT extending AND w.throttled > at THEN RETURN false; END IF;
    cells := w.cells;
    quotas := w.quotas;
    places := w.places;
    FOR i IN 1..cardinality(quotas) LOOP
      q := quotas[i];
      c := cells[places[i]];
      amount := CASE WHEN extending AND q.kind = 'now' THEN 0 ELSE ${p}_amount(q.unit, q.free, u) END;
      IF amount = 0 THEN
        IF q.capacity = 0 THEN RETURN false; END IF;
      ELSIF c.used + c.held + amount > q.capacity THEN
        RETURN false;
      END IF;
    END LOOP;
  END LOOP;
  RETURN true;
END`
  ),
  // The rows that accounts were decided on, for the ledger to explain a refusal with.
  fn(
    `${p}_rows(works ${p}_work[], at int8) RETURNS jsonb`,
    `BEGIN
  RETURN jsonb_agg(jsonb_build_object(
    'cells', to_jsonb(x.cells), 'throttled', x.throttled, 'resets', x.resets, 'seen', at,
    'claims', coalesce((
      SELECT jsonb_agg(jsonb_build_array(k.hold, k.expires_at, k.charge, k.state, k.usage) ORDER BY k.expires_at)
      FROM ${p}_claims k WHERE k.account = x.id AND k.open
    ), '[]')
  ) ORDER BY x.o) FROM unnest(works) WITH ORDINALITY x(
    id, cells, quotas, places, limits, throttled, resets, seen, forget_at, throttle, memory, loud, dirty, mixed, o
  );
END`
  ),
  // Applies a refusal: limits that were hit, and throttles.
  fn(
    `${p}_refuse(works ${p}_work[], at int8, u int8[], own int8[]) RETURNS jsonb`,
    `DECLARE
  w ${p}_work;
  c ${p}_cell;
  q ${p}_quota;
  amount int8;
  mine int8;
  throttled boolean := false;
  answer jsonb := jsonb_build_object('tag', 'refused', 'at', at, 'rows', ${p}_rows(works, at));
BEGIN
  FOR n IN 1..cardinality(works) LOOP
    w := works[n];
    IF own IS NULL AND w.throttled > at THEN throttled := true; END IF;
    FOR i IN 1..cardinality(w.quotas) LOOP
      q := w.quotas[i];
      amount := CASE WHEN own IS NOT NULL AND q.kind = 'now' THEN 0 ELSE ${p}_amount(q.unit, q.free, u) END;
      mine := CASE WHEN own IS NULL OR q.kind = 'now' THEN 0 ELSE ${p}_amount(q.unit, q.free, own) END;
      CONTINUE WHEN mine + amount <= q.capacity AND q.capacity > 0;
      IF w.loud THEN w.cells[w.places[i]] := ${p}_hit(w.cells[w.places[i]], at, q); END IF;
      FOR other IN 1..cardinality(works) LOOP
        PERFORM ${p}_save(CASE WHEN other = n THEN w ELSE works[other] END, at);
      END LOOP;
      RETURN answer;
    END LOOP;
  END LOOP;
  FOREACH w IN ARRAY works LOOP
    FOR i IN 1..cardinality(w.quotas) LOOP
      EXIT WHEN throttled;
      q := w.quotas[i];
      c := w.cells[w.places[i]];
      amount := CASE WHEN own IS NOT NULL AND q.kind = 'now' THEN 0 ELSE ${p}_amount(q.unit, q.free, u) END;
      CONTINUE WHEN amount = 0 OR c.used + c.held + amount <= q.capacity;
      IF w.loud THEN w.cells[w.places[i]] := ${p}_hit(c, at, q); END IF;
      IF w.throttle > 0 AND q.frees AND own IS NULL AND w.throttled <= at THEN w.throttled := at + w.throttle; END IF;
    END LOOP;
    PERFORM ${p}_save(w, at);
  END LOOP;
  RETURN answer;
END`
  ),
  fn(
    `${p}_hit(c ${p}_cell, at int8, q ${p}_quota) RETURNS ${p}_cell IMMUTABLE`,
    `DECLARE
  place int4 := coalesce(cardinality(q.alert_at), 0) + 1;
BEGIN
  c := ${p}_rearm(c, at, q);
  IF c.fired IS NULL THEN c.fired := array_fill(0::int8, ARRAY[place]); END IF;
  IF c.fired[place] = 0 THEN c.fired[place] := greatest(1, at); END IF;
  RETURN c;
END`
  ),
  // Forgets a few records whose time is over, and accounts that no window remembers. It waits for no lock.
  fn(
    `${p}_forget(at int8) RETURNS void`,
    `DECLARE
  h record;
  a ${p}_accounts;
  w ${p}_work;
  done boolean;
BEGIN
  FOR h IN
    SELECT id, accounts FROM ${p}_holds WHERE forget_at < at ORDER BY forget_at LIMIT 10 FOR UPDATE SKIP LOCKED
  LOOP
    done := true;
    FOR a IN
      SELECT x.* FROM ${p}_accounts x WHERE x.id IN (
        SELECT k.account FROM ${p}_claims k WHERE k.account = ANY (h.accounts) AND k.hold = h.id AND k.open
      ) ORDER BY x.id FOR UPDATE SKIP LOCKED
    LOOP
      w := NULL;
      w.id := a.id;
      w.cells := a.cells;
      w.limits := '{}';
      w.throttled := a.throttled;
      w.resets := a.resets;
      w.forget_at := a.forget_at;
      w.memory := a.memory;
      w.mixed := true;
      PERFORM ${p}_save(${p}_sweep(w, greatest(at, a.seen)), greatest(at, a.seen));
    END LOOP;
    IF NOT EXISTS (SELECT FROM ${p}_claims k WHERE k.account = ANY (h.accounts) AND k.hold = h.id AND k.open) THEN
      DELETE FROM ${p}_claims k WHERE k.account = ANY (h.accounts) AND k.hold = h.id;
      DELETE FROM ${p}_holds WHERE id = h.id;
    END IF;
  END LOOP;
  DELETE FROM ${p}_accounts WHERE id IN (
    SELECT x.id FROM ${p}_accounts x
    WHERE x.forget_at < at AND NOT EXISTS (SELECT FROM ${p}_claims k WHERE k.account = x.id)
    ORDER BY x.forget_at LIMIT 10 FOR UPDATE SKIP LOCKED
  );
END`
  ),
  fn(
    `${p}_reserve(command jsonb) RETURNS jsonb`,
    `DECLARE
  known ${p}_holds;
  works ${p}_work[];
  at int8;
  u int8[] := ARRAY(SELECT jsonb_array_elements_text(command -> 'usage'));
  booked boolean := (command ->> 'booked')::boolean;
  queued boolean := (command ->> 'queued')::boolean;
  ttl int8 := (command ->> 'ttl')::int8;
  mode text := command ->> 'mode';
  w ${p}_work;
  c ${p}_cell;
  cells ${p}_cell[];
  quotas ${p}_quota[];
  limits int4[];
  q ${p}_quota;
  fired int8[];
  told jsonb;
BEGIN
  SELECT * INTO known FROM ${p}_holds h WHERE h.id = command ->> 'id';
  IF FOUND THEN
    IF known.content <> command ->> 'content' THEN RETURN jsonb_build_object('tag', 'other'); END IF;
    RETURN jsonb_build_object('tag', 'known', 'told', known.told, 'at', known.expires_at - known.ttl);
  END IF;
  SELECT * INTO works, at FROM ${p}_open(command -> 'accounts', (command ->> 'clock')::int8);
  IF mode <> 'force' AND NOT ${p}_fits(works, at, u, false) THEN
    RETURN ${p}_refuse(works, at, u, NULL);
  END IF;
  IF mode = 'ask' THEN
    FOREACH w IN ARRAY works LOOP
      IF w.dirty THEN PERFORM ${p}_save(w, at); END IF;
    END LOOP;
    RETURN jsonb_build_object('tag', 'held', 'at', at);
  END IF;
  FOR n IN 1..cardinality(works) LOOP
    w := works[n];
    cells := w.cells;
    quotas := w.quotas;
    limits := w.limits;
    FOR i IN 1..cardinality(cells) LOOP
      c := cells[i];
      IF booked AND c.kind <> 'now' THEN
        fired := c.fired;
        q := CASE WHEN limits[i] IS NULL THEN NULL ELSE quotas[limits[i]] END;
        c := ${p}_use(c, ${p}_amount(c.unit, c.free, u), at, q, true);
        IF c.fired IS NOT NULL AND limits[i] IS NOT NULL THEN
          told := ${p}_told(told, fired, c, n, limits[i], at);
        END IF;
      ELSE
        c.held := c.held + ${p}_amount(c.unit, c.free, u);
      END IF;
      cells[i] := c;
    END LOOP;
    w.cells := cells;
    PERFORM ${p}_save(w, at);
  END LOOP;
  INSERT INTO ${p}_holds (id, content, accounts, usage, ttl, forced, expires_at, told, forget_at)
  VALUES (
    command ->> 'id', command ->> 'content', ARRAY(SELECT x.id FROM unnest(works) x), u, ttl, mode = 'force', at + ttl,
    told, at + ttl + (command ->> 'retention')::int8
  );
  INSERT INTO ${p}_claims (account, hold, usage, state, open, charge, expires_at, booked_at, resets)
  SELECT x.id, command ->> 'id', u, CASE WHEN booked THEN 'booked' ELSE 'held' END, queued,
    (command ->> 'charge')::boolean, at + ttl, at, x.resets
  FROM unnest(works) x;
  IF random() < 0.2 THEN PERFORM ${p}_forget(at); END IF;
  RETURN jsonb_build_object('tag', 'held', 'at', at, 'told', told);
END`
  ),
  fn(
    `${p}_extend(command jsonb) RETURNS jsonb`,
    `DECLARE
  h ${p}_holds;
  works ${p}_work[];
  at int8;
  u int8[] := ARRAY(SELECT jsonb_array_elements_text(command -> 'usage'));
  step int4 := (command ->> 'step')::int4;
  renewal boolean := 0 = ALL (u);
  w ${p}_work;
  c ${p}_cell;
BEGIN
  SELECT * INTO h FROM ${p}_holds x WHERE x.id = command ->> 'id' FOR UPDATE;
  IF NOT FOUND THEN RETURN jsonb_build_object('tag', 'forgotten'); END IF;
  IF NOT renewal AND step < h.extensions THEN
    RETURN CASE WHEN step < h.extensions - 1 OR h.extension = u
      THEN jsonb_build_object('tag', 'repeated', 'reserved', h.usage)
      ELSE jsonb_build_object('tag', 'conflict', 'bound', 'extended by the same usage', 'state', 'extended by another')
    END;
  END IF;
  IF h.ended IS NOT NULL THEN
    RETURN jsonb_build_object('tag', 'conflict', 'bound', 'open', 'state', 'ended');
  END IF;
  SELECT * INTO works, at FROM ${p}_open(command -> 'accounts', (command ->> 'clock')::int8);
  IF at >= h.expires_at OR EXISTS (
    SELECT FROM ${p}_claims k
    WHERE k.account = ANY (h.accounts) AND k.hold = h.id AND k.state <> 'held' AND NOT (renewal AND k.open)
  ) THEN
    FOREACH w IN ARRAY works LOOP
      IF w.dirty THEN PERFORM ${p}_save(w, at); END IF;
    END LOOP;
    RETURN jsonb_build_object('tag', 'conflict', 'bound', 'open', 'state', 'expired');
  END IF;
  IF NOT renewal AND NOT h.forced AND NOT ${p}_fits(works, at, u, true) THEN
    RETURN ${p}_refuse(works, at, u, h.usage) || jsonb_build_object('reserved', h.usage);
  END IF;
  FOREACH w IN ARRAY works LOOP
    FOR i IN 1..cardinality(w.cells) LOOP
      c := w.cells[i];
      IF c.kind <> 'now' THEN
        c.held := c.held + ${p}_amount(c.unit, c.free, u);
        w.cells[i] := c;
      END IF;
    END LOOP;
    PERFORM ${p}_save(w, at);
  END LOOP;
  FOR i IN 1..6 LOOP
    h.usage[i] := h.usage[i] + u[i];
  END LOOP;
  UPDATE ${p}_claims k SET usage = h.usage, expires_at = at + h.ttl
  WHERE k.account = ANY (h.accounts) AND k.hold = h.id;
  UPDATE ${p}_holds x SET usage = h.usage, expires_at = at + h.ttl,
    extensions = CASE WHEN renewal THEN x.extensions ELSE step + 1 END,
    extension = CASE WHEN renewal THEN x.extension ELSE u END,
    forget_at = at + h.ttl + (command ->> 'retention')::int8
  WHERE x.id = h.id;
  RETURN jsonb_build_object('tag', 'booked', 'reserved', h.usage, 'at', at);
END`
  ),
  // Settles a hold for what was used, or releases it where nothing is given.
  fn(
    `${p}_end(command jsonb) RETURNS jsonb`,
    `DECLARE
  h ${p}_holds;
  claim ${p}_claims;
  works ${p}_work[];
  at int8;
  u int8[] := CASE WHEN command ? 'usage' THEN ARRAY(SELECT jsonb_array_elements_text(command -> 'usage')) END;
  verb text := CASE WHEN u IS NULL THEN 'released' ELSE 'settled' END;
  w ${p}_work;
  c ${p}_cell;
  cells ${p}_cell[];
  quotas ${p}_quota[];
  limits int4[];
  q ${p}_quota;
  past int8;
  future int8;
  fired int8[];
  told jsonb;
BEGIN
  SELECT * INTO h FROM ${p}_holds x WHERE x.id = command ->> 'id' FOR UPDATE;
  IF NOT FOUND THEN RETURN jsonb_build_object('tag', 'forgotten'); END IF;
  IF h.ended IS NOT NULL THEN
    IF h.ended <> verb THEN
      RETURN jsonb_build_object('tag', 'conflict', 'bound', 'open', 'state', h.ended);
    END IF;
    IF h.actual IS DISTINCT FROM u THEN
      RETURN jsonb_build_object(
        'tag', 'conflict', 'bound', 'settled with the same usage', 'state', 'settled with another'
      );
    END IF;
    RETURN jsonb_build_object('tag', 'repeated', 'reserved', h.usage, 'told', h.told, 'at', h.expires_at);
  END IF;
  SELECT * INTO works, at FROM ${p}_open(command -> 'accounts', (command ->> 'clock')::int8);
  FOR n IN 1..cardinality(works) LOOP
    w := works[n];
    cells := w.cells;
    quotas := w.quotas;
    limits := w.limits;
    SELECT * INTO claim FROM ${p}_claims k WHERE k.account = w.id AND k.hold = h.id;
    FOR i IN 1..cardinality(cells) LOOP
      c := cells[i];
      past := ${p}_amount(c.unit, c.free, h.usage);
      IF c.kind = 'now' THEN
        IF claim.open THEN c.held := c.held - past; END IF;
        cells[i] := c;
        CONTINUE;
      END IF;
      future := CASE WHEN u IS NULL THEN 0 ELSE ${p}_amount(c.unit, c.free, u) END;
      q := CASE WHEN limits[i] IS NULL THEN NULL ELSE quotas[limits[i]] END;
      IF claim.state = 'held' THEN c.held := c.held - past; END IF;
      IF claim.state = 'booked' AND future < past THEN
        c := ${p}_advance(c, at, q);
        IF claim.resets = w.resets THEN c := ${p}_refund(c, past - future, claim.booked_at, at); END IF;
      ELSE
        fired := c.fired;
        c := ${p}_use(c, CASE WHEN claim.state = 'booked' THEN future - past ELSE future END, at, q, true);
        IF c.fired IS NOT NULL AND limits[i] IS NOT NULL THEN
          told := ${p}_told(told, fired, c, n, limits[i], at);
        END IF;
      END IF;
      cells[i] := c;
    END LOOP;
    w.cells := cells;
    PERFORM ${p}_save(w, at);
  END LOOP;
  DELETE FROM ${p}_claims k WHERE k.account = ANY (h.accounts) AND k.hold = h.id;
  UPDATE ${p}_holds x SET ended = verb, actual = u, told = told WHERE x.id = h.id;
  RETURN jsonb_build_object('tag', 'booked', 'reserved', h.usage, 'told', told, 'at', at);
END`
  ),
  fn(
    `${p}_record(command jsonb) RETURNS jsonb`,
    `DECLARE
  known ${p}_holds;
  works ${p}_work[];
  at int8;
  u int8[] := ARRAY(SELECT jsonb_array_elements_text(command -> 'usage'));
  w ${p}_work;
  c ${p}_cell;
  cells ${p}_cell[];
  quotas ${p}_quota[];
  limits int4[];
  q ${p}_quota;
  fired int8[];
  told jsonb;
BEGIN
  SELECT * INTO known FROM ${p}_holds h WHERE h.id = command ->> 'id';
  IF FOUND THEN
    IF known.content <> command ->> 'content' THEN RETURN jsonb_build_object('tag', 'other'); END IF;
    RETURN jsonb_build_object('tag', 'repeated', 'told', known.told, 'at', known.expires_at);
  END IF;
  SELECT * INTO works, at FROM ${p}_open(command -> 'accounts', (command ->> 'clock')::int8);
  FOR n IN 1..cardinality(works) LOOP
    w := works[n];
    cells := w.cells;
    quotas := w.quotas;
    limits := w.limits;
    FOR i IN 1..cardinality(cells) LOOP
      c := cells[i];
      IF c.kind <> 'now' THEN
        fired := c.fired;
        q := CASE WHEN limits[i] IS NULL THEN NULL ELSE quotas[limits[i]] END;
        c := ${p}_use(c, ${p}_amount(c.unit, c.free, u), at, q, true);
        IF c.fired IS NOT NULL AND limits[i] IS NOT NULL THEN
          told := ${p}_told(told, fired, c, n, limits[i], at);
        END IF;
        cells[i] := c;
      END IF;
    END LOOP;
    w.cells := cells;
    PERFORM ${p}_save(w, at);
  END LOOP;
  INSERT INTO ${p}_holds (id, content, accounts, usage, ttl, expires_at, ended, told, forget_at)
  VALUES (
    command ->> 'id', command ->> 'content', '{}', u, 0, at, 'recorded', told,
    at + (command ->> 'retention')::int8
  );
  IF random() < 0.2 THEN PERFORM ${p}_forget(at); END IF;
  RETURN jsonb_build_object('tag', 'booked', 'told', told, 'at', at);
END`
  ),
  fn(
    `${p}_reset(command jsonb) RETURNS jsonb`,
    `DECLARE
  works ${p}_work[];
  at int8;
  accounts jsonb := command -> 'accounts';
  w ${p}_work;
  c ${p}_cell;
BEGIN
  IF command ? 'plans' THEN
    SELECT coalesce(jsonb_agg(jsonb_build_object('plan', a.plan, 'value', a.value)), '[]')
    INTO accounts FROM ${p}_accounts a
    WHERE a.plan IN (SELECT jsonb_array_elements_text(command -> 'plans'));
  END IF;
  SELECT * INTO works, at FROM ${p}_open(accounts, (command ->> 'clock')::int8);
  FOREACH w IN ARRAY works LOOP
    w.throttled := 0;
    w.resets := w.resets + 1;
    FOR i IN 1..cardinality(w.cells) LOOP
      c := w.cells[i];
      c.used := 0;
      c.recent := 0;
      c.older := NULL;
      c.fired := NULL;
      w.cells[i] := c;
    END LOOP;
    PERFORM ${p}_save(w, at);
  END LOOP;
  RETURN jsonb_build_object('tag', 'reset', 'at', at);
END`
  ),
  fn(
    `${p}_status(command jsonb) RETURNS jsonb STABLE`,
    `DECLARE
  rows_ jsonb;
  at int8;
BEGIN
  SELECT jsonb_agg(CASE WHEN a.id IS NULL THEN 'null' ELSE jsonb_build_object(
    'cells', to_jsonb(a.cells), 'throttled', a.throttled, 'resets', a.resets, 'seen', a.seen,
    'claims', coalesce((
      SELECT jsonb_agg(jsonb_build_array(
        k.hold, k.expires_at, k.charge, k.state, k.usage, k.booked_at, k.resets
      ) ORDER BY k.expires_at)
      FROM ${p}_claims k
      WHERE k.account = a.id AND k.open
        AND k.expires_at <= greatest(a.seen, ${p}_now((command ->> 'clock')::int8))
    ), '[]')
  ) END ORDER BY x.o), max(a.seen) INTO rows_, at
  FROM jsonb_array_elements(command -> 'accounts') WITH ORDINALITY x(j, o)
  LEFT JOIN ${p}_accounts a ON a.plan = x.j ->> 'plan' AND a.value = x.j ->> 'value';
  RETURN jsonb_build_object(
    'tag', 'rows', 'at', greatest(at, ${p}_now((command ->> 'clock')::int8)), 'rows', rows_
  );
END`
  )
]

/** The verbs are planned for tables of any size: what was planned while they were empty serves when they are full. */
const isVerb = (signature: string): boolean => signature.includes("(command jsonb)")

const fn = (signature: string, body: string): string => {
  const volatility = / (IMMUTABLE|STABLE)$/.exec(signature)?.[1] ?? "VOLATILE"
  return `CREATE FUNCTION ${signature.replace(/ (IMMUTABLE|STABLE)$/, "")} LANGUAGE plpgsql ${volatility}${
    isVerb(signature) ? " SET enable_seqscan = off" : ""
  } AS $headgate$
#variable_conflict use_variable
${body};
$headgate$`
}
