/**
 * What a call ends with when it did not end with the tool's own success or failure. Plain tagged data inside that call's
 * `tool-result`: one bad call never fails its siblings or the stream.
 *
 * Every failure names the tool and the call, says whether a retry can help, and has a `message` written for the model:
 * what happened and what to try. Making one costs an object literal (a class of `Schema.TaggedError` costs 500 times that).
 */
import * as Schema from "effect/Schema"
import { CancelReasonSchema, message as reasonMessage } from "./CancelReason.ts"
import type { CancelReason } from "./CancelReason.ts"

const common = { tool: Schema.String, callId: Schema.String, message: Schema.String, isRetryable: Schema.Boolean }

const schema = Schema.Union([
  Schema.TaggedStruct("UnknownTool", {
    ...common,
    available: Schema.Array(Schema.String),
    near: Schema.Array(Schema.String)
  }),
  Schema.TaggedStruct("InvalidInput", {
    ...common,
    expected: Schema.Array(Schema.String),
    received: Schema.Array(Schema.String)
  }),
  Schema.TaggedStruct("InvalidOutput", common),
  Schema.TaggedStruct("HandlerFailed", common),
  Schema.TaggedStruct("TimedOut", {
    ...common,
    clock: Schema.Literals(["attempt", "deadline", "branch", "group", "total"]),
    afterMillis: Schema.Finite,
    executionStarted: Schema.Boolean
  }),
  Schema.TaggedStruct("Cancelled", { ...common, reason: CancelReasonSchema, executionStarted: Schema.Boolean }),
  Schema.TaggedStruct("Rejected", {
    ...common,
    limit: Schema.String,
    retryAfterMillis: Schema.optionalKey(Schema.Finite)
  }),
  Schema.TaggedStruct("Truncated", common),
  Schema.TaggedStruct("NotStarted", common)
])

/**
 * A call's failure that is ours and not the tool's.
 *
 * | tag | when | `isRetryable` |
 * | --- | --- | --- |
 * | `UnknownTool` | no offered tool has this name | true, with another name |
 * | `InvalidInput` | the arguments are no JSON object or do not fit the parameters | true, with other arguments |
 * | `InvalidOutput` | the handler's result does not fit the success schema or is not JSON | false |
 * | `HandlerFailed` | the handler died (a defect), or failed with something outside its failure schema | false |
 * | `TimedOut` | the attempt's, the call's or the run's clock ran out | true |
 * | `Cancelled` | stopped for a typed reason; `executionStarted` says whether it may have had effects | false |
 * | `Rejected` | a limit refused it before it started | true, unless it asks for what the limit never holds |
 * | `Truncated` | the model's turn ended inside this call's arguments | true |
 * | `NotStarted` | the call was complete, but the turn or the run ended before it could start | true |
 *
 * @category models
 * @since 0.1.0
 */
export type ToolFailure = typeof schema.Type

/**
 * Encodes and decodes a failure at a boundary.
 *
 * @category models
 * @since 0.1.0
 */
export const ToolFailure: Schema.Codec<ToolFailure> = schema

/**
 * The tags of {@link ToolFailure}.
 *
 * @category models
 * @since 0.1.0
 */
export type Tag = ToolFailure["_tag"]

const tags: ReadonlySet<string> = new Set<Tag>([
  "UnknownTool",
  "InvalidInput",
  "InvalidOutput",
  "HandlerFailed",
  "TimedOut",
  "Cancelled",
  "Rejected",
  "Truncated",
  "NotStarted"
])

/**
 * Recognises our failures among a tool's own.
 *
 * **Example** (Telling our failure from the tool's)
 *
 * ```ts
 * import { ToolFailure } from "effect-toolformer"
 *
 * ToolFailure.is(ToolFailure.truncated("search", "call_1")) // => true
 * ToolFailure.is({ _tag: "NotFound" }) // => false
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const is = (u: unknown): u is ToolFailure =>
  typeof u === "object" && u !== null &&
  (attempt(() =>
    "_tag" in u && typeof u._tag === "string" && tags.has(u._tag) && "callId" in u && "isRetryable" in u
  ) ?? false)

/** The longest message we hand on, in characters. Source: fault T3. */
export const maxMessageLength = 8192

/**
 * Cuts a text to {@link maxMessageLength} and says so.
 *
 * @category formatting
 * @since 0.1.0
 */
export const cut = (text: string, length: number = maxMessageLength): string =>
  text.length <= length ? text : `${text.slice(0, length)}… (${text.length - length} more characters)`

/**
 * Turns whatever a handler threw into one line of text. Total: throwing getters, cycles, symbols, proxies and frozen
 * objects included. Never the stack, which belongs to traces.
 *
 * @category formatting
 * @since 0.1.0
 */
export const describe = (thrown: unknown): string => {
  const text = attempt(() => {
    if (thrown instanceof Error) {
      const text = typeof thrown.message === "string" && thrown.message.length > 0
        ? `${thrown.name}: ${thrown.message}`
        : thrown.name
      return typeof text === "string" ? text : "Error"
    }
    if (typeof thrown === "object" && thrown !== null) {
      const json: unknown = JSON.stringify(thrown)
      return typeof json === "string" ? json : Object.prototype.toString.call(thrown)
    }
    return String(thrown)
  }) ?? attempt(() => Object.prototype.toString.call(thrown)) ?? "a value that cannot be shown"
  return cut(text)
}

// The only `try` of this floor: foreign objects may throw from any property, and no effect is at hand to hold it.
const attempt = <A>(f: () => A): A | undefined => {
  try {
    return f()
  } catch {
    return undefined
  }
}

