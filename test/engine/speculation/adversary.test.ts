/** Attacks on what nobody may see of a guess: a write, a delay, a failure, another's data. Each was a fault once, or nearly. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Executor, Orchestrator, Predictor, Retry, Speculation, ToolPolicy } from "../../../src/index.ts"
import { TestModel, TestTools } from "../../../src/testing/index.ts"
import { both, guess, ledgerOf, made, played, seen, type Setting } from "../../faults/guessing.ts"
import { aiError } from "../../model.ts"

const Params = Schema.Struct({ key: Schema.String })
type Params = typeof Params.Type

/** One tool, and what its handler does. */
const oneTool = (
  annotations: ToolPolicy.Annotations<Params, string>,
  behave: (params: Params) => TestTools.Behaviour<string>
) =>
(tools: TestTools.HandlerRecorder) =>
  ToolPolicy.define({
    look: ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      annotations,
      handler: tools.handler("look", behave) as never
    })
  })

const at = (
  millis: number,
  ...calls: ReadonlyArray<TestModel.Item>
): TestModel.Turn => [TestModel.wait(millis), ...calls]
const inFirst = (...guesses: ReadonlyArray<Predictor.Guess>): Setting["guesses"] => ({ step }) =>
  step === 1 ? guesses : []

describe("a write", () => {
  /** A number that is read, written, and written by the call of another call's handler. */
  const kit = (annotations: ToolPolicy.Annotations<Params, string>) => () => {
    let version = 0
    const write = () => Effect.sync(() => `wrote ${++version}`)
    const inner = ToolPolicy.define({
      put: ToolPolicy.tool({
        parameters: Params,
        success: Schema.String,
        annotations: { resources: ({ key }) => [{ write: key }] },
        handler: write
      })
    })
    return ToolPolicy.define({
      look: ToolPolicy.tool({
        parameters: Params,
        success: Schema.String,
        annotations: { readonly: true, resources: ({ key }) => [{ read: key }] },
        handler: () => Effect.sync(() => `version ${version}`)
      }),
      touch: ToolPolicy.tool({ parameters: Params, success: Schema.String, annotations, handler: write }),
      flow: ToolPolicy.tool({
        parameters: Params,
        success: Schema.String,
        annotations: { resources: () => [] },
        handler: (params) =>
          Executor.call(inner.toolkit.tools.put, params).pipe(
            Effect.provide(inner.layer),
            Effect.orDie
          )
      })
    })
  }
  const writes = ({ key }: Params) => [{ write: key }]
  const a = { key: "a" }

  for (const annotations of [{ speculate: true, resources: writes }, { readonly: true, resources: writes }] as const) {
    it.effect(`that a tool says it makes is not made on a guess, whatever else it says: ${Object.keys(annotations)[0]}`, () =>
      Effect.gen(function*() {
        const [run, plain] = yield* both({
          kit: kit(annotations),
          turns: [at(1000, made("look", a, "read"))],
          guesses: inFirst(guess("touch", a))
        })
        assert.strictEqual(seen(run), seen(plain))
        assert.strictEqual(ledgerOf(run).started, 0)
      }))
  }

  it.effect("of a call that a handler makes makes guesses stale that read it", () =>
    Effect.gen(function*() {
      const [run, plain] = yield* both({
        kit: kit({}),
        turns: [at(1000, made("flow", a, "write")), at(1000, made("look", a, "read"))],
        guesses: inFirst(guess("look", a))
      })
      assert.strictEqual(seen(run), seen(plain))
      assert.strictEqual(ledgerOf(run).miss, 1)
    }))

  it.effect("stops a guess that reads it in the instant in which it begins", () =>
    Effect.gen(function*() {
      const run = yield* played({
        kit: () =>
          ToolPolicy.define({
            look: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { readonly: true, resources: ({ key }) => [{ read: key }] },
              handler: () => Effect.delay(Effect.succeed("found"), "10 seconds")
            }),
            put: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { resources: writes },
              handler: () => Effect.succeed("written")
            })
          }),
        turns: [at(1000, made("put", a, "write"), TestModel.wait(1000))],
        guesses: inFirst(guess("look", a), guess("look", { key: "b" }))
      })
      const discarded = run.parts.flatMap((part) => part.type === "tool-discarded" ? [[part.why, part.runMillis]] : [])
      assert.deepStrictEqual(discarded, [["stale", 1000], ["refuted", 2000]])
    }))

  it.effect("that never began keeps nobody from guessing", () =>
    Effect.gen(function*() {
      const run = yield* played({
        kit: () =>
          ToolPolicy.define({
            look: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { readonly: true, resources: ({ key }) => [{ read: key }] },
              handler: () => Effect.succeed("found")
            }),
            put: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { resources: writes, deadline: "2 seconds" },
              handler: () => Effect.succeed("written")
            }),
            hold: ToolPolicy.tool({
              parameters: Params,
              success: Schema.String,
              annotations: { readonly: true },
              handler: () => Effect.delay(Effect.succeed("held"), "5 seconds")
            })
          }),
        turns: [
          at(500, made("hold", { key: "b" }, "h"), made("put", a, "w"), TestModel.wait(10)),
          at(1000, made("look", a, "read"))
        ],
        guesses: ({ step }) => step === 2 ? [guess("look", a)] : [],
        run: { toolCallConcurrency: 1 }
      })
      assert.strictEqual(ledgerOf(run).hit, 1)
    }))

  it.effect("of a handler's call that never began keeps nobody from guessing", () =>
    Effect.gen(function*() {
      const inner = ToolPolicy.define({
        put: ToolPolicy.tool({
          parameters: Params,
          success: Schema.String,
          annotations: { concurrency: 1, resources: writes },
          handler: () => Effect.delay(Effect.succeed("written"), "2 seconds")
        })
      })
      const flow = (timeout: "5 seconds" | "500 millis") =>
        ToolPolicy.tool({
          parameters: Params,
          success: Schema.String,
          annotations: { resources: () => [], timeout },
          handler: (params) => Effect.orDie(Effect.provide(Executor.call(inner.toolkit.tools.put, params), inner.layer))
        })
      const flowing = () =>
        ToolPolicy.define({
          look: ToolPolicy.tool({
            parameters: Params,
            success: Schema.String,
            annotations: { readonly: true, resources: ({ key }) => [{ read: key }] },
            handler: () => Effect.succeed("found")
          }),
          first: flow("5 seconds"),
          second: flow("500 millis")
        })
      const run = yield* played({
        kit: flowing,
        turns: [
          at(500, made("first", { key: "b" }, "w1"), made("second", { key: "a" }, "w2")),
          at(1000, made("look", { key: "a" }, "read"))
        ],
        guesses: ({ step }) => step === 2 ? [guess("look", { key: "a" })] : []
      })
      assert.strictEqual(ledgerOf(run).hit, 1)
    }))
})

