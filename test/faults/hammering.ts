/**
 * Hundreds of requests against a real HTTP server on loopback that refuses them in one way. The traffic is real; the waiting is
 * on a virtual clock that stands while anything is on its way and then goes to the next moment somebody waits for, so that what
 * the server sees is exact. The server, and not the client, judges what came too early.
 */
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { createServer } from "node:http"
import type { IncomingMessage, ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { done } from "../replay/server.ts"

/** How a service refuses. `reset`: the socket is destroyed without an answer. `askedMillis`: the pause it asks for. */
export interface Form {
  readonly name: string
  readonly status: number | "reset"
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly askedMillis: number
}

/** One request as the server saw it, in virtual milliseconds. */
export interface Arrival {
  readonly call: string
  readonly at: number
  readonly refused: boolean
  /** Its call has been here before. */
  readonly again: boolean
}

export interface Hammered {
  readonly url: string
  readonly arrivals: ReadonlyArray<Arrival>
  /** Requests that came before the time the service had asked for. */
  readonly early: ReadonlyArray<string>
  /** Requests that are on their way. */
  readonly inFlight: () => number
  readonly ask: (call: string) => Effect.Effect<string, Refused>
  /** For requests of a client of its own, whose body says which call it is. */
  readonly onTheWay: { readonly begin: Effect.Effect<void>; readonly end: Effect.Effect<void> }
}

/** What `ask` fails with: plain data, as a tool would declare it. */
export interface Refused {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly code?: string
}

/** What 429s look like, beside the forms that carry no time. The service's clock begins in 1970, as the tests' does. */
export const forms: ReadonlyArray<Form> = [
  { name: "429, seconds", status: 429, headers: { "retry-after": "20" }, askedMillis: 20_000 },
  { name: "429, a fraction of a second", status: 429, headers: { "retry-after": "0.5" }, askedMillis: 500 },
  {
    name: "429, an HTTP date",
    status: 429,
    headers: { "retry-after": "Thu, 01 Jan 1970 00:00:40 GMT" },
    askedMillis: 40_000
  },
  { name: "429, milliseconds", status: 429, headers: { "retry-after-ms": "1234" }, askedMillis: 1234 },
  {
    name: "429, a reset header",
    status: 429,
    headers: { "x-ratelimit-reset-requests": "1m6.779s", "x-ratelimit-remaining-requests": "0" },
    askedMillis: 66_779
  },
  {
    name: "429, Google's RetryInfo",
    status: 429,
    body: [{ error: { code: 429, details: [{ "@type": "google.rpc.RetryInfo", retryDelay: "34.4s" }] } }],
    askedMillis: 34_400
  },
  {
    name: "429, a sentence",
    status: 429,
    body: { error: { message: "Rate limit reached. Please try again in 6.5s." } },
    askedMillis: 6500
  },
  { name: "503, seconds", status: 503, headers: { "retry-after": "3" }, askedMillis: 3000 },
  { name: "429, zero", status: 429, headers: { "retry-after": "0" }, askedMillis: 0 },
  { name: "429, negative", status: 429, headers: { "retry-after": "-7" }, askedMillis: 0 },
  {
    name: "429, a date that has passed",
    status: 429,
    headers: { "retry-after": "Wed, 31 Dec 1969 23:00:00 GMT" },
    askedMillis: 0
  },
  { name: "429, a word", status: 429, headers: { "retry-after": "soon" }, askedMillis: 0 },
  { name: "429, no time", status: 429, askedMillis: 0 },
  { name: "500", status: 500, askedMillis: 0 },
  { name: "529", status: 529, askedMillis: 0 },
  { name: "reset", status: "reset", askedMillis: 0 }
]

/**
 * Serves one form. `recovers`: from the time it asked for on it answers well; else it never does. It answers nobody before so
 * many have asked: they were all under way together.
 */
export const hammered = (
  clock: Clock.Clock,
  form: Form,
  recovers: boolean,
  together: number
): Effect.Effect<Hammered, never, Scope.Scope> =>
  Effect.gen(function*() {
    let held: Array<() => void> | undefined = []
    const arrivals: Array<Arrival> = []
    const early: Array<string> = []
    const seen = new Set<string>()
    // When each call was told to stay away, and until when; `""`: any call.
    const told = new Map<string, { readonly at: number; readonly until: number }>()
    let inFlight = 0

    const judge = (call: string, at: number): void => {
      const own = told.get(call)
      const anyone = told.get("")
      if (own !== undefined && at < own.until) early.push(`${call}, itself, at ${at}, before ${own.until}`)
      // At the very instant of the answer others may have been under way.
      else if (anyone !== undefined && at > anyone.at && at < anyone.until) {
        early.push(`${call} at ${at}, before ${anyone.until}`)
      }
    }
    const respond = (body: string, request: IncomingMessage, response: ServerResponse): void => {
      const call = /call \d+/.exec(body)?.[0] ?? assert.fail(`a request without a call: ${body}`)
      // The clock stands while a request is on its way.
      const now = clock.currentTimeMillisUnsafe()
      judge(call, now)
      const refused = !recovers || now < form.askedMillis
      arrivals.push({ call, at: now, refused, again: seen.has(call) })
      seen.add(call)
      const answer = (): void => answerTo(call, now, refused, request, response)
      if (held === undefined) return answer()
      held.push(answer)
      if (arrivals.length < together) return
      const all = held
      held = undefined
      for (const answer of all) answer()
    }
    const answerTo = (
      call: string,
      now: number,
      refused: boolean,
      request: IncomingMessage,
      response: ServerResponse
    ): void => {
      if (!refused) return void response.writeHead(200, { "content-type": "text/event-stream" }).end(fine)
      if (form.askedMillis > 0) {
        const until = now + form.askedMillis
        told.set(call, { at: now, until })
        told.set("", { at: now, until: Math.max(until, told.get("")?.until ?? 0) })
      }
      if (form.status === "reset") return void request.socket.destroy()
      const headers = {
        "content-type": "application/json",
        // Node would add the day of this machine.
        date: "Thu, 01 Jan 1970 00:00:00 GMT",
        ...form.headers
      }
      response.writeHead(form.status, headers).end(JSON.stringify(form.body ?? {}))
    }
    const server = createServer((request, response) => {
      const pieces: Array<Buffer> = []
      request.on("data", (piece: Buffer) => pieces.push(piece))
      request.on("end", () => respond(Buffer.concat(pieces).toString("utf8"), request, response))
    })
    yield* Effect.acquireRelease(
      Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", 1024, resolve))),
      () =>
        Effect.promise(() => {
          server.closeAllConnections()
          return new Promise((resolve) => server.close(resolve))
        })
    )
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`

    const begin = Effect.sync(() => void inFlight++)
    const end = Effect.sync(() => void inFlight--)
    const ask = (call: string): Effect.Effect<string, Refused> =>
      Effect.tryPromise({
        try: (signal) =>
          fetch(url, { signal, method: "POST", body: call }).then(async (answer) => ({
            answer,
            body: await answer.text()
          })),
        catch: lostOf
      }).pipe(
        Effect.flatMap(({ answer, body }) =>
          answer.ok
            ? Effect.succeed(body)
            : Effect.fail<Refused>({ status: answer.status, headers: Object.fromEntries(answer.headers), body })
        ),
        (asked) => Effect.ensuring(Effect.andThen(begin, asked), end)
      )
    return { url, arrivals, early, inFlight: () => inFlight, ask, onTheWay: { begin, end } }
  })

// What a model says, which serves as well for any other answer.
const fine = Buffer.concat(done("chat").chunks)

const lostOf = (error: unknown): Refused => {
  const { cause } = error as { readonly cause?: { readonly code?: string } }
  return { code: cause?.code ?? assert.fail(`lost without a code: ${String(error)}`) }
}

/** Goes from one moment that somebody waits for to the next, whenever nothing is on its way, until `isDone`. */
export const passTime = (
  clock: VirtualClock,
  server: Pick<Hammered, "inFlight">,
  isDone: () => boolean
): Effect.Effect<void> =>
  Effect.promise(async () => {
    for (;;) {
      const began = performance.now()
      do {
        for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve))
        if (performance.now() - began > 20_000) {
          assert.fail(`${server.inFlight()} requests are on their way for 20 seconds`)
        }
      } while (server.inFlight() > 0)
      if (isDone()) return
      if (!clock.next()) assert.fail("nobody waits for anything, and it is not done")
    }
  })

interface Sleeper {
  readonly at: number
  readonly wake: () => void
}

/** A clock that begins in 1970 and goes on only when it is told to. */
export class VirtualClock implements Clock.Clock {
  private now = 0
  private readonly sleepers = new Set<Sleeper>()

  currentTimeMillisUnsafe(): number {
    return this.now
  }
  currentTimeNanosUnsafe(): bigint {
    return BigInt(Math.round(this.now * 1e6))
  }
  monotonicTimeNanosUnsafe(): bigint {
    return this.currentTimeNanosUnsafe()
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const sleeper: Sleeper = { at: this.now + Duration.toMillis(duration), wake: () => resume(Effect.void) }
      this.sleepers.add(sleeper)
      return Effect.sync(() => void this.sleepers.delete(sleeper))
    })
  }

  /** Goes to the next moment and wakes whoever waits for it; `false` where nobody waits. */
  next(): boolean {
    const at = Math.min(...Array.from(this.sleepers, (sleeper) => sleeper.at))
    if (at === Number.POSITIVE_INFINITY) return false
    this.now = Math.max(this.now, at)
    for (const sleeper of [...this.sleepers].filter((sleeper) => sleeper.at <= this.now)) {
      this.sleepers.delete(sleeper)
      sleeper.wake()
    }
    return true
  }
}

/** Makes requests of one service together, at their times, each under `policy`, and says how they ended, in their order. */
export const askAll = <E, R>(
  clock: VirtualClock,
  server: Hammered,
  count: number,
  policy: (asked: Effect.Effect<string, Refused>) => Effect.Effect<string, E, R>,
  startMillis: (index: number) => number = () => 0
): Effect.Effect<ReadonlyArray<Exit.Exit<string, E>>, never, R> =>
  Effect.gen(function*() {
    const fibers: Array<Fiber.Fiber<string, E>> = []
    for (let index = 0; index < count; index++) {
      fibers.push(yield* Effect.forkChild(Effect.delay(policy(server.ask(`call ${index}`)), startMillis(index))))
    }
    yield* passTime(clock, server, () => fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
    return yield* Effect.forEach(fibers, Fiber.await)
  }).pipe(Effect.provideService(Clock.Clock, clock))

/** How requests that came back are spread. */
export interface Spread {
  readonly count: number
  readonly firstMillis: number
  readonly lastMillis: number
  /** The most in any of twenty equal parts of that time, as a share of all. */
  readonly fullestPart: number
}

export const spreadOf = (times: ReadonlyArray<number>): Spread => {
  const sorted = [...times].sort((a, b) => a - b)
  const [firstMillis, lastMillis] = [sorted[0] ?? Number.NaN, sorted.at(-1) ?? Number.NaN]
  const parts = Array.from({ length: 20 }, () => 0)
  for (const time of sorted) {
    parts[Math.min(19, Math.floor(((time - firstMillis) / Math.max(1, lastMillis - firstMillis)) * 20))]! += 1
  }
  return { count: sorted.length, firstMillis, lastMillis, fullestPart: Math.max(...parts) / sorted.length }
}
