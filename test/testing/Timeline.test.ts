import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Stream } from "effect"
import { Prompt, Response } from "effect/ai"
import type { ToolEvent } from "../../src/index.ts"
import { CancelReason, Orchestrator, ToolFailure } from "../../src/index.ts"
import { TestModel, TestTools, Timeline } from "../../src/testing/index.ts"
import { advancing } from "../../src/testing/internal/virtualTime.ts"
import { random } from "../random.ts"
import { read, search, toolkit } from "./kit.ts"

type Part = ToolEvent.AnyPart

const usage = new Response.Usage({
  inputTokens: { uncached: undefined, total: undefined, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: undefined, text: undefined, reasoning: undefined }
})
const start: Part = { type: "run-start", runId: "r", policies: [], tools: [], time: 1000 }
const step = (n: number, time: number): Part => ({ type: "step-start", step: n, time })
const made = (id: string, name: string, params: unknown = {}): Part =>
  Response.makePart("tool-call", { id, name, params, providerExecuted: false })
const queued = (callId: string, name: string, time: number, n = 1): Part => ({
  type: "tool-queued",
  callId,
  name,
  step: n,
  time
})
const started = (callId: string, name: string, time: number, attempt = 1): Part => ({
  type: "tool-started",
  callId,
  name,
  attempt,
  time
})
const retry = (callId: string, name: string, time: number): Part => ({
  type: "tool-retry",
  callId,
  name,
  attempt: 1,
  delayMillis: 5,
  message: "busy",
  time
})
const answered = (id: string, name: string, result: unknown = "ok", isFailure = false): Part =>
  Response.makePart("tool-result", {
    id,
    name,
    result,
    encodedResult: result,
    isFailure,
    providerExecuted: false,
    preliminary: false
  } as never) as Part
const finish = (reason: Response.FinishReason): Part =>
  Response.makePart("finish", { reason, usage, response: undefined })

/** Each part with the time at which it came. */
const at = (...timed: ReadonlyArray<readonly [time: number, part: Part]>) =>
  Timeline.fromParts(timed.map(([, part]) => part), { times: timed.map(([time]) => time) })

const summary = ({ calls }: Timeline.Timeline) =>
  calls.map(({ attempts, endedAt, id, startedAt, status }) => [id, startedAt, endedAt, status, attempts])

