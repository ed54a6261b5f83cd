import { clockOf, fn } from "./fn.ts"

/** The accounts of a call: locked, brought to its time, saved, and forgotten when nothing is left of them. */
export const accounts = (p: string): ReadonlyArray<string> => [
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
    `${p}_open(command jsonb, OUT works ${p}_work[], OUT at int8)`,
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
  accounts jsonb := command -> 'accounts';
  clock int8 := command ->> 'clock';
  last int8;
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
  SELECT k.last INTO last FROM ${p}_clock k WHERE k.id = 1;
  at := greatest(at, last, ${clockOf("clock")});
  IF at > last + (command ->> 'tick')::int8 THEN
    -- Nobody waits for who writes it.
    PERFORM FROM ${p}_clock k WHERE k.id = 1 AND k.last < at FOR UPDATE SKIP LOCKED;
    IF FOUND THEN UPDATE ${p}_clock k SET last = at WHERE k.id = 1; END IF;
  END IF;
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
      IF place IS NULL THEN
        -- A quota that is new here: what is held already is held on it too. What was booked before it is given back on none
        -- of the account's from then on, as after a reset: this one would give back what it has never counted.
        c := (
          q.key, q.unit, q.free, q.kind, coalesce(q.length, q.until - q.start), q.live, q.refill,
          coalesce(q.start, 0), q.until, 0, 0, 0, NULL, NULL, NULL
        );
        IF w.seen > 0 THEN
          SELECT coalesce(sum(${p}_amount(q.unit, q.free, k.usage)), 0) INTO c.held FROM ${p}_claims k
          WHERE k.account = w.id AND k.open AND (k.state = 'held' OR q.kind = 'now');
          w.resets := w.resets + 1;
        END IF;
        cells := cells || c;
        place := cardinality(cells);
        w.dirty := true;
      ELSIF c.kind = 'slots' AND c.length <> q.length THEN
        -- Slots of another length: all that still counts is taken to be of now, so that it counts for too long.
        c := ${p}_advance(c, at, NULL);
        c.slot := at / q.length;
        c.recent := c.used;
        c.older := NULL;
        c.length := q.length;
        c.live := q.live;
        cells[place] := c;
        w.dirty := true;
      ELSIF c.kind <> q.kind OR c.refill IS DISTINCT FROM q.refill THEN
        c.kind := q.kind;
        c.refill := q.refill;
        cells[place] := c;
      END IF;
      places[i] := place;
      limits[place] := i;
    END LOOP;
    w.limits := limits;
    IF EXISTS (SELECT FROM ${p}_claims k WHERE k.account = w.id AND k.open AND k.expires_at <= at) THEN
      w.cells := cells;
      w := ${p}_sweep(w, at);
      cells := w.cells;
    END IF;
    FOR i IN 1..cardinality(quotas) LOOP
      place := places[i];
      c := cells[place];
      IF c.used <> 0 OR c.recent <> 0 THEN cells[place] := ${p}_advance(c, at, quotas[i]); END IF;
    END LOOP;
    w.cells := cells;
    w.places := places;
    works[n] := w;
  END LOOP;
END`
  ),
  fn(
    `${p}_now(clock int8) RETURNS int8`,
    `BEGIN
  RETURN greatest(${clockOf("clock")}, (SELECT k.last FROM ${p}_clock k WHERE k.id = 1));
END`
  ),
  // Forgets records whose time is over, and accounts that no window remembers: now and then, but then more of them than
  // such calls have made since. It waits for no lock, and goes by the time that stays known if the clock is set back.
  fn(
    `${p}_forget(at int8, many int4) RETURNS void`,
    `DECLARE
  h record;
  a ${p}_accounts;
  w ${p}_work;
  done boolean;
BEGIN
  IF random() >= 0.2 THEN RETURN; END IF;
  at := least(at, (SELECT k.last FROM ${p}_clock k WHERE k.id = 1));
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
    ORDER BY x.forget_at LIMIT 10 * (many + 1) FOR UPDATE SKIP LOCKED
  );
END`
  )
]
