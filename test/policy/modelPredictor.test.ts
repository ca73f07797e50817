import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as OpenAi from "../../src/adapter/OpenAi.ts"
import { Orchestrator, Predictor, Speculation, ToolPolicy } from "../../src/index.ts"
import { Trust } from "../../src/policy/internal/trust.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, recording } from "../model.ts"
import { ask, question, tell } from "./predictors.ts"

const search = (query: string) => ToolCall("search", { query })

const always = (...items: ReadonlyArray<TestModel.ChunkedItem>) => TestModel.script([], { otherwise: items })

describe("layerModel", () => {
  it.effect("asks the faster model with the main model's prompt and tools, and gives its calls", () => {
    const fast = recording(["Let me see.", search("a"), ToolCall("read", { query: "b" })])
    return Effect.gen(function*() {
      const guesses = yield* ask()
      assert.deepStrictEqual(guesses, [
        { tool: "search", params: { query: "a" }, confidence: 0.7, predictor: "model" },
        { tool: "read", params: { query: "b" }, confidence: 0.7, predictor: "model" }
      ])
      const [request, ...others] = yield* fast.requests
      assert.strictEqual(others.length, 0)
      assert.deepStrictEqual(request?.tools, ["search", "read", "save"])
      assert.deepStrictEqual(request?.prompt, question().prompt)
      assert.strictEqual(request?.method, "streamText")
    }).pipe(Effect.provide(Predictor.layerModel({ model: fast.layer })))
  })

  it.effect("gives each call when it seals, not when the answer ends", () => {
    const model = TestModel.script([[search("a"), TestModel.wait("1 second"), search("b"), TestModel.wait("1 hour")]])
    return Effect.gen(function*() {
      const { predict } = yield* Predictor.Predictor
      const given: Array<unknown> = []
      const asking = yield* Effect.forkChild(
        Stream.runForEach(predict(question()), ({ params }) => Effect.sync(() => given.push(params)))
      )
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(given, [{ query: "a" }])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(given, [{ query: "a" }, { query: "b" }])
      yield* Fiber.interrupt(asking)
    }).pipe(Effect.provide(Predictor.layerModel({ model })))
  })

  it.effect("takes the service itself as well as a layer, under a name of your own", () =>
    Effect.gen(function*() {
      const { languageModel } = yield* TestModel.make([search("a")])
      const layer = Predictor.layerModel({ model: languageModel, name: "haiku" })
      const [guess] = yield* Effect.provide(ask(), layer)
      assert.strictEqual(guess?.predictor, "haiku")
      const { names } = yield* Effect.provide(Predictor.Predictor, layer)
      assert.deepStrictEqual(names, ["haiku"])
    }))

  it.effect("keeps its model to itself", () =>
    Effect.gen(function*() {
      const main = yield* Effect.serviceOption(LanguageModel.LanguageModel)
      assert.strictEqual(main._tag, "None")
    }).pipe(Effect.provide(Predictor.layerModel({ model: always("x") }))))

  it.effect("notes the tokens of its answer", () => {
    const usage = { inputTokens: 40, outputTokens: 2 }
    const spent: Array<number> = []
    return Effect.gen(function*() {
      yield* ask({ spend: (tokens) => spent.push(tokens) })
      assert.deepStrictEqual(spent, [42])
    }).pipe(
      Effect.provide(Predictor.layerModel({ model: always(search("a"), TestModel.finish("tool-calls", { usage })) }))
    )
  })

  it.effect("passes on calls of tools that never start on a guess, so that they are counted", () =>
    Effect.gen(function*() {
      yield* tell("save", false, 100)
      const guesses = yield* ask()
      assert.deepStrictEqual(guesses.map(({ tool }) => tool), ["save", "nope"])
    }).pipe(Effect.provide(Predictor.layerModel({ model: always(ToolCall("save", {}), ToolCall("nope", {})) }))))

  it.effect("leaves out calls that the provider runs itself", () => {
    const own = {
      type: "tool-call",
      id: "p",
      name: "search",
      params: { query: "own" },
      providerExecuted: true
    } as const
    return Effect.gen(function*() {
      assert.deepStrictEqual((yield* ask()).map(({ params }) => params), [{ query: "a" }])
    }).pipe(Effect.provide(Predictor.layerModel({ model: always(own, search("a")) })))
  })

  it.effect("does not ask where nothing may start on a guess", () => {
    const fast = recording(search("a"))
    return Effect.gen(function*() {
      assert.deepStrictEqual(yield* ask({ speculable: new Set() }), [])
      assert.deepStrictEqual(yield* fast.requests, [])
    }).pipe(Effect.provide(Predictor.layerModel({ model: fast.layer })))
  })

  it.effect("reads so many calls of an answer, and no more", () =>
    Effect.gen(function*() {
      const guesses = yield* ask()
      assert.deepStrictEqual(guesses.map(({ params }) => params), [{ query: "0" }, { query: "1" }, { query: "2" }])
    }).pipe(
      Effect.provide(
        Predictor.layerModel({ model: always(...[0, 1, 2, 3, 4].map((n) => search(`${n}`))), maxCalls: 3 })
      )
    ))

  it.effect("fails as its model fails, after what came before", () =>
    Effect.gen(function*() {
      const { predict } = yield* Predictor.Predictor
      const given: Array<string> = []
      const exit = yield* Effect.exit(
        Stream.runForEach(predict(question()), ({ tool }) => Effect.sync(() => given.push(tool)))
      )
      assert.deepStrictEqual(exit, Exit.fail(aiError))
      assert.deepStrictEqual(given, ["search"])
    }).pipe(
      Effect.provide(
        Predictor.layerModel({
          model: TestModel.script([[search("a"), TestModel.fail(aiError, { after: "1 milli" })]])
        })
      ),
      (test) => Effect.andThen(Effect.forkChild(TestClock.adjust("1 second")), test)
    ))

  it.each<[string, Omit<Predictor.ModelOptions, "model">]>([
    ["confidenceThreshold", { confidenceThreshold: Number.NaN }],
    ["confidenceThreshold", { confidenceThreshold: 1.1 }],
    ["maxCalls", { maxCalls: 0 }],
    ["maxCalls", { maxCalls: 1.5 }],
    ["name", { name: "" }],
    ["prior.confidence", { prior: { confidence: -0.1 } }],
    ["prior.weight", { prior: { weight: 0 } }]
  ])("dies on a %s that makes no sense, naming it", (name, options) => {
    assert.throws(() => Predictor.layerModel({ model: always("x"), ...options }), new RegExp(`${name} is `))
  })
})

