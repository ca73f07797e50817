/**
 * The seams of speculation: what a run tells its speculation, what that asks of the run, and what both ask of the process-wide
 * judge of what is worth a call. Only types and the service's key, so that the pipeline and the run can import it.
 */
import type * as Prompt from "effect/ai/Prompt"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Abandoned, SpeculationReport } from "../../domain/Report.ts"
import type { AnyPart } from "../../domain/ToolEvent.ts"
import type { Dispatcher } from "../Dispatcher.ts"
import { speculationKey } from "./Call.ts"
import type { BoundTool, Call, Outcome, Runner, Speculating } from "./Call.ts"
import type { RunSettings } from "./runSettings.ts"
import type { Turn } from "./Turn.ts"

/** The run, as its speculation sees it. */
export interface Host {
  readonly settings: RunSettings
  readonly dispatcher: Dispatcher
  readonly prompt: Prompt.Prompt
  readonly isEnding: boolean
  readonly time: number
  emit(part: AnyPart): void
}

/** The guesses of one run. Synchronous; nothing of it throws. */
export interface RunSpeculation {
  /** The model is being asked for a turn: so are the predictors, once per turn however often it is asked. */
  asked(turn: Turn): void
  /** The model begins a call's arguments. */
  opened(id: string, name: string): void
  /** They grow. What looks complete is a guess too. */
  grew(id: string, delta: string): void
  /**
   * The call has its parameters: it takes the outcome of its guess, now or when that ends, or goes its own way (`next`), and is
   * noted where it may write.
   */
  claim(call: Call, next: Runner): void
  /** A call has its parameters, and goes on to whatever it waits for before it may claim a guess. */
  made(call: Call): void
  /** A call and all its attempts have really ended: it writes no more. */
  ended(call: Call): void
  /** Of the calls that handlers of the run's calls make. */
  readonly nested: Speculating
  /** A call of the run is answered: its time, and what it wrote. */
  answered(call: Call, outcome: Outcome): void
  /** The model has finished its answer: what it did not ask for is ruled out. */
  finished(): void
  /** Its stream has ended: guesses are judged. `broken`: nobody knows what it would have asked for. */
  endReading(turn: Turn, broken: boolean): void
  /** Of this run, which starts no more. */
  report(): SpeculationReport
  /** Guesses whose handlers did not end in their grace, and were no call's by then. */
  readonly abandoned: ReadonlyArray<Abandoned>
  /** The grace of what was told to stop is over now. */
  abandonAll(): void
  /** Stops everything; ends when it has ended or its grace is over. Learning goes on without the run. Idempotent. */
  close(): Effect.Effect<void>
}

/** A guess that makes sense, before it is known whether it is started. */
export interface Candidate {
  readonly predictor: string
  readonly tool: BoundTool
  /** As stated, a number from 0 to 1. */
  readonly stated: number
  readonly decoded: unknown
}

/** What a guess that was started came to. */
export interface Settled {
  readonly outcome: "hit" | "lateHit" | "miss" | "failed" | "preempted"
  readonly savedMillis: number
  readonly wastedMillis: number
  readonly wastedTokens: number
  /** The service or the limiter refused for the rate: the budget goes down first. */
  readonly rateLimited: boolean
}

/**
 * What the program knows of its guesses, over all runs: whether one is worth a call. One per `Speculation.layer`. Synchronous.
 *
 * `admit` says whether a guess may start now (`undefined`), having taken its budget and its place among `maxConcurrent`, or why
 * not; everything that was admitted has `ended` once, when nothing of it is at work any more, which gives its place back, and is
 * `settled` once, when it is known what it came to; in either order.
 */
export interface Appraiser {
  /** The predictor is to be asked; false where it is off and its next probe is not due. */
  listens(predictor: string, now: number): boolean
  asked(predictor: string): void
  failed(predictor: string): void
  ignored(predictor: string): void
  spent(predictor: string, tokens: number): void
  /** A stated confidence as the engine believes it. */
  confidence(candidate: Candidate): number
  admit(candidate: Candidate, now: number, modelMillisLeft: number | undefined): undefined | Refusal
  /** What was admitted is at work no more: its place is free. The same object as was admitted, here and in the following. */
  ended(candidate: Candidate): void
  settled(candidate: Candidate, settled: Settled, now: number): void
  /** Started or not: whether the turn made the call. */
  judged(candidate: Candidate, right: boolean, started: boolean, now: number): void
  /** Times of real calls and turns, from which savings are expected. */
  toolTook(tool: BoundTool, millis: number): void
  modelTook(service: string, millis: number): void
  /** How long a turn of the model still takes, `elapsed` after it was asked; `undefined` where nothing is known. */
  modelLeft(service: string, elapsed: number): number | undefined
}

export type Refusal = "confidence" | "worth" | "budget" | "concurrency" | "off"

/** The speculation of a program. @internal */
export interface SpeculationService {
  /** Begins with a run. @internal */
  readonly begin: (host: Host) => RunSpeculation
  /** The ledger over all runs since the layer was made. */
  readonly ledger: Effect.Effect<SpeculationReport>
}

/**
 * Calls started before the model asks for them. Off unless a program provides it; its Layers are in `Speculation`.
 *
 * @category services
 * @since 0.1.0
 */
export class Speculation extends Context.Service<Speculation, SpeculationService>()(
  speculationKey
) {}
