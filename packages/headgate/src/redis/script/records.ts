/** What comes in, what is kept, and what goes out: the part of the script that both of its ways share. */
export const records = `
local call, floor, max = redis.call, math.floor, math.max

-- KEYS: the store's record, the hold's record, then per account its record and its open holds by expiry.
-- ARGV: 1 the verb and its choices, a letter each; 2 usage; 3 and 4 numbers that belong to the verb; per account the
-- digest of its plan; where there is an id, what tells whether its content is the same; where they were asked for, plans.
local RESERVE, EXTEND, SETTLE, LET_GO, RECORD, STATUS_OF, RESET, RESET_PLANS = 82, 69, 83, 76, 87, 81, 90, 80
local CHARGE_IT, BOOK_NOW, ENFORCE, ASK, FORCE, AGAIN = 67, 78, 69, 65, 70, 49
local verb, onExpiry, bookWhen, mode, again = string.byte(ARGV[1], 1, 5)
local storeKey, holdKey, count = KEYS[1], KEYS[2], #KEYS / 2 - 1

-- Digits: where they are counted with, Lua makes numbers of them.
local function readUsage(text)
  local u = { string.match(text or '', '^(%d+),(%d+),(%d+),(%d+),(%d+),(%d+)$') }
  -- Of six numbers in 25 characters none has more than 15 digits.
  for i = 1, (u[6] and #text <= 25) and 0 or 6 do
    if not u[i] or #u[i] > 16 or tonumber(u[i]) > 9007199254740991 then
      error('ERR headgate: usage must be whole numbers to 2^53 - 1', 0)
    end
  end
  return u
end

local usageText, usage = ARGV[2], readUsage(ARGV[2])

-- An amount of a usage: of a unit, of a unit without what was cached, or one place.
local function amountIn(u, unit)
  if unit > 0 then return u[unit] + 0 end
  return unit < 0 and u[-unit] - u[4] or 1
end

local store = call('HMGET', storeKey, 'epoch', 'last', 'resets')
local epoch, last, resetsOfPlans = store[1], tonumber(store[2] or 0), tonumber(store[3] or 0)
CLOCK
local now = max(clock, last)

-- Expiries are in the server's time, and the store's may be ahead of it after the server's was set back.
local slack = 60000 + now - clock

local function saveTime()
  if now == last and epoch then return end
  if epoch then return call('HSET', storeKey, 'last', now) end
  local time = call('TIME')
  epoch = time[1] .. time[2]
  call('HSET', storeKey, 'last', now, 'epoch', epoch)
end

-- An account's record: numbers, of which the first says how many; then its cells and what is seldom needed, which only
-- the ledger reads; then what was given back since it was saved. The numbers are a head, of which only the last four
-- change from call to call; per unit (a group of cells that count the same) what is held, and what was used since it was
-- saved; per group its unit, from where to where nobody is to be told, and what it may reach; and the buckets.
local SIZE, DIGEST, RESETS_OF_PLANS, PLAN_RESETS, UNTIL, CURRENT_FROM, CURRENT_UNTIL, BACK_FROM, RESETS, RESET_AT, LIFE,
  COLD_UNTIL, GROUPS, KEPT_UNTIL, LAST_EXPIRY, DUE, OPEN_HOLDS, HEAD = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 17
local GROUP_UNIT, GROUP_LOW, GROUP_HIGH, GROUP_ROOM = 1, 2, 3, 4
local BUCKET_GROUP, BUCKET_LEVEL, BUCKET_SINCE, BUCKET_CAPACITY, BUCKET_LIMIT, BUCKET_PERIOD, BUCKET_LOW, BUCKET_HIGH,
  BUCKET_SIZE = 1, 2, 3, 4, 5, 6, 7, 8, 8

-- Later than any time, and more than any amount.
local NEVER = 9000000000000000

-- A hold's record. What it is may be read at its numbers, what it holds and how it ended in texts. Its first four are
-- also its name in the lists of open holds, which say what an account must do when it expires.
local CHARGE, BOOKED_NOW, BOOKED_AT, USAGE, KIND, FORCED, ENDED, QUEUED, EXPIRES_AT, TTL, KEEP, EXTENSIONS, LAST_EXTENSION,
  CONTENT, RESETS_THEN, ALERTS, ENDED_BY = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
local HOLD_FORMAT, MEMBER_FORMAT, REST_FORMAT = '<BBdsBBBBddddsssss', '<BBds', '<BBBBddddsssss'
local IS_HOLD, IS_RECORD, OPEN, SETTLED, RELEASED = 1, 2, 0, 1, 2

-- The open holds outlive the account's record, else what they hold would be held for ever. Both are kept for twice as
-- long as they must be, so that this is seldom to be said again.
local function keep(i, a, life, isNew)
  if a[LIFE] < 0 then return false end
  local needed, isLonger = now + life + max(0, a[LAST_EXPIRY] - now) + slack, false
  if a[KEPT_UNTIL] < needed then a[KEPT_UNTIL], isLonger = 2 * needed - now, true end
  if isNew or (isLonger and a[OPEN_HOLDS] > 0) then call('PEXPIRE', KEYS[2 + 2 * i], a[KEPT_UNTIL] - now + slack) end
  return isLonger
end

-- Answers. Their place says what numbers are, -1 stands for "never".
local MORE, REFUSED, HOLD, CONFLICT, BOOKED, STATUS = 0, 1, 2, 3, 4, 5
`
