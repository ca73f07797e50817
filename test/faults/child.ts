/** Runs one program of this folder in a process of its own, as a user's program would run, and waits until it ends by itself. */
import { execFile } from "node:child_process"
import { join } from "node:path"

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A process that does not end by itself within 20 seconds is killed and counts as code -1. */
export const runProgram = (name: string, ...nodeOptions: ReadonlyArray<string>): Promise<Ended> =>
  new Promise((resolve) => {
    const file = join(import.meta.dirname, "programs", `${name}.ts`)
    execFile(
      process.execPath,
      [...nodeOptions, file],
      { timeout: 20_000, killSignal: "SIGKILL" },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1
        resolve({ code, stdout, stderr })
      }
    )
  })
