/** Processes that share limits in Redis: starts `programs/limitWorker.ts`, and reads what it says. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { join } from "node:path"

/** A line of a worker. */
export interface Said {
  readonly event: "granted" | "lost" | "over"
  readonly granted?: number
  readonly grantedAt?: number
  readonly skew: number
}

/** A running worker. */
export interface Worker {
  readonly said: () => ReadonlyArray<Said>
  /** The first line of that event, once it is there. */
  readonly heard: (event: Said["event"]) => Effect.Effect<Said>
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>
  readonly release: Effect.Effect<void>
}

const program = join(import.meta.dirname, "programs", "limitWorker.ts")

/** A worker of the scope, which kills it. */
export const limitWorker = (...args: ReadonlyArray<string | number>): Effect.Effect<Worker, never, Scope.Scope> =>
  Effect.gen(function*() {
    let output = ""
    let problems = ""
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [program, ...args.map(String)], { stdio: "pipe" })),
      (child) => Effect.sync(() => void child.kill("SIGKILL"))
    )
    child.stdout.on("data", (chunk) => (output += chunk))
    child.stderr.on("data", (chunk) => (problems += chunk))
    child.stdin.on("error", () => {})
    const said = (): ReadonlyArray<Said> => output.split("\n").slice(0, -1).map((line) => JSON.parse(line))
    return {
      said,
      heard: (event) =>
        Effect.gen(function*() {
          for (let i = 0; i < 2000; i++) {
            const found = said().find((one) => one.event === event)
            if (found !== undefined) return found
            yield* Effect.sleep(10)
          }
          return assert.fail(`no "${event}" within 20 s; it said ${output} and ${problems}`)
        }),
      signal: (name) => Effect.sync(() => void child.kill(name)),
      release: Effect.sync(() => void child.stdin.write("release\n"))
    }
  })
