/** Accounts: how they are read, brought up to date and written. */
export const accounts = `
-- What a list of open holds says of one: how it ends, whether it was booked at once, when, its usage, its key.
local function readMember(text)
  local charge, booked, at, u, next = struct.unpack(MEMBER_FORMAT, text)
  return charge, booked, at, readUsage(u), string.sub(text, next)
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


-- Plans. { throttle, alerts, memory, quotas, the name of its accounts, the starts of its calendars' periods }. The store
-- knows them by their digests, so that a call need not tell them, and asks for those that it does not know.
local plans, given = {}, ARGV[4 + count] ~= nil

local function loadPlans()
  local fields = { 'HMGET', storeKey }
  if not given and count > 0 then
    for i = 1, count do fields[2 + i] = 'plan:' .. ARGV[2 + i] end
    fields = call(unpack(fields))
  end
  local resetFields = { 'HMGET', storeKey }
  for i = 1, count do
    local text = given and ARGV[3 + count + i] or fields[i]
    if not text then error({ need = now }) end
    local plan = cjson.decode(text)
    plan.units, plans[i], resetFields[2 + i] = {}, plan, 'reset:' .. plan[5]
    local groups = {}
    for _, q in ipairs(plan[4]) do
      q.unit = q[2] == 1 and -q[1] or q[1]
      if not groups[q.unit] then
        groups[q.unit] = #plan.units + 1
        plan.units[#plan.units + 1] = q.unit
      end
      q.group = groups[q.unit]
      if q[4] == CALENDAR then
        q.starts = plan[6][q[5]]
        if now < q.starts[1] or now >= q.starts[#q.starts] then error({ need = now }) end
        while now >= q.starts[2] do table.remove(q.starts, 1) end
      end
    end
  end
  local resets = count > 0 and resetsOfPlans > 0 and call(unpack(resetFields)) or {}
  for i = 1, count do plans[i].reset = resets[i] or '' end
end

-- What a plan was years ago need not be known; so many limits nobody has at once.
local function forgetPlans()
  for _, field in ipairs(call('HKEYS', storeKey)) do
    if string.sub(field, 1, 5) == 'plan:' then call('HDEL', storeKey, field) end
  end
end

local function saveStore()
  saveTime()
  if not given then return end
  given = false
  if call('HLEN', storeKey) > 1000 then forgetPlans() end
  for i = 1, count do call('HSET', storeKey, 'plan:' .. ARGV[2 + i], ARGV[3 + count + i]) end
end

local accounts = {}

local function accountFormat(size) return '<H' .. string.rep('d', size) end

-- What was used, and then given back, since the account was saved: all of it in the slots of that time. What was given
-- back from earlier slots is listed.
local function catchUp(a, known)
  local state, units = a.state, a.plan.units
  local groups, journal = #units, string.sub(known, state[COLD_UNTIL] + 1)
  local used, backs, format, at = {}, {}, '<' .. string.rep('d', groups + 1), 1
  for g = 1, groups do used[g] = state[HEAD + 2 * g] end
  while at <= #journal do
    local back = { struct.unpack(format, journal, at) }
    for g = 1, groups do used[g] = used[g] + back[g + 1] end
    backs[#backs + 1], at = back, at + 8 * (groups + 1)
  end
  local bucket = HEAD + 6 * groups
  for i, q in ipairs(a.quotas) do
    local c, g = a.cells[i], q.group
    c[HELD] = state[HEAD + 2 * g - 1]
    if q[4] == BUCKET then
      c[SLOT], c[RECENT] = state[bucket + BUCKET_SINCE], state[bucket + BUCKET_LEVEL]
      c[USED], bucket = c[RECENT], bucket + BUCKET_SIZE
    elseif q.unit ~= 0 then
      c[USED], c[RECENT] = c[USED] + used[g], c[RECENT] + used[g]
      for _, back in ipairs(backs) do
        refundIn(c, q[4] == EVEN and floor(back[1] / q[5]) or c[SLOT], back[g + 1])
      end
    end
  end
end

local function load(index)
  local plan, key, openKey = plans[index], KEYS[1 + 2 * index], KEYS[2 + 2 * index]
  local a = { index = index, plan = plan, quotas = plan[4], key = key, openKey = openKey, swept = 0, pending = {} }
  local known, state, cells = call('GET', key), nil, {}
  local times, resetAt = string.match(plan.reset, '^(%d+) (%d+)$')
  times, resetAt = tonumber(times or 0), tonumber(resetAt)
  a.known, a.cells, a.waitedUntil = known, cells, 0
  if known then
    local size = struct.unpack('<H', known)
    state = { struct.unpack(accountFormat(size), known) }
    local cold = { struct.unpack('<' .. string.rep('d', 3 * #a.quotas), known, 3 + 8 * size) }
    local tail = string.sub(known, 3 + 8 * size + 24 * #a.quotas, state[COLD_UNTIL])
    local seldom = tail ~= '' and cmsgpack.unpack(tail) or {}
    for i, q in ipairs(a.quotas) do
      local at, fired = 3 * i - 3, seldom[2 * i] or 0
      if fired ~= 0 and #fired ~= #q[7] + 1 then fired = 0 end
      cells[i] = { cold[at + 1], 0, cold[at + 3], cold[at + 2], seldom[2 * i - 1] or 0, fired }
    end
    a.state, a.waitedUntil = state, seldom[2 * #a.quotas + 1] or 0
    catchUp(a, known)
  else
    -- Whatever was booked on a forgotten account before is not booked on this one: its count of resets begins apart.
    state = { 0, 0, 0, times, 0, 0, 0, 0, now, now - 1, 0, 0, 0, 0, 0, NEVER, 0 }
    for i = 1, #a.quotas do cells[i] = { 0, 0, 0, 0, 0, 0 } end
    a.state = state
  end
  state[LIFE] = plan[3]
  -- This read says what is due and, before anything is written, that the key can be written to.
  local first = call('ZRANGE', openKey, 0, 0, 'WITHSCORES')
  a.open = first[1]
  local due = first[1] and tonumber(first[2]) <= now and call('ZRANGEBYSCORE', openKey, '-inf', now, 'WITHSCORES') or {}
  -- All values of the plan were reset since this one was touched: by then, what was due earlier had expired.
  if times == state[PLAN_RESETS] then resetAt = nil end
  a.changed = #due > 0 or resetAt ~= nil
  for i = 1, #due, 2 do
    local at = tonumber(due[i + 1])
    if resetAt and at > resetAt then
      reset(a, resetAt)
      resetAt = nil
    end
    expire(a, due[i], at)
  end
  if resetAt then reset(a, resetAt) end
  a.swept, a.readAll, state[PLAN_RESETS] = #due / 2, first[1] == nil, times
  if #due > 0 then first = call('ZRANGE', openKey, a.swept, a.swept, 'WITHSCORES') end
  state[DUE] = tonumber(first[2] or NEVER)
  if not a.open then state[OPEN_HOLDS] = 0 end
  state[OPEN_HOLDS] = max(0, state[OPEN_HOLDS] - a.swept)
  accounts[index] = a
  return a
end

local function loadAll()
  loadPlans()
  for i = 1, count do load(i) end
end

-- Writing: cells as they are now, so that what comes next finds its slot and how far it may go untold.
local function saveAccount(a)
  local life, state, seldom, isPlain, groups, buckets, cold = a.plan[3], a.state, {}, true, {}, {}, {}
  state[CURRENT_FROM], state[CURRENT_UNTIL], state[BACK_FROM] = 0, NEVER, 0
  for g, unit in ipairs(a.plan.units) do groups[g] = { unit, -NEVER, NEVER, NEVER, held = 0 } end
  for i, q in ipairs(a.quotas) do
    local c, group, low, high = a.cells[i], groups[q.group], -NEVER, NEVER
    advance(q, c, now)
    group.held = c[HELD]
    for place = 1, q[3] > 0 and #q[7] or 0 do
      if c[FIRED] ~= 0 and c[FIRED][place] > 0 then low = max(low, q[7][place] * q[3])
      else high = min(high, q[7][place] * q[3]) end
    end
    local room = q[3] > 0 and q[3] or -NEVER
    if q[4] == BUCKET then
      if c[USED] > q[3] then life = max(life, c[SLOT] + timeToDrain(q, c[RECENT]) - now) end
      for _, number in ipairs({ q.group, c[RECENT], c[SLOT], room, q[5], q[6], low, high }) do
        buckets[#buckets + 1] = number
      end
    else
      group[GROUP_ROOM] = min(group[GROUP_ROOM], room - c[USED])
      if q.unit ~= 0 then
        local slot = slotAt(q, now)
        if c[USED] == 0 and c[RECENT] == 0 then c[SLOT], c[OLDER] = slot, 0 end
        group[GROUP_LOW], group[GROUP_HIGH] = max(group[GROUP_LOW], low - c[USED]), min(group[GROUP_HIGH], high - c[USED])
        if q[4] ~= LIFETIME then
          local starts, ends, from = slot, q.starts and q.starts[2], slot
          if q[4] == EVEN then starts, ends, from = slot * q[5], (slot + 1) * q[5], (slot - q[6]) * q[5] end
          state[CURRENT_FROM], state[CURRENT_UNTIL] = max(state[CURRENT_FROM], starts), min(state[CURRENT_UNTIL], ends)
          state[BACK_FROM] = max(state[BACK_FROM], from)
        end
      end
    end
    cold[3 * i - 2], cold[3 * i - 1], cold[3 * i] = c[USED], c[RECENT], c[SLOT]
    seldom[2 * i - 1], seldom[2 * i] = c[OLDER], c[FIRED]
    if c[OLDER] ~= 0 or c[FIRED] ~= 0 then isPlain = false end
  end
  -- While somebody waits, nothing goes the short way: the ledger tells of what is given back.
  if a.waitedUntil > now then
    seldom[2 * #a.quotas + 1], isPlain, state[DUE] = a.waitedUntil, false, 0
  end
  local numbers = HEAD + 6 * #groups
  for g, group in ipairs(groups) do
    state[HEAD + 2 * g - 1], state[HEAD + 2 * g] = group.held, 0
    for k = 1, 4 do state[HEAD + 2 * #groups + 4 * g - 4 + k] = group[k] end
  end
  for k, number in ipairs(buckets) do state[numbers + k] = number end
  local size = numbers + #buckets - 1
  local tail = struct.pack('<' .. string.rep('d', #cold), unpack(cold)) .. (isPlain and '' or cmsgpack.pack(seldom))
  state[SIZE], state[GROUPS], state[COLD_UNTIL] = size, #groups, 2 + 8 * size + #tail
  state[DIGEST], state[RESETS_OF_PLANS] = tonumber(ARGV[2 + a.index]), resetsOfPlans
  keep(a.index, state, life, a.isNew)
  local packed = struct.pack(accountFormat(size), unpack(state, 1, size + 1)) .. tail
  if state[LIFE] < 0 then call('SET', a.key, packed) else call('SET', a.key, packed, 'PX', state[KEPT_UNTIL] - now) end
end

local function open(a, h)
  local state = a.state
  call('ZADD', a.openKey, h[EXPIRES_AT], member(h))
  a.isNew = a.isNew or state[OPEN_HOLDS] == 0
  state[OPEN_HOLDS] = state[OPEN_HOLDS] + 1
  state[LAST_EXPIRY], state[DUE] = max(state[LAST_EXPIRY], h[EXPIRES_AT]), min(state[DUE], h[EXPIRES_AT])
end

local function saveHold(h)
  call('SET', holdKey, struct.pack(HOLD_FORMAT, unpack(h, 1, ENDED_BY)), 'PX', holdLife(h))
end

local function save()
  saveStore()
  for _, a in ipairs(accounts) do
    if a.swept > 0 then call('ZREMRANGEBYSCORE', a.openKey, '-inf', now) end
    if a.changed then saveAccount(a) end
  end
end
`
