import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { PageStore } from "../../src/policy/internal/historyStore.ts"
import * as Predictor from "../../src/policy/Predictor.ts"
import {
  type Call,
  type Conversation,
  type Habits,
  habits,
  otherHabits,
  sourceOf,
  speculable
} from "./historySource.ts"
import { Tally } from "./historyTally.ts"

type Service = typeof Predictor.Predictor.Service

const keyOf = (call: { readonly tool: string; readonly params: unknown }): string =>
  JSON.stringify([call.tool, Object.entries(call.params as Call["params"]).sort(([a], [b]) => a < b ? -1 : 1)])

const ask = (predictor: Service, runId: string, conversation: Conversation, step: number) =>
  Stream.runCollect(predictor.predict({
    runId,
    step,
    prompt: conversation.turns[step]!.prompt,
    from: 1,
    tools: {},
    speculable,
    spend: () => {}
  }))

/** What was heard of the guesses of the turns seen. */
class Hearing {
  readonly confidence = new Tally()
  readonly ifCalling = new Tally()
  readonly best = new Tally()
  readonly bestIfCalling = new Tally()
  turns = 0
  calling = 0
  hits = 0

  hear(guesses: ReadonlyArray<Predictor.Guess>, calls: ReadonlyArray<Call>): void {
    const made = new Set(calls.map(keyOf))
    const right = (guess: Predictor.Guess) => made.has(keyOf(guess))
    this.turns++
    if (calls.length > 0) this.calling++
    for (const [i, guess] of guesses.entries()) {
      this.confidence.add(guess.confidence, right(guess))
      if (i === 0) this.best.add(guess.confidence, right(guess))
      if (calls.length === 0) continue
      this.ifCalling.add(guess.ifCalling!, right(guess))
      if (i === 0) this.bestIfCalling.add(guess.ifCalling!, right(guess))
      if (i === 0 && right(guess)) this.hits++
    }
  }
}

/** One run as the engine has it: each turn asked for and judged, then learned from. */
const live = Effect.fnUntraced(
  function*(predictor: Service, conversation: Conversation, runId: string, hearing?: Hearing) {
    for (let step = 0; step < conversation.turns.length; step++) {
      const { calls } = conversation.turns[step]!
      const guesses = yield* ask(predictor, runId, conversation, step)
      hearing?.hear(guesses, calls)
      const made = new Set(calls.map(keyOf))
      yield* predictor.judged(
        guesses.map((guess) => ({ guess: { ...guess, predictor: "x" }, right: made.has(keyOf(guess)) }))
      )
    }
    yield* predictor.learn({ runId, prompt: conversation.prompt, from: 1, tools: {} })
  }
)

const liveMany = Effect.fnUntraced(function*(
  predictor: Service,
  next: (by: Habits) => Conversation,
  options: { readonly runs: number; readonly by?: Habits; readonly hearing?: Hearing }
) {
  for (let i = 0; i < options.runs; i++) yield* live(predictor, next(options.by ?? habits), `run${i}`, options.hearing)
})

const withPredictor = <A, E>(
  options: Predictor.HistoryOptions,
  use: (predictor: Service) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.provide(Effect.flatMap(Predictor.Predictor, use), Layer.fresh(Predictor.layerHistory(options)))

/** The guesses of one conversation, as plain data. */
const guessesOf = Effect.fnUntraced(function*(predictor: Service, conversation: Conversation) {
  const all: Array<string> = []
  for (let step = 0; step < conversation.turns.length; step++) {
    for (const guess of yield* ask(predictor, "probe", conversation, step)) {
      all.push(`${step} ${keyOf(guess)} ${guess.confidence.toFixed(2)}`)
    }
  }
  return all
})

const memoryStore = Effect.provide(KeyValueStore.KeyValueStore, Layer.fresh(KeyValueStore.layerMemory))

/** Runs an effect, and gives the warnings it logged. */
const warningsOf = Effect.fnUntraced(function*<A, E>(effect: Effect.Effect<A, E>) {
  const warnings: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel === "Warn") warnings.push(String(message))
  })
  yield* Effect.provide(effect, Logger.layer([logger]))
  return warnings
})

