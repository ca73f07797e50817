/**
 * Several client processes that share one limit in one Redis: each a real child, all let go at the same moment, each asking at
 * its own pace whatever it gets (open loop). What they were granted, on Redis's time and on their own, comes back.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type * as Limiter from "../../src/policy/Limiter.ts"

/** What one client does. `skewMillis`: how far its clock is off, from `skewAfterMillis` (default 0) after the word to go. */
export interface ClientOptions {
  readonly port: number
  readonly rule: Limiter.Rule
  readonly perSecond: number
  readonly forMillis: number
  readonly skewMillis: number
  readonly skewAfterMillis?: number
  readonly onExceeded: "wait" | "fail"
}

/**
 * What one client was granted: `grantedAt` on the store's clock, one entry a grant; `startedAt` on the machine's clock,
 * whatever its own says; `rejected` by reason.
 */
export interface ClientReport {
  readonly grantedAt: ReadonlyArray<number>
  readonly startedAt: ReadonlyArray<number>
  readonly rejected: Readonly<Record<string, number>>
}

const program = join(import.meta.dirname, "programs", "fleetClient.ts")

interface Client {
  readonly child: ChildProcessWithoutNullStreams
  readonly line: () => Promise<string>
}

const launch = (options: ClientOptions): Client => {
  const child = spawn(process.execPath, [program, JSON.stringify(options)], { stdio: "pipe" })
  let errors = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async (): Promise<string> => {
    const { done, value } = await lines.next()
    if (done === true) throw new Error(`a client ended early: ${errors}`)
    return value
  }
  return { child, line }
}

/** Runs the clients together; `whenReady` comes after all have connected and before any begins. */
export const runFleet = async (
  clients: ReadonlyArray<ClientOptions>,
  whenReady: () => Promise<void> = () => Promise.resolve()
): Promise<ReadonlyArray<ClientReport>> => {
  const running = clients.map(launch)
  try {
    await Promise.all(running.map(({ line }) => line()))
    await whenReady()
    for (const { child } of running) child.stdin.write("go\n")
    return await Promise.all(running.map(async ({ line }) => JSON.parse(await line()) as ClientReport))
  } finally {
    for (const { child } of running) child.kill("SIGKILL")
  }
}

/** A clock that is off, and since when in the run (default: always). */
export type Skew = Pick<ClientOptions, "skewMillis" | "skewAfterMillis">

/** One client for each clock; together they ask for `perSecond`. */
export const fleetOf = (
  clocks: ReadonlyArray<Skew>,
  shared: Omit<ClientOptions, keyof Skew>
): ReadonlyArray<ClientOptions> =>
  clocks.map((skew) => ({ ...shared, ...skew, perSecond: shared.perSecond / clocks.length }))

/** Four clocks: those that are off by these milliseconds, the others right. */
export const clocks = (...skews: ReadonlyArray<number>): ReadonlyArray<Skew> =>
  Array.from({ length: 4 }, (_, index) => ({ skewMillis: skews[index] ?? 0 }))
