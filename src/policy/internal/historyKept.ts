/** What is known of tools and names, as text to keep and back. Whatever is wrong with such a text, it is read as nothing. */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { frameId } from "./historyFrames.ts"
import { limits, newArgument, newTool } from "./historyKnowledge.ts"
import type { ToolKnowledge } from "./historyKnowledge.ts"

const Count = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1e6))
const Key = Schema.Int

const KeptTool = Schema.Struct({
  name: Schema.String,
  calls: Count,
  signatures: Schema.Array(Schema.Tuple([Schema.String, Count])),
  arguments: Schema.Array(Schema.Struct({
    name: Schema.String,
    places: Schema.Array(Schema.Tuple([Key, Count])),
    constants: Schema.Array(Schema.Tuple([Schema.String, Count]))
  })),
  frames: Schema.Array(
    Schema.Struct({
      tool: Key,
      back: Schema.Int,
      names: Schema.Array(Schema.String),
      places: Schema.Array(Key),
      times: Count
    }).check(Schema.makeFilter(({ names, places }) => names.length === places.length))
  )
})

const ToolsPage = Schema.fromJsonString(Schema.Array(KeptTool))
const NamesPage = Schema.fromJsonString(Schema.Struct({
  codes: Schema.Array(Schema.Tuple([Schema.String, Schema.Array(Schema.Tuple([Schema.String, Count]))])),
  years: Schema.Array(Schema.Tuple([Schema.String, Count]))
}))

/** The codes of names, and the years of dates, with how many runs said so. */
export interface Names {
  readonly codes: Map<string, Map<string, number>>
  readonly years: Map<string, number>
}

const encodeTools = Schema.encodeSync(ToolsPage)
const encodeNames = Schema.encodeSync(NamesPage)
const decodeTools = Schema.decodeUnknownOption(ToolsPage)
const decodeNames = Schema.decodeUnknownOption(NamesPage)

export const toolsPage = (tools: Iterable<ToolKnowledge>): string =>
  encodeTools([...tools].map((tool) => ({
    name: tool.name,
    calls: tool.calls,
    signatures: [...tool.signatures],
    arguments: [...tool.arguments.values()].map(({ constants, name, places }) => ({
      name,
      places: [...places],
      constants: [...constants]
    })),
    frames: [...tool.frames.values()].map(({ frame, times }) => ({ ...frame, times }))
  })))

export const toolsIn = (text: string): ReadonlyMap<string, ToolKnowledge> | undefined => {
  const kept = Option.getOrUndefined(decodeTools(text))
  if (kept === undefined || kept.length > limits.tools) return undefined
  return new Map(kept.map((one) => {
    const tool = newTool(one.name)
    tool.calls = one.calls
    for (const [signature, times] of one.signatures.slice(0, limits.signatures)) tool.signatures.set(signature, times)
    for (const { constants, name, places } of one.arguments.slice(0, limits.arguments)) {
      const argument = newArgument(one.name, name)
      for (const [place, times] of places.slice(0, limits.places)) argument.places.set(place, times)
      for (const [constant, times] of constants.slice(0, limits.constants)) argument.constants.set(constant, times)
      tool.arguments.set(name, argument)
    }
    for (const { times, ...frame } of one.frames.slice(0, limits.frames)) {
      tool.frames.set(frameId(frame), { frame, times })
    }
    return [one.name, tool] as const
  }))
}

export const namesPage = ({ codes, years }: Names): string =>
  encodeNames({ codes: [...codes].map(([name, of]) => [name, [...of]] as const), years: [...years] })

export const namesIn = (text: string): Names | undefined => {
  const kept = Option.getOrUndefined(decodeNames(text))
  if (kept === undefined || kept.codes.length > limits.codes || kept.years.length > limits.years) return undefined
  return {
    codes: new Map(kept.codes.map(([name, of]) => [name, new Map(of.slice(0, limits.codesOfOne))])),
    years: new Map(kept.years)
  }
}
