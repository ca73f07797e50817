/**
 * Settings from the environment, for all policies: a value, and the names that are set. A name that begins with a policy's
 * prefix and is none of its settings is an error, since a misspelt setting would silently not hold.
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

export const configError = (name: string, why: string): Config.ConfigError =>
  new Config.ConfigError(new ConfigProvider.SourceError({ message: `${name}: ${why}` }))

/** A variable; an empty one counts as absent. */
export const text = (name: string): Effect.Effect<string | undefined, Config.ConfigError> =>
  Effect.map(Config.option(Config.String(name)), Option.getOrUndefined)

/** Which durations a setting may have. */
const durations = {
  "a duration of at least 0": (millis: number) => millis >= 0,
  "a finite duration of at least 0": (millis: number) => Number.isFinite(millis) && millis >= 0,
  "a finite duration above 0": (millis: number) => Number.isFinite(millis) && millis > 0
}

export const duration = Effect.fnUntraced(function*(
  name: string,
  wanted: keyof typeof durations = "a duration of at least 0"
): Effect.fn.Return<Duration.Duration | undefined, Config.ConfigError> {
  const written = yield* text(name)
  if (written === undefined) return undefined
  const read = yield* Effect.option(Config.Duration(name))
  if (Option.isSome(read) && durations[wanted](Duration.toMillis(read.value))) return read.value
  const why = `${JSON.stringify(written)} is not ${wanted}; write it as "30 seconds"`
  return yield* Effect.fail(configError(name, why))
})

/** A number that `fits`; `wanted` says which do. */
export const number = Effect.fnUntraced(function*(
  name: string,
  fits: (value: number) => boolean,
  wanted: string
): Effect.fn.Return<number | undefined, Config.ConfigError> {
  const written = yield* text(name)
  if (written === undefined) return undefined
  const value = written.trim() === "" ? Number.NaN : Number(written)
  if (fits(value)) return value
  return yield* Effect.fail(configError(name, `${JSON.stringify(written)} is not ${wanted}`))
})

/** Fails for a variable that begins with `start` and is not in `known`. */
export const refuseUnknown = (
  start: string,
  known: ReadonlyArray<string>
): Effect.Effect<void, Config.ConfigError> =>
  Effect.flatMap(variables(start), (set) => {
    const unknown = set.map(([name]) => name).find((name) => !known.includes(name))
    return unknown === undefined
      ? Effect.void
      : Effect.fail(configError(unknown, `there is no such setting; there are ${known.join(", ")}`))
  })

export type Variables = ReadonlyArray<readonly [name: string, value: string]>

/** All variables that begin with `<start>`, misspelt ones too. A provider shows names split at `_`, or whole. */
export const variables = Effect.fnUntraced(function*(start: string): Effect.fn.Return<Variables, Config.ConfigError> {
  const provider = yield* ConfigProvider.ConfigProvider
  const found = new Map<string, string>()
  const visit = (path: ReadonlyArray<string>): Effect.Effect<void, ConfigProvider.SourceError> =>
    Effect.flatMap(provider.load(path), (node) => {
      const name = path.join("_")
      if (node?.value !== undefined) found.set(name, node.value)
      return Effect.forEach(childrenOf(node), (key) => visit([...path, key]), { discard: true })
    })
  const [first, second] = start.split("_") as [string, string]
  const below = (path: ReadonlyArray<string>, start: string) =>
    Effect.map(provider.load(path), (node) => childrenOf(node).filter((key) => key.startsWith(start)))
  const all = Effect.gen(function*() {
    for (const key of yield* below([first], second)) yield* visit([first, key])
    for (const key of yield* below([], start)) yield* visit([key])
  })
  yield* Effect.mapError(all, (error) => new Config.ConfigError(error))
  return [...found].sort(([a], [b]) => a < b ? -1 : 1)
})

const childrenOf = (node: ConfigProvider.Node | undefined): ReadonlyArray<string> =>
  node?._tag === "Record"
    ? [...node.keys]
    : node?._tag === "Array"
    ? Array.from({ length: Math.min(node.length, 10_000) }, (_, index) => String(index))
    : []
