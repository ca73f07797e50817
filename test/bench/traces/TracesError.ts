/** What ends the command early, in one sentence: bad usage (exit code 2) or traces that cannot be read or replayed (exit code 1). */
import * as Schema from "effect/Schema"

export class TracesError extends Schema.TaggedError<TracesError>()("TracesError", {
  kind: Schema.Literals(["usage", "failed"]),
  message: Schema.String
}) {}

export const usage = (message: string): TracesError => new TracesError({ kind: "usage", message })

export const failed = (message: string): TracesError => new TracesError({ kind: "failed", message })
