/** What comes in, what is kept, and what goes out: the part of the script that both of its ways share. */
export const records = `
local call, floor, max = redis.call, math.floor, math.max

-- KEYS: the store's record, the hold's record, the accounts' records, and their open holds by expiry.
-- ARGV: 1 usage; 2 a letter each for the verb and its choices, whether it is sent again, two numbers that belong to the
-- verb; per account the digest of its plan; where there is an id, what tells whether its content is the same; where they
-- were asked for, the plans. In few words, since each of them takes time.
local RESERVE, EXTEND, SETTLE, LET_GO, RECORD, STATUS_OF, RESET, RESET_PLANS = 'R', 'E', 'S', 'L', 'W', 'Q', 'Z', 'P'
local CHARGE_IT, BOOK_NOW, ASK, FORCE, WAIT, AGAIN = 'C', 'N', 'A', 'F', 'W', '1'
local usageText = ARGV[1]
local verb, onExpiry, bookWhen, mode, again, first, second =
  string.match(ARGV[2] or '', '^(%u)(%u?)(%u?)(%u?)([01]) (%d+) (%d+)$')
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

local usage = readUsage(usageText)
if not second or #first > 16 or #second > 16 then error('ERR headgate: not a whole number', 0) end
first, second = tonumber(first), tonumber(second)
if first > 9007199254740991 or second > 9007199254740991 then error('ERR headgate: above 2^53 - 1', 0) end

-- An amount of a usage: of a unit, of a unit without what was cached, or one place.
local function amountIn(u, unit)
  if unit > 0 then return u[unit] + 0 end
  return unit < 0 and u[-unit] - u[4] or 1
end

-- All that a call may need to read. What is not there is read again where it is needed: it may be of another type.
local reads = call('MGET', unpack(KEYS, 1, 2 + count))
-- Of the store: the time that it has seen, in 16 digits, how often all values of some plan were reset, and its epoch.
local last, resetsOfPlans, epoch = string.match(reads[1] or call('GET', storeKey) or '0 0', '^(%d+) (%d+) ?(%d*)$')
last, resetsOfPlans = tonumber(last), tonumber(resetsOfPlans)
if epoch == '' then epoch = nil end
CLOCK
local now = max(clock, last)

-- Expiries are in the server's time, and the store's may be ahead of it after the server's was set back.
local slack = 60000 + now - clock

local function writeStore() call('SET', storeKey, string.format('%016.0f %.0f %s', now, resetsOfPlans, epoch)) end

local function saveTime()
  if now == last and epoch then return end
  if epoch then return call('SETRANGE', storeKey, 0, string.format('%016.0f', now)) end
  local time = call('TIME')
  epoch = time[1] .. time[2]
  writeStore()
end

-- An account's record: numbers, of which the first says how many; then its cells and what is seldom needed, which only
-- the ledger reads; then what was given back since it was saved. The numbers are a head, of which only the last six
-- change from call to call; per unit (a group of cells that count the same) what is held, and what was used since it was
-- saved; per group its unit, from where to where nobody is to be told, and what it may reach; and the buckets.
-- The digest is that of the plan which saved it, the shape that of what this plan counts. Of the open holds those are
-- counted apart that are charged or released when they expire: the others were booked at once.
local SIZE, DIGEST, SHAPE, CELLS, RESETS_OF_PLANS, PLAN_RESETS, UNTIL, CURRENT_FROM, CURRENT_UNTIL, BACK_FROM, RESETS,
  RESET_AT, LIFE, COLD_UNTIL, GROUPS, KEPT_UNTIL, LAST_EXPIRY, DUE, OPEN_HOLDS, RELEASES, CHARGES, HEAD =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 21
local GROUP_UNIT, GROUP_LOW, GROUP_HIGH, GROUP_ROOM = 1, 2, 3, 4
local BUCKET_GROUP, BUCKET_LEVEL, BUCKET_SINCE, BUCKET_CAPACITY, BUCKET_LIMIT, BUCKET_PERIOD, BUCKET_LOW, BUCKET_HIGH,
  BUCKET_SIZE = 1, 2, 3, 4, 5, 6, 7, 8, 8

-- Later than any time, and more than any amount.
local NEVER = 9000000000000000

-- So many holds that are due are let go of in one call.
local SWEPT_AT_ONCE = 250

-- A hold's record. What it is may be read at its numbers, what it holds and how it ended in texts. Its first four are
-- also its name in the lists of open holds, which say what an account must do when it expires.
local CHARGE, BOOKED_NOW, BOOKED_AT, USAGE, KIND, FORCED, ENDED, QUEUED, EXPIRES_AT, TTL, KEEP, EXTENSIONS, LAST_EXTENSION,
  CONTENT, RESETS_THEN, ALERTS, ENDED_BY = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
local HOLD_FORMAT, MEMBER_FORMAT = '<BBdsBBBBddddsssss', '<BBds'
local IS_HOLD, IS_RECORD, OPEN, SETTLED, RELEASED = 1, 2, 0, 1, 2

-- Answers. Their place says what numbers are, -1 stands for "never".
local MORE, REFUSED, HOLD, CONFLICT, BOOKED, STATUS = 0, 1, 2, 3, 4, 5
`
