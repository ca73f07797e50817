/**
 * The set `naughty-strings`: each string as an argument's value and key, as the name of a tool that is offered, as the name of one
 * that is not, and as a call's id. The round trip is identical, one result per call, nothing crashes, no prototype is reached.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Engine from "./engine.ts"
import { differs, Tally } from "./report.ts"
import type { SetReport } from "./report.ts"
import { decision, done, events, faultsOfHistory, start } from "./server.ts"
import type { Seen, Server } from "./server.ts"

const more = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "prototype",
  "",
  "a".repeat(10_000),
  "../../etc/passwd",
  "with.dots",
  "functions.echo",
  "🧨".repeat(40),
  "\ud800 lone",
  "line\nbreak",
  "\u202eright to left",
  " trailing "
]

type Fields = { readonly [key: string]: unknown }

const echo = "echo"

// The wire's name of the offered tool that is not `echo`. A toolkit is an object, so a name such as "0" comes first.
const wireName = (api: "chat" | "responses", seen: Seen): string => {
  const offered = seen.body["tools"] as ReadonlyArray<Fields>
  const nameOf = (tool: Fields) => api === "chat" ? (tool["function"] as Fields)["name"] : tool["name"]
  const tool = offered.find((candidate) => nameOf(candidate) !== echo)
  return String((api === "chat" ? tool?.["function"] as Fields | undefined : tool)?.["name"])
}

const replayCase = async (server: Server, api: "chat" | "responses", text: string): Promise<ReadonlyArray<string>> => {
  const faults: Array<string> = []
  // `__proto__` as a key has to come from text: an object literal would set the prototype.
  const keyed = `{"nested":{${JSON.stringify(text)}:{"polluted":true}},"value":${JSON.stringify(text)}}`
  // A toolkit is a plain object, so a tool of this one name cannot be in it.
  const declares = text !== "__proto__" && text !== echo
  const tools = [echo, ...(declares ? [text] : [])].map((name) => ({ name, parameters: Engine.anyObject }))
  const mount = server.mount((seen, turn) => {
    if (turn > 0) {
      faults.push(...faultsOfHistory(api, seen.body))
      return done(api)
    }
    return events(decision(api, [
      { id: "call_value", name: echo, arguments: keyed },
      { id: text, name: echo, arguments: "{\"n\":1}" },
      { id: "call_offered", name: declares ? wireName(api, seen) : echo, arguments: "{\"n\":2}" },
      { id: "call_unknown", name: `${text}?`, arguments: "{\"n\":3}" },
      { id: "call_text", name: echo, arguments: text }
    ]))
  })
  const outcome = await Engine.run({ baseURL: mount.baseURL, api, tools })
  mount.unmount()
  if (outcome.defect !== undefined) faults.push(outcome.defect)
  if (outcome.error !== undefined) faults.push(outcome.error.message)
  const ran = (n: number) => outcome.ran.filter((call) => (call.params as Fields)["n"] === n)
  const first = outcome.ran.find((call) => call.id === "call_value")
  if (JSON.stringify(first?.params) !== JSON.stringify(JSON.parse(keyed))) {
    faults.push(`the value came back as ${JSON.stringify(first?.params).slice(0, 200)}`)
  }
  if (Object.getPrototypeOf((first?.params as Fields | undefined)?.["nested"] ?? {}) !== Object.prototype) {
    faults.push("a key reached the prototype")
  }
  faults.push(
    ...differs("calls with the string as id", ran(1).length, 1),
    ...differs("the offered tool", ran(2).map((call) => call.name), [declares ? text : echo]),
    ...differs("the unknown tool ran", ran(3).length, 0),
    ...differs("results", outcome.results.length, 5),
    ...differs("ids of results", new Set(outcome.results.map((result) => result.id)).size, 5),
    ...differs("the result of the unknown tool", Engine.tagOf(outcome.results[3]?.result), "UnknownTool")
  )
  // An id that is free comes back as it was; an empty one gets one of ours.
  if (text !== "" && outcome.results[1]?.id !== text) {
    faults.push(`the id came back as ${JSON.stringify(outcome.results[1]?.id).slice(0, 200)}`)
  }
  return faults.map((fault) => `${api}: ${fault}`)
}

const pollution = (before: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...differs("keys of Object.prototype", Object.getOwnPropertyNames(Object.prototype), before),
  ...((({}) as Record<string, unknown>)["polluted"] === undefined ? [] : ["({}).polluted is set"])
]

/** Replays every string of the set, and the ones that reach for prototypes. */
export const replay = async (folder: string): Promise<SetReport> => {
  const tally = new Tally("naughty-strings")
  const strings = [...JSON.parse(readFileSync(join(folder, "blns.json"), "utf8")) as ReadonlyArray<string>, ...more]
  const before = Object.getOwnPropertyNames(Object.prototype)
  const server = await start()
  try {
    for (const [index, text] of strings.entries()) {
      await tally.case(`${index} ${JSON.stringify(text).slice(0, 60)}`, async () => [
        ...await replayCase(server, "chat", text),
        ...await replayCase(server, "responses", text),
        ...pollution(before)
      ])
    }
  } finally {
    await server.close()
  }
  return tally.report()
}
