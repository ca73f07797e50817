/** What a script of handlers and the calls that were made do not agree on, each reason with what to try. */
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Schema from "effect/Schema"

/**
 * The tool was called more often than its list has behaviours. `nth`: which of its calls, from 1; `of`: the length of its list.
 *
 * @category errors
 * @since 0.1.0
 */
export const BeyondList = Schema.TaggedStruct("BeyondList", {
  tool: Schema.String,
  nth: Schema.Int,
  of: Schema.Int
})

/**
 * The tool was called, and the script does not name it.
 *
 * @category errors
 * @since 0.1.0
 */
export const Unscripted = Schema.TaggedStruct("Unscripted", { tool: Schema.String, nth: Schema.Int })

/**
 * The tool was called less often than its list has behaviours.
 *
 * @category errors
 * @since 0.1.0
 */
export const ListLeft = Schema.TaggedStruct("ListLeft", {
  tool: Schema.String,
  used: Schema.Int,
  of: Schema.Int
})

const Reason = Schema.Union([BeyondList, Unscripted, ListLeft])

/** @category errors @since 0.1.0 */
export type Reason = typeof Reason.Type

/**
 * A script of handlers and the calls that were made do not agree.
 *
 * **Shape** `reason`: calls the script has nothing for come first, in the order they were made. `others`: what else there is.
 *
 * @category errors
 * @since 0.1.0
 */
export class TestToolsError extends Schema.TaggedError<TestToolsError>()("TestToolsError", {
  reason: Reason,
  others: Schema.Array(Reason)
}) {
  /** One line for each reason. */
  override get message(): string {
    return [this.reason, ...this.others].map(describeReason).join("\n")
  }

  /** Printed as any error is, by its message; what Effect prints of an error with fields is these alone. */
  override [NodeInspectSymbol](): unknown {
    return this.stack
  }
}

export const describeReason = (reason: Reason): string => {
  const tool = `tool ${JSON.stringify(reason.tool)}`
  switch (reason._tag) {
    case "BeyondList":
      return `call ${reason.nth} of ${tool} has no behaviour: its list has ${behaviours(reason.of)}, ` +
        "one for each start of its handler (retries and hedges are starts too)"
    case "Unscripted":
      return `${tool} was called, and the script does not name it: add it, as in ` +
        `TestTools.layer(toolkit, { ${JSON.stringify(reason.tool)}: TestTools.succeed(...) })`
    case "ListLeft":
      return `${tool} was called ${times(reason.used)}, and its list has ${behaviours(reason.of)}: ` +
        "take what is too much off the list, or look why it was not called again"
  }
}

const times = (count: number): string => count === 1 ? "once" : `${count} times`
const behaviours = (count: number): string => count === 1 ? "1 behaviour" : `${count} behaviours`
