/**
 * The floor table as a pure function over sources: a folder is a floor, imports only go down. `architecture.test.ts` runs it
 * on `src` and proves on small file sets that each rule bites.
 */
import { builtinModules } from "node:module"
import { posix } from "node:path"
import { parseSync, Visitor } from "oxc-parser"

/** The floor of each folder or file of `src`. A path that is in none of them is a fault. */
const floors: ReadonlyArray<readonly [prefix: string, floor: number]> = [
  ["src/domain/", 1],
  ["src/policy/", 2],
  ["src/engine/", 3],
  ["src/adapter/", 4],
  ["src/testing/", 5],
  ["src/cli/", 5],
  ["src/index.ts", 5]
]

/** Packages a user may leave out, and the one module that may import each, with what it keeps in `internal/`. */
export const optionalPeers: ReadonlyArray<readonly [name: string, module: string]> = [
  ["openai", "src/adapter/OpenAi.ts"],
  ["@anthropic-ai/sdk", "src/adapter/Anthropic.ts"],
  ["@energetic-ai/", "src/adapter/LocalModel.ts"],
  ["ioredis", "src/adapter/IoRedis.ts"],
  ["vitest", "src/testing/Vitest.ts"],
  ["@opentelemetry/", "src/adapter/Telemetry.ts"],
  ["@effect/opentelemetry", "src/adapter/Telemetry.ts"]
]

/**
 * Every module a source imports or re-exports, types and `import("...")` included; computed specifiers are left out. `"static"`:
 * without those of `import("...")`, which are loaded when they are needed and not with the source.
 */
export const importsOf = (path: string, source: string, which: "all" | "static" = "all"): ReadonlyArray<string> => {
  const { errors, program } = parseSync(path, source)
  if (errors.length > 0) return [`unreadable: ${errors[0]?.message}`]
  const found = new Set<string>()
  const add = (node: { readonly type: string; readonly value?: unknown } | null | undefined): void => {
    if (node?.type === "Literal" && typeof node.value === "string") found.add(node.value)
  }
  new Visitor({
    ImportDeclaration: (node) => add(node.source),
    ExportNamedDeclaration: (node) => add(node.source),
    ExportAllDeclaration: (node) => add(node.source),
    ImportExpression: (node) => which === "all" ? add(node.source) : undefined,
    TSImportType: (node) => add(node.source)
  }).visit(program)
  return [...found]
}

const floorOf = (path: string): number | undefined => floors.find(([prefix]) => path.startsWith(prefix))?.[1]

const builtins = new Set(builtinModules)

const isNodeOnly = (specifier: string): boolean =>
  specifier.startsWith("node:") || builtins.has(specifier) || /^@effect\/platform-(node|bun)/.test(specifier)

// `src/adapter/OpenAi.ts` is the module of the adapter OpenAi.
const adapterModule = (path: string): string | undefined => /^src\/adapter\/(\w+)\.ts$/.exec(path)?.[1]

// The folder of a module that may have optional peers; none for what is in its `internal/`.
const folderOf = (path: string): string | undefined => /^(src\/(?:adapter|testing)\/)\w+\.ts$/.exec(path)?.[1]

const localFaults = (path: string, specifier: string, paths: ReadonlySet<string>): ReadonlyArray<string> => {
  const target = posix.normalize(posix.join(posix.dirname(path), specifier))
  const own = floorOf(path) ?? 0
  const other = floorOf(target)
  const faults: Array<string> = []
  const fault = (why: string): void => void faults.push(`${path} imports ${specifier}: ${why}`)
  if (!paths.has(target)) return [`${path} imports ${specifier}: there is no ${target}`]
  if (other !== undefined && other > own) fault(`floor ${own} may not import floor ${other}`)
  const home = /^(.*?\/)internal\//.exec(target)?.[1]
  if (home !== undefined && !path.startsWith(home)) fault(`internal/ is closed to files outside ${home}`)
  if (own === 4 && adapterModule(target) !== undefined) fault("adapters do not import each other")
  if (path === "src/index.ts" && (other ?? 0) > 3) fault("the main entry point is floors 1 to 3")
  return faults
}