describe("a call", () => {
  it.effect("waits for a slow guess no longer than for an attempt that gets another beside it", () =>
    Effect.gen(function*() {
      const slowFirst = () => {
        let calls = 0
        return oneTool(
          { readonly: true, hedge: { after: "100 millis" } },
          () => TestTools.succeed("found", { after: calls++ === 0 ? "1 minute" : "10 millis" })
        )
      }
      const turns = [at(1000, made("look", { key: "a" }, "c"))]
      const run = yield* played({ kit: slowFirst(), turns, guesses: inFirst(guess("look", { key: "a" })) })
      assert.strictEqual(run.finish.report.totalMillis, 1110)
      assert.deepStrictEqual(ledgerOf(run), { started: 1, hit: 0, lateHit: 0, miss: 0, failed: 1, preempted: 0 })
      assert.deepStrictEqual(run.calls.map(({ status }) => status), ["interrupted", "success"])
      assert.strictEqual(run.parts.filter(({ type }) => type === "tool-discarded").length, 1)
    }))

  it.effect("takes the outcome of a guess that ends before that", () =>
    Effect.gen(function*() {
      const kit = oneTool({ readonly: true, hedge: { after: "100 millis" } }, () =>
        TestTools.succeed("x", { after: 1050 }))
      const turns = [at(1000, made("look", { key: "a" }, "c"))]
      const run = yield* played({ kit, turns, guesses: inFirst(guess("look", { key: "a" })) })
      assert.strictEqual(run.finish.report.totalMillis, 1050)
      assert.strictEqual(ledgerOf(run).lateHit, 1)
    }))

  it.effect("is not refused for a guess that holds its tool's only permit and does not stop: it waits until that ends", () =>
    Effect.gen(function*() {
      const kit = oneTool(
        { readonly: true, concurrency: 1, grace: "100 millis" },
        ({ key }) =>
          key === "b" ? TestTools.deaf(TestTools.succeed(key, { after: "5 seconds" })) : TestTools.succeed(key)
      )
      const [run, plain] = yield* both({
        kit,
        turns: [at(1000, made("look", { key: "a" }, "c"))],
        guesses: inFirst(guess("look", { key: "b" }))
      })
      assert.strictEqual(seen(run), seen(plain))
      assert.isAtLeast(run.real[0]!.startedAt, run.guessed[0]!.endedAt!)
    }))

  const opaque = {
    "an instance with private fields": class {
      readonly #text: string
      constructor(text: string) {
        this.#text = text
      }
      get text() {
        return this.#text
      }
    },
    "a function": class {
      readonly text: () => string
      constructor(text: string) {
        this.text = () => text
      }
    }
  }
  for (const [what, Opaque] of Object.entries(opaque)) {
    it.effect(`whose parameter decodes to ${what} has no other's guess`, () =>
      Effect.gen(function*() {
        const parameter = Schema.String.pipe(Schema.decodeTo(Schema.Unknown, {
          decode: SchemaGetter.transform((text: string): unknown => new Opaque(text)),
          encode: SchemaGetter.transform(String)
        }))
        const run = yield* played({
          kit: () =>
            ToolPolicy.define({
              look: ToolPolicy.tool({
                parameters: Schema.Struct({ at: parameter }),
                success: Schema.String,
                annotations: { readonly: true },
                handler: () => Effect.succeed("found")
              })
            }),
          turns: [at(1000, made("look", { at: "bbb" }, "c"))],
          guesses: inFirst(guess("look", { at: "aaa" }))
        })
        assert.deepStrictEqual(ledgerOf(run), { started: 1, hit: 0, lateHit: 0, miss: 1, failed: 0, preempted: 0 })
      }))
  }
})

