/**
 * Asks the predictors about a turn, beside the model: each on a fiber of its own that ends with the model's answer. Whatever one
 * does wrong is a number, and nothing else comes of it.
 */
import * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type * as Predictor from "../../policy/Predictor.ts"
import type { BoundTool } from "./Call.ts"
import { decodeGuess } from "./sameParameters.ts"
import type { Decoded } from "./sameParameters.ts"
import type { Appraiser, Host } from "./speculating.ts"

/** How many guesses of one predictor are read in a turn. */
const mostGuesses = 64

/** What is longer, as JSON, is nobody's guess. */
const mostCharacters = 65_536

/** How long the end of a run waits for predictors that were told to stop. */
const graceMillis = 250

/** A guess that makes sense. */
export interface Foreseen {
  readonly predictor: string
  readonly guess: Predictor.Guess
  readonly tool: BoundTool
  readonly decoded: Decoded
}

export class Foresight {
  private readonly host: Host
  private readonly appraiser: Appraiser
  private readonly predictors: ReadonlyArray<Predictor.PredictorService>
  private readonly from: number
  private readonly fibers = new Set<Fiber.Fiber<void>>()
  /** How often it was told to stop: who does not stop says nothing of the next turn. */
  private stopped = 0

  constructor(host: Host, appraiser: Appraiser, predictor: Predictor.PredictorService | undefined) {
    this.host = host
    this.appraiser = appraiser
    this.predictors = predictor === undefined ? [] : predictor.members ?? [predictor]
    this.from = host.settings.prompt.content.length
  }

  ask(step: number, foreseen: (foreseen: Foreseen) => void): void {
    const now = this.host.settings.timers.now()
    const { stopped } = this
    const { context, tracing } = this.host.settings
    const parent = tracing?.parent
    const heard = (each: Foreseen) => {
      if (this.stopped === stopped) foreseen(each)
    }
    for (const predictor of this.predictors) {
      const name = nameOf(predictor)
      if (!this.appraiser.listens(name, now)) continue
      this.appraiser.asked(name)
      // The model first: it has been waiting for longer.
      const read = Effect.andThen(Effect.yieldNow, this.read(predictor, name, step, heard))
      const traced = parent === undefined ? read : Effect.withParentSpan(read, parent)
      const fiber = Effect.runForkWith(context)(traced)
      this.fibers.add(fiber)
      fiber.addObserver(() => this.fibers.delete(fiber))
    }
  }

  stop(): void {
    this.stopped++
    for (const fiber of this.fibers) fiber.interruptUnsafe()
  }

  /** Waits a little for those that were stopped and have not ended. */
  get ended(): Effect.Effect<void> {
    const { fibers } = this
    return fibers.size === 0 ? Effect.void : Effect.asVoid(Effect.timeoutOption(Fiber.awaitAll(fibers), graceMillis))
  }

  private read(
    predictor: Predictor.PredictorService,
    name: string,
    step: number,
    foreseen: (foreseen: Foreseen) => void
  ): Effect.Effect<void> {
    let read = 0
    return Stream.suspend(() => predictor.predict(this.question(name, step))).pipe(
      Stream.takeWhile(() => {
        if (read++ < mostGuesses) return true
        this.appraiser.ignored(name)
        return false
      }),
      Stream.runForEach((guess) => this.look(guess, name, foreseen)),
      Effect.exit,
      Effect.map((exit) => {
        if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) this.appraiser.failed(name)
      })
    )
  }

  private question(name: string, step: number): Predictor.Question {
    const { prompt, settings: { runId, tools } } = this.host
    return {
      runId,
      step,
      prompt: copyOf(prompt),
      from: this.from,
      tools: this.tools,
      speculable: new Set([...tools].flatMap(([name, { compiled }]) => compiled.policies.speculate ? [name] : [])),
      spend: (tokens) => {
        if (Number.isFinite(tokens) && tokens > 0) this.appraiser.spent(name, tokens)
      }
    }
  }

  get tools(): Readonly<Record<string, Tool.Any>> {
    return Object.fromEntries([...this.host.settings.tools].map(([name, { compiled }]) => [name, compiled.tool]))
  }

  // A guess is anything at all: its getters may throw.
  private look(guess: Predictor.Guess, name: string, foreseen: (foreseen: Foreseen) => void): Effect.Effect<void> {
    return Effect.suspend(() => {
      const copy: Predictor.Guess = { ...guess, predictor: name, params: jsonOf(guess.params) }
      const tool = this.host.settings.tools.get(copy.tool)
      if (tool === undefined || !tool.compiled.policies.speculate || !isProbability(copy.confidence)) {
        return Effect.sync(() => this.appraiser.ignored(name))
      }
      return Effect.map(decodeGuess(tool, copy.params), (decoded) => {
        foreseen({ predictor: name, guess: copy, tool, decoded })
      })
    }).pipe(
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.interrupt : Effect.sync(() => this.appraiser.ignored(name))
      )
    )
  }
}

/** The prompt, as a predictor gets it: the list of messages is the run's. */
export const copyOf = ({ content }: Prompt.Prompt): Prompt.Prompt => Prompt.fromMessages([...content])

// A handler may change what its schema hands on as it is: it is no longer the predictor's.
const jsonOf = (params: unknown): unknown => {
  const text = JSON.stringify(params) ?? "null"
  return text.length > mostCharacters ? null : JSON.parse(text)
}

const isProbability = (value: unknown): boolean => typeof value === "number" && value >= 0 && value <= 1

const nameOf = ({ names }: Predictor.PredictorService): string => names[0] ?? "custom"
