/**
 * What a tool costs only once: its policies read, its codecs compiled, its JSON Schema turned into a check. Kept by tool
 * object for the life of the process; a call then pays a function call for each.
 *
 * Decoders and encoders answer with an `Exit` at once unless the tool's schema is effectful.
 */
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { maxArgumentsDepth } from "../../domain/ToolCall.ts"
import { describe } from "../../domain/ToolFailure.ts"
import * as ToolPolicy from "../../domain/ToolPolicy.ts"
import * as Retry from "../../policy/Retry.ts"
import { evaluate, exitOf } from "./exitOf.ts"
import { Hedging } from "./Hedging.ts"
import * as JsonSchema from "./jsonSchema.ts"
import { makePermits } from "./ToolPermits.ts"
import type { ToolPermits } from "./ToolPermits.ts"

type Codec = (value: unknown) => Effect.Effect<unknown, Schema.SchemaError>

export interface CompiledTool {
  readonly tool: Tool.Any
  readonly policies: ToolPolicy.Policies
  /** Process-wide permits of `ToolPolicy.Concurrency`, where the tool has a cap. */
  readonly permits: ToolPermits | undefined
  /** What its calls share for hedging, where it is hedged. */
  readonly hedging: Hedging | undefined
  /** The retries of a tool that asks for them in a program without a policy: its own, with a budget of its own. */
  readonly ownRetry: () => Retry.Retry["Service"]
  /** From what the model sent. */
  readonly decode: Codec
  /** From typed parameters, for calls from code: the same checks on the decoded side. */
  readonly check: Codec
  /** To JSON; fails on what is not JSON. */
  readonly encodeSuccess: Codec
  readonly encodeFailure: Codec
  readonly expectedKeys: () => ReadonlyArray<string>
  /** How long its definition is in the model's request, about. */
  readonly characters: () => number
}

const compiled = new WeakMap<Tool.Any, CompiledTool>()

/**
 * Compiles a tool, once. Dies on annotations that make no sense and on a raw JSON Schema with a keyword we do not check
 * (silently ignoring it would let bad arguments through).
 */
export const compile = (tool: Tool.Any): CompiledTool => {
  const known = compiled.get(tool)
  if (known !== undefined) return known
  const policies = ToolPolicy.read(tool)
  let characters: number | undefined
  const made: CompiledTool = {
    tool,
    policies,
    permits: policies.concurrency === undefined ? undefined : makePermits(policies.concurrency),
    ...budgetsOf(policies),
    ...parameterCodecs(tool),
    encodeSuccess: total(jsonEncoder(tool.successSchema)),
    encodeFailure: total(jsonEncoder(tool.failureSchema)),
    expectedKeys: () => expectedKeys(tool),
    characters: () => characters ??= charactersOf(tool)
  }
  compiled.set(tool, made)
  return made
}

/** Begins the budgets of a tool anew. Permits stay: who holds one gives it back. */
export const forget = (tool: Tool.Any): void => {
  const known = compiled.get(tool)
  if (known !== undefined) compiled.set(tool, { ...known, ...budgetsOf(known.policies) })
}

const budgetsOf = ({ hedge }: ToolPolicy.Policies): Pick<CompiledTool, "hedging" | "ownRetry"> => {
  let ownRetry: Retry.Retry["Service"] | undefined
  return {
    hedging: hedge === undefined ? undefined : new Hedging(hedge),
    ownRetry: () => ownRetry ??= Retry.makeUnsafe()
  }
}

const parameterCodecs = (tool: Tool.Any): Pick<CompiledTool, "decode" | "check"> => {
  if (Tool.isDynamic(tool) && tool.jsonSchema !== undefined) {
    const decode = jsonSchemaCodec(tool.name, tool.jsonSchema)
    return { decode: total(decode), check: total(decode) }
  }
  const decode: unknown = Schema.decodeUnknownEffect(tool.parametersSchema)
  const check: unknown = Schema.decodeUnknownEffect(Schema.toType(tool.parametersSchema))
  return { decode: total(decode as Codec), check: total(check as Codec) }
}

// Values may throw when they are looked at (getters, proxies), and schemas may have code of the user's: either is a fault of
// the value, never of the engine's bookkeeping around it.
const total = (codec: Codec): Codec => (value) => {
  const answer = evaluate(() => codec(value))
  const exit = exitOf(answer)
  if (exit === undefined) return Effect.catchDefect(answer, (defect) => Effect.fail(issueOf(defect)))
  return Exit.isSuccess(exit) || Cause.hasFails(exit.cause) ? answer : Effect.fail(issueOf(Cause.squash(exit.cause)))
}

const issueOf = (defect: unknown): Schema.SchemaError => ({ message: describe(defect) } as Schema.SchemaError)

const jsonSchemaCodec = (name: string, schema: object): Codec => {
  const validate = Result.getOrThrowWith(
    JsonSchema.compile(schema),
    (unsupported) => new TypeError(`The JSON Schema of tool "${name}" cannot be checked: ${unsupported.message}`)
  )
  return (value) => {
    const invalid = validate(value)
    return invalid === undefined ? Effect.succeed(value) : Effect.fail({ message: invalid.issue } as Schema.SchemaError)
  }
}

// `JSON.stringify`, which every provider's request passes through, overflows the stack on values some thousand levels deep.
const jsonEncoder = (schema: Schema.Top): Codec => {
  const encode = Schema.encodeUnknownEffect(Schema.toCodecJson(schema)) as Codec
  return (value) =>
    Effect.flatMapEager(encode(value), (encoded) =>
      isDeeper(encoded, maxArgumentsDepth)
        ? Effect.fail({ message: `it is nested deeper than ${maxArgumentsDepth} levels` } as Schema.SchemaError)
        : Exit.succeed(encoded))
}

const isDeeper = (value: unknown, left: number): boolean => {
  if (typeof value !== "object" || value === null) return false
  if (left === 0) return true
  if (Array.isArray(value)) return value.some((item) => isDeeper(item, left - 1))
  for (const key in value) if (isDeeper((value as Record<string, unknown>)[key], left - 1)) return true
  return false
}

const expectedKeys = (tool: Tool.Any): ReadonlyArray<string> =>
  Result.getOrElse(Result.try(() => JsonSchema.expectedKeys(Tool.getJsonSchema(tool))), () => [])

const charactersOf = (tool: Tool.Any): number =>
  tool.name.length + (tool.description?.length ?? 0) +
  Result.getOrElse(Result.try(() => JSON.stringify(Tool.getJsonSchema(tool)).length), () => 0)
