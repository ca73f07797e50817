/** Checks an expectation when it is declared: what can never hold is refused then, and not after a run. */
import * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { nearNames } from "../../domain/ToolCall.ts"
import { describe } from "../../domain/ToolFailure.ts"
import * as Executor from "../../engine/Executor.ts"
import { isToolCall } from "../ToolCall.ts"
import type { ToolCall } from "../ToolCall.ts"
import type { Reason } from "./ExpectationError.ts"
import { ExpectationError } from "./ExpectationError.ts"
import type { Expectation, Expected } from "./expectations.ts"
import { declaration } from "./expectations.ts"
import { short } from "./shortText.ts"
import { neverTogether } from "./together.ts"
import type { Rules } from "./together.ts"
import { asSent, textOf } from "./wanted.ts"
import type { Wanted } from "./wanted.ts"

/** A call by its id, or by its tool and parameters. */
export type Target = string | ToolCall

/** What a run can be like, as far as it is known beforehand. `ids`: the only ids that calls can have, where they are known. */
export interface Possible {
  readonly tools: Readonly<Record<string, Tool.Any>>
  readonly rules: Rules
  readonly ids: ReadonlySet<string> | undefined
}

const fail = (reason: Reason): Effect.Effect<never, ExpectationError> => Effect.fail(new ExpectationError({ reason }))

/** An expectation as its author wrote it, before parameters are decoded. */
export type Declared =
  | { readonly _tag: "Calls"; readonly how: Extract<Expectation, { _tag: "Calls" }>["how"]; readonly targets: unknown }
  | { readonly _tag: "Overlap" | "NotCalled"; readonly targets: unknown }
  | { readonly _tag: "Cancelled"; readonly target: unknown; readonly reason: Expected }

/** Gives the expectation with decoded parameters, or says why it can never hold. */
export const declare = Effect.fnUntraced(function*(
  declared: Declared,
  possible: Possible
): Effect.fn.Return<Expectation, ExpectationError> {
  const targets = declared._tag === "Cancelled" ? [declared.target] : declared.targets
  const wanted = yield* wantedOf(targets, declared, possible)
  const expectation: Expectation = declared._tag === "Cancelled"
    ? { _tag: "Cancelled", wanted: wanted[0]!, reason: declared.reason }
    : declared._tag === "Calls"
    ? { _tag: "Calls", how: declared.how, wanted }
    : { _tag: declared._tag, wanted }
  const issue = issueOf(expectation, wanted, possible)
  return issue === undefined
    ? expectation
    : yield* fail({ _tag: "Impossible", expectation: declaration(expectation), issue })
})

const wantedOf = Effect.fnUntraced(function*(targets: unknown, declared: Declared, possible: Possible) {
  if (!Array.isArray(targets)) return yield* noCall(declared, targets)
  const wanted: Array<Wanted> = []
  for (const target of targets as ReadonlyArray<unknown>) {
    const isId = typeof target === "string" && declared._tag !== "Calls" && declared._tag !== "NotCalled"
    if (isId) wanted.push({ name: undefined, params: undefined, decoded: undefined, id: target })
    else if (isToolCall(target)) wanted.push(yield* decoded(target, declared, possible))
    else return yield* noCall(declared, target)
  }
  return wanted
})

const noCall = (declared: Declared, value: unknown) =>
  fail({
    _tag: "Impossible",
    expectation: wordOf(declared),
    issue: `${typeof value === "string" ? short(value) : describe(value)} is no ToolCall${
      declared._tag === "Overlap" || declared._tag === "Cancelled" ? " and no call's id" : ""
    }; write ToolCall("name", parameters)`
  })

const wordOf = (declared: Declared): string =>
  declared._tag === "Calls" ? `expectToolCalls(...).${declared.how}()` : `expect${declared._tag}(...)`

