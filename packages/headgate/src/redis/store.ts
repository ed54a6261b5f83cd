import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import * as Alerts from "../Alerts.ts"
import { StoreError } from "../Errors.ts"
import { abandon, Later } from "../internal/later.ts"
import { millisOf } from "../internal/options/plans.ts"
import type { Account, Booked, Conflict, Hold, Plan, Reserve } from "../internal/verbs.ts"
import type * as QuotaStore from "../QuotaStore.ts"
import * as Usage from "../Usage.ts"
import { makeDeadlines, NoAnswer } from "./deadlines.ts"
import { makeEvaluate, TooFewReplicas } from "./evaluate.ts"
import { describe, digest, prepare } from "./plans.ts"
import * as replies from "./replies.ts"
import { channelOf, makeListen } from "./returns.ts"
import { source } from "./script.ts"

/** As `RedisQuotaStore.Options` says, and for tests where the script takes the time from. */
export interface StoreOptions {
  readonly prefix?: string | undefined
  readonly timeout?: Duration.Input | undefined
  readonly rememberIds?: Duration.Input | undefined
  readonly wait?: { readonly replicas: number; readonly timeout: Duration.Input } | undefined
  readonly clock?: "server" | "key" | undefined
}

type Reply = ReadonlyArray<number | string>

/** The verbs by their letters, and the choices of a reserve by theirs. */
const verbs = { extend: "E", settle: "S", release: "L", record: "W", status: "Q", reset: "Z", resetPlans: "P" }
const letters = { charge: "C", release: "R", now: "N", onSettle: "S", enforce: "E", ask: "A", force: "F" }
const choices = ({ book, mode, onExpiry, waits }: Reserve): string =>
  `R${letters[onExpiry]}${letters[book]}${waits === true && mode === "enforce" ? "W" : letters[mode]}`

/** A hold with what the other verbs need to find it again. */
class RedisHold implements Hold {
  readonly _tag = "Hold"
  readonly id: string
  readonly alerts: Hold["alerts"]
  readonly accounts: ReadonlyArray<Account>
  readonly keys: Keys
  readonly usage: Usage.Usage
  readonly store: string
  readonly ttl: number
  readonly keep: number
  /** By the store's time; a hold that the store does not know before then was lost with the store. */
  forgottenAt: number
  /** Whether it may have ended with nobody being told, so that it is asked for again. */
  isUnsure = false

  constructor(
    id: string,
    alerts: Hold["alerts"],
    accounts: ReadonlyArray<Account>,
    keys: Keys,
    usage: Usage.Usage,
    store: string,
    ttl: number,
    keep: number,
    forgottenAt: number
  ) {
    this.id = id
    this.alerts = alerts
    this.accounts = accounts
    this.keys = keys
    this.usage = usage
    this.store = store
    this.ttl = ttl
    this.keep = keep
    this.forgottenAt = forgottenAt
  }
}

/** The keys of a call: the store's, the hold's, the accounts', and those of what is open on them. */
type Keys = ReadonlyArray<string>

/** How long a hold that has ended is known at least, so that a verb that is sent again finds it. */
const shortMemory = 60_000

const foreign: Conflict = { _tag: "Conflict", bound: "made by this store", state: "a hold of another" }

/**
 * Errors that a server says while it cannot answer yet. They pass by themselves. The client loads a script that the
 * server has not got, which can be flushed again before it runs.
 */
const passing = /^(LOADING|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|NOSCRIPT)\b/

const textOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** What clients say of a command that they have not sent: node-redis, and ioredis. */
const notSent = /^The client is (offline|closed)$|^Stream isn't writeable and enableOfflineQueue/

/** An answer of the server, which begins with its code, is a refusal to run the script: nothing was applied. */
const isAnswer = (text: string): boolean => /^-?[A-Z]{3,}[A-Z_]* /.test(text)

