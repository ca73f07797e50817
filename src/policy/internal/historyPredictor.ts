/**
 * The predictor that learns from finished runs, put together: a memory of what followed what, a ranker that weighs it, and a store
 * that keeps both. It learns after a run, one at a time, and writes what it knows at most once in ten seconds and when its layer
 * closes. What it says of a turn never waits for either.
 */
import type * as Prompt from "effect/ai/Prompt"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { rankerFrom, rankerPages } from "./historyKeeping.ts"
import { Memory, View } from "./historyMemory.ts"
import { Ranker } from "./historyRanker.ts"
import type { Widths } from "./historyRows.ts"
import { digest, type Found, PageStore } from "./historyStore.ts"
import type { Pages } from "./historyTypes.ts"
import type { FinishedRun, Guess, PredictorService, Question, Verdict } from "./predicting.ts"

/** How the predictor of finished runs is set up: see `Predictor.HistoryOptions`. */
export interface Settings {
  readonly name: string
  readonly learn: boolean
  readonly keepValues: boolean
  readonly store: KeyValueStore.KeyValueStore | undefined
}

const leastStated = 0.001
const writeEvery = "10 seconds"
const closeWithin = "5 seconds"
/** A store that does not answer keeps no program from starting. */
const readWithin = "5 seconds"
const viewsKept = 256

const widths: Widths = { choice: Memory.choiceFeatures, turn: Memory.turnFeatures }
const features = digest(JSON.stringify([widths, Memory.featureNames]))

/** What is known: both halves always change together. */
class Knowledge {
  readonly memory: Memory
  readonly ranker: Ranker

  constructor(memory: Memory, ranker: Ranker) {
    this.memory = memory
    this.ranker = ranker
  }

  static readonly empty = (keepValues: boolean): Knowledge =>
    new Knowledge(new Memory({ keepValues }), new Ranker(widths))

  static readonly from = (pages: Pages, keepValues: boolean): Knowledge | undefined => {
    const memory = Memory.fromPages(pages, { keepValues })
    const ranker = rankerFrom(pages, widths)
    return memory === undefined || ranker === undefined ? undefined : new Knowledge(memory, ranker)
  }

  pages(only: "all" | "changed"): Map<string, string> {
    const pages = rankerPages(this.ranker, only)
    for (const [name, text] of only === "all" ? this.memory.pages() : this.memory.changedPages()) pages.set(name, text)
    return pages
  }
}

/** Views of conversations that are going on, the least recently used forgotten first. */
class Views {
  readonly #views = new Map<string, View>()

  of(runId: string, prompt: Prompt.Prompt): View {
    const known = this.#views.get(runId)
    const view = known === undefined ? View.of(prompt) : known.extend(prompt)
    this.#views.delete(runId)
    this.#views.set(runId, view)
    if (this.#views.size > viewsKept) this.#views.delete(this.#views.keys().next().value!)
    return view
  }

  drop(runId: string): void {
    this.#views.delete(runId)
  }
}

class HistoryPredictor implements PredictorService {
  readonly names: ReadonlyArray<string>
  readonly #knowledge: Knowledge
  readonly #settings: Settings
  readonly #changed: () => void
  readonly #views = new Views()
  readonly #turn = Semaphore.makeUnsafe(1)
  /** What was stated, by the parameters object it was stated with: guesses are copied on their way, their parameters are not. */
  readonly #stated = new WeakMap<object, number>()

  constructor(knowledge: Knowledge, settings: Settings, changed: () => void) {
    this.names = [settings.name]
    this.#knowledge = knowledge
    this.#settings = settings
    this.#changed = changed
  }

