/**
 * What a user of the built package sees: its entry points, its command, its types. Files and strings only; `check.ts` runs
 * the compilers.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

interface Manifest {
  readonly name: string
  readonly exports: Record<string, string | { readonly types: string; readonly default: string }>
  bin?: Record<string, string>
  scripts?: unknown
}

const sourceOf = (built: string): string => built.replace(/^\.\/dist\//, "src/").replace(/(\.d)?\.[jt]s$/, ".ts")

/** Removes entry points and commands whose source does not exist, and the scripts; gives their names. */
export const dropAbsent = (manifest: Manifest, exists: (path: string) => boolean): ReadonlyArray<string> => {
  const absent: Array<string> = []
  for (const [name, target] of Object.entries(manifest.exports)) {
    if (typeof target === "string" || exists(sourceOf(target.default))) continue
    delete manifest.exports[name]
    absent.push(name)
  }
  for (const [name, target] of Object.entries(manifest.bin ?? {})) {
    if (exists(sourceOf(target))) continue
    delete manifest.bin
    absent.push(`bin ${name}`)
  }
  delete manifest.scripts
  return absent
}

const files = (folder: string, ending: RegExp): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => ending.test(name))

/** One line per fault: an import of a `.ts` file left in JavaScript, a declaration without its file, a command without a shebang. */
export const inspectBuild = (stage: string, manifest: Manifest): ReadonlyArray<string> => {
  const problems: Array<string> = []
  for (const name of files(join(stage, "dist"), /\.js$/)) {
    const text = readFileSync(join(stage, "dist", name), "utf8")
    if (/(?:from|import)\s*\(?\s*"\.[^"]*\.ts"/.test(text)) problems.push(`dist/${name} imports a .ts file`)
    if (!files(join(stage, "dist"), /\.d\.ts$/).includes(name.replace(/\.js$/, ".d.ts"))) {
      problems.push(`dist/${name} has no declarations`)
    }
  }
  for (const target of Object.values(manifest.bin ?? {})) {
    const first = readFileSync(join(stage, target), "utf8").split("\n")[0]
    if (first !== "#!/usr/bin/env node") problems.push(`${target} starts with ${JSON.stringify(first)}, not a shebang`)
  }
  return problems
}

// `any` accepts and gives everything; only for it is `0 extends 1 & T` true.
const program = (name: string): string =>
  `import * as Entry from ${JSON.stringify(name)}
type IsAny<T> = 0 extends 1 & T ? true : false
type Typed<M> = { readonly [K in keyof M]: IsAny<M[K]> }
declare const typed: Typed<typeof Entry>
export const noneIsAny: { readonly [K in keyof typeof Entry]: false } = typed
export const entryIsTyped: false = null! as IsAny<typeof Entry>
`

/** Writes a project that imports every entry point. */
export const write = (home: string, manifest: Manifest): void => {
  mkdirSync(join(home, "node_modules"), { recursive: true })
  const compilerOptions = {
    module: "nodenext",
    target: "es2023",
    lib: ["es2024", "dom"],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    noEmit: true,
    preserveSymlinks: true,
    types: []
  }
  writeFileSync(join(home, "package.json"), JSON.stringify({ type: "module" }))
  writeFileSync(join(home, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }))
  for (const [entry, target] of Object.entries(manifest.exports)) {
    if (typeof target === "string") continue
    const name = `${manifest.name}${entry.slice(1)}`
    writeFileSync(join(home, `${name.replaceAll("/", "-")}.ts`), program(name))
  }
}
