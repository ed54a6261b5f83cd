/** Accounts: how they are read, brought up to date and written. */
export const accounts = `
local function giveBack(c, amount) c[HELD] = max(0, c[HELD] - amount) end

local function expire(a, text, at)
  local charges, isBooked, bookedAt, u = readMember(text)
  local charge, booked = charges == 1, isBooked == 1
  countOpen(a.state, charges, isBooked, -1)
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
  for _, c in ipairs(a.cells) do c[USED], c[RECENT], c[OLDER], c[FIRED], c[SINCE] = 0, 0, 0, 0, 0 end
end

local accounts = {}

local function accountFormat(size) return '<H' .. string.rep('d', size) end

-- What was used, and then given back, since the account was saved: all of it in the slots of that time. What was given
-- back from earlier slots is listed.
local function catchUp(a, known)
  local state, units = a.state, a.units
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
  local plan, key, openKey = plans[index], KEYS[2 + index], KEYS[2 + count + index]
  local a = { index = index, plan = plan, quotas = plan[4], key = key, openKey = openKey, pending = {} }
  local known, state, cells = reads[2 + index] or call('GET', key), nil, {}
  local times, resetAt = string.match(plan.reset, '^(%d+) (%d+)$')
  times, resetAt = tonumber(times or 0), tonumber(resetAt)
  a.known, a.cells, a.waitedUntil = known, cells, 0
  if known then
    local size = struct.unpack('<H', known)
    state = { struct.unpack(accountFormat(size), known) }
    a.state = state
    local count = state[CELLS]
    local cold = { struct.unpack('<' .. string.rep('d', 3 * count), known, 3 + 8 * size) }
    local tail = string.sub(known, 3 + 8 * size + 24 * count, state[COLD_UNTIL])
    local seldom = tail ~= '' and cmsgpack.unpack(tail) or {}
    a.waitedUntil, a.quotas = seldom[3 * count + 1] or 0, savedWith(a, seldom[3 * count + 2] or {})
    a.units = grouped(a.quotas)
    for i = 1, #a.quotas do
      local at = 3 * i - 3
      cells[i] = { cold[at + 1], 0, cold[at + 3], cold[at + 2], seldom[3 * i - 2] or 0, seldom[3 * i - 1] or 0, seldom[3 * i] or 0 }
    end
    catchUp(a, known)
    if state[SHAPE] ~= plan[6] then adopt(a) end
  else
    -- Whatever was booked on a forgotten account before is not booked on this one: its count of resets begins apart.
    state = { 0, 0, 0, 0, 0, times, 0, 0, 0, 0, now, now - 1, 0, 0, 0, 0, 0, NEVER, 0, 0, 0 }
    for i = 1, #a.quotas do cells[i] = { 0, 0, 0, 0, 0, 0, 0 } end
    a.state, a.units = state, grouped(a.quotas)
  end
  -- This read says what is due and, before anything is written, that the key can be written to.
  local first, due = call('ZRANGE', openKey, 0, 0, 'WITHSCORES'), {}
  a.open = first[1]
  if not a.open then state[OPEN_HOLDS], state[RELEASES], state[CHARGES] = 0, 0, 0 end
  if a.open and tonumber(first[2]) <= now then
    local most = verb == STATUS_OF and -1 or SWEPT_AT_ONCE
    due = call('ZRANGEBYSCORE', openKey, '-inf', now, 'WITHSCORES', 'LIMIT', 0, most)
    first = call('ZRANGE', openKey, #due / 2, #due / 2, 'WITHSCORES')
  end
  a.swept, a.sweptUntil, a.readAll, state[DUE] = #due / 2, tonumber(due[#due]), first[1] == nil, tonumber(first[2] or NEVER)
  -- All values of the plan were reset since this one was touched: by then, what was due earlier had expired.
  if times == state[PLAN_RESETS] then resetAt = nil end
  a.changed = a.changed or #due > 0 or resetAt ~= nil
  for i = 1, #due, 2 do
    local at = tonumber(due[i + 1])
    if resetAt and at > resetAt then
      reset(a, resetAt)
      resetAt = nil
    end
    expire(a, due[i], at)
  end
  if resetAt and state[DUE] > now then
    reset(a, resetAt)
    resetAt = nil
  end
  if not resetAt then state[PLAN_RESETS] = times end
  accounts[index] = a
  return a
end

-- Writing: cells as they are now, so that what comes next finds its slot and how far it may go untold.
local function saveAccount(a)
  local life, state, seldom, isPlain, groups, buckets, cold = a.plan[3], a.state, {}, true, {}, {}, {}
  local others = #a.quotas > #a.plan[4] and othersOf(a) or {}
  -- What remembers for ever does so whatever plan asks; otherwise the longest memory counts.
  if #others > 0 and life >= 0 then life = state[LIFE] < 0 and -1 or max(life, state[LIFE]) end
  if life < 0 and state[LIFE] >= 0 and a.open then call('PERSIST', a.openKey) end
  state[LIFE] = life
  state[CURRENT_FROM], state[CURRENT_UNTIL], state[BACK_FROM] = 0, NEVER, 0
  for g, unit in ipairs(a.units) do groups[g] = { unit, -NEVER, NEVER, NEVER, held = 0 } end
  for i, q in ipairs(a.quotas) do
    local c, group, low, high = a.cells[i], groups[q.group], -NEVER, NEVER
    advance(q, c, now)
    group.held = c[HELD]
    local fired = c[FIRED] ~= 0 and c[FIRED] or {}
    for amount in pairs(fired) do low = max(low, amount) end
    for _, share in ipairs(q[3] > 0 and q[7] or {}) do
      if not fired[share * q[3]] then high = min(high, share * q[3]) end
    end
    if not next(fired) then c[FIRED] = 0 end
    local room = q[3] > 0 and q[3] or -NEVER
    if q[4] == BUCKET then
      if q.isOther or c[USED] > q[3] then life = max(life, c[SLOT] + timeToDrain(q, c[RECENT]) - now) end
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
    seldom[3 * i - 2], seldom[3 * i - 1], seldom[3 * i] = c[OLDER], c[FIRED], c[SINCE]
    if c[OLDER] ~= 0 or c[FIRED] ~= 0 or c[SINCE] ~= 0 then isPlain = false end
    state[CURRENT_FROM], state[BACK_FROM] = max(state[CURRENT_FROM], c[SINCE]), max(state[BACK_FROM], c[SINCE])
  end
  -- While somebody waits, nothing goes the short way: the ledger tells of what is given back.
  local isWaited = a.waitedUntil > now
  if isWaited then state[DUE] = 0 end
  if isWaited or #others > 0 then seldom[3 * #a.quotas + 1], seldom[3 * #a.quotas + 2], isPlain = a.waitedUntil, others, false end
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
  state[SHAPE], state[CELLS] = a.plan[6], #a.quotas
  keep(a.index, state, life, a.isNew)
  local packed = struct.pack(accountFormat(size), unpack(state, 1, size + 1)) .. tail
  if state[LIFE] < 0 then call('SET', a.key, packed) else call('SET', a.key, packed, 'PX', state[KEPT_UNTIL] - now) end
end

-- A great many that are due are let go of a few at a time: what was done is saved, and the caller asks again. Perhaps it
-- never does, so the plan that saved it is told now.
local function loadAll()
  loadPlans()
  for i = 1, count do
    local a = load(i)
    if a.state[DUE] <= now and verb ~= STATUS_OF then
      saveStore()
      local asked = now
      now = a.sweptUntil
      saveAccount(a)
      now = asked
      call('ZREMRANGEBYRANK', a.openKey, 0, a.swept - 1)
      error({ need = -1 })
    end
  end
end

local function open(a, h)
  local state = a.state
  call('ZADD', a.openKey, h[EXPIRES_AT], member(h))
  a.isNew = a.isNew or state[OPEN_HOLDS] == 0
  countOpen(state, h[CHARGE], h[BOOKED_NOW], 1)
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
