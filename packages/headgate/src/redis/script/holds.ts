/** Holds and answers, as the ledger reads and writes them. */
export const holds = `
local function whole(text)
  if not text or #text > 16 or not string.find(text, '^%d+$') then error('ERR headgate: not a whole number', 0) end
  local number = tonumber(text)
  if number > 9007199254740991 then error('ERR headgate: above 2^53 - 1', 0) end
  return number
end

local function readHold()
  local known = call('GET', holdKey)
  return known and { struct.unpack(HOLD_FORMAT, known) } or nil
end

local function holdLife(h) return max(0, h[EXPIRES_AT] - now) + h[KEEP] + slack end

local function member(h) return struct.pack(MEMBER_FORMAT, h[CHARGE], h[BOOKED_NOW], h[BOOKED_AT], h[USAGE]) .. holdKey end

local function answer(code, a, b, c) return { code, now, epoch or '', last, a, b, c } end
`
