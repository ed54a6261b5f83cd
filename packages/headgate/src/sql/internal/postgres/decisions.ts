import { clockOf, fn } from "./fn.ts"

/** Whether a usage fits, and what a refusal does. */
export const decisions = (p: string): ReadonlyArray<string> => [
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
  // The rows that accounts were decided on, for the ledger to explain a refusal with, and of their open claims those that
  // tell most likely when it fits: but for the one that asks for more, a few that expire first, and that are released first.
  fn(
    `${p}_rows(works ${p}_work[], at int8, few int4, asking text) RETURNS jsonb`,
    `BEGIN
  RETURN jsonb_agg(jsonb_build_object(
    'cells', to_jsonb(x.cells), 'throttled', x.throttled, 'resets', x.resets, 'seen', at,
    'claims', coalesce((
      SELECT jsonb_agg(jsonb_build_array(k.hold, k.expires_at, k.charge, k.state, k.usage) ORDER BY k.expires_at)
      FROM (
        (
          SELECT * FROM ${p}_claims k WHERE k.account = x.id AND k.open AND k.hold IS DISTINCT FROM asking
          ORDER BY k.expires_at LIMIT few
        ) UNION (
          SELECT * FROM ${p}_claims k
          WHERE k.account = x.id AND k.open AND NOT k.charge AND k.hold IS DISTINCT FROM asking
          ORDER BY k.expires_at LIMIT few
        )
      ) k
    ), '[]')
  ) ORDER BY x.o) FROM unnest(works) WITH ORDINALITY x(
    id, cells, quotas, places, limits, throttled, resets, seen, forget_at, throttle, memory, loud, dirty, mixed, o
  );
END`
  ),
  // Applies a refusal: limits that were hit, and throttles.
  fn(
    `${p}_refuse(works ${p}_work[], at int8, clock int8, u int8[], few int4, asking text) RETURNS jsonb`,
    `DECLARE
  w ${p}_work;
  c ${p}_cell;
  q ${p}_quota;
  amount int8;
  extending boolean := asking IS NOT NULL;
  throttled boolean := false;
  answer jsonb := jsonb_build_object(
    'tag', 'refused', 'at', at, 'clock', least(at, ${clockOf("clock")}), 'rows', ${p}_rows(works, at, few, asking)
  );
BEGIN
  FOR n IN 1..cardinality(works) LOOP
    w := works[n];
    IF NOT extending AND w.throttled > at THEN throttled := true; END IF;
    FOR i IN 1..cardinality(w.quotas) LOOP
      q := w.quotas[i];
      amount := CASE WHEN extending AND q.kind = 'now' THEN 0 ELSE ${p}_amount(q.unit, q.free, u) END;
      CONTINUE WHEN amount <= q.capacity AND q.capacity > 0;
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
      amount := CASE WHEN extending AND q.kind = 'now' THEN 0 ELSE ${p}_amount(q.unit, q.free, u) END;
      CONTINUE WHEN amount = 0 OR c.used + c.held + amount <= q.capacity;
      IF w.loud THEN w.cells[w.places[i]] := ${p}_hit(c, at, q); END IF;
      IF w.throttle > 0 AND q.frees AND NOT extending AND w.throttled <= at THEN w.throttled := at + w.throttle; END IF;
    END LOOP;
    PERFORM ${p}_save(w, at);
  END LOOP;
  RETURN answer;
END`
  )
]
