/** The command as a process of its own, and a server that speaks to it. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import type { ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { fileURLToPath } from "node:url"

export const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url))

export const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}.ts`, import.meta.url))

/** Ours, without what would decide for the command. */
export const environment = (more: Record<string, string> = {}): NodeJS.ProcessEnv => {
  const inherited = Object.entries(process.env).filter(([name]) =>
    !name.startsWith("OPENAI_") && !name.startsWith("TOOLFORMER_") && !["NO_COLOR", "FORCE_COLOR"].includes(name)
  )
  return { ...Object.fromEntries(inherited), ...more }
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** From the first signal sent to the end of the process. */
  readonly millis: number
}

/** A running process, killed when the test leaves its block. */
export interface Running {
  readonly stdout: () => string
  readonly stderr: () => string
  /** Sends a signal; the first one starts the clock of `Ended.millis`. */
  readonly kill: (signal: NodeJS.Signals) => void
  /** Ends when it holds, or fails when the process has ended before. Looks when something was written, and now and then. */
  readonly until: (what: string, holds: () => boolean) => Promise<void>
  readonly ended: Promise<Ended>
  readonly [Symbol.dispose]: () => void
}

/** Runs a file of ours under this Node. */
export const runNode = (
  args: ReadonlyArray<string>,
  options: { readonly env?: Record<string, string>; readonly cwd?: string } = {}
): Running => {
  const child = spawn(process.execPath, [...args], {
    cwd: options.cwd,
    env: environment(options.env),
    stdio: ["ignore", "pipe", "pipe"]
  })
  const output = { stdout: "", stderr: "" }
  child.stdout.on("data", (chunk) => output.stdout += String(chunk))
  child.stderr.on("data", (chunk) => output.stderr += String(chunk))
  let signalledAt = Number.NaN
  let isOver = false
  const ended = once(child, "close").then(([code, signal]): Ended => {
    isOver = true
    return { code, signal, millis: performance.now() - signalledAt }
  })
  return {
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    kill: (signal) => {
      if (Number.isNaN(signalledAt)) signalledAt = performance.now()
      child.kill(signal)
    },
    until: async (what, holds) => {
      while (!holds()) {
        if (isOver) throw new Error(`it ended before: ${what}\n${output.stdout.slice(-2000)}\n${output.stderr}`)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    },
    ended,
    [Symbol.dispose]: () => void child.kill("SIGKILL")
  }
}

/** The command. */
export const toolformer = (args: ReadonlyArray<string>, options?: Parameters<typeof runNode>[1]): Running =>
  runNode([main, ...args], options)

export interface Line {
  readonly type: string
  readonly [key: string]: unknown
}

/** The lines of `--json`; fails on half of one. */
export const lines = (stdout: string): ReadonlyArray<Line> =>
  stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Line)

/** One chunk of Chat Completions as it comes over the wire. */
export const chunk = (delta: object, finish: string | null = null): string =>
  `data: ${
    JSON.stringify({
      id: "x",
      object: "chat.completion.chunk",
      created: 1,
      model: "m",
      choices: [{ index: 0, delta, finish_reason: finish }]
    })
  }\n\n`

/** What ends an answer. */
export const ending = (reason: string): string => `${chunk({}, reason)}data: [DONE]\n\n`

/** A server on loopback whose answers the test writes itself. */
export const chatServer = async (answer: (response: ServerResponse, asked: number) => void) => {
  let asked = 0
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      response.writeHead(200, { "content-type": "text/event-stream" })
      answer(response, ++asked)
    })
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    asked: () => asked,
    [Symbol.dispose]: () => {
      server.closeAllConnections()
      server.close()
    }
  }
}