describe("layerModel's confidence", () => {
  it.effect("is the past's, by tool, beginning with the prior", () => {
    const model = always(search("a"), ToolCall("read", { query: "b" }))
    return Effect.gen(function*() {
      yield* tell("search", true, 4)
      const [first, other] = yield* ask()
      assert.approximately(first!.confidence, 0.84, 0.01)
      assert.strictEqual(other?.confidence, 0.7)
    }).pipe(Effect.provide(Predictor.layerModel({ model })))
  })

  it.effect("is enough where it is just the threshold", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* ask())[0]?.confidence, 0.7)
    }).pipe(Effect.provide(Predictor.layerModel({ model: always(search("a")), confidenceThreshold: 0.7 }))))

  it.effect("begins where the options say", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* ask())[0]?.confidence, 0.5)
      yield* tell("search", true)
      assert.approximately((yield* ask())[0]!.confidence, 0.75, 1e-9)
    }).pipe(Effect.provide(Predictor.layerModel({
      model: always(search("a")),
      prior: { confidence: 0.5, weight: 1 }
    }))))

  it.effect("holds back a tool that is wrong too often, but for a rare probe, and lets it come back", () =>
    Effect.gen(function*() {
      yield* tell("search", false, 40)
      const given: Array<number> = []
      for (let turn = 1; turn <= 40; turn++) if ((yield* ask()).length > 0) given.push(turn)
      assert.deepStrictEqual(given, [10, 20, 30, 40])
      // From now on it is right whenever it is heard.
      let heard = 0
      for (let turn = 1; turn <= 1000 && heard < 100; turn++) {
        const guesses = yield* ask()
        if (guesses.length > 0) heard += (yield* tell("search", true), 1)
      }
      assert.strictEqual(heard, 100)
      const [guess] = yield* ask()
      assert.isAbove(guess!.confidence, 0.85)
    }).pipe(Effect.provide(Predictor.layerModel({ model: always(search("a")), confidenceThreshold: 0.5 }))))

  it.effect("says a probe's confidence as it is", () =>
    Effect.gen(function*() {
      yield* tell("search", false, 40)
      let guesses: ReadonlyArray<Predictor.Guess> = []
      while (guesses.length === 0) guesses = yield* ask()
      assert.isBelow(guesses[0]!.confidence, 0.15)
    }).pipe(Effect.provide(Predictor.layerModel({ model: always(search("a")) }))))

  it.effect("is within 0.1 of the truth after 200 guesses, for each of five tools", () =>
    Effect.gen(function*() {
      const prior = { confidence: 0.7, weight: 4, memory: 50, probeEvery: 10 }
      for (const truth of [0.05, 0.3, 0.5, 0.8, 0.95]) {
        const trust = new Trust(prior)
        let sum = 0
        for (let nth = 0; nth < 2200; nth++) {
          if (nth >= 200) sum += trust.of("t")
          trust.judged("t", (yield* Random.next) < truth)
        }
        assert.approximately(sum / 2000, truth, 0.1, `seed 6, truth ${truth}`)
      }
    }).pipe(Random.withSeed("6")))

  it("forgets the tool it heard of longest ago, where there are very many", () => {
    const trust = new Trust({ confidence: 0.7, weight: 4, memory: 50, probeEvery: 10 })
    for (let tool = 0; tool < 1000; tool++) trust.judged(`t${tool}`, false)
    assert.isBelow(trust.of("t0"), 0.7)
    trust.judged("t0", false)
    trust.judged("new", false)
    assert.isBelow(trust.of("t0"), 0.7)
    assert.strictEqual(trust.of("t1"), 0.7)
  })
})

