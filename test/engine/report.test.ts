import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import * as Tracer from "effect/Tracer"
import { Orchestrator, Predictor, Report, Speculation, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, scripted } from "../model.ts"

const sleeper = (annotations: ToolPolicy.Annotations<{ readonly millis: number }> = {}) =>
  ToolPolicy.tool({
    parameters: Schema.Struct({ millis: Schema.Finite }),
    success: Schema.Finite,
    failure: Schema.Literal("odd"),
    annotations,
    handler: ({ millis }) =>
      Effect.andThen(Effect.sleep(millis), millis % 2 === 0 ? Effect.succeed(millis) : Effect.fail("odd" as const))
  })

const { layer, toolkit } = ToolPolicy.define({
  sleep: sleeper({ timeout: "1 minute" }),
  web: sleeper({ service: "google" }),
  broken: ToolPolicy.tool({ handler: () => Effect.die("secret argument") })
})

const sleep = (id: string, millis: number, name = "sleep") => ToolCall(name, { millis }, { id })

describe("the report", () => {
  it.effect("says where the time went: waiting, running, the model, the critical path", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Orchestrator.run({ prompt: "go", toolkit, runId: "r", toolCallConcurrency: 2 })
      )
      yield* TestClock.adjust("1 minute")
      const { report } = yield* Fiber.join(fiber)
      const one = (callId: string, step: number, queuedMillis: number, runMillis: number) => ({
        callId,
        name: "sleep",
        step,
        status: "success",
        queuedMillis,
        limiterMillis: 0,
        runMillis,
        attempts: 1,
        abandoned: false
      })
      assert.deepStrictEqual(report, {
        runId: "r",
        // 1 s to the first two calls, 2 s more to the end of the turn; c waits for a's place.
        totalMillis: 1000 + 3000 + 4000 + 500 + 1000,
        modelMillis: 3000 + 500,
        sequentialMillis: 3000 + 6000 + 4000 + 1000,
        peakConcurrency: 2,
        calls: [
          one("a", 1, 0, 3000),
          one("b", 1, 0, 6000),
          one("c", 1, 1000, 4000),
          { ...one("d", 2, 0, 1000), name: "web", service: "google" }
        ],
        steps: [
          { step: 1, modelMillis: 3000, limiterMillis: 0, calls: 3, finishReason: "tool-calls" },
          { step: 2, modelMillis: 500, limiterMillis: 0, calls: 1, finishReason: "tool-calls" },
          { step: 3, modelMillis: 0, limiterMillis: 0, calls: 0, finishReason: "stop" }
        ],
        criticalPath: [
          { kind: "model", step: 1, millis: 3000 },
          { kind: "queue", step: 1, millis: 1000, callId: "c", name: "sleep" },
          { kind: "tool", step: 1, millis: 4000, callId: "c", name: "sleep" },
          { kind: "model", step: 2, millis: 500 },
          { kind: "queue", step: 2, millis: 0, callId: "d", name: "web" },
          { kind: "tool", step: 2, millis: 1000, callId: "d", name: "web" },
          { kind: "model", step: 3, millis: 0 }
        ],
        abandoned: [],
        groups: []
      })
      assert.deepStrictEqual(yield* Schema.encodeUnknownEffect(Report.Report)(report), report)
    }).pipe(Effect.provide([
      layer,
      scripted([
        TestModel.wait("1 seconds"),
        sleep("a", 3000),
        sleep("b", 6000),
        TestModel.wait("2 seconds"),
        sleep("c", 4000)
      ], [TestModel.wait("500 millis"), sleep("d", 1000, "web")])
    ])))

  it.effect("names how each call ended", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Orchestrator.run({ prompt: "go", toolkit }))
      yield* TestClock.adjust("2 minutes")
      const { report } = yield* Fiber.join(fiber)
      assert.deepStrictEqual(report.calls.map(({ attempts, status }) => `${status} ${attempts}`), [
        "failure 1",
        "HandlerFailed 1",
        "TimedOut 1",
        "UnknownTool 0",
        "InvalidInput 0"
      ])
    }).pipe(Effect.provide([
      layer,
      scripted([
        sleep("a", 1),
        ToolCall("broken", {}, { id: "b" }),
        sleep("c", 100_000),
        ToolCall("nobody", {}, { id: "d" }),
        ToolCall("sleep", { millis: "1" }, { id: "e" })
      ])
    ])))
})

