/**
 * Child processes of the bench: one measurement each, one at a time, killed with the parent.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Reading } from "./scenario.ts"

const entry = fileURLToPath(new URL("child.ts", import.meta.url))

// A child that has printed its readings must also end by itself: a socket or timer left behind shows up here.
const limitMillis = 180_000

const live = new Set<ChildProcess>()

/** Kills every child that still runs. */
export const killAll = (): void => {
  for (const child of live) child.kill("SIGKILL")
}

/** How a child ended, and what it printed. */
interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly output: string
}

const ended = (child: ChildProcess): Promise<Ended> =>
  new Promise((resolve, reject) => {
    let output = ""
    child.stdout!.setEncoding("utf8").on("data", (text: string) => output += text)
    child.on("error", reject)
    child.on("close", (code, signal) => resolve({ code, signal, output }))
  })

/** Runs one measurement in a fresh process. */
export const measureInChild = async (scenario: string, peer: string, n: number): Promise<ReadonlyArray<Reading>> => {
  const child = spawn(process.execPath, [entry, scenario, peer, String(n)], { stdio: ["ignore", "pipe", "inherit"] })
  const timer = setTimeout(() => child.kill("SIGKILL"), limitMillis)
  live.add(child)
  try {
    const { code, signal, output } = await ended(child)
    if (code !== 0) throw new Error(`ended with ${signal ?? `exit code ${code}`}`)
    // Whatever a peer logs comes before the last line.
    return JSON.parse(output.trimEnd().split("\n").at(-1)!) as ReadonlyArray<Reading>
  } finally {
    clearTimeout(timer)
    live.delete(child)
  }
}
