/**
 * The set `ai-sdk-fixtures`: provider streams and answers kept by the Vercel AI SDK. What is Chat Completions or Responses is told
 * by the content, not by the folder. The calls are found here by a second, simple decoder: the provider's own `output_item.done`,
 * or deltas summed by index.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { endsOf, hear, overHttp, pure, throughEngine } from "./exchange.ts"
import type { Exchange, WantedCall } from "./exchange.ts"
import { Tally } from "./report.ts"
import type { SetReport } from "./report.ts"
import { json, start } from "./server.ts"
import type { Server } from "./server.ts"

type Fields = { readonly [key: string]: unknown }

const list = (value: unknown): ReadonlyArray<Fields> => Array.isArray(value) ? value as ReadonlyArray<Fields> : []
const said = (value: unknown): string => typeof value === "string" ? value : ""

const parse = (line: string): Fields | undefined => {
  try {
    return JSON.parse(line) as Fields
  } catch {
    return undefined
  }
}

// ---- which wire ----

const isChat = (value: Fields | undefined): boolean =>
  Array.isArray(value?.["choices"]) &&
  (value["object"] === undefined || said(value["object"]).startsWith("chat.completion"))

const isResponses = (value: Fields | undefined): boolean =>
  said(value?.["type"]).startsWith("response.") || (value?.["object"] === "response" && Array.isArray(value["output"]))

const isError = (value: Fields | undefined): boolean => typeof value?.["error"] === "object" && value["error"] !== null

// ---- the second decoder ----

const chatCalls = (chunks: ReadonlyArray<Fields>): ReadonlyArray<WantedCall> => {
  const calls: Array<{ id: string; name: string; arguments: string }> = []
  const current = new Map<unknown, { id: string; name: string; arguments: string }>()
  for (const chunk of chunks) {
    for (const choice of list(chunk["choices"])) {
      const delta = (choice["delta"] ?? choice["message"] ?? {}) as Fields
      list(delta["tool_calls"]).forEach((entry, position) => {
        const key = `${JSON.stringify(choice["index"])}/${JSON.stringify(entry["index"] ?? position)}`
        const called = (entry["function"] ?? {}) as Fields
        const known = current.get(key)
        const fresh = known === undefined ||
          (said(entry["id"]) !== "" && said(called["name"]) !== "" && known.id !== entry["id"])
        const call = fresh ? { id: said(entry["id"]), name: "", arguments: "" } : known
        if (fresh) calls.push(call)
        current.set(key, call)
        if (call.name === "") call.name = said(called["name"])
        const text = called["arguments"]
        call.arguments += typeof text === "object" && text !== null ? JSON.stringify(text) : said(text)
      })
    }
  }
  return calls
}

const responsesCalls = (items: ReadonlyArray<Fields>): ReadonlyArray<WantedCall> =>
  items.filter((item) => item["type"] === "function_call").map((item) => ({
    id: said(item["call_id"]),
    name: said(item["name"]),
    arguments: said(item["arguments"])
  }))

// ---- cases ----

const streamed = (id: string, lines: ReadonlyArray<string>, raw?: string): Exchange | undefined => {
  const values = lines.map(parse)
  const known = values.filter((value) => value !== undefined)
  const api = known.some(isResponses) ? "responses" : known.some(isChat) ? "chat" : undefined
  if (api === undefined) return undefined
  const ends = api === "chat"
    ? known.some((chunk) => list(chunk["choices"]).some((choice) => said(choice["finish_reason"]) !== "")) ||
      raw?.includes("data: [DONE]") === true
    : known.some((event) => event["type"] === "response.completed" || event["type"] === "response.incomplete")
  const first = known.findIndex((event) =>
    event["type"] === "response.completed" || event["type"] === "response.incomplete"
  )
  // Some files hold two responses, one behind the other; a stream ends with the first.
  const turn = api === "responses" && first !== -1 ? known.slice(0, first + 1) : known
  const broken = known.length < values.length ||
    turn.some((event) => isError(event) || event["type"] === "error" || event["type"] === "response.failed")
  return {
    id,
    api,
    stream: true,
    body: raw ?? lines.map((line) => `data: ${line}\n\n`).join(""),
    headers: { "content-type": "text/event-stream" },
    calls: api === "chat"
      ? chatCalls(turn)
      : responsesCalls(
        turn.filter((event) => event["type"] === "response.output_item.done").map((event) => event["item"] as Fields)
      ),
    cut: endsOf(api, turn.map((value) => JSON.stringify(value)).join("\n")).cut,
    whole: ends && !broken
  }
}

const answered = (id: string, body: string): Exchange | undefined => {
  const value = parse(body)
  const api = isResponses(value) ? "responses" : isChat(value) ? "chat" : undefined
  if (api === undefined || value === undefined) return undefined
  return {
    id,
    api,
    stream: false,
    body,
    headers: { "content-type": "application/json" },
    calls: api === "chat" ? chatCalls([value]) : responsesCalls(list(value["output"])),
    ...endsOf(api, body),
    whole: !isError(value)
  }
}

const notOurs = /^(?:amazon-bedrock|anthropic|cohere|google|google-vertex)$/

/** Replays every file of the set that speaks one of our wires. */
export const replay = async (folder: string): Promise<SetReport> => {
  const tally = new Tally("ai-sdk-fixtures")
  const server = await start()
  try {
    for (
      const provider of readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((
        { name }
      ) => name).sort()
    ) {
      for (const file of readdirSync(join(folder, provider)).sort()) {
        await one(tally, server, provider, `${provider}/${file}`, readFileSync(join(folder, provider, file), "utf8"))
      }
    }
  } finally {
    await server.close()
  }
  return tally.report()
}

const one = async (tally: Tally, server: Server, provider: string, id: string, text: string): Promise<void> => {
  const exchange = id.endsWith(".chunks.txt")
    ? streamed(id, text.split("\n").filter((line) => line.trim() !== ""))
    : id.endsWith(".sse")
    ? streamed(id, [...text.matchAll(/^data: (?!\[DONE\])(.*)$/gm)].map((match) => match[1]!), text)
    : id.endsWith(".json")
    ? answered(id, text)
    : undefined
  if (exchange !== undefined) {
    return tally.case(id, async () => [
      ...pure(exchange),
      ...await overHttp(server, exchange),
      ...await throughEngine(server, exchange)
    ])
  }
  const value = parse(text)
  if (!notOurs.test(provider) && id.endsWith(".json") && isError(value)) {
    await tally.case(id, () => error(server, value!))
  }
}

// An error body, sent with a failing status and with status 200: typed both times, and nothing said before it.
const error = async (server: Server, body: Fields): Promise<ReadonlyArray<string>> => {
  const faults: Array<string> = []
  for (const status of [400, 200]) {
    const mount = server.mount(() => json(body, status))
    for (const api of ["chat", "responses"] as const) {
      for (const stream of [true, false]) {
        const heard = await hear(mount.baseURL, api, stream)
        if (heard.error === undefined) {
          faults.push(`status ${status}, ${api}: no typed error (${heard.defect ?? "it succeeded"})`)
        }
        if (heard.parts.length > 0) {
          faults.push(`status ${status}, ${api}: ${heard.parts.length} part(s) before the error`)
        }
      }
    }
    mount.unmount()
  }
  return faults
}