const list = (names: ReadonlyArray<string>): string =>
  names.length === 0
    ? "none"
    : cut(names.slice(0, 64).join(", "), 2048) + (names.length > 64 ? ` and ${names.length - 64} more` : "")

/**
 * No offered tool has this name. `available` are all names, `near` those that may have been meant.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unknownTool = (
  tool: string,
  callId: string,
  available: ReadonlyArray<string>,
  near: ReadonlyArray<string>
): ToolFailure => ({
  _tag: "UnknownTool",
  tool: cut(tool, 256),
  callId,
  available,
  near,
  isRetryable: true,
  message: `There is no tool named ${JSON.stringify(cut(tool, 256))}.` +
    (near.length > 0 ? ` Did you mean ${near.join(" or ")}?` : "") + ` Tools: ${list(available)}.`
})

/**
 * The arguments are no JSON object or do not fit the tool's parameters. `issue` says where and what.
 *
 * @category constructors
 * @since 0.1.0
 */
export const invalidInput = (
  tool: string,
  callId: string,
  issue: string,
  expected: ReadonlyArray<string>,
  received: ReadonlyArray<string>
): ToolFailure => ({
  _tag: "InvalidInput",
  tool,
  callId,
  expected,
  received,
  isRetryable: true,
  message: `The arguments of ${tool} are not valid: ${cut(issue, 3072)}. Expected keys: ${
    list(expected)
  }. Received keys: ${list(received)}.`
})

/**
 * The handler's result does not fit the success schema or is not JSON. `issue` says where and what.
 *
 * @category constructors
 * @since 0.1.0
 */
export const invalidOutput = (tool: string, callId: string, issue: string): ToolFailure => ({
  _tag: "InvalidOutput",
  tool,
  callId,
  isRetryable: false,
  message: `${tool} ran, but its result could not be handed on: ${cut(issue, 4096)}`
})

/**
 * The handler died, or failed with something outside its failure schema. Whatever was thrown is described, never its stack.
 *
 * @category constructors
 * @since 0.1.0
 */
export const handlerFailed = (tool: string, callId: string, thrown: unknown): ToolFailure => ({
  _tag: "HandlerFailed",
  tool,
  callId,
  isRetryable: false,
  message: cut(`${tool} failed: ${describe(thrown)}`)
})

/**
 * A limit refused the call before it started. `limit` says which; `retryAfterMillis` how long to wait, where that is known;
 * `isRetryable` is false where waiting cannot help: it asks for more than the limit ever holds, or for what makes no sense.
 *
 * @category constructors
 * @since 0.1.0
 */
export const rejected = (
  tool: string,
  callId: string,
  limit: string,
  retryAfterMillis?: number,
  isRetryable = true
): ToolFailure => ({
  _tag: "Rejected",
  tool,
  callId,
  limit,
  isRetryable,
  ...(retryAfterMillis === undefined ? undefined : { retryAfterMillis }),
  message: `${tool} was not started: ${limit}` +
    (retryAfterMillis === undefined ? "" : `. Try again in ${Math.ceil(retryAfterMillis / 1000)} s`)
})

/**
 * The model's turn ended inside this call's arguments; it was not run.
 *
 * @category constructors
 * @since 0.1.0
 */
export const truncated = (tool: string, callId: string): ToolFailure => ({
  _tag: "Truncated",
  tool,
  callId,
  isRetryable: true,
  message:
    `The call of ${tool} was cut off in the middle of its arguments, because the answer reached its length limit. It was not run. Make it again, with shorter arguments or fewer calls at once.`
})

/**
 * The call was complete, but the turn or the run ended before it could start.
 *
 * @category constructors
 * @since 0.1.0
 */
export const notStarted = (tool: string, callId: string, why: string): ToolFailure => ({
  _tag: "NotStarted",
  tool,
  callId,
  isRetryable: true,
  message: `${tool} was not started: ${why}`
})

/**
 * The failure of a call that was stopped: `TimedOut` for a clock, `Cancelled` for every other reason. `abandoned` says
 * that its handler was still running when its grace was over, `brokenCleanUp` what its clean-up died of.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stopped = (
  tool: string,
  callId: string,
  reason: CancelReason,
  executionStarted: boolean,
  abandoned: boolean,
  brokenCleanUp?: string
): ToolFailure => {
  const stage = !executionStarted
    ? "It had not started."
    : abandoned
    ? "It had started and did not stop when asked, so it may still have effects."
    : "It had started, so part of its work may be done."
  const state = brokenCleanUp === undefined ? stage : cut(`${stage} Its clean-up failed: ${brokenCleanUp}`)
  return reason._tag === "Timeout"
    ? {
      _tag: "TimedOut",
      tool,
      callId,
      clock: reason.clock,
      afterMillis: reason.afterMillis,
      executionStarted,
      isRetryable: true,
      message: `${tool} ${reasonMessage(reason)}. ${state}`
    }
    : {
      _tag: "Cancelled",
      tool,
      callId,
      reason,
      executionStarted,
      isRetryable: false,
      message: `${tool} was cancelled: ${reasonMessage(reason)}. ${state}`
    }
}

/**
 * The failure of a call that had finished when others of its group proved better: its result was dropped.
 *
 * @category constructors
 * @since 0.1.0
 */
export const notKept = (tool: string, callId: string, reason: CancelReason): ToolFailure => ({
  _tag: "Cancelled",
  tool,
  callId,
  reason,
  executionStarted: true,
  isRetryable: false,
  message: `${tool} was cancelled: ${reasonMessage(reason)}. It had finished; its result was not kept.`
})
