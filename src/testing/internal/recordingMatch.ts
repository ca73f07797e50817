/**
 * Whether the request that is made is the one that was recorded: by what is cheap and telling, not by bytes. Pure.
 */
import type { Api } from "./recordingFile.ts"
import { apiOf } from "./recordingFile.ts"

/** What is compared of a request. */
interface Outline {
  readonly api: Api | undefined
  readonly stream: boolean
  readonly model: string | undefined
  readonly tools: ReadonlyArray<string>
  readonly messages: ReadonlyArray<string>
}

type Fields = { readonly [name: string]: unknown }

const fields = (value: unknown): Fields => typeof value === "object" && value !== null ? value as Fields : {}
const list = (value: unknown): ReadonlyArray<unknown> => Array.isArray(value) ? value : []
const word = (value: unknown): string | undefined => typeof value === "string" ? value : undefined

/** The outline of a request's body. */
export const outlineOf = (api: Api | undefined, body: unknown): Outline => {
  const { input, instructions, messages, model, stream, tools } = fields(body)
  const said = messages !== undefined ? list(messages) : typeof input === "string" ? [{ role: "user" }] : list(input)
  return {
    api,
    stream: stream === true,
    model: word(model),
    tools: list(tools).map(toolName).sort(),
    messages: [...(word(instructions) === undefined ? [] : ["system"]), ...said.map(messageName)]
  }
}

const toolName = (tool: unknown): string => {
  const { custom, function: inner, name, type } = fields(tool)
  return word(name) ?? word(fields(inner)["name"]) ?? word(fields(custom)["name"]) ?? word(type) ?? "unnamed"
}

const messageName = (message: unknown): string => {
  const { role, type } = fields(message)
  const name = word(role) ?? word(type) ?? "unknown"
  return name === "developer" ? "system" : name
}

/** The outline of a request that is being made. */
export const outlineOfMade = (url: string, body: unknown): Outline => outlineOf(apiOf(url), body)

/** What is different, in words; none where the request is the recorded one. `loosely`: only what answers hang on. */
export const differences = (made: Outline, recorded: Outline, loosely = false): ReadonlyArray<string> => {
  const found: Array<string> = []
  const compare = (what: string, ours: string, theirs: string): void => {
    if (ours !== theirs) found.push(`${what} ${ours}, recorded ${theirs}`)
  }
  compare("api", made.api ?? "unknown", recorded.api ?? "unknown")
  compare("answer", formOf(made), formOf(recorded))
  if (loosely) return found
  compare("model", JSON.stringify(made.model) ?? "none", JSON.stringify(recorded.model) ?? "none")
  compare("tools", listed(made.tools), listed(recorded.tools))
  compare("messages", counted(made.messages), counted(recorded.messages))
  return found
}

const formOf = ({ stream }: Outline): string => stream ? "streamed" : "whole"
const listed = (names: ReadonlyArray<string>): string => `[${names.join(", ")}]`
const counted = (names: ReadonlyArray<string>): string => `${names.length} ${listed(names)}`
