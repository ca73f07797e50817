/**
 * Lines that hold a phrase or match a regular expression. An expression comes from a model, so it runs where a clock
 * can stop it: V8 ends a runaway match when a script's time is over, which nothing else in the process can do.
 */
import * as Effect from "effect/Effect"
import * as vm from "node:vm"
import { failure } from "./Folder.ts"
import type { FolderFailure } from "./Folder.ts"

export interface Line {
  readonly line: number
  readonly text: string
}

/** Time for one file's expression. */
export const maxMatchMillis = 500

const maxLineLength = 300

/** A search over one file's text; the pattern is read once. Fails `BadPattern`. */
export const searchLines = (
  query: string,
  regex: boolean
): Effect.Effect<(content: string) => Effect.Effect<ReadonlyArray<Line>, FolderFailure>, FolderFailure> =>
  regex
    ? Effect.map(compiled(query), (script) => (content: string) => run(script, query, content))
    : Effect.succeed((content) => Effect.succeed(linesThat(content, (line) => line.includes(query))))

const linesThat = (content: string, holds: (line: string) => boolean): ReadonlyArray<Line> =>
  content.split("\n").flatMap((line, i) => holds(line) ? [{ line: i + 1, text: cut(line) }] : [])

const cut = (line: string): string => line.trim().slice(0, maxLineLength)

interface Script {
  readonly script: vm.Script
  readonly sandbox: { pattern: string; lines: string; found: string }
  readonly context: vm.Context
}

// Only strings cross into the context: its arrays and objects are not ours.
const code =
  "const p = new RegExp(pattern, \"u\"); found = JSON.stringify(JSON.parse(lines).flatMap((l, i) => p.test(l) ? [i] : []))"

const compiled = (query: string): Effect.Effect<Script, FolderFailure> =>
  Effect.try({
    try: () => {
      // Read once here, so that a broken pattern is refused before any file is read.
      const sandbox = { pattern: new RegExp(query, "u").source, lines: "[]", found: "[]" }
      return { script: new vm.Script(`{ ${code} }`), sandbox, context: vm.createContext(sandbox) }
    },
    catch: (cause) => bad(query, cause instanceof Error ? cause.message : String(cause))
  })

const run = (
  { context, sandbox, script }: Script,
  query: string,
  content: string
): Effect.Effect<ReadonlyArray<Line>, FolderFailure> =>
  Effect.try({
    try: () => {
      const lines = content.split("\n")
      Object.assign(sandbox, { lines: JSON.stringify(lines), found: "[]" })
      script.runInContext(context, { timeout: maxMatchMillis })
      return (JSON.parse(sandbox.found) as ReadonlyArray<number>).map((i) => ({ line: i + 1, text: cut(lines[i]!) }))
    },
    catch: () => bad(query, `it took more than ${maxMatchMillis} ms on one file`)
  })

const bad = (query: string, why: string): FolderFailure =>
  failure(
    "BadPattern",
    "",
    `The regular expression ${
      JSON.stringify(query.slice(0, 200))
    } cannot be used: ${why}. Search for plain text instead.`
  )
