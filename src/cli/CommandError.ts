/** What ends the command early: bad usage (exit code 2) or a failure (exit code 1). One line each, no stack. */
import * as Schema from "effect/Schema"

/**
 * One sentence for the person at the terminal. `kind` decides the exit code.
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandError extends Schema.TaggedError<CommandError>()("CommandError", {
  kind: Schema.Literals(["usage", "failed"]),
  message: Schema.String
}) {}

/** The command was called in a way that makes no sense; nothing was started. @category constructors @since 0.1.0 */
export const usage = (message: string): CommandError => new CommandError({ kind: "usage", message })

/** The command could not do its work. @category constructors @since 0.1.0 */
export const failed = (message: string): CommandError => new CommandError({ kind: "failed", message })

/** The first line of whatever was thrown, without its stack. @category formatting @since 0.1.0 */
export const firstLine = (cause: unknown): string => {
  const text = cause instanceof Error ? cause.message : String(cause)
  return (text.split("\n").find((line) => line.trim() !== "") ?? "unknown error").trim().slice(0, 500)
}
