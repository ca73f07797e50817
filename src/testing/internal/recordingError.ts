/** Why a recording cannot be played or written, each reason with what to try. */
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Schema from "effect/Schema"

/** There is no such file, or it cannot be read. */
const Unreadable = Schema.TaggedStruct("Unreadable", { issue: Schema.String })

/** The file is no JSON, or not of a recording's form; `issue` names the place. */
const Malformed = Schema.TaggedStruct("Malformed", { issue: Schema.String })

/** The file is of another version of the form. */
const WrongVersion = Schema.TaggedStruct("WrongVersion", { found: Schema.String, supported: Schema.Int })

/** The recording holds no exchange. */
const Empty = Schema.TaggedStruct("Empty", {})

/** Exchanges that no adapter plays: each with its number and what it is. */
const Unplayable = Schema.TaggedStruct("Unplayable", {
  exchanges: Schema.Array(Schema.Struct({ exchange: Schema.Int, is: Schema.String }))
})

/** The package that speaks the provider's wire is not installed, or does not load. */
const PeerMissing = Schema.TaggedStruct("PeerMissing", { name: Schema.String, issue: Schema.String })

/** An entry of `redact` that would take everything away, or nothing. */
const InvalidRedact = Schema.TaggedStruct("InvalidRedact", { index: Schema.Int, issue: Schema.String })

/** A secret could not be removed, at these places; nothing was written. */
const SecretLeft = Schema.TaggedStruct("SecretLeft", { places: Schema.Array(Schema.String) })

/** The file cannot be written. */
const Unwritable = Schema.TaggedStruct("Unwritable", { issue: Schema.String })

const Reason = Schema.Union([
  Unreadable,
  Malformed,
  WrongVersion,
  Empty,
  Unplayable,
  PeerMissing,
  InvalidRedact,
  SecretLeft,
  Unwritable
])

/** What is wrong with a recording. */
export type Reason = typeof Reason.Type

/**
 * A recording cannot be played, or could not be written. Never shows a secret.
 *
 * @category errors
 * @since 0.1.0
 */
export class RecordingError extends Schema.TaggedError<RecordingError>()("RecordingError", {
  file: Schema.String,
  reason: Reason
}) {
  /** The file, what is wrong with it, and what to try. */
  override get message(): string {
    return `recording ${JSON.stringify(this.file)}: ${messageOf(this.reason)}`
  }

  /** Printed as any error is, by its message; what Effect prints of an error with fields is these alone. */
  override [NodeInspectSymbol](): unknown {
    return this.stack
  }
}

const messageOf = (reason: Reason): string => {
  switch (reason._tag) {
    case "Unreadable":
      return `it cannot be read: ${reason.issue}. Make it with TestModel.record.`
    case "Malformed":
      return `it is no recording: ${reason.issue}`
    case "WrongVersion":
      return `its version is ${reason.found}, and this library plays version ${reason.supported}. Record it again.`
    case "Empty":
      return "it holds no exchange. Record a run that asks the model."
    case "Unplayable":
      return `no adapter plays ${
        reason.exchanges.map(({ exchange, is }) => `exchange ${exchange} (${is})`).join(", ")
      }. ` +
        "Only OpenAI's Chat Completions and Responses are played, of any host that speaks them."
    case "PeerMissing":
      return `it is played through the package ${reason.name}, which did not load (${reason.issue}): ` +
        `npm install ${reason.name}`
    case "InvalidRedact":
      return `redact[${reason.index}] ${reason.issue}`
    case "SecretLeft":
      return `nothing was written, because a secret would stand in it: ${reason.places.join(", ")}. ` +
        "Keep it out of the run, or name the text that holds it in redact."
    case "Unwritable":
      return `it cannot be written: ${reason.issue}`
  }
}
