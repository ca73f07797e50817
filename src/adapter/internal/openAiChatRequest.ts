/**
 * Chat Completions, from Effect's prompt to a request body. Pure.
 *
 * Source: platform.openai.com, API reference, "Create chat completion". The vendor takes at most 128 calls in one assistant
 * message, so longer decisions are sent back as several messages, each with its results behind it.
 */
import type * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import * as Content from "./openAiContent.ts"
import type { Settings, Unsupported } from "./openAiContent.ts"
import { field, text } from "./openAiJson.ts"
import type { Json } from "./openAiJson.ts"
import * as Names from "./openAiNames.ts"
import * as Tools from "./openAiTools.ts"

/** The most calls in one assistant message. Source: openai/openai-dotnet issue 317. */
export const maxCallsPerMessage = 128

/** The longest call id. */
const maxIdLength = 40

// ---- request ----

/** The body of a request, or why there is none. */
export const lower = (
  settings: Settings,
  options: LanguageModel.ProviderOptions,
  tools: Tools.Tools,
  stream: boolean
): Json | Unsupported => {
  if (tools.hosted.length > 0) {
    return Content.unsupported(
      `${tools.hosted[0]!.name} is run by the provider; Chat Completions has no such tools, use api: "responses"`
    )
  }
  const messages = lowerPrompt(options.prompt, tools)
  if (!Array.isArray(messages)) return messages as Unsupported
  const maxTokens = settings.vendor ? "max_completion_tokens" : "max_tokens"
  return Content.withBody({
    model: settings.model,
    messages,
    ...lowerTools(tools, settings),
    ...answerFormat(options),
    temperature: settings.temperature,
    top_p: settings.topP,
    [maxTokens]: settings.maxOutputTokens,
    reasoning_effort: settings.reasoningEffort,
    service_tier: settings.serviceTier,
    ...(stream ? { stream: true, stream_options: { include_usage: true } } : undefined)
  }, settings)
}

const lowerTools = (tools: Tools.Tools, settings: Settings): Json =>
  tools.choice === undefined ? {} : {
    tools: tools.functions.map((tool) => ({
      type: "function",
      function: {
        name: tool.name,
        ...(tool.description === undefined ? undefined : { description: tool.description }),
        parameters: tool.parameters,
        ...(tool.strict ? { strict: true } : undefined)
      }
    })),
    tool_choice: typeof tools.choice === "string" ? tools.choice : { type: "function", function: tools.choice },
    parallel_tool_calls: settings.parallelToolCalls
  }

const answerFormat = (options: LanguageModel.ProviderOptions): Json => {
  const format = options.responseFormat
  if (format.type === "text") return {}
  const { schema, strict } = Tools.answerSchema(format.schema)
  const name = Names.make([]).toWire(format.objectName)
  return { response_format: { type: "json_schema", json_schema: { name, schema, strict } } }
}

// ---- lower ----

interface Lowering {
  readonly names: Names.Names
  readonly wireId: (id: string) => string
}

const lowerPrompt = (prompt: Prompt.Prompt, tools: Tools.Tools): ReadonlyArray<Json> | Unsupported => {
  const lowering: Lowering = { names: tools.names, wireId: Names.ids(maxIdLength) }
  const messages: Array<Json> = []
  for (let i = 0; i < prompt.content.length; i++) {
    const message = prompt.content[i]!
    switch (message.role) {
      case "system":
        messages.push({ role: "system", content: message.content })
        break
      case "user": {
        const content = userContent(message.content)
        if (!Array.isArray(content)) return content
        messages.push({ role: "user", content: plainText(content) ?? content })
        break
      }
      case "assistant": {
        const results: Array<Prompt.ToolResultPart> = []
        for (let next = prompt.content[i + 1]; next?.role === "tool"; next = prompt.content[i + 1]) {
          results.push(...next.content.filter((part) => part.type === "tool-result"))
          i++
        }
        messages.push(...turn(lowering, message, results))
        break
      }
      case "tool":
        messages.push(...resultMessages(lowering, message.content.filter((part) => part.type === "tool-result")))
    }
  }
  return messages
}

// One text is sent as a plain string, which every server understands.
const plainText = (content: ReadonlyArray<Json>): string | undefined =>
  content.length === 1 ? text(content[0]!["text"]) : undefined

const userContent = (parts: ReadonlyArray<Prompt.UserMessagePart>): ReadonlyArray<Json> | Unsupported => {
  const content: Array<Json> = []
  for (const part of parts) {
    const lowered = part.type === "text" ? { type: "text", text: part.text } : file(part)
    if ("_tag" in lowered) return lowered as Unsupported
    content.push(lowered)
  }
  return content
}

