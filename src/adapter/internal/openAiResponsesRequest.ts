/**
 * The Responses API, from Effect's prompt to a request body. Pure.
 *
 * Source: platform.openai.com, API reference, "Create a model response". Reasoning goes back as the item it came in, with its id
 * and (where it was asked for) its encrypted content.
 */
import type * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import * as Content from "./openAiContent.ts"
import type { Settings, Unsupported } from "./openAiContent.ts"
import { defined, field, text } from "./openAiJson.ts"
import type { Json } from "./openAiJson.ts"
import * as Names from "./openAiNames.ts"
import * as Tools from "./openAiTools.ts"

/** The longest call id. */
const maxIdLength = 64

// ---- request ----

/** The body of a request, or why there is none. */
export const lower = (
  settings: Settings,
  options: LanguageModel.ProviderOptions,
  tools: Tools.Tools,
  stream: boolean
): Json | Unsupported => {
  const foreign = tools.hosted.find((tool) => !tool.id.startsWith("openai."))
  if (foreign !== undefined) {
    return Content.unsupported(`${foreign.name} (${foreign.id}) is not a tool that OpenAI runs`)
  }
  const stored = settings.body?.["store"] !== false
  return Content.withBody({
    model: settings.model,
    input: lowerPrompt(options.incrementalPrompt ?? options.prompt, tools, stored),
    previous_response_id: options.incrementalPrompt === undefined ? undefined : options.previousResponseId,
    ...lowerTools(tools, settings),
    ...answerFormat(options),
    temperature: settings.temperature,
    top_p: settings.topP,
    max_output_tokens: settings.maxOutputTokens,
    reasoning: settings.reasoningEffort === undefined ? undefined : { effort: settings.reasoningEffort },
    service_tier: settings.serviceTier,
    stream: stream ? true : undefined
  }, settings)
}

const lowerTools = (tools: Tools.Tools, settings: Settings): Json =>
  tools.choice === undefined ? {} : {
    tools: [
      // This API takes an absent `strict` for true.
      ...tools.functions.map((tool) => ({ type: "function", ...defined({ ...tool }) })),
      ...tools.hosted.map((tool) => ({ type: tool.id.slice("openai.".length), ...(tool.args as Json | undefined) }))
    ],
    tool_choice: typeof tools.choice === "string" ? tools.choice : { type: "function", name: tools.choice.name },
    parallel_tool_calls: settings.parallelToolCalls
  }

const answerFormat = (options: LanguageModel.ProviderOptions): Json => {
  const format = options.responseFormat
  if (format.type === "text") return {}
  const name = Names.make([]).toWire(format.objectName)
  return { text: { format: { type: "json_schema", name, ...Tools.answerSchema(format.schema) } } }
}

// ---- lower ----

interface Lowering {
  readonly names: Names.Names
  readonly wireId: (id: string) => string
  readonly stored: boolean
}

const lowerPrompt = (prompt: Prompt.Prompt, tools: Tools.Tools, stored: boolean): ReadonlyArray<Json> => {
  const lowering: Lowering = { names: tools.names, wireId: Names.ids(maxIdLength), stored }
  return prompt.content.flatMap((message): ReadonlyArray<Json> => {
    switch (message.role) {
      case "system":
        return [{ role: "system", content: message.content }]
      case "user":
        return [{ role: "user", content: message.content.map(userPart) }]
      case "assistant":
        return assistantItems(lowering, message)
      case "tool":
        return message.content.flatMap((part) =>
          part.type === "tool-result" && !part.providerExecuted ? [output(lowering, part)] : []
        )
    }
  })
}

const userPart = (part: Prompt.TextPart | Prompt.FilePart): Json => {
  if (part.type === "text") return { type: "input_text", text: part.text }
  const data = Content.fileData(part)
  if (Content.isImage(part)) {
    const detail = text(field(Content.optionsOf(part), "imageDetail")) ?? "auto"
    return data._tag === "Id"
      ? { type: "input_image", file_id: data.id, detail }
      : { type: "input_image", image_url: data.url, detail }
  }
  switch (data._tag) {
    case "Id":
      return { type: "input_file", file_id: data.id }
    case "Url":
      return { type: "input_file", file_url: data.url }
    case "Data":
      return { type: "input_file", filename: part.fileName ?? "file", file_data: data.url }
  }
}

const assistantItems = (lowering: Lowering, message: Prompt.AssistantMessage): ReadonlyArray<Json> => {
  const items: Array<Json> = []
  let waiting: Array<Json> = []
  for (const part of message.content) {
    const item = assistantItem(lowering, part)
    if (item === undefined) continue
    // The vendor refuses reasoning without the item it led to, so it waits for that.
    if (part.type === "reasoning") waiting.push(item)
    else {
      items.push(...waiting, item)
      waiting = []
    }
  }
  return items
}

const assistantItem = (lowering: Lowering, part: Prompt.AssistantMessagePart): Json | undefined => {
  switch (part.type) {
    case "text":
      return part.text === "" ? undefined : {
        role: "assistant",
        content: [{ type: "output_text", text: part.text }],
        ...defined({ id: itemId(part, "msg") })
      }
    case "reasoning":
      return reasoning(part)
    case "tool-call":
      return part.providerExecuted ? reference(lowering, part) : {
        type: "function_call",
        call_id: lowering.wireId(part.id),
        name: lowering.names.toWire(part.name),
        arguments: Content.paramsText(part.params),
        ...defined({ id: itemId(part, "fc") })
      }
    default:
      return undefined
  }
}

// The vendor checks the prefix of an id; another server's or a rotated id is left out, which it takes as well.
const itemId = (part: { readonly options: Prompt.ProviderOptions }, prefix: string): string | undefined => {
  const id = text(field(Content.optionsOf(part), "itemId"))
  return id?.startsWith(prefix) === true ? id : undefined
}

// What the provider ran itself it remembers by id, where it stores responses.
const reference = (lowering: Lowering, part: Prompt.ToolCallPart): Json | undefined => {
  const id = text(field(Content.optionsOf(part), "itemId"))
  return lowering.stored && id !== undefined ? { type: "item_reference", id } : undefined
}

const reasoning = (part: Prompt.ReasoningPart): Json | undefined => {
  const options = Content.optionsOf(part)
  const id = text(field(options, "itemId"))
  const encrypted = text(field(options, "encryptedContent"))
  if (id === undefined && encrypted === undefined) return undefined
  const inContent = field(options, "source") === "content"
  return {
    type: "reasoning",
    ...defined({ id, encrypted_content: encrypted }),
    summary: part.text === "" || inContent ? [] : [{ type: "summary_text", text: part.text }],
    ...(inContent ? { content: [{ type: "reasoning_text", text: part.text }] } : undefined)
  }
}

const output = (lowering: Lowering, part: Prompt.ToolResultPart): Json => ({
  type: "function_call_output",
  call_id: lowering.wireId(part.id),
  output: part.modelOutput === undefined ? Content.resultText(part.result) : part.modelOutput.map(userPart)
})