const decoded = Effect.fnUntraced(function*(listed: ToolCall, declared: Declared, { tools }: Possible) {
  const call = { ...listed, params: asSent(listed.params) }
  const wanted: Wanted = { ...call, decoded: undefined }
  const available = Object.keys(tools)
  // By own name only: no name reaches a prototype.
  const tool = Object.hasOwn(tools, call.name) ? tools[call.name] : undefined
  const expectation = `${wordOf(declared)} with ${textOf(wanted)}`
  if (tool === undefined) {
    const near = nearNames(call.name, available)
    return yield* fail({ _tag: "UnknownTool", expectation, tool: call.name, near, available })
  }
  if (call.params === undefined) return wanted
  const invalid = (issue: string) =>
    new ExpectationError({ reason: { _tag: "InvalidParameters", expectation, tool: call.name, issue } })
  const value = yield* Effect.mapError(
    Executor.decode(tool, call.params) as unknown as Effect.Effect<unknown, { readonly message: string }>,
    ({ message }) => invalid(message)
  )
  const excess = yield* excessOf(tool, call.params)
  if (excess !== undefined) return yield* invalid(`the tool has no such parameter: ${excess}`)
  return { ...wanted, decoded: value }
})

// A handler does not see a key that its tool does not know, so an expectation with one says less than it seems to.
const excessOf = (tool: Tool.Any, params: unknown): Effect.Effect<string | undefined> =>
  Tool.isDynamic(tool) ? Effect.undefined : Schema.decodeUnknownEffect(tool.parametersSchema)(params, {
    onExcessProperty: "error"
  }).pipe(
    Effect.as(undefined),
    Effect.catch((error) => Effect.succeed((error as { readonly message: string }).message))
  ) as Effect.Effect<string | undefined>
const tags: ReadonlyArray<string> = [
  "Timeout",
  "Superseded",
  "BranchCancelled",
  "CallerGone",
  "Misspeculated",
  "BudgetSpent",
  "Shutdown"
] satisfies ReadonlyArray<Extract<Expected, string>>

const issueOf = (
  expectation: Expectation,
  wanted: ReadonlyArray<Wanted>,
  { ids, rules, tools }: Possible
): string | undefined => {
  if (wanted.length === 0) return `it lists no call. To say that no call is made, use expectNoOtherCalls()`
  if (expectation._tag === "Cancelled") {
    const tag = typeof expectation.reason === "object" ? expectation.reason?._tag : expectation.reason
    if (tag !== undefined && !tags.includes(tag)) {
      return `there is no reason ${JSON.stringify(tag)}. Reasons: ${tags.join(", ")}`
    }
  }
  const unknown = wanted.find(({ id }) => id !== undefined && ids !== undefined && !isKnown(id, ids))
  if (unknown !== undefined) {
    const known = [...ids!]
    const id = JSON.stringify(unknown.id)
    const isTool = unknown.name === undefined && Object.hasOwn(tools, unknown.id!)
    return `the model's script makes no call with the id ${id}. Ids: ${
      known.length === 0 ? "none" : known.slice(0, 24).join(", ")
    }${known.length > 24 ? ` and ${known.length - 24} more` : ""}${
      isTool ? `. ${id} is a tool: write ToolCall(${id}) for any call of it` : ""
    }`
  }
  if (expectation._tag !== "Calls" && expectation._tag !== "Overlap") return undefined
  if (expectation._tag === "Calls" && expectation.how === "anyTimes") return undefined
  const twice = wanted.find(({ id }, index) => id !== undefined && wanted.findIndex((each) => each.id === id) < index)
  if (twice !== undefined) return `it lists the id ${JSON.stringify(twice.id)} twice, and an id is one call`
  const isTogether = expectation._tag === "Overlap" || expectation.how === "inParallel"
  return isTogether ? neverTogether(wanted, rules) : undefined
}

// A second call under one id gets a number behind it (`ToolCall.deriveId`).
const isKnown = (id: string, ids: ReadonlySet<string>): boolean => ids.has(id) || ids.has(id.replace(/_\d+$/, ""))
