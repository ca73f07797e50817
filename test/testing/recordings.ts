/**
 * For the tests of recordings: a folder of their own, what a program hears of a model, and time that moves only when
 * nothing else does.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { afterAll, beforeAll } from "@effect/vitest"
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { TestModel } from "../../src/testing/index.ts"
import type * as File from "../../src/testing/internal/recordingFile.ts"

/** Plays a file, from the real disk. */
export const play = (file: string, options?: TestModel.FromRecordingOptions) =>
  TestModel.fromRecording(file, options).pipe(Layer.provide(NodeFileSystem.layer))

/** Records a layer, to the real disk. */
export const record = (file: string, options?: TestModel.RecordOptions) => <A, E, R>(layer: Layer.Layer<A, E, R>) =>
  layer.pipe(TestModel.record(file, options), Layer.provide(NodeFileSystem.layer))

/** A folder for the recordings of a test file; it goes away with it. */
export const folder = () => {
  let path = ""
  beforeAll(() => void (path = mkdtempSync(join(tmpdir(), "toolformer-recording-"))))
  afterAll(() => rmSync(path, { recursive: true, force: true }))
  const of = (name: string): string => join(path, name)
  return {
    of,
    has: (name: string): boolean => existsSync(of(name)),
    names: (): ReadonlyArray<string> => readdirSync(path),
    text: (name: string): string => readFileSync(of(name), "utf8"),
    json: (name: string): File.File => JSON.parse(readFileSync(of(name), "utf8")) as File.File,
    write: (name: string, value: unknown): string => {
      writeFileSync(of(name), typeof value === "string" ? value : JSON.stringify(value))
      return of(name)
    }
  }
}

/** Whatever can happen without time has happened. */
export const settle = Effect.forEach(
  Array.from({ length: 5 }),
  () => Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve))),
  { discard: true }
)

/** Runs an effect while the TestClock goes on by `step`s, each only when nothing happens any more. */
export const inVirtualTime = <A, E, R>(effect: Effect.Effect<A, E, R>, step = 1): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* settle
    while (fiber.pollUnsafe() === undefined) {
      yield* TestClock.adjust(step)
      yield* settle
    }
    return yield* Fiber.join(fiber)
  })

/** What a program heard: parts as data, the clock's time of each since it asked, and how it ended. */
export interface Heard {
  readonly parts: ReadonlyArray<Readonly<Record<string, unknown>>>
  readonly times: ReadonlyArray<number>
  readonly error: unknown
}

/** Asks a model once. */
export const hear = (
  stream: boolean,
  prompt = "go"
): Effect.Effect<Heard, never, LanguageModel.LanguageModel> =>
  Effect.gen(function*() {
    const begin = yield* Clock.currentTimeMillis
    const parts: Array<Record<string, unknown>> = []
    const times: Array<number> = []
    const keep = (part: unknown) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        parts.push(JSON.parse(JSON.stringify(part)) as Record<string, unknown>)
        times.push(now - begin)
      })
    const options = { prompt, disableToolCallResolution: true, toolCallValidation: "deferred" } as const
    const exit = yield* Effect.exit(
      stream
        ? Stream.runForEach(LanguageModel.streamText(options), keep)
        : Effect.flatMap(LanguageModel.generateText(options), ({ content }) => Effect.forEach(content, keep))
    )
    return { parts, times, error: Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined }
  })

/** An `AiError` as data, with what the getters say. */
export const plainError = (error: unknown): unknown =>
  AiError.isAiError(error)
    ? {
      ...JSON.parse(JSON.stringify(error)) as object,
      message: error.message,
      isRetryable: error.isRetryable,
      retryAfter: JSON.stringify(error.retryAfter)
    }
    : error
