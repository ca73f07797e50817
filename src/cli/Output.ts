/**
 * The two streams the command writes to. A write waits while the reader is slow; a reader that has gone (`| head -1`)
 * is no error of ours: `closed` tells the command to stop.
 */
import * as Effect from "effect/Effect"

/** Puts text on standard output and waits while its buffer is full. @category writing @since 0.1.0 */
export const out = (text: string): Effect.Effect<void> => write(process.stdout, text)

/** Puts one line on standard error. @category writing @since 0.1.0 */
export const complain = (line: string): Effect.Effect<void> => write(process.stderr, `${line}\n`)

const write = (stream: NodeJS.WriteStream, text: string): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (text === "" || stream.destroyed || stream.write(text)) return resume(Effect.void)
    const done = () => {
      stream.off("drain", done).off("close", done)
      resume(Effect.void)
    }
    stream.once("drain", done).once("close", done)
    return Effect.sync(() => void stream.off("drain", done).off("close", done))
  })

/**
 * Whether lines can be redrawn in place: a terminal that is not dumb, and a person who has not asked for plain text.
 */
export const canRedraw = (): boolean =>
  process.stdout.isTTY && process.env["TERM"] !== "dumb" && (process.env["NO_COLOR"] ?? "") === ""