describe("a guess", () => {
  it.effect("of ten megabytes is none", () =>
    Effect.gen(function*() {
      const run = yield* played({
        kit: oneTool({ readonly: true }, () => TestTools.succeed("found")),
        turns: [at(1000)],
        guesses: inFirst(guess("look", { key: "x".repeat(10_000_000) }), guess("look", { key: "x".repeat(60_000) }))
      })
      assert.strictEqual(ledgerOf(run).started, 1)
      assert.strictEqual(run.finish.report.speculation?.predictors[0]?.ignored, 1)
    }))

  it.effect("changes nothing in the report but what is its own", () =>
    Effect.gen(function*() {
      const [run, plain] = yield* both({
        kit: oneTool({ readonly: true }, () => TestTools.succeed("found", { after: 100 })),
        turns: [at(1000, made("look", { key: "a" }, "c1")), at(1000, made("look", { key: "z" }, "c2"))],
        guesses: () => [guess("look", { key: "b" })]
      })
      const { runId: _run, speculation, ...report } = run.finish.report
      const { runId: _plain, ...expected } = plain.finish.report
      assert.deepStrictEqual(report, expected)
      assert.strictEqual(speculation?.entries[0]?.miss, 1)
    }))
})

describe("a predictor", () => {
  it.effect("that changes the list of messages it is given changes no history", () =>
    Effect.gen(function*() {
      const setting: Setting = {
        kit: oneTool({ readonly: true }, () => TestTools.succeed("found")),
        turns: [at(1000, made("look", { key: "a" }, "c1")), at(1000, made("look", { key: "b" }, "c2"))]
      }
      const spoil = ({ prompt }: { readonly prompt: { readonly content: ReadonlyArray<unknown> } }) =>
        (prompt.content as Array<unknown>).splice(0, 1)
      const spoiling = Predictor.make({
        predict: (question) => Stream.suspend(() => (spoil(question), Stream.empty)),
        learn: (run) => Effect.sync(() => spoil(run))
      })
      const plain = yield* played(setting)
      const policies = Layer.merge(Speculation.layer(), spoiling) as Layer.Layer<never>
      assert.strictEqual(seen(yield* played({ ...setting, policies })), seen(plain))
    }))

  it.effect("is asked once about a turn that is asked twice", () =>
    Effect.gen(function*() {
      const run = yield* played({
        kit: oneTool({ readonly: true }, () => TestTools.succeed("found")),
        turns: [at(1000, TestModel.fail(aiError)), at(1000, made("look", { key: "a" }, "c"))],
        guesses: () => [guess("look", { key: "b" })],
        policies: Retry.layer()
      })
      assert.strictEqual(run.finish.report.steps.length, 2)
      assert.strictEqual(run.finish.report.speculation?.predictors[0]?.asked, 2)
    }))
})

