/**
 * `npm run bench`: ours beside plain promises, stock `effect/ai` and `ai`, every measurement in a fresh process. Writes
 * `docs/benchmarks.md` when it ran everything. Progress goes to standard error.
 *
 *   --only SCENARIO   one scenario or family (limits), no report
 *   --json            one figure a line on standard output, nothing else
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { cpus, release, totalmem, type as system } from "node:os"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { killAll, measureInChild } from "./children.ts"
import { figures, type Job, jobs, verdicts } from "./figures.ts"
import { install, installedPeers, version } from "./peers.ts"
import { boundsTable, figureTables, page, type Setting } from "./report.ts"
import type { Figure, Reading, Scenario } from "./scenario.ts"
import { named, scenarios } from "./scenarios/index.ts"

const log = (line: string): void => console.error(line)

const fromRoot = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

const usage = `usage: npm run bench -- [--only SCENARIO] [--json]\nscenarios:\n${
  scenarios.map(({ name, about }) => `  ${name.padEnd(18)}${about}`).join("\n")
}`

const exitWithUsage = (problem: string): never => {
  log(`${problem}\n${usage}`)
  process.exit(2)
}

interface Options {
  readonly only: string | undefined
  readonly json: boolean
}

const readOptions = (): Options => {
  try {
    const { values } = parseArgs({ options: { only: { type: "string" }, json: { type: "boolean" } } })
    return { only: values.only, json: values.json ?? false }
  } catch (error) {
    return exitWithUsage(error instanceof Error ? error.message : String(error))
  }
}

const choose = (only: string | undefined): ReadonlyArray<Scenario> => {
  if (only === undefined) return scenarios
  const found = named(only)
  return found.length === 0 ? exitWithUsage(`there is no scenario "${only}"`) : found
}

// A scenario that cannot run here is left out by name, never measured as something else.
const runnable = (chosen: ReadonlyArray<Scenario>): ReadonlyArray<Scenario> =>
  chosen.filter(({ name, lacks }) => {
    const lacking = lacks?.()
    if (lacking !== undefined) log(`${name}: skipped, ${lacking}`)
    return lacking === undefined
  })

const runJob = async ({ scenario, peer, n, repetition }: Job): Promise<ReadonlyArray<Reading> | undefined> => {
  const label = `${scenario.name} ${peer} N=${n} ${repetition + 1}/${scenario.repetitions}`
  try {
    const readings = await measureInChild(scenario.name, peer, n)
    log(`${label}: ${readings.map(({ value, unit }) => `${value.toFixed(2)} ${unit}`).join(", ")}`)
    return readings
  } catch (error) {
    log(`${label}: FAILED, ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = 1
    return undefined
  }
}

const runScenario = async (scenario: Scenario): Promise<ReadonlyArray<Figure>> => {
  const done: Array<{ readonly job: Job; readonly readings: ReadonlyArray<Reading> }> = []
  for (const job of jobs(scenario)) {
    const readings = await runJob(job)
    if (readings !== undefined) done.push({ job, readings })
  }
  return scenario.sizes.flatMap((n) =>
    Object.keys(scenario.peers).flatMap((peer) => {
      const own = done.filter(({ job }) => job.peer === peer && job.n === n)
      return figures(scenario.name, peer, n, own.flatMap(({ readings }) => readings))
    })
  )
}

const versionOf = (file: string): string =>
  (JSON.parse(readFileSync(fromRoot(file), "utf8")) as { version: string }).version

const setting = (): Setting => ({
  machine: `${cpus()[0]?.model.trim() ?? "unknown processor"}, ${cpus().length} cores, `
    + `${Math.round(totalmem() / 2 ** 30)} GiB, ${system()} ${release()}`,
  versions: {
    "effect-toolformer": versionOf("package.json"),
    "node": process.versions.node,
    "effect": versionOf("node_modules/effect/package.json"),
    "openai": versionOf("node_modules/openai/package.json"),
    ...Object.fromEntries(
      ["ai", "@ai-sdk/openai", "zod", "rate-limiter-flexible", "p-queue", "ioredis"].map((
        name
      ) => [name, version(name)])
    )
  },
  date: new Date().toISOString().slice(0, 10)
})

const stopChildrenOn = (signal: NodeJS.Signals, exitCode: number): void => {
  process.once(signal, () => {
    killAll()
    process.exit(exitCode)
  })
}

const main = async (): Promise<void> => {
  const options = readOptions()
  const asked = choose(options.only)
  const chosen = runnable(asked)
  stopChildrenOn("SIGINT", 130)
  stopChildrenOn("SIGTERM", 143)
  const needsInstall = chosen.some(({ peers }) => Object.keys(peers).some((peer) => installedPeers.has(peer)))
  const problem = needsInstall ? install(log) : undefined
  if (problem !== undefined) {
    log(problem)
    process.exit(1)
  }
  const all: Array<Figure> = []
  for (const scenario of chosen) {
    const measured = await runScenario(scenario)
    all.push(...measured)
    if (options.json) { for (const figure of measured) console.log(JSON.stringify(figure)) }
  }
  const judged = chosen.flatMap((scenario) => verdicts(scenario, all))
  if (!options.json) console.log(`${figureTables(chosen, all)}\n\n${boundsTable(judged)}`)
  if (options.only !== undefined) return
  if (chosen.length < asked.length) return log("a scenario was skipped: docs/benchmarks.md is left as it was")
  if (process.exitCode === 1) return log("a measurement failed: docs/benchmarks.md is left as it was")
  mkdirSync(fromRoot("docs"), { recursive: true })
  writeFileSync(fromRoot("docs/benchmarks.md"), page(setting(), chosen, all, judged))
  log("wrote docs/benchmarks.md")
}

await main()
