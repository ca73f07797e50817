import { assert, describe, it } from "@effect/vitest"
import * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { CancelReason, ToolEvent, ToolFailure, ToolPolicy } from "../../src/index.ts"

const reasons: ReadonlyArray<CancelReason.CancelReason> = [
  CancelReason.timeout("attempt", 5),
  CancelReason.timeout("deadline", 5),
  CancelReason.timeout("total", 5),
  CancelReason.superseded("call_2"),
  CancelReason.branchCancelled(),
  CancelReason.branchCancelled("why"),
  CancelReason.callerGone,
  { _tag: "Misspeculated" },
  CancelReason.budgetSpent("tokens"),
  CancelReason.shutdown
]

describe("CancelReason", () => {
  it.each(reasons)("%o crosses a boundary, a cause, and has words of its own", (reason) => {
    const encoded = JSON.parse(JSON.stringify(Schema.encodeSync(CancelReason.CancelReasonSchema)(reason))) as unknown
    assert.deepStrictEqual(Schema.decodeUnknownSync(CancelReason.CancelReasonSchema)(encoded), reason)
    const cause = Cause.annotate(Cause.interrupt(), Context.make(CancelReason.CancelReason, reason))
    assert.strictEqual(CancelReason.fromCause(cause), reason)
    const others = reasons.filter((other) => other !== reason).map(CancelReason.message)
    assert.notInclude(others, CancelReason.message(reason))
  })

  it("is undefined for an interruption nobody gave a reason for", () => {
    assert.isUndefined(CancelReason.fromCause(Cause.interrupt()))
    assert.isUndefined(CancelReason.fromCause(Cause.fail("x")))
  })
})

const failures: ReadonlyArray<ToolFailure.ToolFailure> = [
  ToolFailure.unknownTool("a", "c", ["b"], ["b"]),
  ToolFailure.invalidInput("a", "c", "wrong", ["x"], ["y"]),
  ToolFailure.invalidOutput("a", "c", "wrong"),
  ToolFailure.handlerFailed("a", "c", new Error("no")),
  ToolFailure.rejected("a", "c", "a limit"),
  ToolFailure.rejected("a", "c", "a limit", 1500),
  ToolFailure.truncated("a", "c"),
  ToolFailure.notStarted("a", "c", "why"),
  ToolFailure.stopped("a", "c", CancelReason.timeout("attempt", 5), true, true),
  ToolFailure.stopped("a", "c", CancelReason.shutdown, false, false)
]

describe("ToolFailure", () => {
  it.each(failures)("$_tag is recognised, crosses a boundary, and names tool and call", (failure) => {
    assert.isTrue(ToolFailure.is(failure))
    const decoded = Schema.decodeUnknownSync(ToolFailure.ToolFailure)(JSON.parse(JSON.stringify(failure)))
    assert.deepStrictEqual(decoded, failure)
    assert.deepInclude(failure, { tool: "a", callId: "c" })
    assert.isAbove(failure.message.length, 10)
  })

  it("does not take a tool's own failure for one of ours", () => {
    for (
      const other of [null, undefined, "TimedOut", { _tag: "TimedOut" }, {
        _tag: "NotFound",
        callId: "c",
        isRetryable: true
      }]
    ) {
      assert.isFalse(ToolFailure.is(other))
    }
  })

  it("keeps every message within its bound, whatever goes in", () => {
    const huge = "x".repeat(1_000_000)
    const many = Array.from({ length: 10_000 }, () => huge.slice(0, 1000))
    for (
      const failure of [
        ToolFailure.unknownTool(huge, "c", many, many.slice(0, 3)),
        ToolFailure.invalidInput("a", "c", huge, many, many),
        ToolFailure.invalidOutput("a", "c", huge),
        ToolFailure.handlerFailed("a", "c", huge)
      ]
    ) {
      assert.isAtMost(failure.message.length, ToolFailure.maxMessageLength + 64)
    }
  })

  it("says how long to wait, rounded up to seconds", () => {
    assert.include(ToolFailure.rejected("a", "c", "google", 1001).message, "Try again in 2 s")
  })

  it.each([
    [false, false, "It had not started."],
    [true, false, "part of its work may be done"],
    [true, true, "did not stop when asked"]
  ])("of a stopped call (started %s, abandoned %s) says %j", (started, abandoned, words) => {
    assert.include(ToolFailure.stopped("a", "c", CancelReason.callerGone, started, abandoned).message, words)
  })

  it("describes errors by name and message, never by stack", () => {
    assert.strictEqual(ToolFailure.describe(new TypeError("no")), "TypeError: no")
    assert.strictEqual(ToolFailure.describe(new Error("")), "Error")
    assert.strictEqual(ToolFailure.describe({ code: 7 }), "{\"code\":7}")
    assert.strictEqual(ToolFailure.describe(undefined), "undefined")
    assert.notInclude(ToolFailure.describe(new Error("no")), ".test.ts")
  })
})