const file = (part: Prompt.FilePart): Json | Unsupported => {
  const data = Content.fileData(part)
  if (data._tag === "Id") return { type: "file", file: { file_id: data.id } }
  if (Content.isImage(part)) {
    const detail = text(field(Content.optionsOf(part), "imageDetail"))
    return { type: "image_url", image_url: { url: data.url, ...(detail === undefined ? undefined : { detail }) } }
  }
  if (data._tag === "Url") {
    return Content.unsupported(`Chat Completions takes no URL of a ${part.mediaType}; send its bytes`)
  }
  const audio = /^audio\/(?:x-)?(wav|mp3|mpeg)$/.exec(part.mediaType)
  if (audio !== null) {
    return { type: "input_audio", input_audio: { data: data.base64, format: audio[1] === "wav" ? "wav" : "mp3" } }
  }
  return { type: "file", file: { filename: part.fileName ?? "file", file_data: data.url } }
}

// An assistant message and its results: one message, or several where there are too many calls for one.
const turn = (
  lowering: Lowering,
  message: Prompt.AssistantMessage,
  results: ReadonlyArray<Prompt.ToolResultPart>
): ReadonlyArray<Json> => {
  const said = message.content.filter((part) => part.type === "text").map((part) => part.text).join("")
  const calls = message.content.filter((part) => part.type === "tool-call").filter((call) => !call.providerExecuted)
  const head = { content: said === "" ? null : said, ...thoughts(message) }
  if (calls.length === 0) {
    const silent = said === "" && Object.keys(head).length === 1
    return [...(silent ? [] : [{ role: "assistant", ...head, content: said }]), ...resultMessages(lowering, results)]
  }
  const messages: Array<Json> = []
  const left = new Set(results)
  for (let from = 0; from < calls.length; from += maxCallsPerMessage) {
    const some = calls.slice(from, from + maxCallsPerMessage)
    const ids = new Set(some.map((call) => call.id))
    const answers = [...left].filter((result) => ids.has(result.id))
    answers.forEach((answer) => left.delete(answer))
    messages.push({
      role: "assistant",
      ...(from === 0 ? head : { content: null }),
      tool_calls: some.map((call) => toolCall(lowering, call))
    })
    messages.push(...resultMessages(lowering, answers))
  }
  return [...messages, ...resultMessages(lowering, [...left])]
}

const toolCall = (lowering: Lowering, call: Prompt.ToolCallPart): Json => {
  const extra = field(Content.optionsOf(call), "extraContent")
  return {
    id: lowering.wireId(call.id),
    type: "function",
    function: { name: lowering.names.toWire(call.name), arguments: Content.paramsText(call.params) },
    ...(extra === undefined || extra === null ? undefined : { extra_content: extra })
  }
}

// Reasoning goes back only under the field it came in; the vendor sends none on this API, so it gets none.
const thoughts = (message: Prompt.AssistantMessage): Json => {
  const fields: Record<string, string> = {}
  for (const part of message.content) {
    const name = part.type === "reasoning" ? text(field(Content.optionsOf(part), "field")) : undefined
    if (part.type !== "reasoning" || (name !== "reasoning_content" && name !== "reasoning")) continue
    fields[name] = (fields[name] ?? "") + part.text
  }
  return fields
}

// A tool message holds text alone; files of a result follow as a user's message.
const resultMessages = (lowering: Lowering, results: ReadonlyArray<Prompt.ToolResultPart>): ReadonlyArray<Json> => {
  const messages: Array<Json> = []
  const files: Array<Json> = []
  for (const result of results) {
    if (result.providerExecuted) continue
    const attached = (result.modelOutput ?? []).filter((part) => part.type === "file").map(file).filter((part) =>
      !("_tag" in part)
    )
    const said = result.modelOutput?.filter((part) => part.type === "text").map((part) => part.text).join("\n")
    const note = attached.length === 0
      ? ""
      : `(${attached.length} file(s) of this result follow in the next user message)`
    const content = said === undefined
      ? Content.resultText(result.result)
      : [said, note].filter((line) => line !== "").join("\n")
    messages.push({ role: "tool", tool_call_id: lowering.wireId(result.id), content })
    if (attached.length > 0) {
      files.push({ type: "text", text: `Files of ${lowering.wireId(result.id)}:` }, ...attached as ReadonlyArray<Json>)
    }
  }
  return files.length === 0 ? messages : [...messages, { role: "user", content: files }]
}
