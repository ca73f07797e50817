/**
 * Conversations played again through the real engine: the model makes its recorded turns, the tools give their recorded results, each
 * episode is a run, and every part of the stream is read. In virtual time.
 *
 * What the engine started is what its `tool-speculated` parts say. The replay fails where a result is not the recorded one: then a
 * guess has been seen.
 */
import type * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { AnyPart } from "../../../src/domain/ToolEvent.ts"
import * as Orchestrator from "../../../src/engine/Orchestrator.ts"
import { TestModel } from "../../../src/testing/index.ts"
import { canonical } from "./canonical.ts"
import type { Conversation, Episode, RecordedCall, RecordedResult, Turn } from "./conversation.ts"
import { keyOf, turnsOf } from "./conversation.ts"
import type { Times } from "./times.ts"
import { failed, type TracesError } from "./TracesError.ts"

/** A guess that the engine started. */
export interface Start {
  readonly key: string
  readonly predictor: string
  readonly isRead: boolean
}

/**
 * What happened before and in one turn. `name`: the run's id and the step, as predictors are asked. `ahead`: of each claimed call (by its id), how long before it its guess had
 * started. `toolMillis`: how long its calls' tools take.
 */
export interface PlayedTurn {
  readonly name: string
  readonly turn: Turn
  readonly starts: Array<Start>
  readonly ahead: Map<string, number>
  readonly modelMillis: number
  readonly toolMillis: (call: RecordedCall) => number
}

/** The name of a turn. */
export const turnName = (runId: string, step: number): string => `${runId} ${step}`

export interface Played {
  readonly turns: ReadonlyArray<PlayedTurn>
  /** Of all runs, on the virtual clock. */
  readonly millis: number
  /** Runs of a writing tool's handler that the model had not asked for. */
  readonly strayWrites: number
}

/** A set's tools. What reads says so, so that the engine may guess it; nothing else is known of them. */
export interface Cast {
  readonly toolkit: Toolkit.Toolkit<Record<string, Tool.Any>>
  readonly isRead: (tool: string) => boolean
}

const anyObject = { type: "object", additionalProperties: true } as const

export const castOf = (conversations: ReadonlyArray<Conversation>, isRead: (tool: string) => boolean): Cast => {
  const names = new Set(conversations.flatMap(turnsOf).flatMap(({ calls }) => calls.map(({ name }) => name)))
  const tools = [...names].sort().map((name) =>
    Tool.dynamic(name, { parameters: anyObject, success: Schema.Unknown, failure: Schema.Unknown })
      .annotate(Tool.Readonly, isRead(name))
  )
  return { toolkit: Toolkit.make(...tools) as unknown as Cast["toolkit"], isRead }
}

/** Plays a conversation from its first word to its last. */
export const play = (cast: Cast, conversation: Conversation, times: Times): Effect.Effect<Played, TracesError> =>
  Effect.suspend(() => {
    const playing = new Playing(cast, conversation, times)
    return Effect.map(
      Effect.forEach(conversation.episodes, (episode) => playing.run(episode), { discard: true }),
      () => ({ turns: playing.turns, millis: playing.millis, strayWrites: playing.strayWrites })
    )
  })

let plays = 0

class Playing {
  readonly turns: Array<PlayedTurn> = []
  millis = 0
  strayWrites = 0
  private prompt: Prompt.Prompt = Prompt.empty
  /** Turns of the conversation before this run, and those of this run that were begun. */
  private runs = 0
  /** No two runs of a program have one id, also where one conversation is played twice. */
  private readonly number = ++plays
  private before = 0
  private begun = 0
  private readonly recorded: ReadonlyArray<RecordedCall>
  private readonly cast: Cast
  private readonly conversation: Conversation
  private readonly times: Times

  constructor(cast: Cast, conversation: Conversation, times: Times) {
    this.cast = cast
    this.conversation = conversation
    this.times = times
    this.recorded = turnsOf(conversation).flatMap(({ calls }) => calls)
  }

  run(episode: Episode): Effect.Effect<void, TracesError> {
    return Effect.suspend(() => {
      this.before = this.turns.length
      this.begun = 0
      const run = `${this.conversation.id} ${++this.runs}`
      const runId = `${run} #${this.number}`
      for (const [index, turn] of episode.turns.entries()) {
        this.turns.push(this.played(turn, turnName(runId, index + 1), turnName(run, index + 1)))
      }
      const prompt = this.promptOf(episode)
      return Effect.flatMap(
        TestModel.make(episode.turns.map((turn, index) => this.script(turn, index))),
        (model) =>
          Orchestrator.stream({ prompt, toolkit: this.cast.toolkit, maxSteps: episode.turns.length, runId }).pipe(
            Stream.runForEach((part) => this.note(part as AnyPart)),
            Effect.provide(this.handlers),
            Effect.provideService(LanguageModel.LanguageModel, model.languageModel),
            // Recorded models do repeat themselves.
            Effect.updateService(Orchestrator.Config, (defaults) => ({ ...defaults, maxRepeats: Infinity })),
            Effect.mapError((error) => this.diverged(error))
          )
      )
    }) as Effect.Effect<void, TracesError>
  }