describe("Timeline.fromParts", () => {
  it("gives each call its times since the run's start, and the order of all events", () => {
    const timeline = at(
      [1000, start],
      [1000, step(1, 1000)],
      [1005, made("a", "search", { q: 1 })],
      [1005, queued("a", "search", 1005)],
      [1006, started("a", "search", 1006)],
      [1007, made("b", "read")],
      [1007, queued("b", "read", 1007)],
      [1007, started("b", "read", 1007)],
      [1010, finish("tool-calls")],
      [1010, answered("b", "read", { why: "gone" }, true)],
      [1030, answered("a", "search")]
    )
    assert.deepStrictEqual(summary(timeline), [["a", 6, 30, "success", 1], ["b", 7, 10, "failure", 1]])
    assert.deepStrictEqual(
      timeline.calls.map(({ endedAs, queuedAs, startedAs }) => [queuedAs, startedAs, endedAs]),
      [[3, 4, 10], [6, 7, 9]]
    )
    assert.deepStrictEqual(timeline.turns, [
      { step: 1, startedAt: 0, endedAt: 10, answeredAt: undefined, finishReason: "tool-calls", asked: 1 }
    ])
    assert.strictEqual(timeline.maxConcurrentCalls, 2)
    assert.strictEqual(timeline.totalMillis, 30)
    assert.strictEqual(timeline.end, "not over")
    assert.deepStrictEqual(timeline.calls[0]!.params, { q: 1 })
  })

  it("takes an answer's time from the part before where nobody noted it", () => {
    const parts = [start, queued("a", "x", 1000), started("a", "x", 1001), step(2, 1009), answered("a", "x")]
    assert.deepStrictEqual(summary(Timeline.fromParts(parts)), [["a", 1, 9, "success", 1]])
  })

  it("takes what a part says before when it was received", () => {
    const timeline = at(
      [1000, start],
      [1000, queued("a", "x", 1000)],
      [1000, started("a", "x", 1000)],
      [1009, answered("a", "x")],
      [1010, queued("b", "x", 1005)],
      [1010, started("b", "x", 1006)]
    )
    assert.deepStrictEqual(summary(timeline), [["a", 0, 5, "success", 1], ["b", 6, undefined, "pending", 1]])
  })

  it("never goes back in time where a clock is set back", () => {
    const timeline = at([1000, start], [1009, queued("a", "x", 1009)], [1005, started("a", "x", 1005)])
    assert.deepStrictEqual(summary(timeline), [["a", 9, undefined, "pending", 1]])
  })

  it.effect("knows from the run's report when calls were answered, without any times", () =>
    Effect.gen(function*() {
      const parts: Array<Part> = []
      const times: Array<number> = []
      const clock = yield* Clock.Clock
      const note = (part: Part) =>
        Effect.sync(() => {
          parts.push(part)
          times.push(clock.currentTimeMillisUnsafe())
        })
      const options = { prompt: "go", toolkit, toolCallConcurrency: 3, timeout: { tool: "50 millis" } } as const
      yield* advancing(Stream.runForEach(Orchestrator.stream(options), note))
      const [timed, untimed] = [Timeline.fromParts(parts, { times }), Timeline.fromParts(parts)]
      const unfinished = Timeline.fromParts(parts.slice(0, -1), { times })
      assert.deepStrictEqual(untimed.calls, timed.calls)
      assert.deepStrictEqual(summary(unfinished), summary(timed))
      assert.deepStrictEqual(summary(timed), [
        ["call-1", 0, 30, "success", 1],
        ["call-2", 0, 7, "failure", 1],
        ["call-3", 0, 50, "TimedOut", 1],
        ["call-4", 7, 37, "success", 1],
        ["call-5", 50, 80, "success", 1]
      ])
    }).pipe(
      Effect.provide([
        TestModel.script([[read("a"), search("a"), search("never"), read("b")], read("c"), "done"]),
        TestTools.layer(toolkit, {
          read: TestTools.succeed("x", { after: "30 millis" }),
          search: ({ query }) => query === "never" ? TestTools.never : TestTools.fail("no", { after: "7 millis" })
        })
      ]),
      Effect.scoped
    ))

  it("keeps the wait between two attempts out of a call's work", () => {
    const timeline = at(
      [1000, start],
      [1000, queued("a", "x", 1000)],
      [1000, queued("b", "x", 1000)],
      [1000, started("a", "x", 1000)],
      [1010, retry("a", "x", 1010)],
      [1011, started("b", "x", 1011)],
      [1015, answered("b", "x")],
      [1020, started("a", "x", 1020, 2)],
      [1021, started("a", "x", 1021, 3)],
      [1030, answered("a", "x")]
    )
    assert.deepStrictEqual(summary(timeline), [["a", 0, 30, "success", 3], ["b", 11, 15, "success", 1]])
    assert.deepStrictEqual(
      timeline.calls[0]!.spans.map(({ endedAt, startedAt }) => [startedAt, endedAt]),
      [[0, 10], [20, 30]]
    )
    assert.strictEqual(timeline.maxConcurrentCalls, 1)
  })

  it("makes one call of work that was begun under another id", () => {
    const timeline = at(
      [1000, start],
      [1000, step(1, 1000)],
      [1001, made("a", "x", { n: 1 })],
      [1001, queued("a", "x", 1001)],
      [1001, started("a", "x", 1001)],
      [1003, { type: "step-retry", step: 1, attempt: 1, delayMillis: 0, message: "gone", time: 1003 }],
      [1004, made("b", "x", { n: 1 })],
      [1004, { type: "tool-adopted", callId: "b", name: "x", from: "a", time: 1004 }],
      [1005, { type: "step-retry", step: 1, attempt: 2, delayMillis: 0, message: "gone", time: 1005 }],
      [1006, made("c", "x", { n: 1 })],
      [1006, { type: "tool-adopted", callId: "c", name: "x", from: "b", time: 1006 }],
      [1009, answered("a", "x")],
      [1010, answered("b", "x")],
      [1011, answered("c", "x")]
    )
    assert.deepStrictEqual(summary(timeline), [["c", 1, 9, "success", 1]])
    assert.deepStrictEqual(timeline.calls[0]!.adoptedFrom, ["a", "b"])
    assert.strictEqual(timeline.turns[0]!.asked, 3)
  })

  it("says why a call was stopped, and that its handler was abandoned", () => {
    const reason = CancelReason.superseded("b")
    const timeline = at(
      [1000, start],
      [1000, queued("a", "x", 1000)],
      [1000, started("a", "x", 1000)],
      [1005, { type: "tool-cancelled", callId: "a", name: "x", reason, executionStarted: true, time: 1005 }],
      [1255, { type: "tool-abandoned", callId: "a", name: "x", reason, graceMillis: 250, time: 1255 }],
      [1255, answered("a", "x", ToolFailure.stopped("x", "a", reason, true, true), true)]
    )
    assert.deepStrictEqual(summary(timeline), [["a", 0, 255, "Cancelled", 1]])
    assert.deepStrictEqual(timeline.calls[0]!.reason, reason)
    assert.isTrue(timeline.calls[0]!.abandoned)
  })

  it("reads the reason of a timeout from the answer where no part tells it", () => {
    const late = ToolFailure.stopped("x", "a", CancelReason.timeout("attempt", 5), true, false)
    const timeline = at([1000, start], [1000, queued("a", "x", 1000)], [1005, answered("a", "x", late, true)])
    assert.deepStrictEqual(timeline.calls[0]!.reason, CancelReason.timeout("attempt", 5))
  })

  it("finds the parameters of an approved call in the prompt, and a denied one that was never queued", () => {
    const prompt = Prompt.make([{
      role: "assistant",
      content: [
        { type: "tool-call", id: "a", name: "x", params: { n: 1 }, providerExecuted: false },
        { type: "tool-call", id: "b", name: "x", params: { n: 2 }, providerExecuted: false }
      ]
    }])
    const timeline = Timeline.fromParts([
      start,
      queued("a", "x", 1000, 0),
      answered("b", "x", { type: "execution-denied" }, true),
      started("a", "x", 1000),
      answered("a", "x"),
      step(1, 1000)
    ], { prompt })
    assert.deepStrictEqual(
      timeline.calls.map(({ id, params, startedAs, status, step }) => [id, params, startedAs, status, step]),
      [["a", { n: 1 }, 3, "success", 0], ["b", { n: 2 }, undefined, "denied", 0]]
    )
  })

  it("leaves out what the provider runs itself", () => {
    const call = Response.makePart("tool-call", { id: "p", name: "web", params: {}, providerExecuted: true })
    const result = { ...answered("p", "web"), providerExecuted: true } as Part
    assert.deepStrictEqual(Timeline.fromParts([start, call, result]).calls, [])
  })

  it("says how a run failed", () => {
    assert.strictEqual(Timeline.fromParts([start], { failure: new Error("line dead") }).end, "failed: Error: line dead")
  })

  it("agrees with a count over every prefix of random runs", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const parts = randomRun(seed)
      const times = parts.map((_, index) => 1000 + Math.floor(index / 3))
      for (let length = 0; length <= parts.length; length++) {
        const { calls, maxConcurrentCalls } = Timeline.fromParts(parts.slice(0, length), { times })
        const working = new Set<string>()
        let peak = 0
        for (const part of parts.slice(0, length)) {
          if (part.type === "tool-started") working.add(part.callId)
          if (part.type === "tool-retry") working.delete(part.callId)
          if (part.type === "tool-result") working.delete(part.id)
          peak = Math.max(peak, working.size)
        }
        assert.strictEqual(maxConcurrentCalls, peak, `seed ${seed}, ${length} parts`)
        const open = calls.filter(({ spans }) => spans.at(-1)?.endedAs === undefined && spans.length > 0)
        assert.deepStrictEqual(new Set(open.map(({ id }) => id)), working, `seed ${seed}, ${length} parts`)
        for (const { endedAs, endedAt, queuedAs, startedAs, startedAt } of calls) {
          assert.isTrue((startedAs ?? queuedAs) >= queuedAs && (endedAs ?? Infinity) >= (startedAs ?? 0))
          assert.isTrue((endedAt ?? Infinity) >= (startedAt ?? 0))
        }
      }
    }
  })
})

