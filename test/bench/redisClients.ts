/**
 * Client processes of the Redis scenario, run together against one server: all warm up, are let go at once, and each counts
 * its own admissions over the same stretch of time.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

/** Admissions that each process has under way at any time. */
export const inFlight = 32
/** How long a client runs before anybody counts. */
export const warmUpMillis = 1500
/** How long is counted. */
export const measureMillis = 3000

/** Keeps `inFlight` admissions going, calls `done` after each, until stopped. */
export interface Side {
  readonly run: (inFlight: number, done: () => void) => () => Promise<unknown>
}

const entry = fileURLToPath(new URL("redisClient.ts", import.meta.url))

interface Client {
  readonly child: ChildProcessWithoutNullStreams
  readonly line: () => Promise<string>
}

const launch = (side: string, port: number): Client => {
  const child = spawn(process.execPath, [entry, side, String(port)], { stdio: "pipe" })
  let errors = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async (): Promise<string> => {
    const { done, value } = await lines.next()
    if (done === true) throw new Error(`a client of ${side} ended early: ${errors}`)
    return value
  }
  return { child, line }
}

/** Admissions a second of `count` processes together. */
export const callsPerSecond = async (side: string, count: number, port: number): Promise<number> => {
  const clients = Array.from({ length: count }, () => launch(side, port))
  try {
    await Promise.all(clients.map(({ line }) => line()))
    for (const { child } of clients) child.stdin.write("go\n")
    const each = await Promise.all(clients.map(async ({ line }) => Number(JSON.parse(await line()))))
    return each.reduce((sum, value) => sum + value, 0)
  } finally {
    for (const { child } of clients) child.kill("SIGKILL")
  }
}
