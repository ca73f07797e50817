/**
 * `npm run check`: everything that can be said about the code without running its tests. Each step is a line; a step that
 * fails shows its output. `--only NAME` runs one step.
 *
 * The package steps work on a copy (package.json, dist, src) in a temporary folder, so nothing here touches `dist`.
 */
import { spawn } from "node:child_process"
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { availableParallelism, tmpdir } from "node:os"
import { delimiter, join, resolve } from "node:path"
import { parseArgs } from "node:util"
import * as Consumer from "./consumer.ts"

const root = resolve(import.meta.dirname, "..")
const bin = join(root, "node_modules", ".bin")

interface Outcome {
  readonly ok: boolean
  readonly output: string
  readonly note?: string
}

interface Step {
  readonly name: string
  readonly run: () => Promise<Outcome>
}

const environment = {
  ...process.env,
  PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}`,
  NO_COLOR: "1",
  FORCE_COLOR: undefined,
  npm_config_offline: "true",
  npm_config_ignore_scripts: "true",
  npm_config_loglevel: "error"
}

const command = (cwd: string, program: string, ...args: ReadonlyArray<string>): Promise<Outcome> =>
  new Promise((done) => {
    const child = spawn(program, args, { cwd, env: environment, stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    child.stdout.on("data", (chunk) => (output += chunk))
    child.stderr.on("data", (chunk) => (output += chunk))
    child.on("error", (error) => done({ ok: false, output: `${program} did not start: ${error.message}` }))
    child.on("close", (code) => done({ ok: code === 0, output }))
  })

const tool = (...words: readonly [string, ...Array<string>]) => (): Promise<Outcome> => command(root, ...words)

// The staged package is built once and shared by the steps that look at it.
const stage = join(mkdtempSync(join(tmpdir(), "effect-toolformer-check-")), "package")
let staged: Promise<Outcome> | undefined
const onPackage = (look: () => Promise<Outcome>) => async (): Promise<Outcome> => {
  const built = await (staged ??= build())
  if (!built.ok) return { ok: false, output: built.output === "" ? "the build failed" : built.output }
  const outcome = await look()
  return built.note === undefined ? outcome : { ...outcome, note: built.note }
}

const build = async (): Promise<Outcome> => {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  const absent = Consumer.dropAbsent(manifest, (path) => existsSync(join(root, path)))
  const note = absent.length === 0 ? undefined : `no source yet: ${absent.join(", ")}`
  if (note !== undefined && process.env["CI"] !== undefined) return { ok: false, output: `package.json names ${note}` }
  const compiled = await command(root, "tsc", "-p", "tsconfig.build.json", "--outDir", join(stage, "dist"))
  if (!compiled.ok) return compiled
  cpSync(join(root, "src"), join(stage, "src"), { recursive: true })
  for (const file of ["README.md", "LICENSE", "CHANGELOG.md"]) {
    if (existsSync(join(root, file))) cpSync(join(root, file), join(stage, file))
  }
  writeFileSync(join(stage, "package.json"), JSON.stringify(manifest, null, 2))
  const problems = Consumer.inspectBuild(stage, manifest)
  return { ok: problems.length === 0, output: problems.join("\n"), ...(note === undefined ? {} : { note }) }
}

// A user's program that imports every entry point must type-check, with no name of ours silently `any`.
const consume = async (): Promise<Outcome> => {
  const home = join(stage, "..", "consumer")
  Consumer.write(home, JSON.parse(readFileSync(join(stage, "package.json"), "utf8")))
  symlinkSync(stage, join(home, "node_modules", "effect-toolformer"), "dir")
  for (const name of ["effect", "openai", "ioredis", "vitest", "@types", "@effect", "@cfworker"]) {
    const target = join(root, "node_modules", name)
    if (existsSync(target)) symlinkSync(target, join(home, "node_modules", name), "dir")
  }
  return command(home, "tsc", "-p", "tsconfig.json")
}

const steps: ReadonlyArray<Step> = [
  { name: "types", run: tool("tsc", "-p", "tsconfig.json", "--pretty", "false") },
  {
    name: "effect",
    run: tool(
      "effect-tsgo",
      ..."diagnostics --project tsconfig.json --format text --severity error,warning --strict".split(" ")
    )
  },
  { name: "lint", run: tool("oxlint", "--deny-warnings", "--format", "unix") },
  { name: "format", run: tool("dprint", "check") },
  { name: "unused", run: tool("knip", "--no-progress") },
  { name: "build", run: onPackage(async () => ({ ok: true, output: "" })) },
  { name: "consumer", run: onPackage(consume) },
  { name: "publint", run: onPackage(() => command(stage, "publint", "run", "--strict", "--pack", "npm")) },
  {
    name: "attw",
    run: onPackage(() =>
      command(stage, "attw", "--pack", ".", "--profile", "esm-only", "--no-definitely-typed", "--format", "ascii")
    )
  }
]

const report = (step: Step, outcome: Outcome, millis: number): void => {
  const note = outcome.note === undefined ? "" : ` (${outcome.note})`
  console.log(`${outcome.ok ? "ok  " : "FAIL"} ${step.name.padEnd(9)} ${(millis / 1000).toFixed(1)} s${note}`)
  if (!outcome.ok) console.log(outcome.output.trimEnd().replaceAll(/^/gm, "     "))
}

const main = async (): Promise<boolean> => {
  const { values } = parseArgs({ options: { only: { type: "string" } } })
  const chosen = steps.filter((step) => values.only === undefined || step.name === values.only)
  if (chosen.length === 0) {
    console.error(`--only takes one of: ${steps.map((step) => step.name).join(", ")}`)
    process.exit(2)
  }
  const waiting = [...chosen]
  let failed = 0
  const work = async (): Promise<void> => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) {
      const start = performance.now()
      const outcome = await step.run()
      if (!outcome.ok) failed++
      report(step, outcome, performance.now() - start)
    }
  }
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, work))
  console.log(`check: ${chosen.length - failed} passed, ${failed} failed`)
  return failed === 0
}

try {
  process.exitCode = await main() ? 0 : 1
} finally {
  rmSync(resolve(stage, ".."), { recursive: true, force: true })
}
