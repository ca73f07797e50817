/** How a scripted model was used otherwise than its script says, each reason with what to try. */
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Schema from "effect/Schema"

/**
 * Turns that nobody asked for: each with its number and what it would have said. `requests`: what was asked, a line each.
 *
 * @category errors
 * @since 0.1.0
 */
export const TurnsLeft = Schema.TaggedStruct("TurnsLeft", {
  turns: Schema.Int,
  left: Schema.Array(Schema.Struct({ turn: Schema.Int, says: Schema.String })),
  requests: Schema.Array(Schema.String)
})

/**
 * The model was asked more often than its script has turns. `asking`: the number of the first such request, `lastMessage` what it
 * ended with.
 *
 * @category errors
 * @since 0.1.0
 */
export const BeyondScript = Schema.TaggedStruct("BeyondScript", {
  turns: Schema.Int,
  asking: Schema.Int,
  lastMessage: Schema.String,
  requests: Schema.Array(Schema.String)
})

/**
 * Exchanges of a recording that nobody asked for, each with its number and what it is.
 *
 * @category errors
 * @since 0.1.0
 */
export const ExchangesLeft = Schema.TaggedStruct("ExchangesLeft", {
  file: Schema.String,
  exchanges: Schema.Int,
  left: Schema.Array(Schema.Struct({ exchange: Schema.Int, is: Schema.String })),
  requests: Schema.Array(Schema.String)
})

/**
 * A request that the recording has no answer to: it is not the recorded one, or one too many. The first of them.
 *
 * @category errors
 * @since 0.1.0
 */
export const RequestRefused = Schema.TaggedStruct("RequestRefused", {
  file: Schema.String,
  issue: Schema.String,
  requests: Schema.Array(Schema.String)
})

const Reason = Schema.Union([TurnsLeft, BeyondScript, ExchangesLeft, RequestRefused])

/** @category errors @since 0.1.0 */
export type Reason = typeof Reason.Type

/**
 * A script, or a recording, and what the model was asked do not fit.
 *
 * @category errors
 * @since 0.1.0
 */
export class TestModelError extends Schema.TaggedError<TestModelError>()("TestModelError", { reason: Reason }) {
  /** What was left or too much, what to try, and the requests made. */
  override get message(): string {
    return messageOf(this.reason)
  }

  /** Printed as any error is, by its message; what Effect prints of an error with fields is these alone. */
  override [NodeInspectSymbol](): unknown {
    return this.stack
  }
}

const messageOf = (reason: Reason): string => {
  const asked = reason.requests.length === 0
    ? "The model was never asked."
    : `The requests made:\n${reason.requests.map((line) => `  ${line}`).join("\n")}`
  switch (reason._tag) {
    case "TurnsLeft":
      return `${reason.left.length} of ${count(reason.turns)} in the script never played:\n` +
        leftLines(reason.left).map((line) => `  ${line}\n`).join("") +
        `Take what is too much off the script, or look why the model was not asked again. ${asked}`
    case "BeyondScript":
      return `${beyondText(reason)} ${asked}`
    case "ExchangesLeft":
      return `${reason.left.length} of ${reason.exchanges} exchanges of ${reason.file} never played:\n` +
        reason.left.slice(0, most).map(({ exchange, is }) => `  exchange ${exchange}: ${is}\n`).join("") +
        `Look why the model was not asked again, or record the run anew. ${asked}`
    case "RequestRefused":
      return `${reason.issue} ${asked}`
  }
}

/** Also what the model itself says when it is asked beyond its script. */
export const beyondText = (
  at: { readonly asking: number; readonly turns: number; readonly lastMessage: string }
): string =>
  `Asking ${at.asking} goes beyond the script, which has ${count(at.turns)}. ` +
  `The last message of that request: ${at.lastMessage}. ` +
  "Add a turn, or say with `otherwise` what the model answers beyond the script."

const most = 10

const leftLines = (left: typeof TurnsLeft.Type["left"]): ReadonlyArray<string> => [
  ...left.slice(0, most).map(({ says, turn }) => `turn ${turn}: ${says}`),
  ...(left.length > most ? [`and ${count(left.length - most)} more`] : [])
]

const count = (turns: number): string => turns === 1 ? "1 turn" : `${turns} turns`
