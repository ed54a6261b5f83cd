/** The way of most calls. It says the same as the ledger, and is held to it by the random histories. */
export const quick = `
-- The way of most calls: nothing is due, no slot has ended, everything fits and nobody is to be told. It decides on what
-- was kept for it, and answers nothing where any of this is not so, before it has written anything.
local function quick()
  local reserving = verb == RESERVE
  if not reserving and verb ~= SETTLE and verb ~= LET_GO then return nil end
  local asking, content, h, known, before = mode == ASK, ARGV[5 + count] or '', nil, nil, nil
  if reserving then
    if mode == FORCE or (asking and content ~= '') then return nil end
    local ttl, booked = whole(ARGV[3]), bookWhen == BOOK_NOW and 1 or 0
    h = { onExpiry == CHARGE_IT and 1 or 0, booked, now, usageText, IS_HOLD, 0, OPEN, 1 - booked, now + ttl, ttl,
      whole(ARGV[4]), 0, '', content, '', '', '' }
  else
    known = call('GET', holdKey)
    if not known then return nil end
    h = { struct.unpack(HOLD_FORMAT, known) }
    if h[KIND] ~= IS_HOLD or h[ENDED] ~= OPEN or h[ALERTS] ~= '' then return nil end
    if h[QUEUED] == 1 and h[EXPIRES_AT] <= now then return nil end
    before = h[USAGE] == usageText and usage or readUsage(h[USAGE])
  end
  local booking, using, bookedAt = h[BOOKED_NOW] == 1, verb == SETTLE, h[BOOKED_AT]
  local accounts, formats, resets, backs = {}, {}, {}, nil
  for i = 1, count do
    local record = call('GET', KEYS[1 + 2 * i])
    if not record then return nil end
    local size = struct.unpack('<H', record)
    local format = accountFormat(size)
    local a, added, back = { struct.unpack(format, record) }, {}, nil
    if a[DUE] <= now or a[DIGEST] ~= tonumber(ARGV[4 + i]) or a[RESETS_OF_PLANS] ~= resetsOfPlans then return nil end
    if reserving and a[UNTIL] > now then return nil end
    local groups, isCurrent = a[GROUPS], now < a[CURRENT_UNTIL]
    for g = 1, groups do
      local at = HEAD + (g - 1) * GROUP
      local unit, net, hold, use = a[at + GROUP_UNIT], a[at + GROUP_NET], 0, 0
      if unit == 0 then
        if reserving then hold, h[QUEUED] = 1, 1 elseif h[QUEUED] == 1 then hold = -1 end
      elseif reserving then
        if booking then use = amountIn(usage, unit) else hold = amountIn(usage, unit) end
      else
        local amount, held = using and amountIn(usage, unit) or 0, amountIn(before, unit)
        if amount > held then return nil end
        if booking then use = amount - held else hold, use = -held, amount end
      end
      if reserving and (not isCurrent or a[at + GROUP_HELD] + net + hold + use > a[at + GROUP_ROOM]) then return nil end
      if use ~= 0 then
        if not isCurrent then return nil end
        if use > 0 then
          if net < a[at + GROUP_LOW] or net + use >= a[at + GROUP_HIGH] then return nil end
        else
          if bookedAt < a[BACK_FROM] then return nil end
          back = back or { bookedAt }
          back[g + 1] = -use
        end
        a[at + GROUP_NET] = net + use
      end
      added[g] = reserving and hold + use or use
      a[at + GROUP_HELD] = max(0, a[at + GROUP_HELD] + hold)
    end
    for at = HEAD + groups * GROUP, size, BUCKET_SIZE do
      local g, since, level, limit, period = a[at + BUCKET_GROUP], a[at + BUCKET_SINCE], a[at + BUCKET_LEVEL],
        a[at + BUCKET_LIMIT], a[at + BUCKET_PERIOD]
      local each, rest = floor(limit / period), math.fmod(limit, period)
      local times, use = floor((now - since) / period), added[g]
      if times > 0 then since, level = since + times * period, level - times * limit end
      local used = max(0, level - (now - since) * each - floor((now - since) * rest / period))
      if used == 0 then level = 0 end
      if reserving then
        local held = a[HEAD + (g - 1) * GROUP + GROUP_HELD]
        if used + held + (booking and use or 0) > a[at + BUCKET_CAPACITY] then return nil end
        if not booking then use = 0 end
      end
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
      if #record > a[COLD_UNTIL] + 4096 then return nil end
      for g = 1, groups do back[g + 1] = back[g + 1] or 0 end
      backs = backs or {}
      backs[i] = string.sub(record, 3 + 8 * size) .. struct.pack('<' .. string.rep('d', groups + 1), unpack(back))
    end
    accounts[i], formats[i], resets[i] = a, format, a[RESETS]
  end
  if booking then
    local now = table.concat(resets, ',')
    if reserving then h[RESETS_THEN] = now elseif backs and h[RESETS_THEN] ~= now then return nil end
  end
  if asking then
    saveTime()
    return answer(HOLD, 0, '')
  end
  -- From here on it writes: first what can be refused, or may be there already, and where the type of a key can refuse.
  if reserving then
    if not call('SET', holdKey, struct.pack(HOLD_FORMAT, unpack(h, 1, ENDED_BY)), 'PX', holdLife(h), 'NX') then return nil end
  else
    saveTime()
  end
  if h[QUEUED] == 1 then
    local open = member(h)
    for i = 1, count do
      local key, failed = KEYS[2 + 2 * i], nil
      if reserving then failed = redis.pcall('ZADD', key, h[EXPIRES_AT], open)
      else failed = redis.pcall('ZREM', key, open) end
      if type(failed) == 'table' and failed.err then
        if reserving then call('DEL', holdKey) end
        for j = 1, i - 1 do
          if reserving then call('ZREM', KEYS[2 + 2 * j], open) else call('ZADD', KEYS[2 + 2 * j], h[EXPIRES_AT], open) end
        end
        return failed
      end
    end
  end
  if reserving then
    saveTime()
  else
    local at = 13 + #h[USAGE]
    call('SET', holdKey, string.sub(known, 1, at) .. string.char(using and SETTLED or RELEASED) ..
      string.sub(known, at + 2, -2) .. (using and usageText or '') .. '\\0', 'KEEPTTL')
  end
  for i = 1, count do
    local a, key, isNew = accounts[i], KEYS[1 + 2 * i], false
    if h[QUEUED] == 1 then
      if reserving then
        isNew = a[OPEN_HOLDS] == 0
        a[OPEN_HOLDS] = a[OPEN_HOLDS] + 1
        a[LAST_EXPIRY], a[DUE] = max(a[LAST_EXPIRY], h[EXPIRES_AT]), math.min(a[DUE], h[EXPIRES_AT])
      else
        a[OPEN_HOLDS] = max(0, a[OPEN_HOLDS] - 1)
      end
    end
    local isLonger = keep(i, a, a[LIFE], isNew)
    local packed = struct.pack(formats[i], unpack(a, 1, a[SIZE] + 1))
    if backs and backs[i] then call('SET', key, packed .. backs[i], 'KEEPTTL') else call('SETRANGE', key, 0, packed) end
    if isLonger then call('PEXPIRE', key, a[KEPT_UNTIL] - now) end
  end
  if not reserving and h[EXTENSIONS] > 0 then return answer(BOOKED, 0, h[USAGE], '') end
  return { reserving and HOLD or BOOKED, now, epoch, last }
end
`
