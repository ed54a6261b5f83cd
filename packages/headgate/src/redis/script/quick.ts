/** The way of most calls. It says the same as the ledger, and is held to it by the random histories. */
export const quick = `
-- The way of most calls: nothing is due, no slot has ended, everything fits and nobody is to be told. It decides on what
-- was kept for it, and answers nothing where any of this is not so, before it has written anything.
local function quick()
  local reserving, asking = verb == RESERVE, mode == ASK
  if not epoch or (not reserving and verb ~= SETTLE and verb ~= LET_GO) then return nil end
  local content, hold, before = ARGV[3 + count] or '', nil, nil
  local charge, booked, bookedAt, held, queued, expiresAt, ttl, kept, extensions, resetsThen
  if reserving then
    if mode == FORCE or (asking and content ~= '') then return nil end
    ttl, kept = first, second
    charge, booked, bookedAt, held = onExpiry == CHARGE_IT and 1 or 0, bookWhen == BOOK_NOW and 1 or 0, now, usageText
    queued, expiresAt = 1 - booked, now + ttl
  else
    hold = reads[2]
    if not hold then return nil end
    local kind, forced, ended, lastExtension, alerts
    charge, booked, bookedAt, held, kind, forced, ended, queued, expiresAt, ttl, kept, extensions, lastExtension, content,
      resetsThen, alerts = struct.unpack(HOLD_FORMAT, hold)
    if kind ~= IS_HOLD or ended ~= OPEN or alerts ~= '' or (queued == 1 and expiresAt <= now) then return nil end
    before = held == usageText and usage or readUsage(held)
  end
  local booking, using = booked == 1, verb == SETTLE
  local accounts, resets, backs, isBack = {}, nil, nil, false
  for i = 1, count do
    local record = reads[2 + i]
    if not record then return nil end
    local size = struct.unpack('<H', record)
    local a, added, back = { struct.unpack('<H' .. string.rep('d', size), record) }, nil, nil
    if a[DUE] <= now or a[DIGEST] ~= tonumber(ARGV[2 + i]) or a[RESETS_OF_PLANS] ~= resetsOfPlans then return nil end
    if reserving and a[UNTIL] > now then return nil end
    local groups, isCurrent = a[GROUPS], now < a[CURRENT_UNTIL]
    for g = 1, groups do
      local at = HEAD + 2 * groups + 4 * g - 4
      local unit, net, hold, use = a[at + GROUP_UNIT], a[HEAD + 2 * g], 0, 0
      if unit == 0 then
        if reserving then hold, queued = 1, 1 elseif queued == 1 then hold = -1 end
      elseif reserving then
        if booking then use = amountIn(usage, unit) else hold = amountIn(usage, unit) end
      else
        local amount, held = using and amountIn(usage, unit) or 0, amountIn(before, unit)
        if amount > held then return nil end
        if booking then use = amount - held else hold, use = -held, amount end
      end
      local sum = a[HEAD + 2 * g - 1] + hold
      if reserving and (not isCurrent or sum + net + use > a[at + GROUP_ROOM]) then return nil end
      if use ~= 0 then
        if not isCurrent then return nil end
        if use > 0 then
          if net < a[at + GROUP_LOW] or net + use >= a[at + GROUP_HIGH] then return nil end
        elseif bookedAt < a[CURRENT_FROM] then
          if bookedAt < a[BACK_FROM] then return nil end
          back = back or { bookedAt }
          back[g + 1] = -use
        end
        isBack = isBack or use < 0
        a[HEAD + 2 * g] = net + use
      end
      a[HEAD + 2 * g - 1] = max(0, sum)
      if size >= HEAD + 6 * groups then
        added = added or {}
        added[g] = use
      end
    end
    for at = HEAD + 6 * groups, size, BUCKET_SIZE do
      local g, since, level, limit, period = a[at + BUCKET_GROUP], a[at + BUCKET_SINCE], a[at + BUCKET_LEVEL],
        a[at + BUCKET_LIMIT], a[at + BUCKET_PERIOD]
      local each, rest = floor(limit / period), math.fmod(limit, period)
      local times, use = floor((now - since) / period), added[g]
      if times > 0 then since, level = since + times * period, level - times * limit end
      local used = max(0, level - (now - since) * each - floor((now - since) * rest / period))
      if used == 0 then level = 0 end
      if reserving and used + a[HEAD + 2 * g - 1] + use > a[at + BUCKET_CAPACITY] then return nil end
      if use > 0 then
        if used < a[at + BUCKET_LOW] or used + use >= a[at + BUCKET_HIGH] then return nil end
        if used == 0 then since = now end
        level = level + use
      elseif use < 0 then
        local past = now - bookedAt
        local within = math.fmod(past, period)
        local drained = floor(past / period) * limit + within * each + floor(within * rest / period)
        level = level - math.min(used, max(0, -use - drained))
      end
      a[at + BUCKET_SINCE], a[at + BUCKET_LEVEL] = since, level
    end
    if back then
      if #record > a[COLD_UNTIL] + 1024 then return nil end
      for g = 1, groups do back[g + 1] = back[g + 1] or 0 end
      backs = backs or {}
      backs[i] = { record, struct.pack('<' .. string.rep('d', groups + 1), unpack(back)) }
    end
    if booking then resets = resets and resets .. ',' .. a[RESETS] or a[RESETS] .. '' end
    accounts[i] = a
  end
  if isBack and resets ~= resetsThen then return nil end
  for i = 1, count do
    local a = accounts[i]
    local expiry = max(now, a[LAST_EXPIRY], queued == 1 and expiresAt or now)
    if a[LIFE] >= 0 and a[KEPT_UNTIL] < expiry + a[LIFE] + slack then return nil end
  end
  -- From here on it writes: first what can be refused, or may be there already, and where the type of a key can refuse.
  saveTime()
  if asking then return { HOLD, now, epoch, last, 0, '' } end
  local nameEnd = 11 + #held
  if reserving then
    hold = struct.pack(HOLD_FORMAT, charge, booked, bookedAt, held, IS_HOLD, 0, OPEN, queued, expiresAt, ttl, kept, 0, '',
      content, resets or '', '', '')
    if not call('SET', holdKey, hold, 'PX', ttl + kept + slack, 'NX') then return nil end
  else
    call('SET', holdKey, string.sub(hold, 1, nameEnd + 2) .. string.char(using and SETTLED or RELEASED) ..
      string.sub(hold, nameEnd + 4, -2) .. (using and usageText or '') .. '\\0', 'KEEPTTL')
  end
  if queued == 1 then
    local name = string.sub(hold, 1, nameEnd) .. holdKey
    for i = 1, count do
      local key, failed = KEYS[2 + count + i], nil
      if reserving then failed = redis.pcall('ZADD', key, expiresAt, name) else failed = redis.pcall('ZREM', key, name) end
      if type(failed) == 'table' and failed.err then
        if reserving then call('DEL', holdKey) else call('SET', holdKey, hold, 'KEEPTTL') end
        for j = 1, i - 1 do
          if reserving then call('ZREM', KEYS[2 + count + j], name) else call('ZADD', KEYS[2 + count + j], expiresAt, name) end
        end
        return failed
      end
    end
  end
  for i = 1, count do
    local a, key = accounts[i], KEYS[2 + i]
    if queued == 1 then
      local by = reserving and 1 or -1
      if reserving then
        if a[OPEN_HOLDS] == 0 and a[LIFE] >= 0 then call('PEXPIRE', KEYS[2 + count + i], a[KEPT_UNTIL] - now + slack) end
        a[LAST_EXPIRY], a[DUE] = max(a[LAST_EXPIRY], expiresAt), math.min(a[DUE], expiresAt)
      end
      a[OPEN_HOLDS] = max(0, a[OPEN_HOLDS] + by)
      if not booking then a[RELEASES + charge] = max(0, a[RELEASES + charge] + by) end
    end
    -- Only what changes: from the head's last six on, to the groups' first part or to the end where there are buckets.
    local from, groups = 8 * KEPT_UNTIL - 14, a[GROUPS]
    local to = a[SIZE] == HEAD + 6 * groups - 1 and HEAD + 2 * groups or a[SIZE] + 1
    local packed = struct.pack('<' .. string.rep('d', to - KEPT_UNTIL + 1), unpack(a, KEPT_UNTIL, to))
    if backs and backs[i] then
      local record = backs[i][1]
      call('SET', key, string.sub(record, 1, from) .. packed .. string.sub(record, from + #packed + 1) .. backs[i][2], 'KEEPTTL')
    else
      call('SETRANGE', key, from, packed)
    end
  end
  if extensions and extensions > 0 then return { BOOKED, now, epoch, last, 0, held, '' } end
  return { reserving and HOLD or BOOKED, now, epoch, last }
end
`
