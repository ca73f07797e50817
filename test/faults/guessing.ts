/**
 * Runs of the real Orchestrator that guess, beside the same runs that do not: what everybody can see of them, when handlers
 * started, and what the ledger says. A guess's handler is known by its call's id, which is no call of the run.
 */
import { assert } from "@effect/vitest"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { SpeculationReport } from "../../src/domain/Report.ts"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Orchestrator, Predictor, Speculation } from "../../src/index.ts"
import { TestModel, TestTools } from "../../src/testing/index.ts"

/** A predictor that says what a function says, at once. */
export const foreseeing = (
  guesses: (question: Predictor.Question) => ReadonlyArray<Predictor.Guess>
): Layer.Layer<Predictor.Predictor> => Predictor.make({ predict: (question) => Stream.fromIterable(guesses(question)) })

export const guess = (tool: string, params: unknown, confidence = 0.99): Predictor.Guess => ({
  tool,
  params,
  confidence
})

/** A call that comes whole, at one moment: arguments that grow are guesses of their own. */
export const made = (name: string, params: unknown, id: string) => ({ type: "tool-call", id, name, params }) as const

type AnyToolkit = Toolkit.Toolkit<Record<string, Tool.Any>>

/** A program of one run: `guesses` absent, and it does not speculate. */
export interface Setting {
  readonly kit: (tools: TestTools.HandlerRecorder) => { readonly toolkit: unknown; readonly layer: unknown }
  readonly turns: ReadonlyArray<TestModel.Turn>
  readonly guesses?: ((question: Predictor.Question) => ReadonlyArray<Predictor.Guess>) | undefined
  readonly options?: Speculation.Options | undefined
  /** The speculation is that of the context, which several runs may share. */
  readonly isShared?: boolean | undefined
  readonly policies?: Layer.Layer<never> | undefined
  readonly run?: Omit<Parameters<typeof Orchestrator.stream>[0], "prompt" | "toolkit"> | undefined
}

type Finish = Extract<AnyPart, { readonly type: "run-finish" }>

export interface Played {
  readonly parts: ReadonlyArray<AnyPart>
  readonly finish: Finish
  /** Every start of a handler; `guessed`: those on a guess, claimed or not; `real`: the others. */
  readonly calls: ReadonlyArray<TestTools.HandledCall>
  readonly guessed: ReadonlyArray<TestTools.HandledCall>
  readonly real: ReadonlyArray<TestTools.HandledCall>
}

const isGuessed = ({ id }: { readonly id: string }): boolean => id.startsWith("spec_")

/** The run of a setting, in whatever time it is in. */
export const run = (setting: Setting, tools = TestTools.recorderUnsafe()): Effect.Effect<Played> =>
  Effect.suspend(() => {
    const { layer, toolkit } = setting.kit(tools) as {
      readonly toolkit: AnyToolkit
      readonly layer: Layer.Layer<never>
    }
    const stream = Orchestrator.stream({ maxSteps: 100, ...setting.run, prompt: "Go.", toolkit })
    return Stream.runCollect(stream as Stream.Stream<AnyPart>).pipe(
      Effect.provide(layer),
      Effect.provide(TestModel.script(setting.turns, { otherwise: "Done." })),
      setting.isShared === true ? identity : Effect.provide(speculating(setting)),
      Effect.provide(setting.policies ?? Layer.empty),
      Effect.updateService(Orchestrator.Config, (defaults) => ({ ...defaults, maxRepeats: Infinity })),
      Effect.map((parts): Played => ({
        parts,
        finish: parts.find((part) => part.type === "run-finish")!,
        calls: tools.calls,
        guessed: tools.calls.filter(isGuessed),
        real: tools.calls.filter((call) => !isGuessed(call))
      })),
      Effect.orDie
    )
  })

export const speculating = ({ guesses, options }: Pick<Setting, "guesses" | "options">): Layer.Layer<never> =>
  guesses === undefined
    ? Layer.empty
    : Layer.merge(Speculation.layer(options), foreseeing(guesses))

/** The same on the TestClock, which is moved until it ends. */
export const played = (setting: Setting, tools?: TestTools.HandlerRecorder): Effect.Effect<Played> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(run(setting, tools), { startImmediately: true })
    yield* TestClock.adjust("3 hours")
    assert.isDefined(fiber.pollUnsafe(), "the run has not ended in three hours")
    return yield* Effect.flatten(Effect.sync(() => fiber.pollUnsafe()!))
  })

/** The run with its guesses, and without. */
export const both = (setting: Setting): Effect.Effect<readonly [guessing: Played, plain: Played]> =>
  Effect.gen(function*() {
    const plain = yield* sinceZero(played({ ...setting, guesses: undefined }))
    return [yield* sinceZero(played(setting)), plain] as const
  })

// Times count from the run's start.
const sinceZero = (effect: Effect.Effect<Played>): Effect.Effect<Played> =>
  Effect.gen(function*() {
    const now = yield* Effect.clockWith((clock) => Effect.sync(() => clock.currentTimeMillisUnsafe()))
    const { calls, guessed, real, ...rest } = yield* effect
    const moved = (list: Played["calls"]) =>
      list.map((call) => ({
        ...call,
        startedAt: call.startedAt - now,
        ...(call.endedAt === undefined ? undefined : { endedAt: call.endedAt - now })
      }))
    return { ...rest, calls: moved(calls), guessed: moved(guessed), real: moved(real) }
  })

/** What anybody can see of a run: its history and its results, byte for byte. */
export const seen = ({ finish, parts }: Played): string =>
  JSON.stringify([
    finish.prompt,
    finish.finishReason,
    finish.usage,
    parts.flatMap((part) =>
      part.type === "tool-result" && !part.preliminary
        ? [[part.id, part.name, part.isFailure, part.result, part.encodedResult]]
        : []
    ).sort((a, b) => String(a[0]) < String(b[0]) ? -1 : 1)
  ])

/** Of the run's ledger, over all predictors and tools. */
export const sums = (report: SpeculationReport | undefined) => {
  const sum = { started: 0, hit: 0, lateHit: 0, miss: 0, failed: 0, preempted: 0 }
  for (const entry of report?.entries ?? []) {
    for (const name of Object.keys(sum) as Array<keyof typeof sum>) sum[name] += entry[name]
  }
  return sum
}

export const ledgerOf = ({ finish }: Played) => sums(finish.report.speculation)

/** The ledger's law. */
export const assertBalanced = (run: Played): void => {
  for (const entry of run.finish.report.speculation?.entries ?? []) {
    assert.strictEqual(entry.started, entry.hit + entry.lateHit + entry.miss + entry.failed + entry.preempted)
  }
}

/** When real calls were made, when their handlers started, and when they were answered: milliseconds of the run, by call. */
export const timesOf = ({ parts }: Played): ReadonlyArray<string> => {
  const begin = timeOf(parts[0])
  const first = (type: AnyPart["type"], id: string) =>
    timeOf(parts.find((part) => part.type === type && "callId" in part && part.callId === id)) - begin
  const ids = parts.flatMap((part) => part.type === "tool-queued" ? [part.callId] : [])
  return ids.map((id) => `${id}: made at ${first("tool-queued", id)}, started at ${first("tool-started", id)}`).sort()
}

const timeOf = (part: AnyPart | undefined): number => part !== undefined && "time" in part ? part.time : Number.NaN
