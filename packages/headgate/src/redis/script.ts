import { accounts } from "./script/accounts.ts"
import { holds } from "./script/holds.ts"
import { plans } from "./script/plans.ts"
import { quick } from "./script/quick.ts"
import { records } from "./script/records.ts"
import { verbs } from "./script/verbs.ts"
import { waits } from "./script/waits.ts"
import { windows } from "./script/windows.ts"

/**
 * The ledger in Lua. It mirrors `internal/ledger/ledger.ts`, `internal/ledger/cell.ts` and `internal/ledger/alarms.ts` function by function:
 * same names, same order, same rounding. What differs, and why:
 *
 * - A script is isolated but not rolled back. So everything is read, checked and decided on Lua tables first; the writes
 *   at the end (`save`) are commands that cannot fail on keys of which the type was seen. Only the very first write can
 *   be refused (`OOM`, `READONLY`, `MISCONF`), and then nothing was applied.
 * - Holds expire per account, when it is touched, at the time at which they were due. What became of a hold follows from
 *   its record and the time, so one account is settled without reading others.
 * - What fired is known by its amount and not by its place, since here a list of thresholds may change.
 * - What comes in is not trusted: `tonumber("nan")` is a number that passes every comparison.
 * - Most calls need none of it (`quick`). The ledger's functions are made only when they are needed, which takes longer
 *   than most decisions.
 */
const body = `${records}${quick}
local decided = quick()
if decided then return decided end

local function ledger()
${holds}${windows}${plans}${accounts}${waits}${verbs}end

local ok, reply = pcall(ledger)
if ok then return reply end
if type(reply) ~= 'table' then return redis.error_reply(reply) end
if reply.need then return { MORE, now, epoch or '', last, reply.need } end
return reply
`

/**
 * Names in capitals stand for numbers and formats. They are put in here: to a function in Lua each would be a variable to
 * capture, and that takes longer than a decision.
 */
const withConstants = (lua: string): string => {
  const constants = new Map<string, string>()
  const value = String.raw`(?:\d+|'[^']*')`
  const declared = new RegExp(`^local ([A-Z_]+(?:,\\s+[A-Z_]+)*) =\\s+(${value}(?:, ${value})*)$`, "gm")
  const rest = lua.replace(declared, (_, names: string, values: string) => {
    const all = values.split(", ")
    names.split(/,\s+/).forEach((name, index) => constants.set(name, all[index]!))
    return ""
  })
  return rest.replace(/\b[A-Z_]{2,}\b/g, (name) => constants.get(name) ?? name)
}

/** Where the script takes the time from: the server, or for tests a key that they set. */
const clocks = {
  server: "local time = call('TIME') local clock = time[1] * 1000 + floor(time[2] / 1000)",
  key: "local clock = tonumber(call('GET', storeKey .. ':now'))"
}

export const source = (clock: keyof typeof clocks): string => withConstants(body).replace("CLOCK", clocks[clock])