class Spans {
  readonly all: Array<Tracer.NativeSpan> = []
  readonly tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      this.all.push(span)
      return span
    }
  })
  /** `name < parent` and, for a failure, its `error.type`. */
  get tree(): ReadonlyArray<string> {
    return this.all.filter(({ name }) => !name.startsWith("LanguageModel")).map((span) => {
      const parent = Option.getOrUndefined(span.parent)
      const error = span.attributes.get("error.type")
      return [
        span.name,
        parent?._tag === "Span" ? `< ${parent.name}` : "",
        error === undefined ? "" : `! ${JSON.stringify(error)}`
      ].join(" ").trim()
    })
  }
}

describe("spans", () => {
  const script = [
    sleep("a", 10),
    sleep("b", 1),
    ToolCall("broken", {}, { id: "c" }),
    ToolCall("sleep", { millis: "secret argument" }, { id: "d" })
  ]

  it.effect("are invoke_agent > step > execute_tool, each with its outcome, all ended", () => {
    const spans = new Spans()
    return Effect.gen(function*() {
      const fiber = yield* Orchestrator.run({ prompt: "go", toolkit, runId: "r" }).pipe(
        Effect.withSpan("mine"),
        Effect.provideService(Tracer.Tracer, spans.tracer),
        Effect.forkChild
      )
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(spans.tree, [
        "mine",
        "invoke_agent < mine",
        "step < invoke_agent",
        "execute_tool sleep < step",
        "execute_tool sleep < step ! \"failure\"",
        "execute_tool broken < step ! \"HandlerFailed\"",
        "execute_tool sleep < step ! \"InvalidInput\"",
        "step < invoke_agent"
      ])
      assert.isTrue(spans.all.every(({ status }) => status._tag === "Ended"))
      const tool = spans.all.find(({ name }) => name === "execute_tool sleep")
      assert.deepInclude(Object.fromEntries(tool?.attributes ?? []), {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "sleep",
        "gen_ai.tool.call.id": "a",
        "toolformer.status": "success"
      })
      const agent = spans.all.find(({ name }) => name === "invoke_agent")
      assert.strictEqual(agent?.attributes.get("toolformer.run.id"), "r")
      assert.notInclude(JSON.stringify(spans.all.map(({ attributes }) => [...attributes])), "secret argument")
    }).pipe(Effect.provide([layer, scripted(script)]))
  })

  it.effect("are the parents of what a handler does and of the model's request", () => {
    const spans = new Spans()
    const traced = ToolPolicy.define({
      work: ToolPolicy.tool({ handler: () => Effect.withSpan(Effect.void, "inside") })
    })
    return Effect.gen(function*() {
      yield* Effect.provideService(
        Orchestrator.run({ prompt: "go", toolkit: traced.toolkit }),
        Tracer.Tracer,
        spans.tracer
      )
      const parentOf = (name: string) => {
        const parent = spans.all.find((span) => span.name === name)?.parent ?? Option.none()
        return Option.isSome(parent) && parent.value._tag === "Span" ? parent.value.name : "none"
      }
      assert.strictEqual(parentOf("inside"), "execute_tool work")
      assert.strictEqual(parentOf("LanguageModel.streamText"), "step")
    }).pipe(Effect.provide([traced.layer, scripted([ToolCall("work", {}, { id: "a" })])]))
  })

  it.effect("end with the run when the model breaks", () => {
    const spans = new Spans()
    return Effect.gen(function*() {
      yield* Effect.flip(Effect.provideService(
        Orchestrator.run({ prompt: "go", toolkit }),
        Tracer.Tracer,
        spans.tracer
      ))
      assert.isTrue(spans.all.every(({ status }) => status._tag === "Ended"))
      const agent = spans.all.find(({ name }) => name === "invoke_agent")
      assert.isTrue(agent?.status._tag === "Ended" && agent.status.exit._tag === "Failure")
    }).pipe(Effect.provide([layer, scripted(["I", TestModel.fail(aiError)])]))
  })

  it.effect("are not made where the program has no tracer", () => {
    let parent: unknown = "unset"
    const traced = ToolPolicy.define({
      work: ToolPolicy.tool({
        handler: () =>
          Effect.withFiber((fiber) => {
            parent = fiber.context.mapUnsafe.get(Tracer.ParentSpan.key)
            return Effect.void
          })
      })
    })
    return Effect.gen(function*() {
      yield* Orchestrator.run({ prompt: "go", toolkit: traced.toolkit })
      assert.isUndefined(parent)
    }).pipe(Effect.provide([traced.layer, scripted([ToolCall("work", {}, { id: "a" })], "done")]))
  })

  it.effect("have a faster model's turns and what runs on a guess below the step they foresee", () => {
    const spans = new Spans()
    const reads = ToolPolicy.define({ sleep: sleeper({ readonly: true }) })
    return Effect.gen(function*() {
      const { languageModel } = yield* TestModel.make([sleep("f", 4)], { otherwise: "Nothing." })
      const run = Orchestrator.run({ prompt: "go", toolkit: reads.toolkit }).pipe(
        Effect.withSpan("mine"),
        Effect.provideService(Tracer.Tracer, spans.tracer),
        Effect.provide([reads.layer, Speculation.layer(), Predictor.layerModel({ model: languageModel })])
      )
      const fiber = yield* Effect.forkChild(run)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(fiber)
      const asked = spans.all.filter(({ name }) => name.startsWith("LanguageModel"))
      const parents = asked.map(({ parent }) => Option.getOrUndefined(parent))
      assert.deepStrictEqual(parents.map((parent) => parent?._tag === "Span" ? parent.name : ""), [
        "step",
        "step",
        "step"
      ])
      assert.include(spans.tree, "speculate sleep < step")
    }).pipe(Effect.provide(scripted([TestModel.wait("1 second"), sleep("a", 4)])))
  })
})

