/**
 * The set `bfcl`: the right answer's calls of each parallel case, put on the wire as one streamed decision on both APIs, reach
 * handlers made from the case's own JSON Schemas, with equal arguments, all of them running at once.
 */
import { Validator } from "@cfworker/json-schema"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Engine from "./engine.ts"
import type { ToolSpec } from "./engine.ts"
import { differs, Tally } from "./report.ts"
import type { SetReport } from "./report.ts"
import { decision, done, events, faultsOfHistory, start } from "./server.ts"
import type { ScriptedCall, Seen, Server } from "./server.ts"

type Fields = { readonly [key: string]: unknown }

interface Case {
  readonly id: string
  readonly functions: ReadonlyArray<
    { readonly name: string; readonly description?: string; readonly parameters: Fields }
  >
  readonly expected: ReadonlyArray<{ readonly [name: string]: Fields }>
}

const files = ["parallel", "parallel_multiple", "live_parallel", "live_parallel_multiple"]

// ---- the set's types as JSON Schema's ----

const types: { readonly [type: string]: string | undefined } = {
  dict: "object",
  hashmap: "object",
  object: "object",
  float: "number",
  double: "number",
  number: "number",
  integer: "integer",
  int: "integer",
  long: "integer",
  short: "integer",
  byte: "integer",
  bigint: "integer",
  tuple: "array",
  list: "array",
  array: "array",
  arraylist: "array",
  set: "array",
  string: "string",
  str: "string",
  char: "string",
  boolean: "boolean",
  bool: "boolean",
  null: "null",
  any: undefined
}

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const mapped = (type: unknown): Fields => {
  const kind = typeof type === "string" ? types[type.toLowerCase()] : undefined
  return kind === undefined ? {} : { type: kind }
}

/** A schema of the set as JSON Schema. `optional` says again what `required` says; the rest keeps its meaning. */
export const schemaOf = (schema: Fields): Fields => {
  const { additionalProperties, items, optional: _, properties, type, ...rest } = schema
  return {
    ...rest,
    ...mapped(type),
    ...(isFields(properties)
      ? {
        properties: Object.fromEntries(
          Object.entries(properties).map(([key, value]) => [key, isFields(value) ? schemaOf(value) : value])
        )
      }
      : undefined),
    ...(isFields(items) ? { items: schemaOf(items) } : undefined),
    ...(isFields(additionalProperties)
      ? { additionalProperties: schemaOf(additionalProperties) }
      : additionalProperties === undefined
      ? undefined
      : { additionalProperties })
  }
}

// ---- the right answer ----

// In a dict every key again has its acceptable values, and an array of dicts holds such dicts.
const valueOf = (value: unknown, schema: Fields): unknown => {
  const kind = mapped(schema["type"])["type"]
  if (Array.isArray(value)) {
    const items = isFields(schema["items"]) ? schema["items"] : {}
    return value.map((item) => valueOf(item, items))
  }
  if (!isFields(value) || kind === "string") return value
  const properties = isFields(schema["properties"]) ? schema["properties"] : {}
  return argumentsOf(value, properties)
}

const argumentsOf = (acceptable: Fields, properties: Fields): Fields =>
  Object.fromEntries(
    Object.entries(acceptable).flatMap(([key, values]) => {
      const schema = isFields(properties[key]) ? properties[key] : {}
      // A list is the acceptable values; what is no list stands for itself.
      if (!Array.isArray(values)) return [[key, valueOf(values, schema)]]
      const said = values.filter((value) => value !== "")
      // Some answers list a value first that their own schema refuses (a text where a number is asked).
      const chosen = said.find((value) => fits(valueOf(value, schema), schema))
      if (chosen !== undefined) return [[key, valueOf(chosen, schema)]]
      return values.includes("") || said.length === 0 ? [] : [[key, valueOf(said[0], schema)]]
    })
  )

const fits = (value: unknown, schema: Fields): boolean =>
  new Validator(schemaOf(schema), "2020-12").validate(value).valid