const prefixOf = (prefix: string): string => {
  if (/^[^{}]{1,128}$/.test(prefix)) return prefix
  throw new RangeError(
    `RedisQuotaStore: prefix must be 1 to 128 characters without braces, got ${JSON.stringify(prefix.slice(0, 64))}`
  )
}

const replicasOf = (replicas: number): number => {
  if (Number.isSafeInteger(replicas) && replicas >= 1 && replicas <= 100) return replicas
  throw new RangeError(`RedisQuotaStore: wait.replicas must be a whole number from 1 to 100, got ${replicas}`)
}

/** By half of the store's timeout the call would be sent again, and never say that there are too few. */
const waitOf = (input: Duration.Input, timeout: number): number => {
  const wait = millisOf("RedisQuotaStore: wait.timeout", input)
  if (2 * wait < timeout) return wait
  throw new RangeError(
    `RedisQuotaStore: wait.timeout must be less than half of timeout (${timeout} ms), got ${wait} ms`
  )
}

/** Text that stays apart from any other in UTF-8, where lone surrogates do not. */
const keyText = (text: string): string => (text.isWellFormed() ? text : JSON.stringify(text))

/** Makes the store, or throws a `RangeError` on options out of bounds. */
export const makeStore = (
  options: StoreOptions
): Effect.Effect<QuotaStore.Service, never, Redis.Redis | Alerts.Alerts | Scope.Scope> => {
  const prefix = prefixOf(options.prefix ?? "headgate")
  const timeout = millisOf("RedisQuotaStore: timeout", options.timeout ?? "1 second")
  const rememberIds = millisOf("RedisQuotaStore: rememberIds", options.rememberIds ?? "1 day")
  const wait = options.wait && {
    replicas: String(replicasOf(options.wait.replicas)),
    timeout: String(waitOf(options.wait.timeout, timeout))
  }
  const tag = `{${prefix}}:`
  const storeKey = `${tag}store`

  return Effect.gen(function* () {
    const redis = yield* Redis.Redis
    const alerts = yield* Alerts.Alerts
    const evaluate = yield* makeEvaluate(redis, source(options.clock ?? "server"), wait)
    // Ids must differ between processes even where a test has given all of them one seed.
    const instance = crypto.randomUUID().replaceAll("-", "").slice(0, 20)
    let ids = 0
    const nextId = (): string => `${instance}-${ids++}`

    /** What is known of the store: its epoch, its time, and how often it has lost something. */
    const store = { epoch: "", now: NaN, seen: 0, losses: 0 }

    const holdKey = (id: string): string => `${tag}hold:${keyText(id)}`

    const nameOf = ({ plan, value }: Account): string => `${prepare(plan).name}:${keyText(value)}`

    const keysOf = (holdKey: string, accounts: ReadonlyArray<Account>): Keys => {
      const names = accounts.map(nameOf)
      return [
        storeKey,
        holdKey,
        ...names.map((name) => `${tag}account:${name}`),
        ...names.map((name) => `${tag}open:${name}`)
      ]
    }

    const deadlines = yield* makeDeadlines

    /** Tells once that the store is not what it was: another epoch, or a time before one that it had told. */
    const noteLoss = (reply: Reply, seen: number, losses: number): Effect.Effect<void> | undefined => {
      const [, now, epoch, last] = reply as [number, number, string, number]
      store.now = now
      // What was sent before a loss was told is of the time before it, or of the same loss.
      if (losses !== store.losses) return undefined
      // A store that has been emptied has no epoch until something is written.
      const other = store.epoch !== "" && epoch !== store.epoch
      const isLoss = other || last < seen
      store.epoch = epoch
      store.seen = isLoss ? last : Math.max(store.seen, last)
      if (!isLoss) return undefined
      store.losses++
      return alerts.publish({
        _tag: "StoreDegraded",
        message: other
          ? "Redis has lost what it knew: it was flushed, or another server took over without its data"
          : `Redis has lost the last ${seen - last} ms of what it knew: it was restarted or a replica took over`,
        quota: "RedisQuotaStore",
        subject: {},
        threshold: 0,
        current: 0,
        timestamp: DateTime.makeUnsafe(now)
      })
    }

    /**
     * Sends one verb. It cannot be interrupted once sent, and ends within the timeout whatever the store does.
     */
    const send = (
      operation: string,
      verb: string,
      keys: Keys,
      accounts: ReadonlyArray<Account>,
      usage: Usage.Usage,
      first = 0,
      second = 0,
      content = "",
      begun = false
    ): Effect.Effect<Reply, StoreError> =>
      Effect.uninterruptible(
        Effect.withFiber((fiber) => {
          const clock = fiber.getRef(Clock.Clock)
          const start = clock.monotonicTimeNanosUnsafe()
          const left = () => timeout - Number(clock.monotonicTimeNanosUnsafe() - start) / 1e6
          let unknown = false
          let attempts = 0
          let until = NaN

          const fail = (cause: unknown) =>
            Effect.fail(new StoreError({ operation, outcome: unknown ? "unknown" : "notApplied", cause }))

          const again = (cause: unknown): Effect.Effect<Reply, StoreError> => {
            const pause = Math.min(5 * 2 ** attempts, 100)
            return left() > pause ? Effect.flatMap(Effect.sleep(pause), () => attempt) : fail(cause)
          }

          const attempt: Effect.Effect<Reply, StoreError> = Effect.suspend(() => {
            const { losses, seen } = store
            const isAgain = attempts++ > 0 || begun ? 1 : 0
            const args = [
              String(keys.length),
              ...keys,
              replies.usageText(usage),
              `${verb}${isAgain} ${first} ${second}`
            ]
            for (const { plan } of accounts) args.push(prepare(plan).digest)
            if (content !== "" || until >= 0) args.push(content)
            if (until >= 0) for (const { plan } of accounts) args.push(describe(plan, store.now, until))
            const sent = evaluate(args, verb !== verbs.status)
            // Half of the time for the first one: its answer may be lost without a word.
            const patience = attempts === 1 ? timeout / 2 : left()
            return Effect.matchEffect(deadlines.within(sent, clock, patience), {
              onFailure: (error) => {
                if (error instanceof TooFewReplicas || error instanceof NoAnswer) unknown = true
                if (error instanceof NoAnswer) return left() > 1 ? attempt : fail(new NoAnswer({ millis: timeout }))
                if (error instanceof TooFewReplicas) return fail(error)
                const text = textOf(error.cause)
                if (!isAnswer(text) && !notSent.test(text)) unknown = true
                return isAnswer(text) && !passing.test(text) ? fail(error.cause) : again(error.cause)
              },
              onSuccess: (reply): Effect.Effect<Reply, StoreError> => {
                if (reply[0] === replies.more) {
                  store.now = Number(reply[1])
                  const asked = Number(reply[4])
                  // Below 0 it has no question, but too much to let go of at once.
                  if (asked >= 0) until = asked
                  return left() > 1 ? attempt : fail(new NoAnswer({ millis: timeout }))
                }
                const loss = noteLoss(reply, seen, losses)
                return loss === undefined ? Exit.succeed(reply) : Effect.as(loss, reply)
              }
            })
          })
          return attempt
        })
      )

    const contentOf = (
      id: string | undefined,
      accounts: ReadonlyArray<Account>,
      usage: Usage.Usage,
      onExpiry: string
    ): string => {
      if (id === undefined) return ""
      const text = [replies.usageText(usage), onExpiry, ...keysOf("", accounts)].join("\n")
      return `${digest(text).toString(36)}${digest(`.${text}`).toString(36)}`
    }

    const keepOf = (id: string | undefined, ttl: number): number =>
      Math.max(2 * ttl, shortMemory, id === undefined ? 0 : rememberIds)

    const ofOurs = <A>(
      hold: Hold,
      f: (hold: RedisHold) => Effect.Effect<A, StoreError>
    ): Effect.Effect<A | Conflict, StoreError> =>
      hold instanceof RedisHold && hold.store === prefix ? f(hold) : Exit.succeed(foreign)

    const end = (operation: "settle" | "release", hold: RedisHold, usage: Usage.Usage) =>
      Effect.suspend(() => {
        const { accounts, forgottenAt, isUnsure, keep, keys } = hold
        return send(operation, verbs[operation], keys, accounts, usage, forgottenAt, keep, "", isUnsure)
      }).pipe(
        Effect.tapError((error) =>
          Effect.sync(() => {
            hold.isUnsure ||= error.outcome === "unknown"
          })
        ),
        Effect.map((reply) => {
          hold.isUnsure = false
          return replies.booked(reply, hold.accounts, hold.usage)
        })
      )

    const later = yield* Later.make(Duration.millis(timeout))

    const service: QuotaStore.Service = {
      reserve: (command) =>
        Effect.suspend(() => {
          const { accounts, id, onExpiry, ttl, usage } = command
          const keep = keepOf(id, ttl)
          const known = id ?? nextId()
          const keys = keysOf(holdKey(known), accounts)
          const content = contentOf(id, accounts, usage, onExpiry)
          const sent = send("reserve", choices(command), keys, accounts, usage, ttl, keep, content)
          const reserve = Effect.map(sent, (reply) => {
            if (reply[0] === replies.conflict) return replies.conflictOf(reply, known)
            if (reply[0] === replies.refused) return replies.refusedOf(reply, accounts)
            const told = replies.alertsOf(reply, reply[5], accounts)
            const forgottenAt = Number(reply[4] ?? Number(reply[1]) + ttl + keep)
            return new RedisHold(known, told, accounts, keys, usage, prefix, ttl, keep, forgottenAt)
          })
          return abandon(later, command, reserve, () => {
            const hold = new RedisHold(known, [], accounts, keys, usage, prefix, ttl, keep, Number.MAX_SAFE_INTEGER)
            return end("release", hold, Usage.zero)
          })
        }),
      extend: (hold, more, step) =>
        ofOurs(hold, (hold) =>
          Effect.map(send("extend", verbs.extend, hold.keys, hold.accounts, more, step), (reply) => {
            if (reply[0] === replies.refused) return replies.refusedOf(reply, hold.accounts)
            const answer = replies.booked(reply, hold.accounts, hold.usage)
            if (answer._tag === "Booked") {
              hold.forgottenAt = Math.max(hold.forgottenAt, Number(reply[1]) + hold.ttl + hold.keep)
            }
            return answer
          })
        ),
      settle: (hold, actual) => ofOurs<Booked | Conflict>(hold, (hold) => end("settle", hold, actual)),
      release: (hold) => ofOurs<Booked | Conflict>(hold, (hold) => end("release", hold, Usage.zero)),
      record: (accounts, usage, id) =>
        Effect.suspend(() => {
          const known = id ?? nextId()
          const keys = keysOf(holdKey(known), accounts)
          const content = contentOf(id, accounts, usage, "")
          return Effect.map(send("record", verbs.record, keys, accounts, usage, keepOf(id, 0), 0, content), (reply) =>
            replies.booked(reply, accounts, Usage.zero, known)
          )
        }),
      status: (accounts) =>
        Effect.map(send("status", verbs.status, keysOf(storeKey, accounts), accounts, Usage.zero), (reply) =>
          replies.statusOf(reply, accounts)
        ),
      reset: (target) => {
        const accounts: ReadonlyArray<Account> = "accounts" in target ? target.accounts : target.plans.map(ofPlan)
        const verb = "accounts" in target ? verbs.reset : verbs.resetPlans
        return Effect.asVoid(send("reset", verb, keysOf(storeKey, accounts), accounts, Usage.zero))
      },
      listen: makeListen(redis, channelOf(storeKey), (account) => `${tag}account:${nameOf(account)}`)
    }
    return service
  })
}

const ofPlan = (plan: Plan): Account => ({ plan, value: "" })
