/**
 * Child processes that cannot outlive the tests. A scope ends them; and should the process of the tests die without running its
 * finalizers (SIGKILL by a runner), a watcher sees its standard input end, kills what is left and removes the folders.
 */
import { spawn, spawnSync } from "node:child_process"
import type { ChildProcess, ChildProcessByStdio } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Readable, Writable } from "node:stream"

const program = `
trap '' INT TERM HUP
pids=; folders=
without() { rest=; for each in $1; do [ "$each" = "$2" ] || rest="$rest $each"; done; echo "$rest"; }
while read -r word value; do
  case "$word" in
    pid) pids="$pids $value" ;;
    gone) pids=$(without "$pids" "$value") ;;
    folder) folders="$folders $value" ;;
    removed) folders=$(without "$folders" "$value") ;;
  esac
done
for each in $pids; do kill -9 "$each"; done
for each in $folders; do rm -rf "$each"; done
`

let watcher: ChildProcessByStdio<Writable, null, null> | undefined

const tell = (line: string): void => {
  if (watcher === undefined) {
    watcher = spawn("sh", ["-c", program], { stdio: ["pipe", "ignore", "ignore"], detached: true })
    watcher.unref()
    watcher.stdin.on("error", () => {})
    ;(watcher.stdin as Writable & { readonly unref?: () => void }).unref?.()
  }
  watcher.stdin.write(`${line}\n`)
}

/** A temporary folder, and how to remove it. */
export const folder = (): { readonly path: string; readonly empty: () => void; readonly remove: () => void } => {
  const path = mkdtempSync(join(tmpdir(), "effect-toolformer-redis-"))
  tell(`folder ${path}`)
  return {
    path,
    empty: () => {
      for (const name of readdirSync(path)) rmSync(join(path, name), { recursive: true, force: true })
    },
    remove: () => {
      rmSync(path, { recursive: true, force: true })
      tell(`removed ${path}`)
    }
  }
}

/** A running child: its output so far, and a promise of its end. */
export interface Child {
  readonly process: ChildProcess
  readonly output: () => string
  readonly ended: Promise<void>
  readonly hasEnded: () => boolean
  readonly kill: () => Promise<void>
}

/** Starts a program that is killed at the latest when this process ends. */
export const start = (command: string, args: ReadonlyArray<string>): Child => {
  const child: ChildProcessByStdio<null, Readable, Readable> = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"]
  })
  if (child.pid !== undefined) tell(`pid ${child.pid}`)
  let output = ""
  let over = false
  const keep = (chunk: Buffer): void => void (output = (output + chunk.toString("utf8")).slice(-8192))
  child.stdout.on("data", keep)
  child.stderr.on("data", keep)
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      over = true
      if (child.pid !== undefined) tell(`gone ${child.pid}`)
      resolve()
    }
    child.once("exit", end)
    child.once("error", (error) => {
      output += error.message
      end()
    })
  })
  return {
    process: child,
    output: () => output,
    ended,
    hasEnded: () => over,
    kill: () => {
      child.kill("SIGKILL")
      return ended
    }
  }
}

/** A port nobody listens on, below those the system gives to outgoing connections: nobody takes it while its server is down. */
export const freePort = async (): Promise<number> => {
  for (let left = 200; left > 0; left--) {
    const port = 12_000 + Math.floor(Math.random() * 18_000)
    const free = await new Promise<boolean>((resolve) => {
      const probe = createServer()
      probe.once("error", () => resolve(false))
      probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)))
    })
    if (free) return port
  }
  throw new Error("no free port between 12000 and 30000")
}

/** Whether a program can be started, as `redis-server --version` can. */
export const isInstalled = (command: string): boolean =>
  spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0

const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

/** Asks again every 20 ms, on the real clock, until the answer is true; `what` stands in the failure. */
export const until = async (
  what: () => string,
  ready: () => Promise<boolean>,
  withinMillis = 20_000
): Promise<void> => {
  const end = performance.now() + withinMillis
  for (;;) {
    if (await ready()) return
    if (performance.now() > end) throw new Error(`not within ${withinMillis} ms: ${what()}`)
    await pause(20)
  }
}