interface Wanted {
  readonly name: string
  readonly params: Fields
  /** A few right answers contradict their own schema: such a call has to be refused, and its siblings run. */
  readonly refused: boolean
}

const wantedCalls = (one: Case): ReadonlyArray<Wanted> =>
  one.expected.map((call) => {
    const [name, acceptable] = Object.entries(call)[0]!
    const parameters = one.functions.find((candidate) => candidate.name === name)?.parameters ?? {}
    const params = argumentsOf(acceptable, isFields(parameters["properties"]) ? parameters["properties"] : {})
    return { name, params, refused: !fits(params, parameters) }
  })

// ---- replay ----

const load = (folder: string): ReadonlyArray<Case> =>
  files.filter((file) => existsSync(join(folder, `${file}.jsonl`))).flatMap((file) =>
    readFileSync(join(folder, `${file}.jsonl`), "utf8").split("\n").filter((line) => line !== "").map((line) =>
      JSON.parse(line) as Case
    )
  )

// The names as the adapter offered them, in the order of the case's functions.
const offered = (api: "chat" | "responses", seen: Seen): ReadonlyArray<string> =>
  (seen.body["tools"] as ReadonlyArray<Fields>).map((tool) =>
    String((api === "chat" ? tool["function"] as Fields : tool)["name"])
  )

const replayCase = async (server: Server, api: "chat" | "responses", one: Case): Promise<ReadonlyArray<string>> => {
  const wanted = wantedCalls(one)
  const tools: ReadonlyArray<ToolSpec> = [...new Map(one.functions.map((tool) => [tool.name, {
    name: tool.name,
    ...(tool.description === undefined ? undefined : { description: tool.description }),
    parameters: schemaOf(tool.parameters)
  }])).values()]
  const faults: Array<string> = []
  const mount = server.mount((seen, turn) => {
    if (turn > 0) {
      faults.push(...faultsOfHistory(api, seen.body))
      return done(api)
    }
    const names = offered(api, seen)
    return events(decision(
      api,
      wanted.map((call, index): ScriptedCall => ({
        id: `call_${index}`,
        name: names[tools.findIndex((tool) => tool.name === call.name)] ?? call.name,
        arguments: JSON.stringify(call.params)
      }))
    ))
  })
  const together = wanted.filter((call) => !call.refused).length
  const outcome = await Engine.run({ baseURL: mount.baseURL, api, tools, together })
  mount.unmount()
  if (outcome.defect !== undefined) faults.push(outcome.defect)
  if (outcome.error !== undefined) faults.push(outcome.error.message)
  const ran = new Map(outcome.ran.map((call) => [call.id, call]))
  wanted.forEach(({ name, params, refused }, index) => {
    const got = ran.get(`call_${index}`)
    faults.push(
      ...differs(`call ${index}`, got && { name: got.name, params: got.params }, refused ? undefined : { name, params })
    )
    const result = outcome.results.find((candidate) => candidate.id === `call_${index}`)
    faults.push(
      ...differs(
        `failure of call ${index}`,
        result?.isFailure === true ? Engine.tagOf(result.result) ?? result.result : undefined,
        refused ? "InvalidInput" : undefined
      )
    )
  })
  if (outcome.ran.length !== together) faults.push(`${outcome.ran.length} handlers ran for ${together} calls`)
  return [
    ...differs(
      "results in call order",
      outcome.results.map((result) => result.id),
      wanted.map((_, index) => `call_${index}`)
    ),
    ...faults
  ].map((fault) => `${api}: ${fault}`)
}

/** Replays every parallel case of the set. */
export const replay = async (folder: string): Promise<SetReport> => {
  const tally = new Tally("bfcl")
  const server = await start()
  try {
    for (const one of load(folder)) {
      await tally.case(one.id, async () => [
        ...await replayCase(server, "chat", one),
        ...await replayCase(server, "responses", one)
      ])
    }
  } finally {
    await server.close()
  }
  return tally.report()
}
