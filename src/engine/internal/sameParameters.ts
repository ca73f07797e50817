/**
 * When two calls of a tool are the same: equal decoded parameters, as the tool's schema compares them; of a raw JSON Schema as JSON,
 * whatever the order of keys. Compared is with a decoding of its own, since a handler may change what it is given.
 */
import * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { canonical } from "../../domain/ToolCall.ts"
import type { BoundTool } from "./Call.ts"
import { orElse } from "./orElse.ts"

export type Same = (decoded: unknown) => boolean

/** A guess's parameters decoded: what its handler gets, and whether other decoded parameters are the same. */
export interface Decoded {
  readonly decoded: unknown
  readonly same: Same
}

const equivalences = new WeakMap<Tool.Any, (one: unknown, other: unknown) => boolean>()

const equivalenceOf = (tool: Tool.Any): (one: unknown, other: unknown) => boolean => {
  const known = equivalences.get(tool)
  if (known !== undefined) return known
  const made = Schema.toEquivalence(Schema.toType(tool.parametersSchema)) as (one: unknown, other: unknown) => boolean
  equivalences.set(tool, made)
  return made
}

const copyOf = (params: unknown): unknown => JSON.parse(JSON.stringify(params))

/** Decodes parameters as a model sends them; fails where they are none of the tool's. An `Exit` unless the schema is effectful. */
export const decodeGuess = ({ compiled, context }: BoundTool, params: unknown): Effect.Effect<Decoded, unknown> => {
  if (typeof params !== "object" || params === null || Array.isArray(params)) return Exit.fail("no object")
  const { decode, tool } = compiled
  if (Tool.isDynamic(tool) && tool.jsonSchema !== undefined) {
    return Effect.flatMapEager(decode(params), (decoded) => {
      const text = orElse(() => canonical(decoded), undefined)
      if (text === undefined) return Exit.fail("too deep")
      const own = copyOf(decoded)
      return Exit.succeed({ decoded: own, same: (other: unknown) => orElse(() => canonical(other) === text, false) })
    })
  }
  // What a schema hands on as it is must not be shared with the handler.
  const own = copyOf(params)
  const twice = Effect.flatMapEager(decode(params), (decoded) =>
    Effect.flatMapEager(decode(own), (kept) => {
      const equal = orElse(() => equivalenceOf(tool), undefined)
      if (equal === undefined) return Exit.fail("not comparable")
      return Exit.succeed({ decoded, same: (other: unknown) => orElse(() => equal(kept, other), false) })
    }))
  return Exit.isExit(twice) ? twice : Effect.provideContext(twice, context)
}
