/**
 * A predictor against recorded conversations: it learns on some, through the engine and in their order, then it is frozen and asked
 * before every turn of others.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Speculation from "../../../src/engine/Speculation.ts"
import * as Predictor from "../../../src/policy/Predictor.ts"
import { advancing } from "../../../src/testing/internal/virtualTime.ts"
import type { Conversation } from "./conversation.ts"
import { keyOf } from "./conversation.ts"
import type { Asked, Stated } from "./metrics.ts"
import type { Cast, Played, PlayedTurn, Start } from "./replay.ts"
import { play, turnName } from "./replay.ts"
import { agedMillis, constant } from "./times.ts"
import type { Times } from "./times.ts"
import { failed, type TracesError } from "./TracesError.ts"

type Service = Predictor.Predictor["Service"]

/** What is told after each conversation. */
export type Progress = (done: number, of: number) => void

/** At most so many starts in every turn. */
export const mostStarts = 2
/** Where starts are said not to be made below a confidence, it is this one. */
export const floor = 0.05

// Nothing but the confidence and the number of starts in a turn shall keep a guess from starting.
const unhampered = { maxPerTurn: mostStarts, maxConcurrent: 64, budget: { calls: 1_000_000 } }

/** Runs an effect in virtual time. */
export const inVirtualTime = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | TracesError, R> =>
  advancing(effect, { limit: "100000 days", maxMoves: 100_000_000 }).pipe(
    Effect.mapError((error) =>
      typeof error === "object" && error !== null && "_tag" in error && error._tag === "Stuck"
        ? failed(`the replay hangs: ${String((error as { message?: unknown }).message)}`)
        : error as E
    )
  )

/** The predictor of a layer, as long as the scope is open. */
export const predictorOf = (layer: Layer.Layer<Predictor.Predictor>): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.map(Layer.build(layer), (context) => Context.get(context, Predictor.Predictor))

const each = <A>(
  conversations: ReadonlyArray<Conversation>,
  progress: Progress,
  run: (conversation: Conversation) => Effect.Effect<A, TracesError>
): Effect.Effect<ReadonlyArray<A>, TracesError> =>
  Effect.forEach(
    conversations,
    (conversation, index) =>
      Effect.tap(run(conversation), () => Effect.sync(() => progress(index + 1, conversations.length)))
  )

// ---- learning -----------------------------------------------------------------------------------------------------------

/** Has the predictor live through conversations: it is asked, told what came of it, and hears of every run. Nothing is started. */
export const learn = (
  predictor: Service,
  cast: Cast,
  conversations: ReadonlyArray<Conversation>,
  progress: Progress
): Effect.Effect<void, TracesError> =>
  inVirtualTime(Effect.gen(function*() {
    const lessons = new Lessons(predictor)
    yield* each(conversations, progress, (conversation) =>
      Effect.gen(function*() {
        const runs = conversation.episodes.length
        const learned = lessons.expect(runs)
        yield* play(cast, conversation, constant)
        yield* Deferred.await(learned)
      })).pipe(
        Effect.provide(Speculation.layer({ maxConcurrent: 0 })),
        Effect.provideService(Predictor.Predictor, lessons.predictor)
      )
    if (lessons.failures > 0) return yield* failed(`${predictor.names.join()} failed to learn ${lessons.failures} runs`)
  }))

/** A predictor that says when it has learned so many runs. */
class Lessons {
  failures = 0
  private left = 0
  private done = Deferred.makeUnsafe<void>()
  readonly predictor: Service

  constructor(inner: Service) {
    this.predictor = {
      ...inner,
      learn: (run) =>
        Effect.suspend(() => inner.learn(run)).pipe(
          Effect.tapCause(() => Effect.sync(() => void this.failures++)),
          Effect.ensuring(Effect.sync(() => this.ended()))
        )
    }
  }

  expect(runs: number): Deferred.Deferred<void> {
    this.left = runs
    this.done = Deferred.makeUnsafe<void>()
    return this.done
  }

  private ended(): void {
    if (--this.left === 0) Deferred.doneUnsafe(this.done, Effect.void)
  }
}

// ---- testing ------------------------------------------------------------------------------------------------------------

/** `differences`: where what the engine started or claimed is not what the guesses before the turn say. */
export interface Tested {
  readonly turns: ReadonlyArray<Asked>
  readonly differences: ReadonlyArray<string>
}

/**
 * Asks a frozen predictor before every turn of conversations, each twice: with no bound on confidence, and with starts below 0.05 not
 * made. What the engine itself learns of the predictor it forgets after each conversation.
 */
export const test = (
  predictor: Service,
  cast: Cast,
  conversations: ReadonlyArray<Conversation>,
  progress: Progress = () => {}
): Effect.Effect<Tested, TracesError> =>
  Effect.map(
    inVirtualTime(each(conversations, progress, (conversation) => testOne(predictor, cast, conversation))),
    (tested) => ({
      turns: tested.flatMap(({ turns }) => turns),
      differences: tested.flatMap(({ differences }) => differences)
    })
  )

