/** A progress bar on standard error while something runs; nothing where standard error is not a terminal. */
import * as Effect from "effect/Effect"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"

const width = 40
const eraseLine = "\r\u001b[2K"

const draw = (share: number, label: string): string => {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width)
  return `${eraseLine}${"█".repeat(filled)}${"░".repeat(width - filled)} ${label}`
}

/**
 * Runs `effect` with a bar of `progress()`, a share from 0 to 1 with words beside it, drawn ten times a second of the
 * real clock. The bar is gone when the effect has ended.
 */
export const show =
  (
    progress: () => { readonly share: number; readonly label: string }
  ): (<A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Stdio.Stdio>) =>
  (effect) =>
    Effect.gen(function* () {
      const stdio = yield* Stdio.Stdio
      if (!(yield* stdio.stderrIsTerminal)) return yield* effect
      const write = (text: string): Effect.Effect<void> =>
        Effect.ignore(Stream.run(Stream.succeed(text), stdio.stderr({ endOnDone: false })))
      const drawing = Effect.suspend(() => {
        const { label, share } = progress()
        return write(draw(share, label))
      })
      return yield* Effect.scoped(
        Effect.andThen(Effect.forkScoped(Effect.forever(Effect.andThen(drawing, Effect.sleep("100 millis")))), effect)
      ).pipe(Effect.ensuring(write(eraseLine)))
    })
