#!/usr/bin/env node
/**
 * The `toolformer` command's way in and out: arguments, signals, exit code. 0 finished, 1 failed, 2 bad usage, 130 on
 * Ctrl-C after the running calls were stopped and answered; a second Ctrl-C ends the process at once.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as CliConfig from "effect/cli/CliConfig"
import { isCliError } from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { readFileSync } from "node:fs"
import * as Orchestrator from "../engine/Orchestrator.ts"
import { runWith } from "./app.ts"
import { CommandError, firstLine } from "./CommandError.ts"
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
  CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] })
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

const program = Effect.suspend(() => runWith(version(), process.argv.slice(2))).pipe(
  Effect.provide(services),
  Effect.matchCauseEffect({ onSuccess: () => Effect.succeed(0), onFailure: report })
)

const fiber = Effect.runFork(program)

// A run may wait for something that holds no event loop open (a handler that never answers): only the fiber's end is the end.
const keepAlive = setInterval(() => {}, 2 ** 31 - 1)

// A reader that has gone wants no more: the run is stopped and nothing is said.
let readerGone = false
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  readerGone = true
  if (error.code === "EPIPE") stop()
  else process.exit(1)
})
process.stderr.on("error", () => {})

// Calls are stopped and answered, their answers are printed, then the command ends; it is given two seconds for that.
let stopping: number | undefined
const stop = (code = 0): void => {
  if (stopping !== undefined) return process.exit(stopping)
  stopping = code
  Effect.runFork(
    Orchestrator.drain({ grace: 0 }).pipe(
      Effect.andThen(Effect.timeoutOption(Fiber.await(fiber), "2 seconds")),
      Effect.timeoutOption("5 seconds"),
      Effect.andThen(Fiber.interrupt(fiber))
    )
  )
}
process.on("SIGINT", () => stopNow(130))
process.on("SIGTERM", () => stopNow(143))

const stopNow = (code: number): void => {
  if (stopping !== undefined && process.stdout.isTTY) process.stdout.write(showCursor)
  stop(code)
}

fiber.addObserver((exit) => {
  clearInterval(keepAlive)
  const code = stopping ?? (Exit.isSuccess(exit) ? exit.value : 1)
  process.exitCode = code
  // Abandoned handlers may hold the event loop; what was written leaves first.
  if (readerGone) process.exit(code)
  process.stdout.write("", () => process.stderr.write("", () => process.exit(code)))
})
