/**
 * `npm run replay -- [--data DIR] [--only SET] [--json]`: puts the recorded material of a folder through the real adapter over
 * real HTTP and, where calls are meant to run, through the engine. Says per set what was tried, what came out equal, and every
 * difference. Exit code 0: all equal; 1: a difference; 2: bad usage.
 */
import { existsSync, statSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import * as AiSdkFixtures from "./aiSdkFixtures.ts"
import * as Bfcl from "./bfcl.ts"
import * as JsonParsing from "./jsonParsing.ts"
import * as NaughtyStrings from "./naughtyStrings.ts"
import type { SetReport } from "./report.ts"
import * as Wire from "./wire.ts"

const sets: { readonly [set: string]: (folder: string) => Promise<SetReport> } = {
  wire: Wire.replay,
  "ai-sdk-fixtures": AiSdkFixtures.replay,
  bfcl: Bfcl.replay,
  "json-parsing": JsonParsing.replay,
  "naughty-strings": NaughtyStrings.replay
}

const usage = (message: string): never => {
  process.stderr.write(`replay: ${message}\n`)
  process.exit(2)
}

const read = () => {
  try {
    return parseArgs({
      options: { data: { type: "string" }, only: { type: "string" }, json: { type: "boolean", default: false } },
      allowPositionals: false
    }).values
  } catch (error) {
    return usage(error instanceof Error ? error.message.split(". ")[0]! : String(error))
  }
}

const options = read()
const fromEnvironment = process.env["TOOLFORMER_DATA"]
const root = resolve(import.meta.dirname, "..", "..")
const folder = options.data !== undefined
  ? resolve(options.data)
  : resolve(root, fromEnvironment ?? join("..", "shared", "data"))
if (!existsSync(folder) || !statSync(folder).isDirectory()) usage(`${folder} is no folder; name one with --data DIR`)
if (options.only !== undefined && !Object.hasOwn(sets, options.only)) {
  usage(`there is no set ${JSON.stringify(options.only)}; the sets are ${Object.keys(sets).join(", ")}`)
}
const chosen = options.only === undefined ? Object.keys(sets) : [options.only]
const present = chosen.filter((set) => existsSync(join(folder, set)))
if (present.length === 0) {
  usage(`${folder} holds ${options.only === undefined ? "none of the sets" : `no set ${options.only}`}`)
}

let equal = true
for (const set of present) {
  const report = await sets[set]!(join(folder, set))
  equal &&= report.failures.length === 0
  process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : text(report))
}
for (const set of chosen) {
  if (!present.includes(set)) process.stderr.write(`replay: ${set} is not in ${folder}, skipped\n`)
}
process.exitCode = equal ? 0 : 1

function text(report: SetReport): string {
  const head = `${report.set}: ${report.tried} tried, ${report.equal} equal, ${report.failures.length} different\n`
  return head + report.failures.map((failure) => `  ${failure.id}: ${failure.why}\n`).join("")
}
