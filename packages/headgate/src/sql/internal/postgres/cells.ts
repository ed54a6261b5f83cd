import { fn } from "./fn.ts"

/** One quota of one account: what it counts, and which thresholds that reaches. */
export const cells = (p: string): ReadonlyArray<string> => [
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
        c.length := q.until - q.start;
      ELSIF at >= q.start OR at >= coalesce(c.until, 0) THEN
        c.used := 0;
        c.recent := 0;
      END IF;
    ELSE NULL;
  END CASE;
  RETURN c;
END`
  ),
  // Lets alerts fire again whose window is over, if usage has fallen back below them. What fired is known by its amount, a
  // limit that was hit by less than nothing: another limit or list of thresholds is told as well, and the same one once.
  fn(
    `${p}_rearm(c ${p}_cell, at int8, q ${p}_quota) RETURNS ${p}_cell IMMUTABLE`,
    `DECLARE
  start int8 := coalesce(q.start, c.until);
  fired int8;
BEGIN
  FOR i IN REVERSE coalesce(cardinality(c.fired), 0)..1 LOOP
    CONTINUE WHEN c.fired[i] > 0 AND c.used >= c.fired[i];
    fired := c.fired_at[i];
    IF (CASE c.kind
      WHEN 'slots' THEN (fired / c.length + c.live + 1) * c.length <= at
      WHEN 'bucket' THEN fired + c.length <= at
      WHEN 'calendar' THEN fired < start AND at >= start
      WHEN 'now' THEN fired + 60000 <= at
      ELSE false
    END) THEN
      c.fired := nullif(c.fired[:i - 1] || c.fired[i + 1:], '{}');
      c.fired_at := nullif(c.fired_at[:i - 1] || c.fired_at[i + 1:], '{}');
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
          c.length := q.until - q.start;
        ELSIF q.start IS NULL THEN
          -- Where nobody is there who knows the period, it is as long as the one before.
          c.slot := at;
          IF at >= c.until THEN c.until := c.until + ((at - c.until) / c.length + 1) * c.length; END IF;
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
      EXIT WHEN c.used < q.alert_at[place];
      CONTINUE WHEN q.alert_at[place] = ANY (c.fired);
      c.fired := c.fired || q.alert_at[place];
      c.fired_at := c.fired_at || at;
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
    `${p}_told(told jsonb, before ${p}_cell, c ${p}_cell, account int4, quota int4, q ${p}_quota) RETURNS jsonb IMMUTABLE`,
    `DECLARE
  amount float8;
BEGIN
  FOR place IN 1..coalesce(cardinality(q.alert_at), 0) LOOP
    amount := q.alert_at[place];
    EXIT WHEN c.used < amount;
    CONTINUE WHEN c.fired_at[array_position(c.fired, amount)]
      IS NOT DISTINCT FROM before.fired_at[array_position(before.fired, amount)];
    told := coalesce(told, '[]') || jsonb_build_array(jsonb_build_array(account - 1, quota - 1, place - 1, c.used));
  END LOOP;
  RETURN told;
END`
  ),
  fn(
    `${p}_hit(c ${p}_cell, at int8, q ${p}_quota) RETURNS ${p}_cell IMMUTABLE`,
    `DECLARE
  amount float8 := -q.capacity;
BEGIN
  c := ${p}_rearm(c, at, q);
  IF amount = ANY (c.fired) THEN RETURN c; END IF;
  c.fired := c.fired || amount;
  c.fired_at := c.fired_at || at;
  RETURN c;
END`
  )
]
