// A process that spends from a budget of many: node worker.ts '{"address":…}', see `Work`. It prints what it was told, one
// thing a line, so that whoever kills it knows: `id tokens` of a settlement, `! alert quota threshold time` of an alert,
// and in the end `= {…}` with its figures. It ends after its calls, or when it is asked to (SIGTERM).
import { Effect, Random } from "effect"
import { type BudgetOptions, services } from "./connect.ts"

export interface Work extends BudgetOptions {
  readonly address: string
  readonly fibers: number
  /** How many calls this process makes; absent for as many as it can. */
  readonly calls?: number
  /** How long each call takes, in milliseconds. */
  readonly lasts: number
  /** What a call reserves: from and to. What it takes is some of it, or all. */
  readonly estimate: readonly [number, number]
  readonly takes: "some" | "all"
  readonly onUnknown: "charge" | "either"
}

export interface Told {
  readonly calls: number
  readonly refused: number
  readonly failed: number
}

const work = JSON.parse(process.argv[2]!) as Work
const print = (line: string) => process.stdout.write(`${line}\n`)
let isStopped = false
process.once("SIGTERM", () => (isStopped = true))

const program = Effect.gen(function* () {
  const { alerts, budget } = yield* services(work.address, work)
  yield* alerts.handle((alert) =>
    Effect.sync(() => print(`! ${alert._tag} ${alert.quota} ${alert.threshold} ${alert.timestamp.epochMilliseconds}`))
  )
  let calls = 0
  let refused = 0
  let failed = 0
  const call = Effect.gen(function* () {
    calls++
    const estimate = yield* Random.nextIntBetween(...work.estimate)
    const onUnknown = work.onUnknown === "either" && (yield* Random.nextBoolean) ? "release" : "charge"
    const reservation = yield* budget.reserve({ tokens: estimate }, {}, { onUnknown })
    if (work.lasts > 0) yield* Effect.sleep(work.lasts)
    const actual = work.takes === "all" ? estimate : yield* Random.nextIntBetween(1, estimate)
    yield* budget.settle(reservation, { tokens: actual })
    print(`${reservation.id} ${actual}`)
  }).pipe(
    Effect.catchTags({
      BudgetExceeded: () =>
        Effect.andThen(
          Effect.sync(() => refused++),
          Effect.sleep(work.calls === undefined ? 50 : 0)
        ),
      StoreError: () => Effect.sync(() => failed++)
    })
  )
  const most = Math.ceil((work.calls ?? Infinity) / work.fibers)
  const fiber = Effect.gen(function* () {
    for (let made = 0; made < most && !isStopped; made++) yield* call
  })
  yield* Effect.all(
    Array.from({ length: work.fibers }, () => fiber),
    { concurrency: "unbounded", discard: true }
  )
  yield* alerts.drained
  return { calls, refused, failed } satisfies Told
}).pipe(Effect.scoped)

print(`= ${JSON.stringify(await Effect.runPromise(program))}`)
