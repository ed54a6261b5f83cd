/** Standard output and standard error, written to the end before the process may stop. */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"

export const writeOut = (text: string) => Stdio.Stdio.use((stdio) => write(text, stdio.stdout({ endOnDone: false })))

export const writeError = (text: string) => Stdio.Stdio.use((stdio) => write(text, stdio.stderr({ endOnDone: false })))

/** Whoever reads no further, as `head` does, has what it wants: that is no failure. */
const write = (text: string, to: Sink.Sink<void, string | Uint8Array, unknown, PlatformError>): Effect.Effect<void> =>
  Stream.run(Stream.succeed(text), to).pipe(
    Effect.catchIf(isBrokenPipe, () => Effect.void),
    Effect.orDie
  )

const isBrokenPipe = ({ cause }: PlatformError): boolean =>
  cause instanceof Error && "code" in cause && cause.code === "EPIPE"