// Calls that are made, start, are tried again and end, in any order a run could have.
const randomRun = (seed: number): ReadonlyArray<Part> => {
  const { chance, int, pick } = random(seed)
  const parts: Array<Part> = [start]
  const open = new Map<string, "queued" | "running" | "resting">()
  const calls = int(1, 12)
  for (let n = 0; n < calls || open.size > 0;) {
    if (n < calls && (open.size === 0 || chance(0.4))) {
      const id = `c${n++}`
      parts.push(made(id, "x"), queued(id, "x", 1000))
      open.set(id, "queued")
      continue
    }
    const [id, state] = pick([...open])
    if (state !== "running") {
      parts.push(started(id, "x", 1000))
      open.set(id, "running")
    } else if (chance(0.3)) {
      parts.push(retry(id, "x", 1000))
      open.set(id, "resting")
    } else {
      parts.push(answered(id, "x"))
      open.delete(id)
    }
  }
  return parts
}

describe("Timeline.format", () => {
  it("shows turns and calls with times, bars and how each ended", () => {
    const timeline = at(
      [1000, start],
      [1000, step(1, 1000)],
      [1000, made("a", "search", { query: "cats" })],
      [1000, queued("a", "search", 1000)],
      [1000, started("a", "search", 1000)],
      [1000, made("b", "read", { path: "x" })],
      [1000, queued("b", "read", 1000)],
      [1020, finish("tool-calls")],
      [1040, answered("a", "search")],
      [1040, started("b", "read", 1040)],
      [1060, retry("b", "read", 1060)],
      [1070, started("b", "read", 1070, 2)],
      [1080, answered("b", "read", { why: "gone" }, true)],
      [1080, { type: "step-finish", step: 1, finishReason: "tool-calls", usage, time: 1080 }],
      [1080, step(2, 1080)],
      [1080, made("c", "nothing")],
      [1080, answered("c", "nothing", ToolFailure.unknownTool("nothing", "c", ["search"], []), true)],
      [1080, made("d", "pay")],
      [1080, Response.makePart("tool-approval-request", { approvalId: "p", toolCallId: "d" })],
      [1080, made("e", "now")],
      [1080, queued("e", "now", 1080, 2)],
      [1080, started("e", "now", 1080)],
      [1080, answered("e", "now")],
      [1080, made("f", "wait")],
      [1080, queued("f", "wait", 1080, 2)],
      [1080, started("f", "wait", 1080)],
      [1100, finish("tool-calls")]
    )
    assert.strictEqual(
      Timeline.format(timeline, { width: 20 }),
      `100 ms, 6 calls, at most 1 at work at once; not over
turn 1: the model answers 0-20 ms (tool-calls)
  a search {"query":"cats"}        0-40 ms  [########            ]  succeeded
  b read {"path":"x"}             40-80 ms  [........####..##    ]  failed with {"why":"gone"}; 2 attempts
turn 2: the model answers 80-100 ms (tool-calls)
  c nothing {}               made at 80 ms  [                    ]  UnknownTool: There is no tool named "nothing". Tools: search.; never started
  d pay {}                   made at 80 ms  [                ....]  awaits approval
  e now {}                        80-80 ms  [                |   ]  succeeded; took no time
  f wait {}                        80-? ms  [                ####]  not answered`
    )
  })

  it("gives the same text for the same parts, whatever ties there are", () => {
    const parts = [start, made("b", "x"), made("a", "x"), queued("a", "x", 1000), queued("b", "x", 1000)]
    const lines = Timeline.format(Timeline.fromParts(parts)).split("\n")
    assert.deepStrictEqual(lines.slice(1).map((line) => line.trim()[0]), ["b", "a"])
    assert.strictEqual(Timeline.format(Timeline.fromParts(parts)), Timeline.format(Timeline.fromParts(parts)))
  })

  it("counts the lines that do not fit, and shows the calls in focus and the end", () => {
    const parts: Array<Part> = [start, step(1, 1000)]
    for (let n = 0; n < 10_000; n++) parts.push(made(`c${n}`, "x"), queued(`c${n}`, "x", 1000 + n))
    const text = Timeline.format(Timeline.fromParts(parts), { focus: ["c5000"], maxLines: 8, width: 8 })
    assert.deepStrictEqual(
      text.split("\n").map((line) => line.replace(/ *\[.*/, "")),
      [
        "9999 ms, 10000 calls, at most 0 at work at once; not over",
        "turn 1: the model answers 0-? ms (no end)",
        ...[0, 1, 2, 3, 4].map((n) => `  c${n} x {}        made at ${n} ms`),
        "  … 4995 calls left out",
        "  c5000 x {}  made at 5000 ms",
        "  … 4998 calls left out",
        "  c9999 x {}  made at 9999 ms"
      ]
    )
  })

  it("cuts long parameters and hides those whose name speaks of a secret", () => {
    const params = { text: "a".repeat(100), api_key: "sk-1", nested: { password: { value: "hunter2" } } }
    const text = Timeline.format(Timeline.fromParts([start, made("a", "x", params)]))
    assert.include(text, `a x {"text":"${"a".repeat(23)}…","api_key":"…"`)
    assert.notInclude(text, "sk-1")
    assert.notInclude(text, "hunter2")
    const token = Timeline.format(Timeline.fromParts([start, made("a", "x", { password: { value: "hunter2" } })]))
    assert.include(token, "{\"password\":{\"value\":\"…\"}}")
  })

  it("hands no control character of a model on", () => {
    const parts = [start, made("a\u001b[31m\n", "x\u202e", { "k\u0007": "v\u009b" })]
    const text = Timeline.format(Timeline.fromParts(parts))
    assert.notMatch(text, /[\p{Cf}]|(?!\n)\p{Cc}/u)
    assert.strictEqual(text.split("\n").length, 2)
  })
})

describe("Timeline of guesses", () => {
  const guessed = (id: string, time: number, name = "search"): Part => ({
    type: "tool-speculated",
    speculationId: id,
    name,
    params: { query: id },
    predictor: "test",
    confidence: 0.8,
    step: 1,
    time
  })
  const claimed = (
    callId: string,
    speculationId: string,
    running: boolean,
    aheadMillis: number,
    time: number
  ): Part => ({
    type: "tool-claimed",
    callId,
    speculationId,
    name: "search",
    running,
    aheadMillis,
    time
  })
  const discarded = (speculationId: string, why: ToolEvent.ToolDiscarded["why"], time: number): Part => ({
    type: "tool-discarded",
    speculationId,
    name: "search",
    why,
    runMillis: 10,
    time
  })

  it("lets a call that claims a guess have begun when the guess began", () => {
    const { calls, guesses, maxConcurrentCalls } = at(
      [1000, start],
      [1000, step(1, 1000)],
      [1010, guessed("g", 1010)],
      [1020, guessed("h", 1020)],
      [1050, made("a", "search")],
      [1050, queued("a", "search", 1050)],
      [1050, claimed("a", "g", true, 40, 1050)],
      [1060, made("b", "search")],
      [1060, queued("b", "search", 1060)],
      [1060, claimed("b", "h", false, 40, 1060)],
      [1060, answered("b", "search")],
      [1090, answered("a", "search")]
    )
    assert.deepStrictEqual(
      calls.map(({ claimed, endedAt, id, spans, startedAt }) => [id, claimed, startedAt, endedAt, spans]),
      [
        ["a", "g", 10, 90, [{ startedAt: 10, startedAs: 2, endedAt: 90, endedAs: 11 }]],
        ["b", "h", 20, 60, [{ startedAt: 20, startedAs: 3, endedAt: 60, endedAs: 9 }]]
      ]
    )
    assert.deepStrictEqual(guesses.map(({ claimedBy, endedAt, outcome }) => [outcome, claimedBy, endedAt]), [
      ["claimed", "a", 90],
      ["claimed", "b", 60]
    ])
    // What had ended before it was asked for was not at work with anybody.
    assert.strictEqual(maxConcurrentCalls, 1)
  })

  it("says of the others why they were thrown away", () => {
    const { calls, guesses } = at(
      [1000, start],
      [1000, step(1, 1000)],
      [1010, guessed("g", 1010)],
      [1020, discarded("g", "refuted", 1020)],
      [1030, guessed("h", 1030)]
    )
    assert.deepStrictEqual(calls, [])
    assert.deepStrictEqual(guesses.map(({ endedAt, id, outcome }) => [id, outcome, endedAt]), [
      ["g", "refuted", 20],
      ["h", "pending", undefined]
    ])
  })

  it("forgets a claim that came to nothing: the call began when it ran afresh", () => {
    const { calls: [call], guesses, maxConcurrentCalls } = at(
      [1000, start],
      [1000, step(1, 1000)],
      [1010, guessed("g", 1010)],
      [1050, made("a", "search")],
      [1050, queued("a", "search", 1050)],
      [1050, claimed("a", "g", true, 40, 1050)],
      [1060, discarded("g", "failed", 1060)],
      [1061, started("a", "search", 1061)],
      [1090, answered("a", "search")]
    )
    assert.deepStrictEqual([call?.claimed, call?.startedAt, call?.endedAt, call?.attempts], [undefined, 61, 90, 1])
    assert.deepStrictEqual(guesses.map(({ endedAt, outcome }) => [outcome, endedAt]), [["failed", 60]])
    assert.strictEqual(maxConcurrentCalls, 1)
  })

  it("shows how far ahead a guess was", () => {
    const timeline = at(
      [1000, start],
      [1000, step(1, 1000)],
      [1010, guessed("g", 1010)],
      [1010, guessed("h", 1010)],
      [1050, made("a", "search")],
      [1050, queued("a", "search", 1050)],
      [1050, claimed("a", "g", true, 40, 1050)],
      [1050, discarded("h", "refuted", 1050)],
      [1100, answered("a", "search")]
    )
    assert.strictEqual(
      Timeline.format(timeline, { width: 10 }),
      `100 ms, 1 call, at most 1 at work at once, 2 guesses, 1 claimed; not over
turn 1: the model answers 0-? ms (no end)
  a search {}  10-100 ms  [ #########]  succeeded; guessed 40 ms before it was made`
    )
  })
})
