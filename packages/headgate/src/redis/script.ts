/**
 * The ledger in Lua. It mirrors `internal/ledger.ts`, `internal/cell.ts` and `internal/alarms.ts` function by function:
 * same names, same order, same rounding. What differs, and why:
 *
 * - A script is isolated but not rolled back. So everything is read, checked and decided on Lua tables first; the writes
 *   at the end (`save`) are commands that cannot fail on keys of which the type was seen. Only the very first write can
 *   be refused (`OOM`, `READONLY`, `MISCONF`), and then nothing was applied.
 * - Holds expire per account, when it is touched, at the time at which they were due. What became of a hold follows from
 *   its record and the time, so one account is settled without reading others.
 * - What comes in is not trusted: `tonumber("nan")` is a number that passes every comparison.
 */
const body = `
local call, floor, max = redis.call, math.floor, math.max

-- KEYS: the store's record, the hold's record, then per account its record and its open holds by expiry.
-- ARGV: 1 verb, 2 plans, 3 periods of calendar windows, 4 a new epoch, 5 usage, 6 content, 7 whether it is sent again,
-- 8 to 12 what belongs to the verb, then per account the number of its quotas, the plan's digest and its reset's field.
local verb, again = ARGV[1], ARGV[7] == '1'
local storeKey, holdKey = KEYS[1], KEYS[2]

local function whole(text)
  if not text or #text > 16 or not string.find(text, '^%d+$') then error('ERR headgate: not a whole number', 0) end
  local number = tonumber(text)
  if number > 9007199254740991 then error('ERR headgate: above 2^53 - 1', 0) end
  return number
end

local function readUsage(text)
  local u = { string.match(text or '', '^(%d+),(%d+),(%d+),(%d+),(%d+),(%d+)$') }
  for i = 1, 6 do
    local number = #(u[i] or '') <= 16 and tonumber(u[i]) or nil
    if not number or number > 9007199254740991 then error('ERR headgate: usage must be whole numbers to 2^53 - 1', 0) end
    u[i] = number
  end
  return u
end

local usageText, usage = ARGV[5], readUsage(ARGV[5])

local fields, count = { 'HMGET', storeKey, 'epoch', 'last' }, #KEYS / 2 - 1
for i = 15, #ARGV, 3 do fields[#fields + 1] = ARGV[i] end
local store = call(unpack(fields))
local epoch, last, clock = store[1], tonumber(store[2] or '0'), CLOCK
local now = max(clock, last)

-- Expiries are in the server's time, and the store's may be ahead of it after the server's was set back.
local slack = 60000 + now - clock

local timeSaved = false

local function saveTime()
  if timeSaved or (now == last and epoch) then return end
  timeSaved = true
  call('HSET', storeKey, 'last', now, 'epoch', epoch or ARGV[4])
end

-- An account's record: a head, then its cells, all numbers; two texts; and in a tail what is seldom needed.
local UNTIL, RESETS, RESET_AT, OPEN_LIFE, LAST_EXPIRY, DUE, OPEN_HOLDS, LIFE = 1, 2, 3, 4, 5, 6, 7, 8
local HEAD, CELL = 8, 9

local function accountFormat(quotas) return '<' .. string.rep('d', HEAD + CELL * quotas) .. 'ss' end

-- A hold's record. What it is may be read at its numbers, what it holds and how it ended in texts.
local KIND, BOOKED_NOW, CHARGE, FORCED, ENDED, QUEUED, BOOKED_AT, EXPIRES_AT, TTL, KEEP, EXTENSIONS, USAGE, ENDED_BY,
  LAST_EXTENSION, CONTENT, RESETS_THEN, ALERTS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
local HOLD_FORMAT = '<BBBBBBdddddssssss'
local IS_HOLD, IS_RECORD, OPEN, SETTLED, RELEASED = 1, 2, 0, 1, 2

local function readHold()
  local known = call('GET', holdKey)
  return known and { struct.unpack(HOLD_FORMAT, known) } or nil
end

local function saveHold(h)
  call('SET', holdKey, struct.pack(HOLD_FORMAT, unpack(h, 1, ALERTS)), 'PX', max(0, h[EXPIRES_AT] - now) + h[KEEP] + slack)
end

-- Its name in a list of open holds, which says what an account must do when it expires.
local function member(h)
  return string.format('%d,%d,%.0f,%s,%s', h[CHARGE], h[BOOKED_NOW], h[BOOKED_AT], h[USAGE], holdKey)
end

-- Answers. Their place says what numbers are, -1 stands for "never".
local MORE, REFUSED, HOLD, CONFLICT, BOOKED, STATUS = 0, 1, 2, 3, 4, 5

local function answer(code, a, b, c)
  return { code, now, epoch or (timeSaved and ARGV[4] or ''), last, a, b, c }
end

-- The open holds outlive the account's record, else what they hold would be held for ever.
local function openHold(key, head, h)
  head[LAST_EXPIRY], head[DUE] = max(head[LAST_EXPIRY], h[EXPIRES_AT]), math.min(head[DUE], h[EXPIRES_AT])
  if head[LIFE] >= 0 then
    local needed = head[LAST_EXPIRY] + head[LIFE] + 2 * slack
    if head[OPEN_HOLDS] == 0 or head[OPEN_LIFE] < needed then
      head[OPEN_LIFE] = now + 2 * (needed - now)
      call('PEXPIRE', key, head[OPEN_LIFE] - now)
    end
  end
  head[OPEN_HOLDS] = head[OPEN_HOLDS] + 1
end

-- The way of most calls: nothing is due, no slot has ended, everything fits and nobody is to be told. It decides on the
-- records as they are, and answers nothing where any of this is not so, before it has written anything.
local function quick()
  local reserving, settling = verb == 'reserve', verb == 'settle'
  if not reserving and not settling and verb ~= 'release' then return nil end
  local h, held = readHold(), nil
  if reserving then
    if h or ARGV[11] ~= 'enforce' then return nil end
    local ttl, booked = whole(ARGV[8]), ARGV[10] == 'now' and 1 or 0
    h = { IS_HOLD, booked, ARGV[9] == 'charge' and 1 or 0, 0, OPEN, 1 - booked, now, now + ttl, ttl, whole(ARGV[12]), 0,
      usageText, '', '', ARGV[6], '', '' }
  else
    if not h or h[KIND] ~= IS_HOLD or h[ENDED] ~= OPEN or h[BOOKED_NOW] == 1 or h[EXPIRES_AT] <= now then return nil end
    held = readUsage(h[USAGE])
  end
  local accounts, formats, resets = {}, {}, {}
  for i = 1, count do
    local quotas, known = tonumber(ARGV[10 + 3 * i]), call('GET', KEYS[1 + 2 * i])
    if not known then return nil end
    local format = accountFormat(quotas)
    local a = { struct.unpack(format, known) }
    local texts = HEAD + CELL * quotas
    if a[DUE] <= now or a[texts + 1] ~= ARGV[11 + 3 * i] or a[texts + 2] ~= (store[2 + i] or '') then return nil end
    if reserving and a[UNTIL] > now then return nil end
    for c = HEAD, texts - 1, CELL do
      -- Used, held, recent, slot, the end of the slot, from where to where nobody is told, capacity, unit.
      local used, unit = a[c + 1], a[c + 9]
      if unit == 0 then
        if reserving then
          if now >= a[c + 5] or used + a[c + 2] + 1 > a[c + 8] then return nil end
          a[c + 2], h[QUEUED] = a[c + 2] + 1, 1
        else
          a[c + 2] = max(0, a[c + 2] - 1)
        end
      else
        local amount = unit > 0 and usage[unit] or usage[-unit] - usage[4]
        local take = settling or h[BOOKED_NOW] == 1
        if reserving then
          if now >= a[c + 5] or used + a[c + 2] + amount > a[c + 8] or a[c + 8] == 0 then return nil end
          if not take then a[c + 2] = a[c + 2] + amount end
        else
          local before = unit > 0 and held[unit] or held[-unit] - held[4]
          if amount > before then return nil end
          a[c + 2] = max(0, a[c + 2] - before)
        end
        if take and amount > 0 then
          if now >= a[c + 5] or used < a[c + 6] or used + amount >= a[c + 7] then return nil end
          a[c + 1], a[c + 3] = used + amount, a[c + 3] + amount
        end
      end
    end
    a[texts + 3] = string.sub(known, a[texts + 3])
    accounts[i], formats[i], resets[i] = a, format, a[RESETS]
  end
  saveTime()
  if reserving then h[RESETS_THEN] = table.concat(resets, ',') end
  local open = member(h)
  if h[QUEUED] == 1 then
    -- The one write that the type of a key can refuse.
    for i = 1, count do
      local key, failed = KEYS[2 + 2 * i], nil
      if reserving then failed = redis.pcall('ZADD', key, h[EXPIRES_AT], open)
      else failed = redis.pcall('ZREM', key, open) end
      if type(failed) == 'table' and failed.err then
        for j = 1, i - 1 do
          if reserving then call('ZREM', KEYS[2 + 2 * j], open) else call('ZADD', KEYS[2 + 2 * j], h[EXPIRES_AT], open) end
        end
        return failed
      end
    end
  end
  for i = 1, count do
    local a = accounts[i]
    if h[QUEUED] == 1 then
      if reserving then openHold(KEYS[2 + 2 * i], a, h) else a[OPEN_HOLDS] = max(0, a[OPEN_HOLDS] - 1) end
    end
    local texts = HEAD + CELL * tonumber(ARGV[10 + 3 * i])
    local packed = struct.pack(formats[i], unpack(a, 1, texts + 2)) .. a[texts + 3]
    if a[LIFE] < 0 then call('SET', KEYS[1 + 2 * i], packed)
    else call('SET', KEYS[1 + 2 * i], packed, 'PX', a[LIFE] + max(0, a[LAST_EXPIRY] - now) + slack) end
  end
  if settling then h[ENDED], h[ENDED_BY] = SETTLED, usageText
  elseif not reserving then h[ENDED] = RELEASED end
  saveHold(h)
  if reserving then return answer(HOLD, h[EXPIRES_AT] + h[KEEP], '') end
  return answer(BOOKED, 0, h[USAGE], '')
end

-- The ledger. Its functions are made only when they are needed, which takes longer than most decisions.
local function ledger()
local ceil, min, fmod, never = math.ceil, math.min, math.fmod, math.huge
local plans, periods = cjson.decode(ARGV[2]), cjson.decode(ARGV[3])

-- Windows. A quota is { unit, free, capacity, kind, length | calendar | limit, live | period, alertAt }.
local EVEN, CALENDAR, LIFETIME, BUCKET = 1, 2, 3, 4

local function amountOf(q, u)
  if q[1] == 0 then return 1 end
  return q[2] == 1 and u[q[1]] - u[4] or u[q[1]]
end

-- Periods come from the client, who knows time zones; the store's time decides which one it is. If they do not reach to
-- where it looks, the answer is to send more.
local function slotAt(q, at)
  if q[4] == EVEN then return floor(at / q[5]) end
  if q[4] == LIFETIME then return 0 end
  local starts = q.starts
  for i = 1, #starts - 1 do if at < starts[i + 1] then return starts[i] end end
  error({ need = at })
end

local function endOf(q, slot)
  if q[4] == EVEN then return (slot + q[6] + 1) * q[5] end
  if q[4] == LIFETIME then return never end
  local starts = q.starts
  for i = 1, #starts - 1 do if slot <= starts[i] then return starts[i + 1] end end
  error({ need = slot })
end

-- In a calendar period that is over, so that it neither counts nor could be told which one it is.
local function past(q, at) return q[4] == CALENDAR and at < q.starts[1] end

local function drainedWithin(q, elapsed)
  return elapsed * floor(q[5] / q[6]) + floor(elapsed * fmod(q[5], q[6]) / q[6])
end

local function drained(q, elapsed)
  return floor(elapsed / q[6]) * q[5] + drainedWithin(q, fmod(elapsed, q[6]))
end

local function timeToDrain(q, amount)
  if amount <= 0 then return 0 end
  local rest = fmod(amount, q[5])
  local elapsed = ceil(rest / q[5] * q[6])
  while elapsed > 0 and drainedWithin(q, elapsed - 1) >= rest do elapsed = elapsed - 1 end
  while elapsed < q[6] and drainedWithin(q, elapsed) < rest do elapsed = elapsed + 1 end
  return floor(amount / q[5]) * q[6] + elapsed
end

-- Cells: { used, held, slot, recent, older, fired }, the last two 0 where there is nothing.
local USED, HELD, SLOT, RECENT, OLDER, FIRED = 1, 2, 3, 4, 5, 6

local function advance(q, c, at)
  if c[USED] == 0 and c[RECENT] == 0 then return end
  if q[4] == BUCKET then
    local times = floor((at - c[SLOT]) / q[6])
    if times > 0 then
      c[SLOT] = c[SLOT] + times * q[6]
      c[RECENT] = c[RECENT] - times * q[5]
    end
    c[USED] = max(0, c[RECENT] - drained(q, at - c[SLOT]))
    if c[USED] == 0 then c[RECENT] = 0 end
    return
  end
  local slot = slotAt(q, at)
  if slot == c[SLOT] then return end
  local first = slot - (q[4] == EVEN and q[6] or 0)
  if c[SLOT] < first then
    c[USED], c[OLDER] = 0, 0
  else
    local older, kept = c[OLDER], {}
    if older ~= 0 then
      for i = 1, #older, 2 do
        if older[i] < first then c[USED] = c[USED] - older[i + 1]
        else kept[#kept + 1], kept[#kept + 2] = older[i], older[i + 1] end
      end
    end
    if c[RECENT] > 0 then kept[#kept + 1], kept[#kept + 2] = c[SLOT], c[RECENT] end
    c[OLDER] = #kept > 0 and kept or 0
  end
  c[SLOT], c[RECENT] = slot, 0
end

local function book(q, c, amount, at)
  if c[USED] == 0 and c[RECENT] == 0 then
    c[SLOT] = q[4] == BUCKET and at or slotAt(q, at)
    c[OLDER] = 0
  end
  c[RECENT], c[USED] = c[RECENT] + amount, c[USED] + amount
end

local function refund(q, c, amount, from, at)
  if q[4] == BUCKET then
    local back = min(c[USED], max(0, amount - drained(q, at - from)))
    c[RECENT], c[USED] = c[RECENT] - back, c[USED] - back
    return
  end
  if past(q, from) then return end
  local slot = slotAt(q, from)
  if slot == c[SLOT] then
    local back = min(amount, c[RECENT])
    c[RECENT], c[USED] = c[RECENT] - back, c[USED] - back
    return
  end
  local older = c[OLDER]
  for i = 1, older ~= 0 and #older or 0, 2 do
    if older[i] == slot then
      local back = min(amount, older[i + 1])
      c[USED], older[i + 1] = c[USED] - back, older[i + 1] - back
      if older[i + 1] == 0 then table.remove(older, i) table.remove(older, i) end
      return
    end
  end
end

local function emptyAt(q, c)
  if c[USED] == 0 then return now end
  if q[4] == BUCKET then return c[SLOT] + timeToDrain(q, c[RECENT]) end
  local older = c[OLDER]
  return endOf(q, (c[RECENT] > 0 or older == 0) and c[SLOT] or older[#older - 1])
end

local function fitsIn(q, c, amount)
  if amount == 0 then return q[3] > 0 end
  return c[USED] + c[HELD] + amount <= q[3]
end

-- Alerts, flat: kind, account, quota and three numbers, of which the client makes its words.
local THRESHOLD, LIMIT, THROTTLED, OVERRUN = 1, 2, 3, 4
local alerts = {}

local function tell(kind, a, i, x, y, z)
  local n = #alerts
  alerts[n + 1], alerts[n + 2], alerts[n + 3] = kind, a.index, i
  alerts[n + 4], alerts[n + 5], alerts[n + 6] = string.format('%.0f', x), string.format('%.0f', y), string.format('%.0f', z)
  a.changed = true
end

local function overAt(q, fired)
  if q[1] == 0 then return fired + 60000 end
  if q[4] == BUCKET then return fired + q[6] end
  if past(q, fired) then return 0 end
  return endOf(q, slotAt(q, fired))
end

local function rearm(q, c, at)
  local fired, alertAt = c[FIRED], q[7]
  if fired == 0 then return end
  for place = 1, #fired do
    local below = place > #alertAt or c[USED] < alertAt[place] * q[3]
    if fired[place] > 0 and below and overAt(q, fired[place]) <= at then fired[place] = 0 end
  end
end

local function fire(q, c, place)
  if c[FIRED] == 0 then
    c[FIRED] = {}
    for i = 1, #q[7] + 1 do c[FIRED][i] = 0 end
  end
  if c[FIRED][place] > 0 then return false end
  c[FIRED][place] = max(1, now)
  return true
end

local function limitHit(a, q, i, c, amount)
  if a.plan[2] ~= 1 then return end
  rearm(q, c, now)
  if fire(q, c, #q[7] + 1) then tell(LIMIT, a, i, c[USED], c[HELD], amount) end
end

-- Counts an amount as used; where nobody is there to be told, the alerts wait for the next use.
local function use(a, q, i, amount, at, silent)
  if amount == 0 or past(q, at) then return end
  local c = a.cells[i]
  advance(q, c, at)
  rearm(q, c, at)
  book(q, c, amount, at)
  if silent then return end
  for place = 1, #q[7] do
    if q[3] == 0 or c[USED] < q[7][place] * q[3] then return end
    if fire(q, c, place) then tell(THRESHOLD, a, i, place, c[USED], 0) end
  end
end

-- What a list of open holds says of one: how it ends, whether it was booked at once, when, its usage, its key.
local function readMember(text)
  local charge, booked, at, u, key = string.match(text, '^(%d),(%d),(%d+),([%d,]+),(.*)$')
  return tonumber(charge), tonumber(booked), tonumber(at), readUsage(u), key
end

local function giveBack(c, amount) c[HELD] = max(0, c[HELD] - amount) end

local function expire(a, text, at)
  local charges, isBooked, bookedAt, u = readMember(text)
  local charge, booked = charges == 1, isBooked == 1
  for i, q in ipairs(a.quotas) do
    local c, amount = a.cells[i], amountOf(q, u)
    if q[1] == 0 then
      giveBack(c, amount)
    elseif not booked then
      giveBack(c, amount)
      if charge then use(a, q, i, amount, at, true) end
    elseif not charge and a.state[RESET_AT] < bookedAt and not past(q, at) then
      advance(q, c, at)
      refund(q, c, amount, bookedAt, at)
    end
  end
end

local function reset(a, at)
  local state = a.state
  state[UNTIL], state[RESETS], state[RESET_AT] = 0, state[RESETS] + 1, at
  for _, c in ipairs(a.cells) do c[USED], c[RECENT], c[OLDER], c[FIRED] = 0, 0, 0, 0 end
end

local accounts = {}

local function load(index)
  local plan, key, openKey = plans[index], KEYS[1 + 2 * index], KEYS[2 + 2 * index]
  local a = { index = index, plan = plan, quotas = plan[4], key = key, openKey = openKey, swept = 0, pending = {} }
  for _, q in ipairs(a.quotas) do
    if q[4] == CALENDAR then
      q.starts = periods[index][q[5]]
      if now < q.starts[1] or now >= q.starts[#q.starts] then error({ need = now }) end
      while now >= q.starts[2] do table.remove(q.starts, 1) end
    end
  end
  local known, planReset, size = call('GET', key), store[2 + index] or '', #a.quotas
  local state, cells = {}, {}
  if known then
    local format = accountFormat(size)
    state = { struct.unpack(format, known) }
    local texts = HEAD + CELL * size
    local tail = string.sub(known, state[texts + 3])
    local seldom = tail ~= '' and cmsgpack.unpack(tail) or {}
    for i, q in ipairs(a.quotas) do
      local at, fired = HEAD + CELL * (i - 1), seldom[2 * i] or 0
      if fired ~= 0 and #fired ~= #q[7] + 1 then fired = 0 end
      cells[i] = { state[at + 1], state[at + 2], state[at + 4], state[at + 3], seldom[2 * i - 1] or 0, fired }
    end
    a.planReset = state[texts + 2]
  else
    -- Whatever was booked on a forgotten account before is not booked on this one: its count of resets begins apart.
    state = { 0, now, now - 1, 0, 0, 9e15, 0, 0 }
    for i = 1, size do cells[i] = { 0, 0, 0, 0, 0, 0 } end
    a.planReset = planReset
  end
  state[LIFE] = plan[3]
  a.state, a.cells, a.known = state, cells, known
  -- This read says what is due and, before anything is written, that the key can be written to.
  local first = call('ZRANGE', openKey, 0, 0, 'WITHSCORES')
  a.open = first[1]
  local due = first[1] and tonumber(first[2]) <= now and call('ZRANGEBYSCORE', openKey, '-inf', now, 'WITHSCORES') or {}
  -- All values of the plan were reset since this one was touched: by then, what was due earlier had expired.
  local resetAt = planReset ~= a.planReset and tonumber(string.match(planReset, ' (%d+)')) or nil
  for i = 1, #due, 2 do
    local at = tonumber(due[i + 1])
    if resetAt and at > resetAt then
      reset(a, resetAt)
      resetAt = nil
    end
    expire(a, due[i], at)
  end
  if resetAt then reset(a, resetAt) end
  a.swept = #due / 2
  a.changed = #due > 0 or a.planReset ~= planReset
  a.readAll = first[1] == nil
  a.planReset = planReset
  if #due > 0 then first = call('ZRANGE', openKey, a.swept, a.swept, 'WITHSCORES') end
  state[DUE] = tonumber(first[2] or '9e15')
  if not a.open then state[OPEN_HOLDS] = 0 end
  state[OPEN_HOLDS] = max(0, state[OPEN_HOLDS] - a.swept)
  accounts[index] = a
  return a
end

local function fits(a, u, extending)
  for i, q in ipairs(a.quotas) do
    advance(q, a.cells[i], now)
    if not fitsIn(q, a.cells[i], (q[1] == 0 and extending) and 0 or amountOf(q, u)) then return false end
  end
  return true
end

-- The k-th open hold by expiry. They are read a few at a time: most waits are known after one or two.
local function pendingAt(a, k)
  while k > #a.pending and not a.readAll do
    local from = a.swept + #a.pending
    local more = call('ZRANGE', a.openKey, from, from + 49, 'WITHSCORES')
    for i = 1, #more, 2 do
      local charge, booked, _, u, key = readMember(more[i])
      a.pending[#a.pending + 1] = { at = tonumber(more[i + 1]), key = key, charge = charge, booked = booked, usage = u }
    end
    a.readAll = #more < 100
  end
  return a.pending[k]
end

-- From the k-th open hold on the next one that counts here: all for concurrency, else those that hold and end this way.
local function nextPending(a, q, k, charge, extending)
  while true do
    k = k + 1
    local p = pendingAt(a, k)
    if not p then return k, nil end
    local counts = q[1] == 0 or (p.booked == 0 and (charge == nil or p.charge == charge))
    if counts and not (extending and p.key == holdKey) then return k, p end
  end
end

local function slotsFitAt(a, q, c, amount, extending)
  local excess = c[USED] + c[HELD] + amount - q[3]
  if excess <= 0 then return now end
  local concurrency, older = q[1] == 0, c[OLDER] ~= 0 and c[OLDER] or {}
  -- Of a lifetime only what is held can come back.
  if q[4] == LIFETIME and not concurrency and c[USED] + amount > q[3] then return never end
  local released, releasedAt, charged, chargedAt, slot = nil, 0, nil, 0, 1
  local charges = not concurrency and q[4] ~= LIFETIME
  releasedAt, released = nextPending(a, q, 0, not concurrency and 0 or nil, extending)
  if charges then chargedAt, charged = nextPending(a, q, 0, 1, extending) end
  while true do
    local at, freed, from = never, 0, nil
    if not concurrency and slot < #older then
      at, freed, from = endOf(q, older[slot]), older[slot + 1], 1
    elseif not concurrency and slot == #older + 1 and c[RECENT] > 0 then
      at, freed, from = endOf(q, c[SLOT]), c[RECENT], 1
    end
    if released and released.at < at then at, freed, from = released.at, amountOf(q, released.usage), 2 end
    if charged then
      local free = endOf(q, slotAt(q, charged.at))
      if free < at then at, freed, from = free, amountOf(q, charged.usage), 3 end
    end
    if at == never then return never end
    excess = excess - freed
    if excess <= 0 then return at end
    if from == 1 then slot = slot + 2
    elseif from == 2 then releasedAt, released = nextPending(a, q, releasedAt, not concurrency and 0 or nil, extending)
    else chargedAt, charged = nextPending(a, q, chargedAt, 1, extending) end
  end
end

local function bucketFitsAt(a, q, c, amount, extending)
  local anchor, level, held, from, k, p = c[SLOT], c[RECENT], c[HELD], now, 0, nil
  local function at()
    local room = q[3] - amount - held
    return room < 0 and never or max(from, anchor + timeToDrain(q, level - room))
  end
  while true do
    k, p = nextPending(a, q, k, nil, extending)
    if not p then return at() end
    local free = at()
    if free <= p.at then return free end
    from = p.at
    held = held - amountOf(q, p.usage)
    if level <= drained(q, p.at - anchor) then anchor, level = p.at, 0 end
    if p.charge == 1 then level = level + amountOf(q, p.usage) end
  end
end

local function booked(u, repeated, told) return answer(BOOKED, repeated, u, told) end

local function told() return table.concat(alerts, ',') end

local function refused(reason, a, i, requested, at, untilTime)
  local q, c = a.quotas[i], a.cells[i]
  local reply = answer(REFUSED, reason, a.index, i)
  if at == never then at = -1 end
  reply[8], reply[9], reply[10], reply[11], reply[12], reply[13] = c[USED], c[HELD], requested, at, untilTime, told()
  return reply
end

local TOO_LARGE, EXCEEDED, IS_THROTTLED = 1, 2, 3

local function refuse(u, extending)
  local untilTime = 0
  for _, a in ipairs(accounts) do
    for i, q in ipairs(a.quotas) do advance(q, a.cells[i], now) end
    if a.state[UNTIL] > now and not extending then untilTime = max(untilTime, a.state[UNTIL]) end
    for i, q in ipairs(a.quotas) do
      local amount = (q[1] == 0 and extending) and 0 or amountOf(q, u)
      if amount > q[3] or q[3] == 0 then
        limitHit(a, q, i, a.cells[i], amount)
        return refused(TOO_LARGE, a, i, amount, never, 0)
      end
    end
  end
  local reason, at, longest, place = untilTime > 0 and IS_THROTTLED or EXCEEDED, -1, nil, 1
  for _, a in ipairs(accounts) do
    for i, q in ipairs(a.quotas) do
      local c, amount = a.cells[i], (q[1] == 0 and extending) and 0 or amountOf(q, u)
      if not fitsIn(q, c, amount) then
        local free = (q[4] == BUCKET and bucketFitsAt or slotsFitAt)(a, q, c, amount, extending)
        if free > at then at, longest, place = free, a, i end
        if reason ~= IS_THROTTLED then
          limitHit(a, q, i, c, amount)
          local throttle, returns = a.plan[1], not extending and q[1] ~= 0 and q[4] ~= LIFETIME
          if throttle > 0 and returns and a.state[UNTIL] <= now then
            a.state[UNTIL] = now + throttle
            untilTime = max(untilTime, a.state[UNTIL])
            tell(THROTTLED, a, i, c[USED], c[HELD], amount)
          end
        end
      end
    end
  end
  if not longest then
    for _, a in ipairs(accounts) do if not longest and a.state[UNTIL] > now then longest = a end end
  end
  local q = longest.quotas[place]
  local amount = (q[1] == 0 and extending) and 0 or amountOf(q, u)
  return refused(reason, longest, place, amount, max(at, untilTime), untilTime)
end

-- Writing: cells as they are now, so that what comes next finds its slot and how far it may go untold.
local function saveAccount(a)
  local life, state, seldom, isPlain = a.plan[3], a.state, {}, true
  for i, q in ipairs(a.quotas) do
    local c, at, till, low, high = a.cells[i], HEAD + CELL * (i - 1), 9e15, 0, 9e15 * 2
    advance(q, c, now)
    if q[4] == BUCKET then
      till = 0
      if c[USED] > q[3] then life = max(life, c[SLOT] + timeToDrain(q, c[RECENT]) - now) end
    elseif q[1] ~= 0 then
      local slot = slotAt(q, now)
      if c[USED] == 0 and c[RECENT] == 0 then c[SLOT], c[OLDER] = slot, 0 end
      if q[4] ~= LIFETIME then till = q[4] == EVEN and (slot + 1) * q[5] or q.starts[2] end
    end
    for place = 1, q[3] > 0 and #q[7] or 0 do
      if c[FIRED] ~= 0 and c[FIRED][place] > 0 then low = max(low, q[7][place] * q[3])
      else high = min(high, q[7][place] * q[3]) end
    end
    local unit = q[2] == 1 and -q[1] or q[1]
    state[at + 1], state[at + 2], state[at + 3], state[at + 4] = c[USED], c[HELD], c[RECENT], c[SLOT]
    state[at + 5], state[at + 6], state[at + 7], state[at + 8], state[at + 9] = till, low, high, q[3], unit
    seldom[2 * i - 1], seldom[2 * i] = c[OLDER], c[FIRED]
    if c[OLDER] ~= 0 or c[FIRED] ~= 0 then isPlain = false end
  end
  local texts = HEAD + CELL * #a.quotas
  state[texts + 1], state[texts + 2] = ARGV[11 + 3 * a.index], a.planReset
  local packed = struct.pack(accountFormat(#a.quotas), unpack(state, 1, texts + 2))
  if not isPlain then packed = packed .. cmsgpack.pack(seldom) end
  if life < 0 then call('SET', a.key, packed)
  else call('SET', a.key, packed, 'PX', life + max(0, state[LAST_EXPIRY] - now) + slack) end
end

local function open(a, h)
  call('ZADD', a.openKey, h[EXPIRES_AT], member(h))
  openHold(a.openKey, a.state, h)
end

local function save()
  saveTime()
  for _, a in ipairs(accounts) do
    if a.swept > 0 then call('ZREMRANGEBYSCORE', a.openKey, '-inf', now) end
    if a.changed then saveAccount(a) end
  end
end

local function newHold(kind, keep)
  return { kind, 0, 0, 0, OPEN, 0, now, now, 0, keep, 0, usageText, '', '', ARGV[6], '', '' }
end

local function loadAll() for i = 1, #plans do load(i) end end

local FOREIGN, OTHER_CONTENT, OTHER_EXTENSION, ENDED_ALREADY, EXPIRED, WAS_RELEASED, OTHER_USAGE, WAS_SETTLED, FORGOTTEN =
  1, 2, 3, 4, 5, 6, 7, 8, 9

local function isExpired(h) return h[QUEUED] == 1 and h[ENDED] == OPEN and h[EXPIRES_AT] <= now end

local function conflict(reason)
  saveTime()
  return answer(CONFLICT, reason)
end

local verbs = {}

function verbs.reserve()
  local known = readHold()
  if known then
    if known[KIND] ~= IS_HOLD or known[CONTENT] ~= ARGV[6] then return conflict(OTHER_CONTENT) end
    saveTime()
    return answer(HOLD, known[EXPIRES_AT] + known[KEEP], again and known[ALERTS] or '')
  end
  local ttl, mode = whole(ARGV[8]), ARGV[11]
  loadAll()
  if mode ~= 'force' then
    for _, a in ipairs(accounts) do
      if a.state[UNTIL] > now or not fits(a, usage, false) then
        local reply = refuse(usage, false)
        save()
        return reply
      end
    end
  else
    for _, a in ipairs(accounts) do for i, q in ipairs(a.quotas) do advance(q, a.cells[i], now) end end
  end
  local h, resets = newHold(IS_HOLD, whole(ARGV[12])), {}
  h[EXPIRES_AT], h[TTL], h[CHARGE] = now + ttl, ttl, ARGV[9] == 'charge' and 1 or 0
  h[BOOKED_NOW], h[FORCED] = ARGV[10] == 'now' and 1 or 0, mode == 'force' and 1 or 0
  if mode == 'ask' then
    save()
    return answer(HOLD, 0, '')
  end
  if h[BOOKED_NOW] == 0 then h[QUEUED] = 1 end
  for index, a in ipairs(accounts) do
    resets[index] = string.format('%.0f', a.state[RESETS])
    for i, q in ipairs(a.quotas) do
      if h[BOOKED_NOW] == 1 and q[1] ~= 0 then
        use(a, q, i, amountOf(q, usage), now)
      else
        a.cells[i][HELD] = a.cells[i][HELD] + amountOf(q, usage)
        h[QUEUED] = 1
      end
    end
    a.changed = true
  end
  h[RESETS_THEN], h[ALERTS] = table.concat(resets, ','), told()
  saveTime()
  if h[QUEUED] == 1 then for _, a in ipairs(accounts) do open(a, h) end end
  save()
  saveHold(h)
  return answer(HOLD, h[EXPIRES_AT] + h[KEEP], told())
end

function verbs.extend()
  local h, step = readHold(), whole(ARGV[8])
  if not h then return conflict(FORGOTTEN) end
  if h[KIND] ~= IS_HOLD then return conflict(FOREIGN) end
  -- By nothing is a renewal, whatever its step.
  local renewal = usageText == '0,0,0,0,0,0'
  if not renewal and step < h[EXTENSIONS] then
    if step == h[EXTENSIONS] - 1 and h[LAST_EXTENSION] ~= usageText then return conflict(OTHER_EXTENSION) end
    saveTime()
    return booked(h[USAGE], 1, '')
  end
  if h[ENDED] ~= OPEN then return conflict(ENDED_ALREADY) end
  if isExpired(h) or (h[BOOKED_NOW] == 1 and not (renewal and h[QUEUED] == 1)) then return conflict(EXPIRED) end
  loadAll()
  -- A throttle is for new calls: one that was admitted goes on if what it asks for fits.
  for _, a in ipairs(accounts) do
    if not renewal and h[FORCED] == 0 and not fits(a, usage, true) then
      local reply = refuse(usage, true)
      save()
      return reply
    end
  end
  local old, sum = member(h), readUsage(h[USAGE])
  for i = 1, 6 do sum[i] = string.format('%.0f', sum[i] + usage[i]) end
  for _, a in ipairs(accounts) do
    for i, q in ipairs(a.quotas) do
      if q[1] ~= 0 then a.cells[i][HELD] = a.cells[i][HELD] + amountOf(q, usage) end
    end
    a.changed = true
  end
  h[USAGE], h[EXPIRES_AT] = table.concat(sum, ','), now + h[TTL]
  if not renewal then h[EXTENSIONS], h[LAST_EXTENSION] = step + 1, usageText end
  saveTime()
  for _, a in ipairs(accounts) do
    a.state[OPEN_HOLDS] = a.state[OPEN_HOLDS] - 1
    open(a, h)
    if member(h) ~= old then call('ZREM', a.openKey, old) end
  end
  save()
  saveHold(h)
  return booked(h[USAGE], 0, '')
end

-- Puts an amount in the place of what a hold holds or has booked. Without one everything is given back.
local function move(h, to)
  local expired, reserved = isExpired(h), readUsage(h[USAGE])
  local queued, from, bookedAt = h[QUEUED] == 1 and not expired, 'held', h[BOOKED_AT]
  if h[BOOKED_NOW] == 1 then
    from = (expired and h[CHARGE] == 0) and 'gone' or 'booked'
  elseif expired then
    from, bookedAt = h[CHARGE] == 1 and 'booked' or 'gone', h[EXPIRES_AT]
  end
  local resets = string.gmatch(h[RESETS_THEN], '%d+')
  for _, a in ipairs(accounts) do
    -- What was booked before a reset is not given back after it.
    local there = tonumber(resets() or '-1') == a.state[RESETS]
    if h[BOOKED_NOW] == 0 then there = a.state[RESET_AT] < bookedAt end
    for i, q in ipairs(a.quotas) do
      local c, before = a.cells[i], amountOf(q, reserved)
      if q[1] == 0 then
        if queued then giveBack(c, before) end
      else
        local after = to and amountOf(q, to) or 0
        if from == 'held' then giveBack(c, before) end
        if from == 'booked' and after < before then
          advance(q, c, now)
          if there then refund(q, c, before - after, bookedAt, now) end
        else
          use(a, q, i, from == 'booked' and after - before or after, now, not to)
        end
      end
    end
    a.changed, a.closed = true, queued
  end
end

local function overruns(h, actual)
  local seen, reserved = {}, readUsage(h[USAGE])
  for _, a in ipairs(accounts) do
    for i, q in ipairs(a.quotas) do
      if a.plan[2] == 1 and q[1] ~= 0 and not seen[q[1]] and amountOf(q, actual) > amountOf(q, reserved) then
        seen[q[1]] = true
        tell(OVERRUN, a, i, amountOf(q, reserved), amountOf(q, actual), 0)
      end
    end
  end
end

local function finish(h, ended)
  local closed = member(h)
  h[ENDED], h[ALERTS] = ended, told()
  saveTime()
  for _, a in ipairs(accounts) do
    if a.closed then
      call('ZREM', a.openKey, closed)
      a.state[OPEN_HOLDS] = max(0, a.state[OPEN_HOLDS] - 1)
    end
  end
  save()
  saveHold(h)
end

-- A hold that should be known and is not was lost with the store: what it used is booked all the same.
local function lost()
  if now > whole(ARGV[8]) then return nil end
  local h = newHold(IS_HOLD, whole(ARGV[9]))
  h[BOOKED_NOW], h[QUEUED], h[EXPIRES_AT] = 1, 1, 0
  return h
end

function verbs.settle()
  local h = readHold() or lost()
  if not h then return conflict(FORGOTTEN) end
  if h[KIND] ~= IS_HOLD then return conflict(FOREIGN) end
  if h[ENDED] == RELEASED then return conflict(WAS_RELEASED) end
  if h[ENDED] == SETTLED then
    if h[ENDED_BY] ~= usageText then return conflict(OTHER_USAGE) end
    saveTime()
    return booked(h[USAGE], 1, again and h[ALERTS] or '')
  end
  loadAll()
  overruns(h, usage)
  move(h, usage)
  h[ENDED_BY] = usageText
  finish(h, SETTLED)
  return booked(h[USAGE], 0, told())
end

function verbs.release()
  local h = readHold() or lost()
  if not h then return conflict(FORGOTTEN) end
  if h[KIND] ~= IS_HOLD then return conflict(FOREIGN) end
  if h[ENDED] == SETTLED then return conflict(WAS_SETTLED) end
  if h[ENDED] == RELEASED then
    saveTime()
    return booked(h[USAGE], 1, '')
  end
  loadAll()
  move(h, nil)
  finish(h, RELEASED)
  return booked(h[USAGE], 0, '')
end

function verbs.record()
  local known, zero = readHold(), '0,0,0,0,0,0'
  if known then
    if known[KIND] ~= IS_RECORD or known[CONTENT] ~= ARGV[6] then return conflict(OTHER_CONTENT) end
    saveTime()
    return booked(zero, 1, again and known[ALERTS] or '')
  end
  local h = newHold(IS_RECORD, whole(ARGV[8]))
  loadAll()
  for _, a in ipairs(accounts) do
    for i, q in ipairs(a.quotas) do if q[1] ~= 0 then use(a, q, i, amountOf(q, usage), now) end end
    a.changed = true
  end
  h[ALERTS] = told()
  save()
  saveHold(h)
  return booked(zero, 0, told())
end

-- Reads only, so that it also works where nothing can be written: what is due is let go of on Lua tables.
function verbs.status()
  loadAll()
  local reply = answer(STATUS, 0)
  for _, a in ipairs(accounts) do
    if a.state[UNTIL] > now then reply[5] = max(reply[5], a.state[UNTIL]) end
    for i, q in ipairs(a.quotas) do
      local c, n = a.cells[i], #reply
      advance(q, c, now)
      local empty = emptyAt(q, c)
      reply[n + 1], reply[n + 2], reply[n + 3] = c[USED], c[HELD], empty == never and -1 or empty
    end
  end
  return reply
end

function verbs.reset()
  loadAll()
  for _, a in ipairs(accounts) do
    if a.known then
      reset(a, now)
      a.changed = true
    end
  end
  save()
  return answer(STATUS, 0)
end

-- Accounts of a plan are not listed anywhere: each sees that its plan was reset when it is touched next.
function verbs.resetPlans()
  saveTime()
  for i, plan in ipairs(plans) do
    local times = tonumber(string.match(store[2 + i] or '', '^%d+')) or 0
    call('HSET', storeKey, ARGV[12 + 3 * i], string.format('%.0f %.0f', times + 1, now))
  end
  return answer(STATUS, 0)
end

return verbs[verb]()
end

local decided = quick()
if decided then return decided end
local ok, reply = pcall(ledger)
if ok then return reply end
if type(reply) ~= 'table' then return redis.error_reply(reply) end
if reply.need then return answer(MORE, reply.need) end
return reply
`

/**
 * Names in capitals stand for numbers. They are put in here: to a function in Lua each would be a variable to capture,
 * and that takes longer than a decision.
 */
const withNumbers = (lua: string): string => {
  const numbers = new Map<string, string>()
  const rest = lua.replace(/^local ([A-Z_]+(?:,\s+[A-Z_]+)*) =\s+([\d, ]+)$/gm, (_, names: string, values: string) => {
    const all = values.split(", ")
    names.split(/,\s+/).forEach((name, index) => numbers.set(name, all[index]!))
    return ""
  })
  return rest.replace(/\b[A-Z_]{2,}\b/g, (name) => numbers.get(name) ?? name)
}

/** Where the script takes the time from: the server, or for tests a key that they set. */
const clocks = {
  server: "(function() local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end)()",
  key: "tonumber(redis.call('GET', KEYS[1] .. ':now'))"
}

export const source = (clock: keyof typeof clocks): string => withNumbers(body).replace("CLOCK", clocks[clock])