// `users` are the modules of `adapter` and `testing` that load the file with themselves.
const packageFaults = (path: string, specifier: string, users: ReadonlyArray<string>): ReadonlyArray<string> => {
  const faults: Array<string> = []
  const fault = (why: string): void => void faults.push(`${path} imports ${specifier}: ${why}`)
  if (/^effect(\/[a-z-]+)?$/.test(specifier)) fault("src imports Effect per module (effect/Effect, effect/ai/Tool)")
  if ((floorOf(path) ?? 0) <= 3 && isNodeOnly(specifier)) fault("floors 1 to 3 run where Node does not")
  const peer = optionalPeers.find(([name]) => specifier === name || specifier.startsWith(name.replace(/\/?$/, "/")))
  if (peer !== undefined && !(path.startsWith(folderOf(peer[1])!) && users.every((user) => user === peer[1]))) {
    fault(`only ${peer[1]} may`)
  }
  return faults
}

/** Every fault of a tree, one line each. Keys are paths from the root of the repository, such as `src/domain/Report.ts`. */
export const faultsOf = (sources: ReadonlyMap<string, string>): ReadonlyArray<string> => {
  const paths = new Set(sources.keys())
  const imports = new Map([...sources].map(([path, source]) => [path, importsOf(path, source)]))
  const graph = new Map([...imports].map(([path, specifiers]) => [path, locals(path, specifiers)]))
  // A module loads a peer when it is needed through the module whose peer it is: the testing kit plays recordings that way.
  const loaded = new Map([...sources].map(([path, source]) => [path, locals(path, importsOf(path, source, "static"))]))
  const reached = [...paths].filter((path) => folderOf(path) !== undefined).map((path) =>
    [path, reach(loaded, path)] as const
  )
  const faults = [...imports].flatMap(([path, specifiers]) => {
    const users = reached.filter(([, files]) => files.has(path)).map(([user]) => user)
    const own = floorOf(path) === undefined ? [`${path} stands on no floor`] : []
    return [
      ...own,
      ...specifiers.flatMap((specifier) =>
        specifier.startsWith("unreadable: ")
          ? [`${path} is ${specifier}`]
          : specifier.startsWith(".")
          ? localFaults(path, specifier, paths)
          : packageFaults(path, specifier, users)
      )
    ]
  })
  return [...faults, ...cyclesOf(graph).map((cycle) => `cycle: ${cycle.join(" -> ")}`)]
}

const locals = (path: string, specifiers: ReadonlyArray<string>): ReadonlyArray<string> =>
  specifiers.filter((specifier) => specifier.startsWith(".")).map((specifier) =>
    posix.normalize(posix.join(posix.dirname(path), specifier))
  )

const reach = (graph: ReadonlyMap<string, ReadonlyArray<string>>, start: string): ReadonlySet<string> => {
  const seen = new Set([start])
  for (const path of seen) graph.get(path)?.forEach((next) => seen.add(next))
  return seen
}

/** The cycles of a graph that a depth-first walk meets, each as the path that closes it. */
const cyclesOf = (graph: ReadonlyMap<string, ReadonlyArray<string>>): ReadonlyArray<ReadonlyArray<string>> => {
  const cycles: Array<ReadonlyArray<string>> = []
  const done = new Set<string>()
  const walk = (path: string, trail: ReadonlyArray<string>): void => {
    const start = trail.indexOf(path)
    if (start >= 0) return void cycles.push([...trail.slice(start), path])
    if (done.has(path)) return
    for (const next of graph.get(path) ?? []) walk(next, [...trail, path])
    done.add(path)
  }
  for (const path of graph.keys()) walk(path, [])
  return cycles
}