  /** The history so far and what the user said; a run needs a prompt, also where the trace does not say what began it. */
  private promptOf({ said }: Episode): Prompt.Prompt {
    const texts = this.prompt.content.length === 0 && said.length === 0 ? [""] : said
    const messages = texts.map((text) => Prompt.userMessage({ content: [Prompt.textPart({ text })] }))
    return Prompt.concat(this.prompt, Prompt.fromMessages(messages))
  }

  private played(turn: Turn, name: string, timed: string): PlayedTurn {
    const toolMillis = ({ id }: RecordedCall): number => this.toolMillis(id)
    return { name, turn, starts: [], ahead: new Map(), modelMillis: this.times.modelMillis(timed), toolMillis }
  }

  /** Its calls come whole, at one moment: arguments that grow would be guesses of their own. */
  private script(turn: Turn, index: number): TestModel.Turn {
    const { modelMillis } = this.turns[this.before + index]!
    return () => {
      this.begun = index
      return [
        TestModel.wait(modelMillis),
        ...(turn.text === "" ? [] : [turn.text]),
        ...turn.calls.map(({ id, name, params }) => ({ type: "tool-call", id, name, params }) as const),
        TestModel.wait(this.times.trailingMillis),
        TestModel.finish(turn.calls.length > 0 ? "tool-calls" : "stop")
      ]
    }
  }

  private get handlers(): Layer.Layer<Tool.Handler<string>> {
    const handlers = Object.keys(this.cast.toolkit.tools).map((name) => [
      name,
      (params: unknown, context: { readonly toolCallId?: string }) => this.handle(name, params, context.toolCallId)
    ])
    return this.cast.toolkit.toLayer(Object.fromEntries(handlers) as never) as never
  }

  private handle(name: string, params: unknown, id: string | undefined): Effect.Effect<unknown, unknown> {
    return Effect.suspend(() => {
      const asked = this.recorded.find((call) => call.id === id)
      if (asked === undefined && !this.cast.isRead(name)) this.strayWrites++
      const key = keyOf(name, params)
      const call = asked ?? this.upcoming(key)
      const { isFailure, value } = call?.result ?? unrecorded
      const answer = isFailure ? Effect.fail(value) : Effect.succeed(value)
      return Effect.andThen(Effect.sleep(this.toolMillis(call?.id ?? key)), answer)
    })
  }

  /** The recorded call that a guess would become: the next such one. */
  private upcoming(key: string): RecordedCall | undefined {
    return this.turns.slice(this.before + this.begun).flatMap(({ turn }) => turn.calls).find((call) => call.key === key)
  }

  private toolMillis(call: string): number {
    return this.times.toolMillis(`${this.conversation.id} ${call}`)
  }

  private note(part: AnyPart): Effect.Effect<void, TracesError> {
    switch (part.type) {
      case "tool-speculated": {
        const start = {
          key: keyOf(part.name, part.params),
          predictor: part.predictor,
          isRead: this.cast.isRead(part.name)
        }
        this.turns[this.before + part.step - 1]?.starts.push(start)
        return Effect.void
      }
      case "tool-claimed":
        this.turns.findLast(({ turn }) => turn.calls.some(({ id }) => id === part.callId))
          ?.ahead.set(part.callId, part.aheadMillis)
        return Effect.void
      case "tool-result":
        return this.compare(part.id, { value: part.encodedResult, isFailure: part.isFailure })
      case "run-finish":
        this.prompt = part.prompt
        this.millis += part.report.totalMillis
        return Effect.void
      default:
        return Effect.void
    }
  }

  private compare(id: string, got: RecordedResult): Effect.Effect<void, TracesError> {
    const wanted = this.recorded.find((call) => call.id === id)?.result ?? unrecorded
    return got.isFailure === wanted.isFailure && canonical(got.value) === canonical(wanted.value)
      ? Effect.void
      : Effect.fail(failed(
        `${this.conversation.id}: ${id} was answered ${canonical(got.value).slice(0, 200)}, `
          + `and recorded is ${canonical(wanted.value).slice(0, 200)}`
      ))
  }

  private diverged(error: TracesError | AiError.AiError | Orchestrator.OrchestratorError): TracesError {
    return error._tag === "TracesError" ? error : failed(`${this.conversation.id} cannot be replayed: ${error.message}`)
  }
}

/** The answer of a call that nobody recorded. */
const unrecorded: RecordedResult = { value: null, isFailure: false }
