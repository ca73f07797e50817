#!/usr/bin/env node
/**
 * The `toolformer` command's way in and out: arguments, signals, exit code. 0 finished, 1 failed, 2 bad usage, 130 on
 * Ctrl-C after the running calls were stopped and answered. SIGTERM: 0 when all that ran ended within the grace, 1 when
 * something had to be stopped. A second signal ends the process at once.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as CliConfig from "effect/cli/CliConfig"
import { isCliError } from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { readFileSync } from "node:fs"
import { runWith } from "./app.ts"
import { CommandError, firstLine } from "./CommandError.ts"
import * as Ending from "./Ending.ts"
import * as Output from "./Output.ts"
import { showCursor } from "./Screen.ts"

// Bad usage is one line on standard error; help that was asked for goes to standard output.
const presenter = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Output.complain(`toolformer: ${event.errors.map(firstLine).join("; ")}. See toolformer --help.`)
      : CliOutput.defaultPresenter.present(event)
})

const services = Layer.mergeAll(
  NodeServices.layer,
  presenter,
  CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] }),
  // Standard output is the run's.
  Layer.succeed(Logger.LogToStderr, true)
)

const version = (): string =>
  String(
    (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version?: unknown }).version
  )

const codeOf = (error: unknown): number =>
  isCliError(error)
    ? error._tag === "ShowHelp" && error.errors.length === 0 ? 0 : 2
    : error instanceof CommandError && error.kind === "usage"
    ? 2
    : 1

// effect/cli has already said what is wrong with the arguments.
const report = (cause: Cause.Cause<unknown>): Effect.Effect<number> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.succeed(130)
  const error = Cause.squash(cause)
  const code = codeOf(error)
  return isCliError(error) ? Effect.succeed(code) : Effect.as(Output.complain(`toolformer: ${firstLine(error)}`), code)
}

const ending = Ending.make()

const program = Effect.suspend(() => runWith(version(), process.argv.slice(2))).pipe(
  Effect.provide(services),
  Effect.provideService(Ending.Ending, ending),
  Effect.matchCauseEffect({ onSuccess: () => Effect.succeed(0), onFailure: report })
)

const fiber = Effect.runFork(program)

// A run may wait for something that holds no event loop open (a handler that never answers): only the fiber's end is the end.
const keepAlive = setInterval(() => {}, 2 ** 31 - 1)

// A reader that has gone wants no more: the run is stopped and nothing is said.
let readerGone = false
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  readerGone = true
  if (error.code === "EPIPE") interrupt(0)
  else process.exit(1)
})
process.stderr.on("error", () => {})

// How the process ends, once something has told it to: the exit code, and the one for a second signal.
let stopping: { code: number; readonly atOnce: number } | undefined

const stop = (code: number, atOnce: number, grace: Duration.Duration, limits: Ending.Limits): void => {
  if (stopping !== undefined) {
    if (process.stdout.isTTY) process.stdout.write(showCursor)
    process.exit(stopping.atOnce)
  }
  const now = stopping = { code, atOnce }
  const force = (): void => {
    now.code = atOnce
  }
  Effect.runFork(Ending.end({ fiber, hasBegun: ending.hasBegun, grace, limits, force, leave }))
}

// What was written leaves first, but not for ever.
const leave = (): void => {
  setTimeout(() => process.exit(stopping?.code), 100)
  flush(() => process.exit(stopping?.code))
}

const flush = (then: () => void): void => void process.stdout.write("", () => process.stderr.write("", then))

const interrupt = (code: number): void => stop(code, code, Duration.zero, Ending.onInterrupt)

const terminate = (): void => {
  const { grace, hasBegun, say } = ending
  if (stopping === undefined && hasBegun) {
    const line = `toolformer: no new calls start, running ones have ${Duration.format(grace)}; a second signal ends all`
    Effect.runFork(say(line))
  }
  stop(0, 1, grace, Ending.onTermination)
}

process.on("SIGINT", () => interrupt(130))
process.on("SIGTERM", terminate)

fiber.addObserver((exit) => {
  clearInterval(keepAlive)
  const code = stopping?.code ?? (Exit.isSuccess(exit) ? exit.value : 1)
  process.exitCode = code
  // Abandoned handlers may hold the event loop; what was written leaves first.
  if (readerGone) process.exit(code)
  flush(() => process.exit(code))
})
