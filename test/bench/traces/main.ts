/**
 * `npm run bench:traces`: recorded agent runs played again through the real engine, with predictors that foresee their calls.
 *
 *   --data DIR    the recorded data, or a folder of traces (*.jsonl); default $TOOLFORMER_DATA, else ../shared/data
 *   --train DIR   learn on these traces only, and test on those of --data; without it half of the tasks each way
 *   --set NAME    one set (a file's name without .jsonl)
 *   --json        one object a line (set and predictor) on standard output, and no time replay
 *   --help        says this
 *
 * Exit code 0: measured; 1: traces that cannot be read or replayed; 2: bad usage; 130: stopped.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { resolve } from "node:path"
import { parseArgs } from "node:util"
import { bench, type Options } from "./bench.ts"
import { TracesError, usage } from "./TracesError.ts"

const root = resolve(import.meta.dirname, "..", "..", "..")

const help = `usage: npm run bench:traces -- [--train DIR] [--data DIR] [--set NAME] [--json]
  --data DIR    the recorded data, or a folder of traces (*.jsonl); default $TOOLFORMER_DATA, else ../shared/data
  --train DIR   learn on these traces only, and test on those of --data; without it half of the tasks each way
  --set NAME    one set (a file's name without .jsonl)
  --json        one object a line (set and predictor) on standard output, and no time replay
`

const read = (args: ReadonlyArray<string>): Effect.Effect<Options | undefined, TracesError> =>
  Effect.try({
    try: () => {
      const { values } = parseArgs({
        args: [...args],
        options: {
          data: { type: "string" },
          train: { type: "string" },
          set: { type: "string" },
          json: { type: "boolean", default: false },
          help: { type: "boolean", default: false }
        }
      })
      if (values.help) return undefined
      const shared = resolve(root, process.env["TOOLFORMER_DATA"] ?? "../shared/data")
      return {
        data: values.data === undefined ? shared : resolve(values.data),
        train: values.train === undefined ? undefined : resolve(values.train),
        set: values.set,
        json: values.json,
        times: shared
      }
    },
    catch: (error) => usage(error instanceof Error ? error.message.split(". ")[0]! : String(error))
  })

const complain = (cause: Cause.Cause<TracesError>): number => {
  if (Cause.hasInterruptsOnly(cause)) return 130
  const error = Cause.squash(cause)
  process.stderr.write(`bench:traces: ${error instanceof TracesError ? error.message : Cause.pretty(cause)}\n`)
  return error instanceof TracesError && error.kind === "usage" ? 2 : 1
}

const isTerminal = process.stderr.isTTY

const program = Effect.flatMap(
  read(process.argv.slice(2)),
  (options) =>
    options === undefined ? Effect.sync(() => void process.stdout.write(help)) : bench(options, {
      print: (text) => void process.stdout.write(`${text}\n`),
      say: (text) => void process.stderr.write(`${isTerminal ? "\r\u001b[K" : ""}bench:traces: ${text}\n`),
      progress: isTerminal ? (text) => void process.stderr.write(`\r\u001b[K${text}`) : () => {}
    })
)

// Before anything runs: what it prints first may be answered with Ctrl-C.
const stopped = new AbortController()
process.once("SIGINT", () => stopped.abort())
process.once("SIGTERM", () => stopped.abort())
// A reader that has gone wants no more.
process.stdout.on("error", () => process.exit(0))

Effect.runFork(program, { signal: stopped.signal }).addObserver((exit) => {
  if (isTerminal) process.stderr.write("\r\u001b[K")
  process.exitCode = Exit.isSuccess(exit) ? 0 : complain(exit.cause)
})
