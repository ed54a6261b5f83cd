import { standstill } from "../../internal/ledger/ledger.ts"

/** Whether it fits, and if not, when it will and what is answered. */
export const waits = `
local function fits(a, u, extending)
  for i, q in ipairs(a.plan[4]) do
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
  local state = a.state
  if q[1] ~= 0 and (charge and state[RELEASES + charge] or state[RELEASES] + state[CHARGES]) == 0 then return k, nil end
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

-- What was booked by a call before this one: who sends it again has not been told.
local function bookedBefore(u, h)
  if again == AGAIN then return booked(u, 0, h[ALERTS]) end
  return booked(u, 1, '')
end

local function told() return table.concat(alerts, ',') end

local function refused(reason, a, i, requested, at, untilTime)
  local q, c = a.quotas[i], a.cells[i]
  local reply = answer(REFUSED, reason, a.index, i)
  if at == never then at = -1 else at = max(at, now + min(now - clock, ${standstill})) end
  reply[8], reply[9], reply[10], reply[11], reply[12], reply[13] = c[USED], c[HELD], requested, at, untilTime, told()
  return reply
end

local TOO_LARGE, EXCEEDED, IS_THROTTLED = 1, 2, 3

local function refuse(u, extending)
  local untilTime = 0
  for _, a in ipairs(accounts) do
    for i, q in ipairs(a.plan[4]) do advance(q, a.cells[i], now) end
    if a.state[UNTIL] > now and not extending then untilTime = max(untilTime, a.state[UNTIL]) end
    for i, q in ipairs(a.plan[4]) do
      local amount = (q[1] == 0 and extending) and 0 or amountOf(q, u)
      if amount > q[3] or q[3] == 0 then
        limitHit(a, q, i, a.cells[i], amount)
        return refused(TOO_LARGE, a, i, amount, never, 0)
      end
    end
  end
  local reason, at, longest, place = untilTime > 0 and IS_THROTTLED or EXCEEDED, -1, nil, 1
  for _, a in ipairs(accounts) do
    for i, q in ipairs(a.plan[4]) do
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
`