describe("a tracer that throws", () => {
  const broken = (throws: "span" | "attribute" | "end"): Tracer.Tracer => {
    const fail = (): never => {
      throw new Error(`the tracer's ${throws} is broken`)
    }
    return Tracer.make({
      span: (options) => {
        if (options.name === "LanguageModel.streamText") return new Tracer.NativeSpan(options)
        if (throws === "span") return fail()
        return Object.assign(new Tracer.NativeSpan(options), { [throws]: fail })
      }
    })
  }

  it.effect("costs its spans and nothing else", () =>
    Effect.gen(function*() {
      const { layer, toolkit } = ToolPolicy.define({
        fine: ToolPolicy.tool({ success: Schema.String, handler: () => Effect.succeed("fine") })
      })
      for (const throws of ["span", "attribute", "end"] as const) {
        const result = yield* Orchestrator.run({ prompt: "go", toolkit }).pipe(
          Effect.provide([
            layer,
            scripted([ToolCall("fine", {}, { id: "a" }), ToolCall("fine", {}, { id: "b" })], "ok")
          ]),
          Effect.provideService(Tracer.Tracer, broken(throws))
        )
        assert.deepStrictEqual(result.toolResults.map((part) => part.result), ["fine", "fine"], throws)
        assert.strictEqual(result.text, "ok")
      }
    }))
})
