import { fn } from "./fn.ts"

/** What the store is asked, a function each. */
export const verbs = (p: string): ReadonlyArray<string> => [
  fn(
    `${p}_reserve(command jsonb) RETURNS jsonb`,
    `DECLARE
  known ${p}_holds;
  works ${p}_work[];
  at int8;
  u int8[] := ARRAY(SELECT jsonb_array_elements_text(command -> 'usage'));
  booked boolean := (command ->> 'booked')::boolean;
  queued boolean := NOT booked;
  ttl int8 := (command ->> 'ttl')::int8;
  mode text := command ->> 'mode';
  w ${p}_work;
  c ${p}_cell;
  cells ${p}_cell[];
  quotas ${p}_quota[];
  limits int4[];
  q ${p}_quota;
  told jsonb;
  answer jsonb;
BEGIN
  SELECT * INTO known FROM ${p}_holds h WHERE h.id = command ->> 'id';
  IF FOUND THEN
    IF known.content <> command ->> 'content' THEN RETURN jsonb_build_object('tag', 'other'); END IF;
    RETURN jsonb_build_object('tag', 'known', 'told', known.told, 'at', known.expires_at - known.ttl);
  END IF;
  SELECT * INTO works, at FROM ${p}_open(command);
  IF mode <> 'force' AND NOT ${p}_fits(works, at, u, false) THEN
    answer := ${p}_refuse(works, at, (command ->> 'clock')::int8, u, (command ->> 'few')::int4, NULL);
    PERFORM ${p}_forget(at, cardinality(works));
    RETURN answer;
  END IF;
  IF mode = 'ask' THEN
    FOREACH w IN ARRAY works LOOP
      IF w.dirty THEN PERFORM ${p}_save(w, at); END IF;
    END LOOP;
    PERFORM ${p}_forget(at, cardinality(works));
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
        q := CASE WHEN limits[i] IS NULL THEN NULL ELSE quotas[limits[i]] END;
        c := ${p}_use(c, ${p}_amount(c.unit, c.free, u), at, q, true);
        IF c.fired IS NOT NULL AND c.fired_at IS DISTINCT FROM (cells[i]).fired_at THEN
          told := ${p}_told(told, cells[i], c, n, limits[i], q);
        END IF;
      ELSE
        c.held := c.held + ${p}_amount(c.unit, c.free, u);
        queued := true;
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
  PERFORM ${p}_forget(at, cardinality(works));
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
  SELECT * INTO works, at FROM ${p}_open(command);
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
    RETURN ${p}_refuse(works, at, (command ->> 'clock')::int8, u, (command ->> 'few')::int4, h.id)
      || jsonb_build_object('reserved', h.usage);
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
  // Settles a hold for what was used, or releases it where nothing is given. Where it may still be on its way, its id is
  // taken, so that it is not made when it arrives.
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
  told jsonb;
BEGIN
  SELECT * INTO h FROM ${p}_holds x WHERE x.id = command ->> 'id' FOR UPDATE;
  IF NOT FOUND THEN
    IF command ? 'retention' THEN
      at := ${p}_now((command ->> 'clock')::int8);
      INSERT INTO ${p}_holds (id, content, accounts, usage, ttl, expires_at, ended, forget_at) VALUES (
        command ->> 'id', '', '{}', '{0,0,0,0,0,0}', 0, at, 'released', at + (command ->> 'retention')::int8
      );
    END IF;
    RETURN jsonb_build_object('tag', 'forgotten');
  END IF;
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
  SELECT * INTO works, at FROM ${p}_open(command);
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
        c := ${p}_use(c, CASE WHEN claim.state = 'booked' THEN future - past ELSE future END, at, q, true);
        IF c.fired IS NOT NULL AND c.fired_at IS DISTINCT FROM (cells[i]).fired_at THEN
          told := ${p}_told(told, cells[i], c, n, limits[i], q);
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
  told jsonb;
BEGIN
  SELECT * INTO known FROM ${p}_holds h WHERE h.id = command ->> 'id';
  IF FOUND THEN
    IF known.content <> command ->> 'content' THEN RETURN jsonb_build_object('tag', 'other'); END IF;
    RETURN jsonb_build_object('tag', 'repeated', 'told', known.told, 'at', known.expires_at);
  END IF;
  SELECT * INTO works, at FROM ${p}_open(command);
  FOR n IN 1..cardinality(works) LOOP
    w := works[n];
    cells := w.cells;
    quotas := w.quotas;
    limits := w.limits;
    FOR i IN 1..cardinality(cells) LOOP
      c := cells[i];
      IF c.kind <> 'now' THEN
        q := CASE WHEN limits[i] IS NULL THEN NULL ELSE quotas[limits[i]] END;
        c := ${p}_use(c, ${p}_amount(c.unit, c.free, u), at, q, true);
        IF c.fired IS NOT NULL AND c.fired_at IS DISTINCT FROM (cells[i]).fired_at THEN
          told := ${p}_told(told, cells[i], c, n, limits[i], q);
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
  PERFORM ${p}_forget(at, cardinality(works));
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
  SELECT * INTO works, at FROM ${p}_open(command || jsonb_build_object('accounts', accounts));
  FOREACH w IN ARRAY works LOOP
    w.throttled := 0;
    w.resets := w.resets + 1;
    FOR i IN 1..cardinality(w.cells) LOOP
      c := w.cells[i];
      c.used := 0;
      c.recent := 0;
      c.older := NULL;
      c.fired := NULL;
      c.fired_at := NULL;
      w.cells[i] := c;
    END LOOP;
    PERFORM ${p}_save(w, at);
  END LOOP;
  RETURN jsonb_build_object('tag', 'reset', 'at', at);
END`
  ),
  // Gives the claims that are due, or with 'open' all, but for one that asks for more.
  fn(
    `${p}_status(command jsonb) RETURNS jsonb STABLE`,
    `DECLARE
  rows_ jsonb;
  now_ int8 := ${p}_now((command ->> 'clock')::int8);
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
        AND k.expires_at <= CASE WHEN command ? 'open' THEN 9e18::int8 ELSE greatest(a.seen, now_) END
        AND k.hold IS DISTINCT FROM command ->> 'asking'
    ), '[]')
  ) END ORDER BY x.o), max(a.seen) INTO rows_, at
  FROM jsonb_array_elements(command -> 'accounts') WITH ORDINALITY x(j, o)
  LEFT JOIN ${p}_accounts a ON a.plan = x.j ->> 'plan' AND a.value = x.j ->> 'value';
  RETURN jsonb_build_object('tag', 'rows', 'at', greatest(at, now_), 'rows', rows_);
END`
  )
]