  readonly predict = (question: Question): Stream.Stream<Guess> =>
    Stream.unwrap(Effect.sync(() => Stream.fromIterable(this.#guesses(question))))

  #guesses(question: Question): ReadonlyArray<Guess> {
    const view = this.#views.of(question.runId, question.prompt)
    const situation = this.#knowledge.memory.situation(view, question.speculable)
    const stated = this.#knowledge.ranker.state(situation)
    const guesses: Array<Guess> = []
    situation.choices.forEach((choice, i) => {
      const { confidence, ifCalling, raw } = stated[i]!
      if (confidence < leastStated) return
      const params = { ...choice.params }
      this.#stated.set(params, raw)
      guesses.push({ tool: choice.tool, params, confidence, ifCalling })
    })
    return guesses.sort((a, b) => b.confidence - a.confidence)
  }

  readonly judged = (verdicts: ReadonlyArray<Verdict>): Effect.Effect<void> =>
    Effect.sync(() => {
      if (!this.#settings.learn) return
      for (const { guess, right } of verdicts) {
        const { params } = guess
        const stated = typeof params === "object" && params !== null ? this.#stated.get(params) : undefined
        this.#knowledge.ranker.judge(guess.tool, stated ?? guess.confidence, right)
      }
    })

  readonly learn = (run: FinishedRun): Effect.Effect<void> =>
    Effect.suspend(() => {
      this.#views.drop(run.runId)
      return this.#settings.learn ? this.#turn.withPermit(this.#learned(run)) : Effect.void
    })

  #learned(run: FinishedRun): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { memory, ranker } = this.#knowledge
      ranker.take(memory.learn(run.prompt, run.from))
      // What is written while it fits is the state before: the end of the fit is a change of its own.
      return Effect.ensuring(ranker.due ? ranker.fit : Effect.void, Effect.sync(this.#changed))
    })
  }
}

/** Reads what was kept; whatever is wrong with it is a warning, and nothing known. */
const knowledgeIn = Effect.fnUntraced(function*(pages: PageStore, keepValues: boolean) {
  const found = yield* Effect.timeoutOption(pages.read, readWithin).pipe(
    Effect.map(Option.getOrElse((): Found => ({ _tag: "unusable", why: "does not answer" }))),
    Effect.catchCause((cause): Effect.Effect<Found> =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.interrupt
        : Effect.succeed({ _tag: "unusable", why: `cannot be read (${Cause.pretty(cause).split("\n")[0]})` })
    )
  )
  if (found._tag === "nothing") return Knowledge.empty(keepValues)
  const knowledge = found._tag === "pages" ? Knowledge.from(found.pages, keepValues) : undefined
  if (knowledge !== undefined) return knowledge
  const why = found._tag === "unusable" ? found.why : "is damaged"
  yield* Effect.logWarning(`The store of the history predictor ${why}: it starts knowing nothing.`)
  return Knowledge.empty(keepValues)
})

/** Writes what changed, and what a write that failed or was stopped has left. */
class Writer {
  readonly #pages: PageStore
  readonly #knowledge: Knowledge
  #left = new Map<string, string>()
  #dirty = false
  #complained = false

  constructor(pages: PageStore, knowledge: Knowledge) {
    this.#pages = pages
    this.#knowledge = knowledge
  }

  touch(): void {
    this.#dirty = true
  }

  readonly write: Effect.Effect<void> = Effect.suspend(() => {
    if (!this.#dirty) return Effect.void
    this.#dirty = false
    for (const [name, text] of this.#knowledge.pages("changed")) this.#left.set(name, text)
    const leaving = this.#left
    return this.#pages.write(leaving, () => this.#knowledge.pages("all")).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (exit._tag === "Failure") this.#dirty = true
          else this.#left = new Map()
        })
      ),
      Effect.catchCause((cause) => this.#complain(cause))
    )
  })

  #complain(cause: unknown): Effect.Effect<void> {
    if (this.#complained) return Effect.void
    this.#complained = true
    return Effect.logWarning(
      "The store of the history predictor cannot be written: what it learns is kept in memory only.",
      cause
    )
  }
}

/** Keeps what is known in the store, as long as the scope lives. */
const keeping = Effect.fnUntraced(function*(pages: PageStore, knowledge: Knowledge) {
  const writer = new Writer(pages, knowledge)
  const learned = Latch.makeUnsafe(false)
  yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(writer.write, closeWithin)))
  yield* Effect.forkScoped(Effect.forever(
    learned.await.pipe(
      Effect.andThen(Effect.sync(() => learned.closeUnsafe())),
      Effect.andThen(writer.write),
      Effect.andThen(Effect.sleep(writeEvery))
    )
  ))
  return () => {
    writer.touch()
    learned.openUnsafe()
  }
})

/** Makes the predictor, with what its store has. */
export const makeHistory = Effect.fnUntraced(
  function*(settings: Settings): Effect.fn.Return<HistoryPredictor, never, Scope.Scope> {
    if (settings.store === undefined) {
      return new HistoryPredictor(Knowledge.empty(settings.keepValues), settings, () => {})
    }
    const writer = `${yield* Clock.currentTimeMillis}-${yield* Random.nextInt}`
    const pages = new PageStore(settings.store, features, writer)
    const knowledge = yield* knowledgeIn(pages, settings.keepValues)
    const changed = settings.learn ? yield* keeping(pages, knowledge) : () => {}
    return new HistoryPredictor(knowledge, settings, changed)
  }
)
