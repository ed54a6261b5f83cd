/** What the process says when it ends. 130, for an interrupted run, comes from the runtime. */
export const exitCodes = {
  /** Done: the report was written and every law held. */
  ok: 0,
  /** The trace, the policy, the environment or the store can not be read. */
  input: 1,
  /** The command line is wrong. */
  usage: 2,
  /** A law did not hold in the replay: a bug of headgate. The report was written and names it. */
  law: 3
} as const