describe("layerModel over HTTP", () => {
  // Says one call and then nothing, and knows when its caller has gone.
  let gone = Promise.withResolvers<void>()
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(200, { "content-type": "text/event-stream" })
    const call = { index: 0, id: "c", type: "function", function: { name: "search", arguments: `{"query":"a"}` } }
    const next = { index: 1, id: "d", type: "function", function: { name: "search", arguments: "" } }
    for (const entry of [call, next]) {
      response.write(`data: ${
        JSON.stringify({
          id: "x",
          object: "chat.completion.chunk",
          created: 1,
          model: "m",
          choices: [{ index: 0, delta: { tool_calls: [entry] }, finish_reason: null }]
        })
      }\n\n`)
    }
    response.on("close", () => gone.resolve())
  })
  const model = () =>
    OpenAi.layer({ model: "m", baseURL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1` })
  beforeAll(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)))
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })

  it.live("ends the request when nobody listens any more", () =>
    Effect.gen(function*() {
      gone = Promise.withResolvers<void>()
      const first = Promise.withResolvers<Predictor.Guess>()
      yield* Effect.gen(function*() {
        const { predict } = yield* Predictor.Predictor
        const asking = yield* Effect.forkChild(
          Stream.runForEach(predict(question()), (guess) => Effect.sync(() => first.resolve(guess)))
        )
        const guess = yield* Effect.promise(() => first.promise)
        assert.deepStrictEqual(guess.params, { query: "a" })
        yield* Fiber.interrupt(asking)
        yield* Effect.promise(() => gone.promise)
      }).pipe(Effect.provide(Predictor.layerModel({ model: model() })))
    }), 20_000)

  it.live(
    "ends the request when the main model's answer has ended, and the guess with it",
    () =>
      Effect.gen(function*() {
        gone = Promise.withResolvers<void>()
        const started = Promise.withResolvers<void>()
        const stopped: Array<string> = []
        const { layer, toolkit } = ToolPolicy.define({
          search: ToolPolicy.tool({
            parameters: Schema.Struct({ query: Schema.String }),
            success: Schema.String,
            annotations: { readonly: true },
            handler: ({ query }) =>
              Effect.andThen(Effect.sync(() => started.resolve()), Effect.never).pipe(
                Effect.onInterrupt(() => Effect.sync(() => stopped.push(query)))
              )
          })
        })
        // The main model answers the user once the guess is at work.
        const main = TestModel.script([[TestModel.wait(Effect.promise(() => started.promise)), "No need to search."]])
        const { report, text } = yield* Orchestrator.run({ prompt: "Find it.", toolkit }).pipe(
          Effect.provide([layer, main, Speculation.layer(), Predictor.layerModel({ model: model() })])
        )
        yield* Effect.promise(() => gone.promise)
        assert.strictEqual(text, "No need to search.")
        assert.deepStrictEqual(stopped, ["a"])
        assert.deepStrictEqual(report.speculation?.entries.map(({ miss, started, tool }) => [tool, started, miss]), [
          ["search", 1, 1]
        ])
      }),
    20_000
  )
})
