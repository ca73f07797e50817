/**
 * The set `json-parsing`: bytes that a JSON parser must accept, must reject, or may do either, as the arguments of one call among
 * three, as an event, and as a whole body. No crash, no hang, no prototype pollution; one result per call; its siblings run.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as ToolCall from "../../src/domain/ToolCall.ts"
import * as Engine from "./engine.ts"
import { hear } from "./exchange.ts"
import { differs, Tally } from "./report.ts"
import type { SetReport } from "./report.ts"
import { chatEvent, decision, done, events, faultsOfHistory, responsesEvent, start, utf8 } from "./server.ts"
import type { Server } from "./server.ts"

interface Case {
  readonly id: string
  readonly expect: "accept" | "reject" | "either"
  readonly bytes: Uint8Array
}

const load = (folder: string): ReadonlyArray<Case> => [
  ...(JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")) as ReadonlyArray<{
    readonly id: string
    readonly expect: Case["expect"]
    readonly base64: string
  }>).map(({ base64, expect, id }) => ({ id, expect, bytes: Buffer.from(base64, "base64") })),
  // Too large for the set's file.
  { id: "n_structure_100000_opening_arrays.json", expect: "reject" as const, bytes: utf8("[".repeat(100_000)) },
  { id: "n_structure_open_array_object.json", expect: "reject" as const, bytes: utf8("[{\"\":".repeat(50_000)) },
  // Rejected for its depth, not for its grammar.
  {
    id: "deep_object_100000",
    expect: "reject" as const,
    bytes: utf8(`${"{\"a\":".repeat(100_000)}1${"}".repeat(100_000)}`)
  }
]

const object = (text: string): object | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

// What must become of argument text: the object it is, `{}` for a blank one, `undefined` (no run) for everything else.
const wantedParams = (one: Case, text: string): unknown => {
  if (one.id.startsWith("deep_object")) return undefined
  return /^[\t\n\r ]*$/.test(text) ? {} : object(text)
}

const marker = "@@HERE@@"

/** The decision with the case's own bytes inside the middle call's argument text, escaped as JSON asks, byte by byte. */
const script = (api: "chat" | "responses", bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
  const escaped = [...bytes].map((byte) =>
    byte === 34 || byte === 92 ? `\\${String.fromCharCode(byte)}` : byte < 32
      ? `\\u00${byte.toString(16).padStart(2, "0")}`
      : String.fromCharCode(byte)
  ).join("")
  return decision(api, [
    { id: "call_a", name: "before", arguments: "{\"n\":1}" },
    { id: "call_b", name: "middle", arguments: marker },
    { id: "call_c", name: "after", arguments: "{\"n\":2}" }
  ]).map((chunk) => Buffer.from(Buffer.from(chunk).toString("latin1").replaceAll(marker, () => escaped), "latin1"))
}

const tools = ["before", "middle", "after"].map((name) => ({ name, parameters: Engine.anyObject }))

const asArguments = async (server: Server, api: "chat" | "responses", one: Case): Promise<ReadonlyArray<string>> => {
  const faults: Array<string> = []
  const mount = server.mount((seen, turn) => {
    if (turn === 0) return events(script(api, one.bytes))
    faults.push(...faultsOfHistory(api, seen.body))
    return done(api)
  })
  const outcome = await Engine.run({ baseURL: mount.baseURL, api, tools })
  mount.unmount()
  // The wire is UTF-8: bytes that are not become U+FFFD before anybody parses them. A BOM is read over.
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(one.bytes)
  const wanted = wantedParams(one, text.replace(/^\uFEFF/, ""))
  const middle = outcome.ran.filter((call) => call.name === "middle")
  if (outcome.defect !== undefined) faults.push(outcome.defect)
  if (outcome.error !== undefined) faults.push(outcome.error.message)
  if (wanted === undefined ? middle.length !== 0 : middle.length !== 1) {
    faults.push(`the call ran ${middle.length} times`)
  }
  if (wanted !== undefined) faults.push(...differs("arguments", middle[0]?.params, wanted))
  if (wanted === undefined) {
    const result = outcome.results.find((candidate) => candidate.id === "call_b")
    faults.push(...differs("its result", Engine.tagOf(result?.result), "InvalidInput"))
  }
  faults.push(
    ...differs("siblings", outcome.ran.filter((call) => call.name !== "middle").map((call) => call.params), [{ n: 1 }, {
      n: 2
    }]),
    ...differs("results", outcome.results.map((result) => result.id), ["call_a", "call_b", "call_c"])
  )
  return faults.map((fault) => `${api} arguments: ${fault}`)
}

// As a body and as an event: typed, whatever it is.
const asBody = async (server: Server, api: "chat" | "responses", one: Case): Promise<ReadonlyArray<string>> => {
  const faults: Array<string> = []
  const line = Buffer.concat([utf8("data: "), one.bytes, utf8("\n\n")])
  const end = api === "chat"
    ? utf8(`${chatEvent({ delta: {}, finish_reason: "stop" })}data: [DONE]\n\n`)
    : utf8(responsesEvent({ type: "response.completed", response: { id: "r", status: "completed", output: [] } }))
  const bodies = [
    { what: "a whole body", stream: false, chunks: [one.bytes], type: "application/json" },
    { what: "a whole body for a stream", stream: true, chunks: [one.bytes], type: "application/json" },
    { what: "an event", stream: true, chunks: [line, end], type: "text/event-stream" }
  ]
  for (const body of bodies) {
    const mount = server.mount(() => ({ status: 200, headers: { "content-type": body.type }, chunks: body.chunks }))
    const heard = await hear(mount.baseURL, api, body.stream)
    mount.unmount()
    if (heard.defect !== undefined) faults.push(`${body.what}: ${heard.defect}`)
    if (body.what !== "an event" && heard.error === undefined) faults.push(`${body.what}: no typed error`)
  }
  return faults.map((fault) => `${api}: ${fault}`)
}

// Every prefix of a text that is one object: no prefix counts as complete before the object is.
const prefixes = (one: Case): ReadonlyArray<string> => {
  const text = new TextDecoder().decode(one.bytes)
  const value = one.bytes.length > 5000 ? undefined : object(text)
  if (value === undefined) return []
  const faults: Array<string> = []
  for (let at = 0; at < text.length; at++) {
    const prefix = text.slice(0, at)
    if (ToolCall.isCompleteObject(prefix)) {
      faults.push(...differs(`the prefix of ${at} characters`, object(prefix), value))
    }
  }
  return faults
}

const pollution = (): ReadonlyArray<string> =>
  (({}) as Record<string, unknown>)["polluted"] === undefined && Object.keys(Object.prototype).length === 0
    ? []
    : ["Object.prototype has new keys"]

/** Replays every case of the set. */
export const replay = async (folder: string): Promise<SetReport> => {
  const tally = new Tally("json-parsing")
  const server = await start()
  try {
    for (const one of load(folder)) {
      await tally.case(one.id, async () => [
        ...await asArguments(server, "chat", one),
        ...await asArguments(server, "responses", one),
        ...await asBody(server, "chat", one),
        ...await asBody(server, "responses", one),
        ...prefixes(one),
        ...pollution()
      ])
    }
  } finally {
    await server.close()
  }
  return tally.report()
}
