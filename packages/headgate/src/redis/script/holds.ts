/** Holds and answers, as the ledger reads and writes them. */
export const holds = `
-- The only key that is not named by the caller, beside it in the same slot: what plans are, and when they were reset.
local plansKey = string.gsub(storeKey, 'store$', 'plans')

local function readHold()
  local known = reads[2] or call('GET', holdKey)
  return known and { struct.unpack(HOLD_FORMAT, known) } or nil
end

local function holdLife(h) return max(0, h[EXPIRES_AT] - now) + h[KEEP] + slack end

local function member(h) return struct.pack(MEMBER_FORMAT, h[CHARGE], h[BOOKED_NOW], h[BOOKED_AT], h[USAGE]) .. holdKey end

-- What a list of open holds says of one: how it ends, whether it was booked at once, when, its usage, its key.
local function readMember(text)
  local charge, booked, at, u, next = struct.unpack(MEMBER_FORMAT, text)
  return charge, booked, at, readUsage(u), string.sub(text, next)
end

-- The open holds outlive the account's record, else what they hold would be held for ever. Both are kept for twice as
-- long as they must be, so that this is seldom to be said again.
local function keep(i, a, life, isNew)
  if a[LIFE] < 0 then return false end
  local needed, isLonger = now + life + max(0, a[LAST_EXPIRY] - now) + slack, false
  if a[KEPT_UNTIL] < needed then a[KEPT_UNTIL], isLonger = 2 * needed - now, true end
  if isNew or (isLonger and a[OPEN_HOLDS] > 0) then call('PEXPIRE', KEYS[2 + count + i], a[KEPT_UNTIL] - now + slack) end
  return isLonger
end

-- Counts an open hold of an account in, or out again.
local function countOpen(a, charge, booked, by)
  a[OPEN_HOLDS] = max(0, a[OPEN_HOLDS] + by)
  if booked == 0 then a[RELEASES + charge] = max(0, a[RELEASES + charge] + by) end
end

local function answer(code, a, b, c) return { code, now, epoch or '', last, a, b, c } end
`
