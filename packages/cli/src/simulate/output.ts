/** Standard output and standard error, written to the end before the process may stop. */
import * as Effect from "effect/Effect"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"

export const writeOut = (text: string) =>
  Stdio.Stdio.use((stdio) => Effect.orDie(Stream.run(Stream.succeed(text), stdio.stdout({ endOnDone: false }))))

export const writeError = (text: string) =>
  Stdio.Stdio.use((stdio) => Effect.orDie(Stream.run(Stream.succeed(text), stdio.stderr({ endOnDone: false }))))
