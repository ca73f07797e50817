/**
 * Tools on the wire, the same for both APIs: their names, their JSON Schemas (strict where that can be), the choice among them,
 * and the way back from what the model sent. Compiled once per tool.
 */
import * as LanguageModel from "effect/ai/LanguageModel"
import * as OpenAiStructuredOutput from "effect/ai/OpenAiStructuredOutput"
import * as Tool from "effect/ai/Tool"
import * as Exit from "effect/Exit"
import type * as JsonSchema from "effect/JsonSchema"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as ToolCall from "../../domain/ToolCall.ts"
import * as Names from "./openAiNames.ts"
import type { Raise } from "./openAiParts.ts"

/** A function tool, ready for either API. */
export interface FunctionTool {
  readonly name: string
  readonly description: string | undefined
  readonly parameters: JsonSchema.JsonSchema
  readonly strict: boolean
}

/** A tool that the provider runs itself. */
export interface HostedTool {
  readonly id: string
  readonly name: string
  readonly args: unknown
}

/** The tools of one request. */
export interface Tools {
  readonly names: Names.Names
  readonly functions: ReadonlyArray<FunctionTool>
  readonly hosted: ReadonlyArray<HostedTool>
  /** `undefined` where no tool is offered. */
  readonly choice: "auto" | "none" | "required" | { readonly name: string } | undefined
  readonly call: Raise["call"]
  readonly hostedCall: Raise["hosted"]
}

type Options = Pick<LanguageModel.ProviderOptions, "tools" | "toolChoice" | "toolCallValidation">

/** Lowers the tools of a request. `strictDefault` is for tools that do not say (`Tool.Strict`). */
export const lower = (options: Options, strictDefault: boolean): Tools => {
  const choice = options.toolChoice
  const only = typeof choice === "object" && "oneOf" in choice ? new Set<string>(choice.oneOf) : undefined
  const tools = only === undefined ? options.tools : options.tools.filter((tool) => only.has(tool.name))
  const names = Names.make(options.tools.map((tool) => tool.name))
  const byName = new Map(tools.map((tool) => [tool.name, tool]))
  const strictOf = (tool: Tool.Any) => (Tool.getStrictMode(tool) ?? strictDefault) ? strictForm(tool) : undefined
  const hosted = tools.filter(Tool.isProviderDefined)
  return {
    names,
    functions: tools.filter((tool) => !Tool.isProviderDefined(tool)).map((tool) =>
      functionTool(tool, names, strictOf(tool))
    ),
    hosted: hosted.map((tool) => ({ id: tool.id, name: tool.name, args: tool.args })),
    choice: tools.length === 0 ? undefined : choiceOf(choice, names),
    call: (wireName, argumentText) => {
      const name = names.fromWire(wireName)
      const params = ToolCall.parseArguments(argumentText)
      const tool = byName.get(name)
      const strict = tool === undefined || typeof params === "string" ? undefined : strictOf(tool)
      return { name, params: strict === undefined ? params : strict.plain(params) }
    },
    hostedCall: (word) => {
      const tool = hosted.find((tool) => tool.providerName === word || tool.id.split(".")[1] === word)
      if (tool !== undefined) return { name: tool.name, declared: true }
      return options.toolCallValidation === "deferred" ? { name: word, declared: false } : undefined
    }
  }
}

const choiceOf = (choice: Options["toolChoice"], names: Names.Names): Tools["choice"] => {
  if (typeof choice === "string") return choice
  if ("oneOf" in choice) return choice.mode ?? "auto"
  return { name: names.toWire(choice.tool) }
}

const functionTool = (tool: Tool.Any, names: Names.Names, strict: StrictForm | undefined): FunctionTool => ({
  name: names.toWire(tool.name),
  description: Tool.getDescription(tool),
  parameters: strict?.jsonSchema ?? plainSchema(tool),
  strict: strict !== undefined
})

const plainSchemas = new WeakMap<object, JsonSchema.JsonSchema>()

const plainSchema = (tool: Tool.Any): JsonSchema.JsonSchema => {
  const known = plainSchemas.get(tool)
  if (known !== undefined) return known
  const schema = Tool.getJsonSchema(tool)
  plainSchemas.set(tool, schema)
  return schema
}

// ---- strict schemas ----

interface StrictForm {
  readonly jsonSchema: JsonSchema.JsonSchema
  /** Parameters in the strict form (every key there, null for absent) in the tool's own encoded form. */
  readonly plain: (params: unknown) => unknown
}

const strictForms = new WeakMap<object, StrictForm | { readonly none: true }>()

const strictForm = (tool: Tool.Any): StrictForm | undefined => {
  // A raw JSON Schema is the user's word and goes out as it is.
  if (Tool.isDynamic(tool) && tool.jsonSchema !== undefined) return undefined
  const known = strictForms.get(tool.parametersSchema) ?? compile(tool.parametersSchema)
  strictForms.set(tool.parametersSchema, known)
  return "none" in known ? undefined : known
}

const compile = (schema: Schema.Top): StrictForm | { readonly none: true } => {
  const made = Result.try(() => OpenAiStructuredOutput.toCodecOpenAI(schema as never))
  if (Result.isFailure(made) || !isStrict(made.success.jsonSchema)) return { none: true }
  const decode = Schema.decodeUnknownExit(made.success.codec as unknown as Schema.Decoder<unknown>)
  const encode = Schema.encodeUnknownExit(schema as unknown as Schema.Encoder<unknown>)
  return {
    jsonSchema: made.success.jsonSchema,
    // What does not decode goes on as it came: the engine checks it against the tool and says what is wrong.
    plain: (params) => {
      const decoded = decode(params)
      const encoded = Exit.isSuccess(decoded) ? encode(decoded.value) : decoded
      return Exit.isSuccess(encoded) ? encoded.value : params
    }
  }
}

// Strict mode asks of every object that it lists all its keys as required and takes no others.
const isStrict = (schema: unknown): boolean => {
  if (Array.isArray(schema)) return schema.every(isStrict)
  if (typeof schema !== "object" || schema === null) return true
  const { additionalProperties, properties, required, type } = schema as JsonSchema.JsonSchema
  if (type === "object") {
    const keys = Object.keys(properties ?? {})
    if (
      additionalProperties !== false || !keys.every((key) => (required as ReadonlyArray<string> ?? []).includes(key))
    ) return false
  }
  return Object.values(schema).every(isStrict)
}

/**
 * The codec of `generateObject`: OpenAI's strict form, or Effect's plain one for schemas that have none.
 */
export const codecTransformer: LanguageModel.CodecTransformer = (schema) =>
  Result.getOrElse(
    Result.try(() => OpenAiStructuredOutput.toCodecOpenAI(schema)),
    () => LanguageModel.defaultCodecTransformer(schema)
  )

/** The schema of an answer, and whether it can be strict. */
export const answerSchema = (
  schema: Schema.Top
): { readonly schema: JsonSchema.JsonSchema; readonly strict: boolean } => {
  const made = codecTransformer(schema as never)
  return { schema: made.jsonSchema, strict: isStrict(made.jsonSchema) }
}
