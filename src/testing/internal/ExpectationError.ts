/** What a test expected of a run and did not get: one error, many reasons, and a message that a stranger can act on. */
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Schema from "effect/Schema"
import { count } from "./waterfallText.ts"

/** A tool that the toolkit does not have. @category errors @since 0.1.0 */
export const UnknownTool = Schema.TaggedStruct("UnknownTool", {
  expectation: Schema.String,
  tool: Schema.String,
  near: Schema.Array(Schema.String),
  available: Schema.Array(Schema.String)
})

/** Parameters that no handler of the tool can get. `issue` says where and why. @category errors @since 0.1.0 */
export const InvalidParameters = Schema.TaggedStruct("InvalidParameters", {
  expectation: Schema.String,
  tool: Schema.String,
  issue: Schema.String
})

/** An expectation that can never hold, whatever the run does. @category errors @since 0.1.0 */
export const Impossible = Schema.TaggedStruct("Impossible", { expectation: Schema.String, issue: Schema.String })

/**
 * Expectations that do not hold: each in the words of its declaration, with what happened instead. `timeline`: the run, as text.
 *
 * @category errors
 * @since 0.1.0
 */
export const Unmet = Schema.TaggedStruct("Unmet", {
  failures: Schema.Array(Schema.Struct({ expected: Schema.String, happened: Schema.String })),
  timeline: Schema.String
})

/** Something was asked about a run, and there was none yet. @category errors @since 0.1.0 */
export const NothingExecuted = Schema.TaggedStruct("NothingExecuted", { asked: Schema.String })

/** The ending of a run that was left alone. */
export const notOver = "not over"

/**
 * Expectations that nobody verified. `ending`: how the run that they were declared for failed, where there was one; `"not over"`
 * where it was still under way. `isLate`: the last run was over before they were declared.
 *
 * @category errors
 * @since 0.1.0
 */
export const NotVerified = Schema.TaggedStruct("NotVerified", {
  expected: Schema.Array(Schema.String),
  ending: Schema.optionalKey(Schema.String),
  isLate: Schema.optionalKey(Schema.Boolean)
})

/** A run was started beside another, and it cannot be told for which of them something is expected. @category errors @since 0.1.0 */
export const Ambiguous = Schema.TaggedStruct("Ambiguous", { expected: Schema.Array(Schema.String) })

/**
 * Something of the run is still alive after it. `abandoned`: it belongs to a handler that did not stop when it was told to.
 *
 * @category errors
 * @since 0.1.0
 */
export const Orphans = Schema.TaggedStruct("Orphans", {
  orphans: Schema.Array(Schema.Struct({
    kind: Schema.Literals(["fiber", "sleep", "lease", "permit", "handler"]),
    callId: Schema.UndefinedOr(Schema.String),
    name: Schema.UndefinedOr(Schema.String),
    detail: Schema.String,
    abandoned: Schema.Boolean
  })),
  timeline: Schema.String
})

/**
 * The run waits for something that no clock moves. `waiting`: who waits. `hint`: what to try.
 *
 * @category errors
 * @since 0.1.0
 */
export const Stuck = Schema.TaggedStruct("Stuck", {
  issue: Schema.String,
  waiting: Schema.Array(Schema.String),
  hint: Schema.String,
  timeline: Schema.String
})

const Reason = Schema.Union([
  UnknownTool,
  InvalidParameters,
  Impossible,
  Unmet,
  NothingExecuted,
  NotVerified,
  Ambiguous,
  Orphans,
  Stuck
])

/** @category errors @since 0.1.0 */
export type Reason = typeof Reason.Type

/**
 * A run did not do what was expected of it, or what was expected can never be.
 *
 * **Shape** `message`: what was expected, what happened instead, and the run's timeline. Of several failed expectations all are in
 * one error, numbered.
 *
 * @category errors
 * @since 0.1.0
 */
export class ExpectationError extends Schema.TaggedError<ExpectationError>()("ExpectationError", { reason: Reason }) {
  /** What was expected, what happened, and what to try. */
  override get message(): string {
    return messageOf(this.reason)
  }

  /** Printed as any error is, by its message; what Effect prints of an error with fields is these alone. */
  override [NodeInspectSymbol](): unknown {
    return this.stack
  }
}

const messageOf = (reason: Reason): string => {
  switch (reason._tag) {
    case "UnknownTool":
      return `${reason.expectation} can never hold: the toolkit has no tool ${JSON.stringify(reason.tool)}.` +
        (reason.near.length === 0 ? "" : ` Did you mean ${reason.near.join(" or ")}?`) +
        ` Tools: ${reason.available.length === 0 ? "none" : reason.available.join(", ")}.`
    case "InvalidParameters":
      return `${reason.expectation} can never hold: ${reason.issue}\nParameters are given whole and as the model sends them (JSON, not decoded); ToolCall(${
        JSON.stringify(reason.tool)
      }) alone stands for any call of the tool.`
    case "Impossible":
      return `${reason.expectation} can never hold: ${reason.issue}`
    case "Unmet":
      return `${count(reason.failures.length, "expectation")} ${
        reason.failures.length === 1 ? "does" : "do"
      } not hold:\n\n${reason.failures.map(numbered).join("\n\n")}\n\nWhat happened:\n${reason.timeline}`
    case "NothingExecuted":
      return `${reason.asked} tells of a run, and there was none yet. Call execute first.`
    case "NotVerified":
      return `${expectations(reason.expected)} declared and never verified${
        reason.ending === undefined
          ? reason.isLate === true
            ? ". What is declared after the last execute comes too late: declare first, then execute"
            : ". Call execute after declaring them"
          : reason.ending === notOver
          ? ", and their run is not over. Await execute, or join its fiber"
          : `, since the run ${reason.ending}. Call verify where a run is meant to fail`
      }:\n${reason.expected.map((line) => `  ${line}`).join("\n")}`
    case "Ambiguous":
      return `A run was started while another of the same MockOrchestrator is under way, and it cannot be told which of them is to do what was declared. Execute one after the other, or give each a MockOrchestrator of its own. Declared:\n${
        reason.expected.map((line) => `  ${line}`).join("\n")
      }`
    case "Orphans":
      return `${count(reason.orphans.length, "orphan")}, still alive after the run:\n${
        reason.orphans.slice(0, 32).map(({ abandoned, detail }) => `  ${detail}${abandoned ? " (abandoned)" : ""}`)
          .join("\n")
      }${reason.orphans.length > 32 ? `\n  … ${reason.orphans.length - 32} more` : ""}${
        reason.orphans.some(({ abandoned }) => abandoned)
          ? "\nWhere handlers that do not stop are meant to be abandoned: assertNoOrphans({ abandoned: \"allow\" })."
          : ""
      }\n\nWhat happened:\n${reason.timeline}`
    case "Stuck":
      return `The run is stuck: ${reason.issue}. ${
        reason.waiting.length === 0
          ? "No call waits: look at the model."
          : `Not answered:\n${reason.waiting.map((line) => `  ${line}`).join("\n")}`
      }\n${reason.hint}\n\nWhat happened:\n${reason.timeline}`
  }
}

const expectations = ({ length }: ReadonlyArray<string>): string =>
  `${count(length, "expectation")} ${length === 1 ? "was" : "were"}`

const numbered = ({ expected, happened }: { readonly expected: string; readonly happened: string }, index: number) =>
  `${index + 1}. ${expected}\n${happened.split("\n").map((line) => `   ${line}`).join("\n")}`