describe("ToolPolicy.read", () => {
  it("gives the defaults of a tool that says nothing", () => {
    assert.deepStrictEqual(ToolPolicy.read(Tool.make("plain")), {
      timeoutMillis: undefined,
      deadlineMillis: undefined,
      graceMillis: 250,
      concurrency: undefined,
      resources: undefined,
      eager: "sealed",
      group: undefined,
      service: undefined,
      cost: undefined,
      retry: undefined,
      hedge: undefined,
      speculate: false,
      priceMillis: 0,
      repeatable: false
    })
  })

  it.each<readonly [string, Tool.Any, boolean]>([
    ["one that says nothing", Tool.make("t"), false],
    ["Readonly", Tool.make("t").annotate(Tool.Readonly, true), true],
    ["Idempotent, which may write", Tool.make("t").annotate(Tool.Idempotent, true), false],
    ["Speculate", Tool.make("t").annotate(ToolPolicy.Speculate, true), true],
    [
      "Readonly that asks not to",
      Tool.make("t").annotate(Tool.Readonly, true).annotate(ToolPolicy.Speculate, false),
      false
    ],
    [
      "Speculate that needs approval",
      Tool.make("t", { needsApproval: true }).annotate(ToolPolicy.Speculate, true),
      false
    ],
    [
      "Speculate that waits for the end of the turn",
      Tool.make("t").annotate(ToolPolicy.Eager, "after-finish").annotate(ToolPolicy.Speculate, true),
      false
    ],
    [
      "Speculate that is destructive",
      Tool.make("t").annotate(Tool.Destructive, true).annotate(ToolPolicy.Speculate, true),
      false
    ]
  ])("says whether a call may start on a guess: %s", (_, tool, speculate) => {
    assert.strictEqual(ToolPolicy.read(tool).speculate, speculate)
  })

  it("lets only an explicit Destructive wait for the end of the turn, and Eager decide", () => {
    const eager = (tool: Tool.Any) => ToolPolicy.read(tool).eager
    assert.strictEqual(eager(Tool.make("a").annotate(Tool.Destructive, true)), "after-finish")
    assert.strictEqual(eager(Tool.make("a").annotate(Tool.Destructive, false)), "sealed")
    assert.strictEqual(
      eager(Tool.make("a").annotate(Tool.Destructive, true).annotate(ToolPolicy.Eager, "sealed")),
      "sealed"
    )
  })

  it("counts read-only and idempotent tools as repeatable", () => {
    assert.isTrue(ToolPolicy.read(Tool.make("a").annotate(Tool.Readonly, true)).repeatable)
    assert.isTrue(ToolPolicy.read(Tool.make("a").annotate(Tool.Idempotent, true)).repeatable)
  })

  it.each([
    ["Concurrency", Tool.make("bad").annotate(ToolPolicy.Concurrency, 0)],
    ["Concurrency", Tool.make("bad").annotate(ToolPolicy.Concurrency, 1.5)],
    ["Concurrency", Tool.make("bad").annotate(ToolPolicy.Concurrency, Number.NaN)],
    ["Timeout", Tool.make("bad").annotate(ToolPolicy.Timeout, "-1 seconds")],
    ["Timeout", Tool.make("bad").annotate(ToolPolicy.Timeout, "soon" as never)],
    ["Deadline", Tool.make("bad").annotate(ToolPolicy.Deadline, -1)],
    ["Grace", Tool.make("bad").annotate(ToolPolicy.Grace, -1)],
    ["Price", Tool.make("bad").annotate(ToolPolicy.Price, -1)],
    ["Price", Tool.make("bad").annotate(ToolPolicy.Price, Number.NaN)],
    ["Price", Tool.make("bad").annotate(ToolPolicy.Price, "cheap" as never)],
    ["Price", Tool.make("bad").annotate(ToolPolicy.Price, {})],
    ["Price", Tool.make("bad").annotate(ToolPolicy.Price, Promise.resolve(1) as never)],
    ["Speculate", Tool.make("bad").annotate(ToolPolicy.Speculate, "yes" as never)]
  ])("dies on a %s that makes no sense, with the tool's name", (name, tool) => {
    assert.throws(() => ToolPolicy.read(tool), new RegExp(`ToolPolicy\\.${name} of tool "bad"`))
  })
})

