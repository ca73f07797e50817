/**
 * For the tests of recordings: a provider on real HTTP whose answers take their time, a folder of their own, and time that moves only
 * when nothing else does.
 */
import { afterAll, beforeAll } from "@effect/vitest"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

export const files = NodeFileSystem.layer

/** A folder for the recordings of a test file; it goes away with it. */
export const folder = () => {
  let path = ""
  beforeAll(() => void (path = mkdtempSync(join(tmpdir(), "toolformer-recording-"))))
  afterAll(() => rmSync(path, { recursive: true, force: true }))
  const of = (name: string): string => join(path, name)
  return {
    of,
    text: (name: string): string => readFileSync(of(name), "utf8"),
    json: (name: string): Written => JSON.parse(readFileSync(of(name), "utf8")) as Written,
    write: (name: string, value: unknown): string => {
      writeFileSync(of(name), typeof value === "string" ? value : JSON.stringify(value))
      return of(name)
    }
  }
}

/** What the tests read of a file. */
export interface Written {
  readonly version: number
  readonly provider: string
  readonly api: string
  readonly model: string
  readonly run?: string
  readonly leftOut?: number
  readonly exchanges: ReadonlyArray<{
    readonly request: {
      readonly url: string
      readonly headers: Record<string, string>
      readonly bodyJson: Record<string, unknown>
    }
    readonly response: {
      readonly status?: number
      readonly afterMillis?: number
      readonly headers?: Record<string, string>
      readonly chunks?: ReadonlyArray<{ readonly afterMillis: number; readonly text: string }>
      readonly body?: string
      readonly bodyJson?: unknown
      readonly ending?: string
    }
  }>
}

/** Everything at once is over: what waits now waits for time. */
export const settle = Effect.forEach(
  Array.from({ length: 5 }),
  () => Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve))),
  { discard: true }
)

/** Runs an effect while the TestClock goes on millisecond by millisecond, each only when nothing happens any more. */
export const inVirtualTime = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* settle
    while (fiber.pollUnsafe() === undefined) {
      yield* TestClock.adjust("1 millis")
      yield* settle
    }
    return yield* Fiber.join(fiber)
  })

type Part = Response.AnyPart

/** What a program hears: the parts with the time of each, then how it ended. */
export const hear = (
  now: () => number,
  stream: boolean,
  prompt = "go"
): Effect.Effect<Heard, never, LanguageModel.LanguageModel> => {
  const parts: Array<unknown> = []
  const times: Array<number> = []
  const begin = now()
  const keep = (part: unknown) =>
    Effect.sync(() => {
      parts.push(plain(part as Part))
      times.push(now() - begin)
    })
  const options = { prompt, disableToolCallResolution: true, toolCallValidation: "deferred" } as const
  const program = stream
    ? Stream.runForEach(LanguageModel.streamText(options), keep)
    : Effect.flatMap(LanguageModel.generateText(options), ({ content }) => Effect.forEach(content, keep))
  return Effect.map(Effect.exit(program), (exit) => ({
    parts,
    times,
    error: Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  }))
}

export interface Heard {
  readonly parts: ReadonlyArray<unknown>
  readonly times: ReadonlyArray<number>
  readonly error: unknown
}

/** A part as data. */
export const plain = (part: object): unknown => JSON.parse(JSON.stringify(part))

export const provideLive = <A, E, R, R2, E2>(
  effect: Effect.Effect<A, E, R>,
  layer: Layer.Layer<R2, E2, never>
): Effect.Effect<A, E | E2, Exclude<R, R2>> => Effect.provide(effect, layer)