describe("the history predictor", () => {
  const never = Effect.never
  const dies = Effect.die("no")
  const store = (over: Partial<KeyValueStore.KeyValueStore>): KeyValueStore.KeyValueStore => ({
    ...KeyValueStore.makeStringOnly({
      get: () => Effect.succeed(undefined),
      set: () => Effect.void,
      remove: () => Effect.void,
      clear: Effect.void,
      size: Effect.succeed(0),
      keys: Effect.succeed([])
    }),
    ...over
  })
  const stores: Readonly<Record<string, Partial<KeyValueStore.KeyValueStore>>> = {
    "does not answer": { get: () => never },
    "dies": { get: () => dies },
    "throws": {
      get: () => {
        throw new Error("no")
      }
    },
    "keeps garbage": { get: () => Effect.succeed("{\"tools\":[[[") },
    "dies and hangs when it is written": { set: () => dies, remove: () => never }
  }
  it.effect.each(Object.entries(stores))(
    "starts, and the program ends, where its store %s",
    ([, over]) =>
      Effect.gen(function*() {
        const run = yield* played({
          kit: oneTool({ readonly: true }, () => TestTools.succeed("found")),
          turns: [at(1000, made("look", { key: "a" }, "c"))],
          policies: Layer.merge(Speculation.layer(), Predictor.layerHistory({ store: store(over) })) as Layer.Layer<
            never
          >
        })
        assert.strictEqual(run.finish.report.speculation?.predictors[0]?.predictor, "history")
      })
  )

  /** Alice comes forty times; then somebody says hello. What is guessed for them. */
  const guessedFor = (keepValues: boolean) =>
    Effect.gen(function*() {
      const { layer, toolkit } = oneTool({ readonly: true }, () => TestTools.succeed("found"))(
        TestTools.recorderUnsafe()
      )
      const talk = (prompt: string, ...turns: ReadonlyArray<TestModel.Turn>) =>
        Stream.runCollect(Orchestrator.stream({ prompt, toolkit })).pipe(
          Effect.provide(layer),
          Effect.provide(TestModel.script([...turns, at(1000, "Hello.")]))
        )
      const all = Effect.gen(function*() {
        for (let n = 0; n < 40; n++) yield* talk("I am alice_1", at(1000, made("look", { key: "alice_1" }, `c${n}`)))
        const parts = yield* talk("Hello!")
        return parts.flatMap((part) => part.type === "tool-speculated" ? [part.params] : [])
      })
      const speculation = Layer.merge(
        Speculation.layer({ confidenceThreshold: 0 }),
        Predictor.layerHistory({ keepValues })
      )
      const fiber = yield* Effect.forkChild(
        Effect.provide(Effect.orDie(all) as unknown as Effect.Effect<ReadonlyArray<unknown>>, speculation)
      )
      yield* TestClock.adjust("3 hours")
      return yield* Fiber.join(fiber)
    })

  it.effect("guesses what one user often said for another, but where it is to keep no values", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* guessedFor(true), [{ key: "alice_1" }])
      assert.deepStrictEqual(yield* guessedFor(false), [])
    }))
})
