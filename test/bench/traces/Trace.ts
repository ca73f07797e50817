/**
 * The recorded traces of a folder: one set a file, one trace a line. Nothing is repaired: what is not a trace is an error that
 * names its file and line.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { basename, join } from "node:path"
import { type Conversation, episodesOf, turnsOf } from "./conversation.ts"
import { taskOf } from "./sets.ts"
import { failed, type TracesError, usage } from "./TracesError.ts"

const Step = Schema.Union([
  Schema.Struct({ type: Schema.Literal("user"), text: Schema.String }),
  Schema.Struct({ type: Schema.Literal("assistant"), text: Schema.String }),
  Schema.Struct({
    type: Schema.Literal("call"),
    id: Schema.String,
    name: Schema.String,
    arguments: Schema.optionalKey(Schema.String),
    batch: Schema.optionalKey(Schema.Int),
    seconds: Schema.optionalKey(Schema.NullOr(Schema.Finite))
  }),
  Schema.Struct({
    type: Schema.Literal("result"),
    id: Schema.String,
    text: Schema.optionalKey(Schema.String),
    exception: Schema.optionalKey(Schema.Unknown)
  })
])
export type Step = typeof Step.Type

const Trace = Schema.fromJsonString(Schema.Struct({ id: Schema.String, steps: Schema.Array(Step) }))

const decode = Schema.decodeUnknownResult(Trace)

/** `conversations`: those in which the model had a turn. `namesOnly`: the origin has no arguments, so no call can be compared. */
export interface TraceSet {
  readonly set: string
  readonly namesOnly: boolean
  readonly conversations: ReadonlyArray<Conversation>
}

/** The sets of a folder, or of its `traces`; only those called `only`, where it is given. */
export const load = (folder: string, only?: string): Effect.Effect<ReadonlyArray<TraceSet>, TracesError> =>
  Effect.gen(function*() {
    const home = yield* homeOf(folder)
    const files = yield* attempt(`${home} cannot be read`, () => readdirSync(home))
    const sets = files.filter((file) => file.endsWith(".jsonl")).map((file) => basename(file, ".jsonl")).sort()
    if (sets.length === 0) {
      return yield* usage(`${folder} holds no traces (files *.jsonl, or a folder traces with them)`)
    }
    if (only !== undefined && !sets.includes(only)) {
      return yield* usage(`there is no set ${JSON.stringify(only)} in ${home}; its sets are ${sets.join(", ")}`)
    }
    return yield* Effect.forEach(only === undefined ? sets : [only], (set) => read(join(home, `${set}.jsonl`), set))
  })

const homeOf = (folder: string): Effect.Effect<string, TracesError> => {
  const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory()
  if (!isFolder(folder)) return Effect.fail(usage(`${folder} is no folder; name one that holds traces`))
  const inner = join(folder, "traces")
  return Effect.succeed(isFolder(inner) ? inner : folder)
}

const attempt = <A>(what: string, read: () => A): Effect.Effect<A, TracesError> =>
  Effect.try({
    try: read,
    catch: (error) => failed(`${what}: ${error instanceof Error ? error.message : String(error)}`)
  })

const read = (path: string, set: string): Effect.Effect<TraceSet, TracesError> =>
  Effect.gen(function*() {
    const text = yield* attempt(`${path} cannot be read`, () => readFileSync(path, "utf8"))
    const traces = yield* Effect.forEach(
      text.split("\n").flatMap((line, index) => line.trim() === "" ? [] : [{ line, number: index + 1 }]),
      ({ line, number }) => {
        const trace = decode(line)
        return Result.isSuccess(trace)
          ? Effect.succeed(trace.success)
          : Effect.fail(failed(`${path}, line ${number} is no trace: ${oneLine(String(trace.failure))}`))
      }
    )
    const calls = traces.flatMap(({ steps }) => steps).filter((step) => step.type === "call")
    const namesOnly = calls.length > 0 && calls.every((call) => call.arguments === undefined)
    if (!namesOnly && calls.some((call) => call.arguments === undefined)) {
      return yield* failed(`${path}: some calls have arguments and some have none`)
    }
    const conversations = traces
      .map(({ id, steps }): Conversation => ({ id, task: taskOf(id), episodes: episodesOf(steps) }))
      .filter((conversation) => turnsOf(conversation).length > 0)
    if (conversations.length === 0) return yield* failed(`${path} holds no turn of a model`)
    return { set, namesOnly, conversations }
  })

const oneLine = (text: string): string => text.replaceAll(/\s+/g, " ").slice(0, 200)