describe("Predictor.layerHistory", () => {
  describe("confidence", () => {
    it.effect(
      "is right within 0.1 in each tenth, over 2,000 runs of a source with known probabilities",
      () =>
        withPredictor({}, (predictor) =>
          Effect.gen(function*() {
            const hearing = new Hearing()
            yield* liveMany(predictor, sourceOf(11), { runs: 2000, hearing })
            const about = `seed 11: ${hearing.confidence.toString()} | if calling: ${hearing.ifCalling.toString()}`
            assert.isAtLeast(hearing.confidence.full().length, 6, about)
            assert.isAtMost(hearing.confidence.worst(), 0.1, about)
            assert.isAtMost(hearing.ifCalling.worst(), 0.1, about)
            assert.isAtMost(hearing.best.error(), 0.05, about)
            assert.isAtMost(hearing.bestIfCalling.error(), 0.05, about)
            assert.isAbove(hearing.hits / hearing.calling, 0.5, about)
          })),
      60_000
    )

    it.effect("follows a source whose habits change", () =>
      withPredictor({}, (predictor) =>
        Effect.gen(function*() {
          const next = sourceOf(12)
          yield* liveMany(predictor, next, { runs: 300 })
          const atFirst = new Hearing()
          yield* liveMany(predictor, next, { runs: 40, by: otherHabits, hearing: atFirst })
          yield* liveMany(predictor, next, { runs: 260, by: otherHabits })
          const later = new Hearing()
          yield* liveMany(predictor, next, { runs: 300, by: otherHabits, hearing: later })
          const about = `seed 12: ${later.confidence.toString()}`
          assert.isAbove(later.hits / later.calling, atFirst.hits / atFirst.calling + 0.05, about)
          assert.isAtMost(later.confidence.worst(), 0.1, about)
          assert.isAtMost(later.best.error(), 0.06, about)
        })), 60_000)

    it.effect("is small before there is evidence", () =>
      withPredictor({}, (predictor) =>
        Effect.gen(function*() {
          const next = sourceOf(13)
          for (let i = 0; i < 6; i++) {
            const hearing = new Hearing()
            yield* live(predictor, next(), `run${i}`, hearing)
            assert.isTrue(
              hearing.ifCalling.bins.every((bin, tenth) => tenth < 3 || bin.count === 0),
              hearing.ifCalling.toString()
            )
          }
        })))
  })

  describe("guesses", () => {
    it.effect("come with the likeliest first, of tools that may start on a guess, none under 0.001 or twice", () =>
      withPredictor({}, (predictor) =>
        Effect.gen(function*() {
          const next = sourceOf(14)
          yield* liveMany(predictor, next, { runs: 100 })
          let seen = 0
          for (let run = 0; run < 20; run++) {
            const conversation = next()
            for (let step = 0; step < conversation.turns.length; step++) {
              const guesses = yield* ask(predictor, `probe${run}`, conversation, step)
              seen += guesses.length
              guesses.forEach((guess, i) => {
                assert.isTrue(speculable.has(guess.tool))
                assert.isTrue(
                  guess.confidence >= 0.001 && guess.confidence <= guess.ifCalling! && guess.ifCalling! <= 1
                )
                if (i > 0) assert.isAtMost(guess.confidence, guesses[i - 1]!.confidence)
              })
              assert.strictEqual(new Set(guesses.map(keyOf)).size, guesses.length)
            }
          }
          assert.isAbove(seen, 100)
        })))

    it.effect("stay the same without learning, whatever is judged and finished", () =>
      Effect.gen(function*() {
        const store = yield* memoryStore
        const next = sourceOf(15)
        const probe = next()
        yield* withPredictor({ store }, (predictor) => liveMany(predictor, next, { runs: 80 }))
        const written = yield* store.get("predictor/v1/meta")
        yield* withPredictor({ store, learn: false, name: "frozen" }, (predictor) =>
          Effect.gen(function*() {
            assert.deepStrictEqual(predictor.names, ["frozen"])
            const before = yield* guessesOf(predictor, probe)
            assert.isAbove(before.length, 0)
            yield* liveMany(predictor, next, { runs: 50, by: otherHabits })
            assert.deepStrictEqual(yield* guessesOf(predictor, probe), before)
          }))
        assert.strictEqual(yield* store.get("predictor/v1/meta"), written)
      }))

    it.effect("are the same whether the conversation was followed or is seen for the first time", () =>
      withPredictor({}, (predictor) =>
        Effect.gen(function*() {
          const next = sourceOf(16)
          yield* liveMany(predictor, next, { runs: 60 })
          const conversation = next()
          const last = conversation.turns.length - 1
          const fresh = yield* ask(predictor, "fresh", conversation, last)
          const other = next()
          // The same run id for another conversation, then for this one from the start.
          yield* ask(predictor, "followed", other, other.turns.length - 1)
          for (let step = 0; step < last; step++) yield* ask(predictor, "followed", conversation, step)
          assert.deepStrictEqual(yield* ask(predictor, "followed", conversation, last), fresh)
        })))
  })

  describe("verdicts", () => {
    /** What is guessed of a probe after 60 runs, and then 30 more whose verdicts come as `as` makes them. */
    const after = (as: (guess: Predictor.Guess) => Predictor.Guess) =>
      withPredictor({}, (predictor) =>
        Effect.gen(function*() {
          const next = sourceOf(17)
          yield* liveMany(predictor, next, { runs: 60 })
          for (let i = 0; i < 30; i++) {
            const conversation = next()
            for (let step = 0; step < conversation.turns.length; step++) {
              const guesses = yield* ask(predictor, `more${i}`, conversation, step)
              yield* predictor.judged(guesses.map((guess) => ({ guess: as(guess), right: false })))
            }
          }
          return yield* guessesOf(predictor, next())
        }))

    it.effect("count by what was stated, whatever confidence the guess comes back with", () =>
      Effect.gen(function*() {
        const untouched = yield* after((guess) => guess)
        assert.isAbove(untouched.length, 0)
        const shrunk = (guess: Predictor.Guess) => ({ ...guess, confidence: guess.confidence / 3, predictor: "x" })
        assert.deepStrictEqual(yield* after(shrunk), untouched)
        // A guess whose parameters are not the ones that were given is taken by its own word.
        const other = (guess: Predictor.Guess) => ({ ...shrunk(guess), params: { ...guess.params as object } })
        assert.notDeepEqual(yield* after(other), untouched)
      }))

    it.effect("of guesses of anybody's break nothing", () =>
      withPredictor({}, (predictor) =>
        Effect.gen(function*() {
          const next = sourceOf(18)
          for (const params of [undefined, null, "text", 7, []]) {
            for (const confidence of [0, 1, -3, 2]) {
              const guess = { tool: "get_order", params, confidence, predictor: "x" }
              yield* predictor.judged([{ guess, right: true }, { guess, right: false }])
            }
          }
          yield* liveMany(predictor, next, { runs: 60 })
          const hearing = new Hearing()
          yield* liveMany(predictor, next, { runs: 100, hearing })
          assert.isAbove(hearing.hits / hearing.calling, 0.5)
        })))
  })

  describe("store", () => {
    it.effect("keeps what was learned over a restart", () =>
      Effect.gen(function*() {
        const store = yield* memoryStore
        const next = sourceOf(21)
        const probe = next()
        const before = yield* withPredictor({ store }, (predictor) =>
          Effect.andThen(liveMany(predictor, next, { runs: 80 }), guessesOf(predictor, probe)))
        assert.isAbove(before.length, 0)
        assert.deepStrictEqual(
          yield* withPredictor({ store }, (predictor) =>
            guessesOf(predictor, probe)),
          before
        )
        assert.deepStrictEqual(yield* withPredictor({}, (predictor) => guessesOf(predictor, probe)), [])
      }))

    it.effect("keeps it on files", () =>
      Effect.gen(function*() {
        const directory = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped()
        const open = Effect.provide(KeyValueStore.KeyValueStore, Layer.fresh(KeyValueStore.layerFileSystem(directory)))
        const next = sourceOf(22)
        const probe = next()
        const store = yield* open
        const before = yield* withPredictor({ store }, (predictor) =>
          Effect.andThen(liveMany(predictor, next, { runs: 60 }), guessesOf(predictor, probe)))
        assert.isAbove(before.length, 0)
        const again = yield* open
        assert.deepStrictEqual(
          yield* withPredictor({ store: again }, (predictor) =>
            guessesOf(predictor, probe)),
          before
        )
      }).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeFileSystem.layer, NodePath.layer))))

    it.effect("is written at most once in ten seconds, and when the layer closes", () =>
      Effect.gen(function*() {
        const inner = yield* memoryStore
        let writes = 0
        const store: KeyValueStore.KeyValueStore = {
          ...inner,
          set: (key, value) =>
            Effect.andThen(Effect.sync(() => key.endsWith("meta") ? writes++ : 0), inner.set(key, value))
        }
        const next = sourceOf(23)
        yield* withPredictor({ store }, (predictor) =>
          Effect.gen(function*() {
            yield* liveMany(predictor, next, { runs: 3 })
            yield* TestClock.adjust("1 millis")
            assert.strictEqual(writes, 1)
            yield* liveMany(predictor, next, { runs: 3 })
            yield* TestClock.adjust("9 seconds")
            assert.strictEqual(writes, 1)
            yield* TestClock.adjust("1 seconds")
            assert.strictEqual(writes, 2)
            yield* TestClock.adjust("1 minute")
            assert.strictEqual(writes, 2)
            yield* liveMany(predictor, next, { runs: 3 })
            yield* TestClock.adjust("1 millis")
            assert.strictEqual(writes, 3)
            yield* liveMany(predictor, next, { runs: 1 })
          }))
        assert.strictEqual(writes, 4)
      }))

    it.effect("that is damaged, or of another version, is a warning and nothing known", () =>
      Effect.gen(function*() {
        const next = sourceOf(24)
        const probe = next()
        const damages: ReadonlyArray<
          (store: KeyValueStore.KeyValueStore, key: string) => Effect.Effect<unknown, unknown>
        > = [
          (store, key) => store.remove(key),
          (store, key) => store.set(key, "{"),
          (store, key) => store.modify(key, (text) => text.slice(0, -5)),
          (store) => store.modify("predictor/v1/meta", (text) => text.replace("\"version\":1", "\"version\":7")),
          (store) => store.modify("predictor/v1/meta", (text) => text.replace(/"features":"/, "\"features\":\"x"))
        ]
        for (const [i, damage] of damages.entries()) {
          const store = yield* memoryStore
          yield* withPredictor({ store }, (predictor) => liveMany(predictor, next, { runs: 30 }))
          for (const key of yield* store.keys) if (i < 3 && !key.endsWith("meta")) yield* damage(store, key)
          if (i >= 3) yield* damage(store, "")
          const warnings = yield* warningsOf(withPredictor({ store }, (predictor) =>
            Effect.gen(function*() {
              assert.deepStrictEqual(yield* guessesOf(predictor, probe), [], `damage ${i}`)
              yield* liveMany(predictor, next, { runs: 30 })
            })))
          assert.strictEqual(warnings.length, 1, `damage ${i}: ${warnings.join()}`)
          // What was learned after it is there.
          const warned = yield* warningsOf(withPredictor({ store }, (predictor) =>
            Effect.map(guessesOf(predictor, probe), (guesses) =>
              assert.isAbove(guesses.length, 0))))
          assert.deepStrictEqual(warned, [])
        }
      }))

    it.effect("whose pages are whole but make no sense is a warning and nothing known", () =>
      Effect.gen(function*() {
        const next = sourceOf(30)
        const probe = next()
        const store = yield* memoryStore
        yield* withPredictor({ store }, (predictor) => liveMany(predictor, next, { runs: 30 }))
        const { features } = JSON.parse((yield* store.get("predictor/v1/meta"))!)
        const found = yield* new PageStore(store, features, "test").read
        assert.strictEqual(found._tag, "pages")
        const whole = found._tag === "pages" ? found.pages : new Map<string, string>()
        for (const page of ["counts/3", "tools", "names", "ranker", "rows/0"]) {
          for (const wrong of ["{", "[1]", undefined]) {
            const pages = new Map(whole)
            assert.isTrue(
              wrong === undefined ? pages.delete(page) : pages.has(page) && pages.set(page, wrong).has(page)
            )
            const damaged = yield* memoryStore
            yield* new PageStore(damaged, features, "test").write(new Map(), () => pages)
            const warnings = yield* warningsOf(
              withPredictor({ store: damaged }, (predictor) =>
                Effect.map(guessesOf(predictor, probe), (guesses) => assert.deepStrictEqual(guesses, [])))
            )
            assert.deepStrictEqual(warnings, [
              "The store of the history predictor is damaged: it starts knowing nothing."
            ], `${page} as ${wrong}`)
          }
        }
      }))

    it.effect("that fails is one warning, and runs are learned from all the same", () =>
      Effect.gen(function*() {
        const failure = new KeyValueStore.KeyValueStoreError({ message: "the disk is gone", method: "any" })
        const inner = yield* memoryStore
        const store: KeyValueStore.KeyValueStore = {
          ...inner,
          get: () => Effect.fail(failure),
          set: () => Effect.fail(failure)
        }
        const next = sourceOf(25)
        const warnings = yield* warningsOf(withPredictor({ store }, (predictor) =>
          Effect.gen(function*() {
            for (let i = 0; i < 5; i++) {
              yield* liveMany(predictor, next, { runs: 10 })
              yield* TestClock.adjust("20 seconds")
            }
            assert.isAbove((yield* guessesOf(predictor, next())).length, 0)
          })))
        assert.strictEqual(warnings.length, 2, warnings.join())
        assert.match(warnings[0]!, /cannot be read/)
        assert.match(warnings[1]!, /cannot be written/)
      }))

    it.effect("that recovers gets everything", () =>
      Effect.gen(function*() {
        const inner = yield* memoryStore
        let broken = false
        const failure = new KeyValueStore.KeyValueStoreError({ message: "full", method: "set" })
        const store: KeyValueStore.KeyValueStore = {
          ...inner,
          set: (key, value) =>
            Effect.suspend(() => broken && key.includes("ranker") ? Effect.fail(failure) : inner.set(key, value))
        }
        const next = sourceOf(26)
        const probe = next()
        let before: ReadonlyArray<string> = []
        yield* warningsOf(withPredictor({ store }, (predictor) =>
          Effect.gen(function*() {
            yield* liveMany(predictor, next, { runs: 60 })
            yield* TestClock.adjust("20 seconds")
            broken = true
            const written = yield* store.get("predictor/v1/meta")
            yield* liveMany(predictor, next, { runs: 60 })
            yield* TestClock.adjust("20 seconds")
            assert.strictEqual(yield* store.get("predictor/v1/meta"), written)
            broken = false
            yield* live(predictor, next(), "more")
            before = yield* guessesOf(predictor, probe)
          })))
        assert.isAbove(before.length, 0)
        assert.deepStrictEqual(yield* withPredictor({ store }, (predictor) => guessesOf(predictor, probe)), before)
      }))

    it.effect("that hangs holds up neither a run nor, for more than 5 seconds, the end of the program", () =>
      Effect.gen(function*() {
        const inner = yield* memoryStore
        const store: KeyValueStore.KeyValueStore = { ...inner, set: () => Effect.never }
        const next = sourceOf(27)
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Layer.fresh(Predictor.layerHistory({ store })), scope)
        const predictor = Context.get(context, Predictor.Predictor)
        // The clock stands still: nothing of this has waited for the store.
        yield* liveMany(predictor, next, { runs: 10 })
        assert.isAbove((yield* guessesOf(predictor, next())).length, 0)
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.isDefined(closing.pollUnsafe())
      }))

    it.effect("that does not answer is one warning after 5 seconds, and nothing known", () =>
      Effect.gen(function*() {
        const inner = yield* memoryStore
        const store: KeyValueStore.KeyValueStore = { ...inner, get: () => Effect.never }
        const next = sourceOf(29)
        let opened = false
        const all = warningsOf(withPredictor({ store, learn: false }, (predictor) =>
          Effect.gen(function*() {
            opened = true
            assert.deepStrictEqual(yield* guessesOf(predictor, next()), [])
          })))
        const fiber = yield* Effect.forkChild(all, { startImmediately: true })
        yield* TestClock.adjust("4999 millis")
        assert.isFalse(opened)
        yield* TestClock.adjust("1 millis")
        const warnings = yield* Fiber.join(fiber)
        assert.strictEqual(warnings.length, 1)
        assert.match(warnings[0]!, /does not answer/)
      }))

    it.effect("of two processes has what the last one wrote, whole", () =>
      Effect.gen(function*() {
        const store = yield* memoryStore
        const next = sourceOf(28)
        const probe = next()
        const after = yield* withPredictor({ store }, (one) =>
          withPredictor({ store }, (two) =>
            Effect.gen(function*() {
              yield* liveMany(one, next, { runs: 40 })
              yield* TestClock.adjust("20 seconds")
              yield* liveMany(two, next, { runs: 40, by: otherHabits })
              yield* TestClock.adjust("20 seconds")
              yield* liveMany(one, next, { runs: 10 })
              yield* TestClock.adjust("20 seconds")
              return yield* guessesOf(one, probe)
            })))
        const warnings = yield* warningsOf(withPredictor({ store }, (predictor) =>
          Effect.map(guessesOf(predictor, probe), (again) =>
            assert.deepStrictEqual(again, after))))
        assert.deepStrictEqual(warnings, [])
      }))
  })

  describe("bounds", () => {
    it.effect("keep the store small, however many runs there were", () =>
      Effect.gen(function*() {
        const store = yield* memoryStore
        const next = sourceOf(31)
        const sizeAfter = Effect.fnUntraced(function*(runs: number) {
          yield* withPredictor({ store }, (predictor) => liveMany(predictor, next, { runs }))
          let size = 0
          for (const key of yield* store.keys) size += (yield* store.get(key))!.length
          return size
        })
        yield* sizeAfter(300)
        const some = yield* sizeAfter(100)
        const more = yield* sizeAfter(600)
        assert.isAtMost(more, 8_000_000)
        assert.isAtMost(more, 1.6 * some)
      }), 60_000)

    it.effect("keep no values of the users where they are not wanted", () =>
      Effect.gen(function*() {
        const store = yield* memoryStore
        const wordsKept = Effect.gen(function*() {
          // A page has two places: what is in force is what counts.
          const { pages } = JSON.parse((yield* store.get("predictor/v1/meta"))!)
          let all = ""
          for (const name of Object.keys(pages)) all += yield* store.get(`predictor/v1/${name}.${pages[name][0]}`)
          return ["Paris", "Oslo", "Lima", "Rome", "chair", "packed"].filter((word) => all.includes(word))
        })
        const next = sourceOf(32)
        const runs = (keepValues: boolean, count: number) =>
          withPredictor({ store, keepValues }, (predictor) =>
            Effect.andThen(liveMany(predictor, next, { runs: count }), guessesOf(predictor, next())))
        assert.isAbove((yield* runs(false, 60)).length, 0)
        assert.deepStrictEqual(yield* wordsKept, [])
        // Where they are wanted, they are kept; and forgotten as soon as they no longer are.
        yield* runs(true, 60)
        assert.isAbove((yield* wordsKept).length, 1)
        yield* runs(false, 1)
        assert.deepStrictEqual(yield* wordsKept, [])
      }))
  })
})
