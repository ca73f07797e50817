/**
 * Two processes, one limit: both may start 20 calls a second, together, because the limit lives in Redis.
 *
 * Each client is a process of its own (this file again, with its name as an argument) and wants 30 calls at once. What they
 * were granted is added up here: never more than 20 in a second, shared about evenly, whatever their clocks say.
 *
 * Run: npx node examples/06-redis.ts
 * Needs redis-server in the PATH (apt-get install redis-server, brew install redis): it starts one of its own on a free port and
 * stops it. In a program of your own write "effect-toolformer" and "effect-toolformer/IoRedis".
 *
 * Expected output:
 *   two clients want 30 calls each; the limit is 20 in any second
 *   client a: 30 calls, its share of the first 40: … %
 *   client b: 30 calls, its share of the first 40: … %
 *   at most 20 started in the first second, at most 40 in the first two: true
 *   60 calls in … ms, at least 2 s: true
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Schedule } from "effect"
import { type ChildProcess, fork, spawn } from "node:child_process"
import { once } from "node:events"
import { type AddressInfo, connect, createServer } from "node:net"
import * as IoRedis from "../src/adapter/IoRedis.ts"
import { Limiter } from "../src/index.ts"

const wanted = 30

// ---- a client: its limiter asks Redis, at the port it was told

// More patient than the default of 250 ms, so that this shows the same on a machine that is busy.
const commandTimeout = "5 seconds"

const limits = (port: number) =>
  Limiter.layerRedis({
    services: { api: Limiter.slidingWindow({ limit: 20, window: "1 second" }) },
    commandTimeout
  }).pipe(
    Layer.provide(IoRedis.layer({ host: "127.0.0.1", port, commandTimeout, connectTimeout: commandTimeout }))
  )

const client = (port: number) =>
  Effect.gen(function*() {
    yield* Effect.promise(() => tell("ready"))
    const call = Limiter.withAdmission({ service: "api" })(Effect.sync(() => Date.now()))
    const starts = yield* Effect.forEach(Array.from({ length: wanted }), () => call, { concurrency: "unbounded" })
    yield* Effect.promise(() => tell(starts))
  }).pipe(Effect.provide(limits(port)))

// Says something to the parent, and waits for its word.
const tell = async (message: unknown): Promise<void> => {
  process.send?.(message)
  await once(process, "message")
}

// ---- the parent: a Redis, two clients, what they report

const freePort = Effect.callback<number>((resume) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address() as AddressInfo
    probe.close(() => resume(Effect.succeed(port)))
  })
})

const child = (start: () => ChildProcess) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      start().once("error", ({ message }) => {
        console.error(`${message}: is it installed?`)
        process.exit(1)
      })
    ),
    (running) => Effect.sync(() => running.kill())
  )

/** The next message of a client. */
const heard = <A>(client: ChildProcess) =>
  Effect.map(Effect.promise(() => once(client, "message")), ([message]) => message as A)

const answers = (port: number) =>
  Effect.callback<void, Error>((resume) => {
    const socket = connect(port, "127.0.0.1")
    socket.once("connect", () => resume(Effect.void)).once("error", (error) => resume(Effect.fail(error)))
    return Effect.sync(() => socket.destroy())
  })

const redis = Effect.gen(function*() {
  const port = yield* freePort
  const options = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
  yield* child(() => spawn("redis-server", options, { stdio: "ignore" }))
  yield* Effect.retry(answers(port), { times: 100, schedule: Schedule.spaced("50 millis") })
  return port
})

const parent = Effect.scoped(Effect.gen(function*() {
  const port = yield* redis
  const names = ["a", "b"]
  console.log(`two clients want ${wanted} calls each; the limit is 20 in any second`)
  const clients = yield* Effect.forEach(names, (name) => child(() => fork(import.meta.filename, [name, String(port)])))
  yield* Effect.forEach(clients, (client) => heard(client), { concurrency: "unbounded" })

  const begun = Date.now()
  for (const client of clients) client.send("go")
  const starts = yield* Effect.forEach(clients, (client) => heard<Array<number>>(client), { concurrency: "unbounded" })
  for (const client of clients) client.send("bye")

  const all = starts.flat().sort((one, other) => one - other)
  const within = (millis: number): number => all.filter((start) => start < begun + millis).length
  for (const [index, name] of names.entries()) {
    const early = starts[index]!.filter((start) => start <= all[39]!).length
    console.log(
      `client ${name}: ${starts[index]!.length} calls, its share of the first 40: ${Math.round(early / 0.4)} %`
    )
  }
  const kept = within(1000) <= 20 && within(2000) <= 40
  console.log(`at most 20 started in the first second, at most 40 in the first two: ${kept}`)
  const millis = all.at(-1)! - begun
  console.log(`${all.length} calls in ${millis} ms, at least 2 s: ${millis >= 2000}`)
}))

const [name, port] = process.argv.slice(2)
// Unlike Effect.runPromise it interrupts on Ctrl-C: the parent stops its children, and permits would be given back.
NodeRuntime.runMain(name === undefined ? parent : client(Number(port)))