describe("ToolPolicy.define", () => {
  const Params = Schema.Struct({ id: Schema.String })
  const annotations = {
    title: "T",
    readonly: true,
    destructive: true,
    idempotent: true,
    openWorld: false,
    strict: true,
    timeout: "1 seconds",
    deadline: "2 seconds",
    grace: "3 seconds",
    concurrency: 4,
    eager: "sealed",
    group: "g",
    service: "s",
    speculate: false,
    price: "2 seconds"
  } as const

  it("writes every annotation of the record on the tool", () => {
    const resources = () => [{ read: "x" }]
    const cost = { estimate: () => 1, actual: () => 2, calls: () => 3 }
    const { toolkit } = ToolPolicy.define({
      work: ToolPolicy.tool({
        parameters: Params,
        annotations: { ...annotations, resources, cost },
        handler: () => Effect.void
      })
    })
    const tool = toolkit.tools.work
    assert.deepStrictEqual(ToolPolicy.read(tool), {
      timeoutMillis: 1000,
      deadlineMillis: 2000,
      graceMillis: 3000,
      concurrency: 4,
      resources,
      eager: "sealed",
      group: "g",
      service: "s",
      cost,
      retry: undefined,
      hedge: undefined,
      speculate: false,
      priceMillis: 2000,
      repeatable: true
    } as never)
    const get = <A>(key: Context.Key<never, A>) => Context.getOrUndefined(tool.annotations, key as never)
    assert.deepStrictEqual(
      [Tool.Title, Tool.Readonly, Tool.Destructive, Tool.Idempotent, Tool.OpenWorld, Tool.Strict].map((key) =>
        get(key as never)
      ),
      ["T", true, true, true, false, true]
    )
  })

  it("takes annotations as a Context too, and ignores keys that are none of ours", () => {
    const { toolkit } = ToolPolicy.define({
      a: ToolPolicy.tool({ annotations: Context.make(ToolPolicy.Group, "g"), handler: () => Effect.void }),
      b: ToolPolicy.tool({ annotations: { constructor: "x" } as never, handler: () => Effect.void })
    })
    assert.strictEqual(ToolPolicy.read(toolkit.tools.a).group, "g")
    assert.strictEqual(ToolPolicy.read(toolkit.tools.b).group, undefined)
  })
})

describe("ToolEvent.toJson", () => {
  it("writes a result with its encoded form, and Effect's parts without their type ids", () => {
    const part = Response.makePart("tool-result", {
      id: "a",
      name: "when",
      result: new Date(0),
      encodedResult: "1970-01-01T00:00:00.000Z",
      isFailure: false,
      providerExecuted: false,
      preliminary: false
    })
    const json = ToolEvent.toJson(part) as Record<string, unknown>
    assert.deepStrictEqual(JSON.parse(JSON.stringify(json)), {
      type: "tool-result",
      id: "a",
      name: "when",
      result: "1970-01-01T00:00:00.000Z",
      isFailure: false,
      providerExecuted: false,
      preliminary: false,
      metadata: {}
    })
    assert.deepStrictEqual(Reflect.ownKeys(json).filter((key) => String(key).startsWith("~")), [])
  })

  it("writes bytes as base64, more than one block of them", () => {
    const data = new Uint8Array(20_000).map((_, i) => i % 256)
    const part = Response.makePart("file", { mediaType: "image/png", data })
    const { data: text } = ToolEvent.toJson(part) as { readonly data: string }
    assert.deepStrictEqual(new Uint8Array(Buffer.from(text, "base64")), data)
  })

  it("leaves the prompt out of run-finish and keeps our other parts as they are", () => {
    const part = { type: "step-start", step: 1, time: 5 } as const
    assert.deepStrictEqual(ToolEvent.toJson(part), part)
    const finish = { type: "run-finish", runId: "r", text: "", prompt: { secret: true }, time: 5 } as never
    assert.deepStrictEqual(ToolEvent.toJson(finish), { type: "run-finish", runId: "r", text: "", time: 5 })
  })
})
