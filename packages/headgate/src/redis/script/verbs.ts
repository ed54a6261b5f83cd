/** The verbs, as `internal/ledger/ledger.ts` has them. */
export const verbs = `
local content, verbs = ARGV[3 + count] or '', {}

local function newHold(kind, keep)
  return { 0, 0, now, usageText, kind, 0, OPEN, 0, now, 0, keep, 0, '', content, '', '', '' }
end

local FOREIGN, OTHER_CONTENT, OTHER_EXTENSION, ENDED_ALREADY, EXPIRED, WAS_RELEASED, OTHER_USAGE, WAS_SETTLED, FORGOTTEN =
  1, 2, 3, 4, 5, 6, 7, 8, 9

local function isExpired(h) return h[QUEUED] == 1 and h[ENDED] == OPEN and h[EXPIRES_AT] <= now end

local function conflict(reason)
  saveStore()
  return answer(CONFLICT, reason)
end

-- Somebody waits for an account until then, when time makes room, and is told if something is given back before.
local function await(a, at)
  if at <= a.waitedUntil then return end
  a.waitedUntil, a.changed = at, true
end

verbs[RESERVE] = function()
  local known = readHold()
  if known then
    if known[KIND] ~= IS_HOLD or known[CONTENT] ~= content then return conflict(OTHER_CONTENT) end
    saveStore()
    return answer(HOLD, known[EXPIRES_AT] + known[KEEP], again == AGAIN and known[ALERTS] or '')
  end
  local ttl = first
  loadAll()
  if mode ~= FORCE then
    for _, a in ipairs(accounts) do
      if a.state[UNTIL] > now or not fits(a, usage, false) then
        local reply = refuse(usage, false)
        if mode == WAIT then await(accounts[reply[6]], reply[11]) end
        save()
        return reply
      end
    end
  end
  local h, resets = newHold(IS_HOLD, second), {}
  h[EXPIRES_AT], h[TTL], h[CHARGE] = now + ttl, ttl, onExpiry == CHARGE_IT and 1 or 0
  h[BOOKED_NOW], h[FORCED] = bookWhen == BOOK_NOW and 1 or 0, mode == FORCE and 1 or 0
  if mode == ASK then
    save()
    return answer(HOLD, 0, '')
  end
  if h[BOOKED_NOW] == 0 then h[QUEUED] = 1 end
  for index, a in ipairs(accounts) do
    resets[index] = a.state[RESETS]
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
  saveStore()
  if h[QUEUED] == 1 then for _, a in ipairs(accounts) do open(a, h) end end
  save()
  saveHold(h)
  return answer(HOLD, h[EXPIRES_AT] + h[KEEP], told())
end

verbs[EXTEND] = function()
  local h, step = readHold(), first
  if not h then return conflict(FORGOTTEN) end
  if h[KIND] ~= IS_HOLD then return conflict(FOREIGN) end
  -- By nothing is a renewal, whatever its step.
  local renewal = usageText == '0,0,0,0,0,0'
  if not renewal and step < h[EXTENSIONS] then
    if step == h[EXTENSIONS] - 1 and h[LAST_EXTENSION] ~= usageText then return conflict(OTHER_EXTENSION) end
    saveStore()
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
  saveStore()
  for _, a in ipairs(accounts) do
    countOpen(a.state, h[CHARGE], h[BOOKED_NOW], -1)
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
    local isBack = false
    for i, q in ipairs(a.quotas) do
      local c, before = a.cells[i], amountOf(q, reserved)
      if q[1] == 0 then
        if queued then giveBack(c, before) end
        isBack = isBack or queued
      else
        local after = to and amountOf(q, to) or 0
        isBack = isBack or after < before
        if from == 'held' then giveBack(c, before) end
        if from == 'booked' and after < before then
          advance(q, c, now)
          if there then refund(q, c, before - after, bookedAt, now) end
        else
          use(a, q, i, from == 'booked' and after - before or after, now, not to)
        end
      end
    end
    if isBack and a.waitedUntil > now then a.waitedUntil, a.isCalled = 0, true end
    a.changed, a.closed = true, queued
  end
end

local function overruns(h, actual)
  local seen, reserved = {}, readUsage(h[USAGE])
  for _, a in ipairs(accounts) do
    for i, q in ipairs(a.quotas) do
      if not q.isOther and a.plan[2] == 1 and q[1] ~= 0 and not seen[q[1]] and amountOf(q, actual) > amountOf(q, reserved) then
        seen[q[1]] = true
        tell(OVERRUN, a, i, amountOf(q, reserved), amountOf(q, actual), 0)
      end
    end
  end
end

local function finish(h, ended)
  local closed = member(h)
  h[ENDED], h[ALERTS] = ended, told()
  saveStore()
  for _, a in ipairs(accounts) do
    if a.closed then countOpen(a.state, h[CHARGE], h[BOOKED_NOW], -1) end
  end
  save()
  saveHold(h)
  -- Last: it needs no memory, and what does is refused only as the first write of a script.
  for _, a in ipairs(accounts) do if a.closed then call('ZREM', a.openKey, closed) end end
  -- Who waits asks again, and says so again if it is refused. A user who may not publish is not stopped by that.
  for _, a in ipairs(accounts) do if a.isCalled then redis.pcall('PUBLISH', storeKey .. ':returns', a.key) end end
end

-- A hold that should be known and is not was lost with the store: what it used is booked all the same.
local function lost()
  if now > first then return nil end
  local h = newHold(IS_HOLD, second)
  h[BOOKED_NOW], h[QUEUED], h[EXPIRES_AT] = 1, 1, 0
  return h
end

verbs[SETTLE] = function()
  local h = readHold() or lost()
  if not h then return conflict(FORGOTTEN) end
  if h[KIND] ~= IS_HOLD then return conflict(FOREIGN) end
  if h[ENDED] == RELEASED then return conflict(WAS_RELEASED) end
  if h[ENDED] == SETTLED then
    if h[ENDED_BY] ~= usageText then return conflict(OTHER_USAGE) end
    saveStore()
    return bookedBefore(h[USAGE], h)
  end
  loadAll()
  overruns(h, usage)
  move(h, usage)
  h[ENDED_BY] = usageText
  finish(h, SETTLED)
  return booked(h[USAGE], 0, told())
end

verbs[LET_GO] = function()
  local h = readHold() or lost()
  if not h then return conflict(FORGOTTEN) end
  if h[KIND] ~= IS_HOLD then return conflict(FOREIGN) end
  if h[ENDED] == SETTLED then return conflict(WAS_SETTLED) end
  if h[ENDED] == RELEASED then
    saveStore()
    return booked(h[USAGE], 1, '')
  end
  loadAll()
  move(h, nil)
  finish(h, RELEASED)
  return booked(h[USAGE], 0, '')
end

verbs[RECORD] = function()
  local known, zero = readHold(), '0,0,0,0,0,0'
  if known then
    if known[KIND] ~= IS_RECORD or known[CONTENT] ~= content then return conflict(OTHER_CONTENT) end
    saveStore()
    return bookedBefore(zero, known)
  end
  local h = newHold(IS_RECORD, first)
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
verbs[STATUS_OF] = function()
  loadAll()
  local reply = answer(STATUS, 0)
  for _, a in ipairs(accounts) do
    if a.state[UNTIL] > now then reply[5] = max(reply[5], a.state[UNTIL]) end
    for i, q in ipairs(a.plan[4]) do
      local c, n = a.cells[i], #reply
      advance(q, c, now)
      local empty = emptyAt(q, c)
      reply[n + 1], reply[n + 2], reply[n + 3] = c[USED], c[HELD], empty == never and -1 or empty
    end
  end
  return reply
end

verbs[RESET] = function()
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
verbs[RESET_PLANS] = function()
  loadPlans()
  saveStore()
  for _, plan in ipairs(plans) do
    local times = tonumber(string.match(plan.reset, '^%d+') or 0)
    call('HSET', plansKey, 'reset:' .. plan[5], string.format('%.0f %.0f', times + 1, now))
  end
  resetsOfPlans = resetsOfPlans + 1
  writeStore()
  return answer(STATUS, 0)
end

return verbs[verb]()
`
