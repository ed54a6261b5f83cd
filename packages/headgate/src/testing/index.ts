/**
 * For tests of what is built on headgate, and for stores of one's own.
 *
 * @since 0.1.0
 */

/** A provider on the loopback interface that speaks vendors' wire formats as a script says, and counts. */
export * as LoopbackProvider from "./LoopbackProvider.ts"
/** The contract of `QuotaStore` as tests. */
export * as QuotaStoreTest from "./QuotaStoreTest.ts"
/** A model that answers, fails and waits as a script says, and records its calls. */
export * as ScriptedModel from "./ScriptedModel.ts"
/** Time that passes only when everybody waits. */
export * as VirtualClock from "./VirtualClock.ts"
