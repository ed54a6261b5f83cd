/** Plans, and accounts that were saved under others. */
export const plans = `
-- Plans. { throttle, alerts, memory, quotas, name, shape, the starts of its calendars' periods }. The store knows them by
-- their digests, so that a call need not tell them, and asks for those that it does not know.
local plans, given = {}, ARGV[4 + count] ~= nil

local function loadPlans()
  local fields = { 'HMGET', plansKey }
  if not given and count > 0 then
    for i = 1, count do fields[2 + i] = 'plan:' .. ARGV[2 + i] end
    fields = call(unpack(fields))
  end
  local resetFields = { 'HMGET', plansKey }
  for i = 1, count do
    local text = given and ARGV[3 + count + i] or fields[i]
    if not text then error({ need = now }) end
    local plan = cjson.decode(text)
    plans[i], resetFields[2 + i] = plan, 'reset:' .. plan[5]
    for _, q in ipairs(plan[4]) do
      if q[4] == CALENDAR then
        q.starts = plan[7][q[5]]
        if now < q.starts[1] or now >= q.starts[#q.starts] then error({ need = now }) end
        while now >= q.starts[2] do table.remove(q.starts, 1) end
      end
    end
  end
  local resets = count > 0 and resetsOfPlans > 0 and call(unpack(resetFields)) or {}
  for i = 1, count do plans[i].reset = resets[i] or '' end
end

-- So many plans nobody has at once: those that are in use are told again. An account that is touched under another list of
-- quotas for the first time after that begins anew.
local function forgetPlans()
  for _, field in ipairs(call('HKEYS', plansKey)) do
    if string.sub(field, 1, 5) == 'plan:' then call('HDEL', plansKey, field) end
  end
end

-- Counters that count the same have a group, which is known by its unit.
local function grouped(quotas)
  local units, groups = {}, {}
  for _, q in ipairs(quotas) do
    q.unit = q[2] == 1 and -q[1] or q[1]
    if not groups[q.unit] then
      units[#units + 1] = q.unit
      groups[q.unit] = #units
    end
    q.group = groups[q.unit]
  end
  return units
end

-- A quota of another plan: it refuses nothing here and tells nothing. The last is what was known of its periods; one that
-- nobody here knows is taken to be as long as the one before it.
local function asOther(q, starts)
  while starts and now >= starts[2] do
    local before = table.remove(starts, 1)
    starts[2] = starts[2] or 2 * starts[1] - before
  end
  return { q[1], q[2], NEVER, q[4], q[5], q[6], {}, q[8], starts or 0, starts = starts, isOther = true }
end

-- What an account was saved with: the quotas of the plan that saved it, and those that it had kept for others.
local function savedWith(a, others)
  local plan, state, quotas = a.plan, a.state, {}
  if state[SHAPE] == plan[6] then
    if #others == 0 then return plan[4] end
    for i, q in ipairs(plan[4]) do quotas[i] = q end
  else
    local text = call('HGET', plansKey, 'plan:' .. string.format('%.0f', state[DIGEST]))
    if not text then return quotas end
    local before = cjson.decode(text)
    for i, q in ipairs(before[4]) do quotas[i] = asOther(q, q[4] == CALENDAR and before[7][q[5]] or nil) end
  end
  for _, q in ipairs(others) do quotas[#quotas + 1] = asOther(q, q[9] ~= 0 and q[9] or nil) end
  return quotas
end

local function heldOn(a, q)
  for i, other in ipairs(a.quotas) do if other.unit == q.unit then return a.cells[i][HELD] end end
  -- It takes as long as there are holds, so it is saved, also by a refusal.
  local held = 0
  a.changed = true
  for _, text in ipairs(call('ZRANGE', a.openKey, 0, -1)) do
    local _, booked, _, u = readMember(text)
    if booked == 0 or q.unit == 0 then held = held + amountOf(q, u) end
  end
  return held
end

-- A counter that was saved in slots of another length: all that still counts is taken to be of now, so that it counts for
-- too long rather than too short.
local function inSlotsOf(q, other, c)
  if q[4] == EVEN and q[5] ~= other[5] then
    advance(other, c, now)
    c[SLOT], c[RECENT], c[OLDER] = slotAt(q, now), c[USED], 0
  end
  return c
end

-- Puts an account that was saved under another list of quotas under that of its plan. What both count goes on, what is new
-- begins with what is held, gives back nothing that was booked before, and what is not looked at any more is counted on
-- for those who do.
local function adopt(a)
  local quotas, cells, goesOn = {}, {}, {}
  grouped(a.plan[4])
  for i, q in ipairs(a.plan[4]) do
    for k, other in ipairs(a.quotas) do
      if not cells[i] and not goesOn[k] and other[8] == q[8] then
        goesOn[k], cells[i] = true, inSlotsOf(q, other, a.cells[k])
      end
    end
    quotas[i], cells[i] = q, cells[i] or { 0, heldOn(a, q), 0, 0, 0, 0, now }
  end
  for k, q in ipairs(a.quotas) do
    if not goesOn[k] then quotas[#quotas + 1], cells[#cells + 1] = q, a.cells[k] end
  end
  a.quotas, a.cells, a.units = quotas, cells, grouped(quotas)
end

local function isOver(q, fired)
  for _, at in pairs(fired ~= 0 and fired or {}) do if overAt(q, at) > now then return false end end
  return true
end

-- The quotas that an account has for others. They are dropped once nothing is left of them.
local function othersOf(a)
  local quotas, cells, others = {}, {}, {}
  for i, q in ipairs(a.quotas) do
    local c = a.cells[i]
    advance(q, c, now)
    if not q.isOther or c[USED] > 0 or c[HELD] > 0 or not isOver(q, c[FIRED]) then
      quotas[#quotas + 1], cells[#cells + 1] = q, c
      if q.isOther then others[#others + 1] = { unpack(q, 1, 9) } end
    end
  end
  a.quotas, a.cells, a.units = quotas, cells, grouped(quotas)
  return others
end

local function saveStore()
  saveTime()
  if not given then return end
  given = false
  if call('HLEN', plansKey) > 10000 then forgetPlans() end
  for i = 1, count do call('HSET', plansKey, 'plan:' .. ARGV[2 + i], ARGV[3 + count + i]) end
end
`
