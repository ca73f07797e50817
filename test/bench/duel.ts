/**
 * Two sides measured against each other: each in processes of its own, which take turns round by round, so that whatever else
 * the machine does in a second hits both. The ratio is the median over rounds, not a ratio of medians.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { median } from "./measure.ts"

/** One side in one process: a round tells the calls a second it did. */
export interface Contestant {
  readonly round: () => Promise<number>
}

/** Keeps so many calls going and says when each is done, until stopped. */
export type Ongoing = (inFlight: number, done: () => void) => () => Promise<unknown>

const entry = fileURLToPath(new URL("contestant.ts", import.meta.url))
const rounds = 12

interface Process {
  readonly child: ChildProcessWithoutNullStreams
  readonly line: () => Promise<string>
}

const launch = (side: string, port: number): Process => {
  const child = spawn(process.execPath, [entry, side, String(port)], { stdio: "pipe" })
  let errors = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async (): Promise<string> => {
    const { done, value } = await lines.next()
    if (done === true) throw new Error(`${side} ended early: ${errors}`)
    return value
  }
  return { child, line }
}

/** The same side in some processes, which play each round together. */
interface Team extends Contestant {
  readonly ready: () => Promise<unknown>
  readonly kill: () => void
}

const team = (side: string, processes: number, port: number): Team => {
  const all = Array.from({ length: processes }, () => launch(side, port))
  return {
    ready: () => Promise.all(all.map(({ line }) => line())),
    round: async () => {
      for (const { child } of all) child.stdin.write("round\n")
      const each = await Promise.all(all.map(({ line }) => line()))
      return each.reduce((sum, value) => sum + Number(value), 0)
    },
    kill: () => {
      for (const { child } of all) child.kill("SIGKILL")
    }
  }
}

/** Where a duel takes place. */
export interface Ground {
  readonly processes?: number
  readonly port?: number
}

/** Calls a second of one side alone. */
export const solo = async (side: string, { port = 0, processes = 1 }: Ground = {}): Promise<number> => {
  const only = team(side, processes, port)
  try {
    await only.ready()
    const values: Array<number> = []
    for (let round = 0; round < rounds; round++) values.push(await only.round())
    return median(values)
  } finally {
    only.kill()
  }
}

/** Calls a second of a side, and how many times those of its rival that is. */
export const duel = async (
  side: string,
  rival: string,
  { port = 0, processes = 1 }: Ground = {}
): Promise<{ readonly perSecond: number; readonly times: number }> => {
  const [own, other] = [team(side, processes, port), team(rival, processes, port)]
  try {
    // One after the other: nobody warms up in another's way.
    await own.ready()
    await other.ready()
    const results: Array<{ readonly own: number; readonly other: number }> = []
    for (let round = 0; round < rounds; round++) {
      const begun = round % 2 === 0 ? await own.round() : undefined
      const rivals = await other.round()
      results.push({ own: begun ?? await own.round(), other: rivals })
    }
    return {
      perSecond: median(results.map((result) => result.own)),
      times: median(results.map((result) => result.own / result.other))
    }
  } finally {
    own.kill()
    other.kill()
  }
}