const testOne = (
  predictor: Service,
  cast: Cast,
  conversation: Conversation
): Effect.Effect<Tested, TracesError> =>
  Effect.gen(function*() {
    const [all, above] = [new Notebook(predictor), new Notebook(predictor)]
    const withAll = yield* playGuessing(cast, conversation, all, 0)
    const withAbove = yield* playGuessing(cast, conversation, above, floor)
    const turns = withAll.turns.map((turn, index): Asked => ({
      calls: turn.turn.calls,
      guesses: all.guesses(turn.name),
      started: keysOf(turn.starts, predictor),
      startedAbove: keysOf(withAbove.turns[index]!.starts, predictor),
      writesStarted: [...turn.starts, ...withAbove.turns[index]!.starts].filter(({ isRead }) => !isRead).length
    }))
    const stray = withAll.strayWrites + withAbove.strayWrites
    return {
      turns,
      differences: [
        ...(stray === 0 ? [] : [`${conversation.id}: ${stray} writes ran that the model had not asked for`]),
        ...withAll.turns.flatMap((turn) => differencesIn(turn, all.guesses(turn.name), predictor))
      ]
    }
  })

const playGuessing = (
  cast: Cast,
  conversation: Conversation,
  notebook: Notebook,
  confidenceThreshold: number
): Effect.Effect<Played, TracesError> =>
  play(cast, conversation, constant).pipe(
    Effect.provide(Speculation.layer({ ...unhampered, confidenceThreshold, maxAge: agedMillis })),
    Effect.provideService(Predictor.Predictor, notebook.predictor)
  )

const keysOf = (starts: ReadonlyArray<Start>, { names }: Service): ReadonlyArray<string> =>
  starts.filter((start) => names.includes(start.predictor)).map(({ key }) => key)

/** A predictor that learns nothing any more, and what it said before each turn. */
class Notebook {
  private readonly said = new Map<string, Array<Stated>>()
  readonly predictor: Service

  constructor({ names, predict }: Service) {
    this.predictor = {
      names,
      predict: (question) => Stream.tap(predict(question), (guess) => Effect.sync(() => this.note(question, guess))),
      judged: () => Effect.void,
      learn: () => Effect.void
    }
  }

  /** The likeliest first. */
  guesses(turn: string): ReadonlyArray<Stated> {
    return (this.said.get(turn) ?? []).toSorted((a, b) => b.confidence - a.confidence)
  }

  private note({ runId, speculable, step }: Predictor.Question, guess: Predictor.Guess): void {
    if (!speculable.has(guess.tool)) return
    const name = turnName(runId, step)
    const said = this.said.get(name) ?? []
    const { confidence, ifCalling = confidence, params, tool } = guess
    said.push({ tool, key: keyOf(tool, params), confidence, ifCalling })
    this.said.set(name, said)
  }
}

/** What the guesses say must be what the engine did: the likeliest were started, and a started one that is the call was claimed. */
export const differencesIn = (
  { ahead, name, starts, turn }: PlayedTurn,
  guesses: ReadonlyArray<Stated>,
  predictor: Service
): ReadonlyArray<string> => {
  const started = keysOf(starts, predictor)
  const expected = [...new Set(guesses.filter(({ confidence }) => confidence > 0).map(({ key }) => key))]
    .slice(0, mostStarts)
  const same = started.toSorted().join("\n") === expected.toSorted().join("\n")
  const unclaimed = turn.calls.filter(({ id, key, result }, index) =>
    // Of equal calls the first has the guess; a guess that failed is nobody's.
    result?.isFailure !== true && turn.calls.findIndex((call) => call.key === key) === index
    && started.includes(key) !== ahead.has(id)
  )
  return [
    ...(same
      ? []
      : [`${name}: started ${started.join(", ") || "nothing"}; guessed ${expected.join(", ") || "nothing"}`]),
    ...unclaimed.map(({ id, key }) =>
      `${name}: ${key} was ${ahead.has(id) ? "" : "not "}claimed, and ${started.includes(key) ? "" : "not "}started`
    )
  ]
}

// ---- time ---------------------------------------------------------------------------------------------------------------

/** Milliseconds of virtual time over all conversations. `bound`: what the hits could have saved. */
export interface Timed {
  readonly without: number
  readonly with: number
  readonly bound: number
  readonly hits: number
}

/** Plays conversations without speculation and with it, in the same times. One `Speculation` for all, as in a program. */
export const timed = (
  predictor: Service,
  cast: Cast,
  conversations: ReadonlyArray<Conversation>,
  times: Times,
  progress: Progress = () => {}
): Effect.Effect<Timed, TracesError> =>
  inVirtualTime(Effect.gen(function*() {
    const playAll = each(conversations, progress, (conversation) => play(cast, conversation, times))
    const plain = yield* playAll
    const guessing = yield* playAll.pipe(
      Effect.provide(Speculation.layer({ ...unhampered, confidenceThreshold: floor, maxAge: "5 minutes" })),
      Effect.provideService(Predictor.Predictor, new Notebook(predictor).predictor)
    )
    const bounds = guessing.flatMap(({ turns }) => turns.flatMap((turn) => boundsOf(turn, predictor)))
    return {
      without: plain.reduce((sum, { millis }) => sum + millis, 0),
      with: guessing.reduce((sum, { millis }) => sum + millis, 0),
      bound: bounds.reduce((sum, each) => sum + each, 0),
      hits: bounds.length
    }
  }))

/**
 * Of each call that was started before it was made: its tool's time, or the time from the start to the call where that is less. A
 * guess of the turn could have started when the turn was asked.
 */
const boundsOf = (
  { ahead, modelMillis, starts, toolMillis, turn }: PlayedTurn,
  predictor: Service
): ReadonlyArray<number> => {
  const started = keysOf(starts, predictor)
  return turn.calls.flatMap((call) => {
    const before = started.includes(call.key) ? modelMillis : ahead.get(call.id)
    return before === undefined ? [] : [Math.min(toolMillis(call), before)]
  })
}
