/** Windows, cells and alerts, as `internal/ledger/windows.ts`, `internal/ledger/cell.ts` and `internal/ledger/alarms.ts` have them. */
export const windows = `
local ceil, min, fmod, never = math.ceil, math.min, math.fmod, math.huge

-- Windows. A quota is { unit, free, capacity, kind, length | calendar | limit, live | period, alertAt, its counter's name }.
-- It is another's if only other plans look at its counter.
local EVEN, CALENDAR, LIFETIME, BUCKET = 1, 2, 3, 4

local function amountOf(q, u) return amountIn(u, q.unit) end

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

-- Cells: { used, held, slot, recent, older, fired, since when it counts }, the last three 0 where there is nothing.
local USED, HELD, SLOT, RECENT, OLDER, FIRED, SINCE = 1, 2, 3, 4, 5, 6, 7

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

-- Gives back from the slot in which it was booked, if that still counts.
local function refundIn(c, slot, amount)
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

local function refund(q, c, amount, from, at)
  if from < c[SINCE] then return end
  if q[4] == BUCKET then
    local back = min(c[USED], max(0, amount - drained(q, at - from)))
    c[RECENT], c[USED] = c[RECENT] - back, c[USED] - back
    return
  end
  if not past(q, from) then refundIn(c, slotAt(q, from), amount) end
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
local THRESHOLD, HIT, THROTTLED, OVERRUN = 1, 2, 3, 4
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
  for amount, fired in pairs(c[FIRED] ~= 0 and c[FIRED] or {}) do
    if (amount <= 0 or c[USED] < amount) and overAt(q, fired) <= at then c[FIRED][amount] = nil end
  end
end

-- What fired is known by its amount, a limit that was hit by less than nothing: another limit or list of thresholds is
-- told as well, and the same one once.
local function fire(c, amount)
  if c[FIRED] == 0 then c[FIRED] = {} end
  if c[FIRED][amount] then return false end
  c[FIRED][amount] = max(1, now)
  return true
end

local function limitHit(a, q, i, c, amount)
  if a.plan[2] ~= 1 then return end
  rearm(q, c, now)
  if fire(c, -q[3]) then tell(HIT, a, i, c[USED], c[HELD], amount) end
end

-- Counts an amount as used; where nobody is there to be told, the alerts wait for the next use.
local function use(a, q, i, amount, at, silent)
  if amount == 0 or past(q, at) then return end
  local c = a.cells[i]
  advance(q, c, at)
  rearm(q, c, at)
  book(q, c, amount, at)
  if silent or q.isOther then return end
  for place = 1, #q[7] do
    local amount = q[7][place] * q[3]
    if amount == 0 or c[USED] < amount then return end
    if fire(c, amount) then tell(THRESHOLD, a, i, place, c[USED], 0) end
  end
end

`
