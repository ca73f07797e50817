import { assert, describe, it } from "@effect/vitest"
import * as HashMap from "effect/HashMap"
import * as Waterfall from "../../src/cli/Waterfall.ts"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"

const call = (id: string, params: unknown = { path: `${id}.ts` }): AnyPart =>
  ({ type: "tool-call", id, name: "read", params }) as never
const queued = (callId: string, time: number): AnyPart => ({ type: "tool-queued", callId, name: "read", step: 1, time })
const started = (callId: string, time: number, attempt = 1): AnyPart => ({
  type: "tool-started",
  callId,
  name: "read",
  attempt,
  time
})
const cancelled = (callId: string, time: number): AnyPart => ({
  type: "tool-cancelled",
  callId,
  name: "read",
  reason: { _tag: "Shutdown" },
  executionStarted: true,
  time
})
const retried = (callId: string, time: number): AnyPart => ({
  type: "tool-retry",
  callId,
  name: "read",
  attempt: 1,
  delayMillis: 1500,
  message: "busy\u001b\nnow",
  time
})
const stepRetry: AnyPart = {
  type: "step-retry",
  step: 1,
  attempt: 1,
  delayMillis: 200,
  message: "it broke off",
  time: 0
}
const result = (id: string, isFailure = false): AnyPart =>
  ({ type: "tool-result", id, name: "read", isFailure, result: {} }) as never

// Each part with the moment at which it is seen.
const after = (...parts: ReadonlyArray<readonly [part: AnyPart, now: number]>): Waterfall.State =>
  parts.reduce((state, [part, now]) => Waterfall.advance(state, part, now), Waterfall.start(1000))

const whole = after(
  [{ type: "run-start", runId: "r", policies: [], tools: [], time: 1000 }, 1000],
  [{ type: "step-start", step: 1, time: 1000 }, 1000],
  [call("a"), 1000],
  [queued("a", 1000), 1000],
  [started("a", 1100), 1100],
  [call("b"), 1100],
  [queued("b", 1100), 1100],
  [result("a"), 1500],
  [started("b", 1500), 1500]
)

const frame = (columns: number, rows: number, color = false): Waterfall.Frame => ({ columns, rows, color })
const bare = (line: string): string =>
  line.split("\u001b").map((piece, i) => i === 0 ? piece : piece.replace(/^\[\d+m/, "")).join("")

describe("Waterfall", () => {
  describe("advance", () => {
    it("follows a call from waiting to done with the times of its parts", () => {
      const [a, b] = Waterfall.rowsOf(whole)
      assert.deepInclude(a, {
        callId: "a",
        hint: "a.ts",
        state: "done",
        queuedAt: 1000,
        startedAt: 1100,
        endedAt: 1500
      })
      assert.deepInclude(b, { callId: "b", state: "running", startedAt: 1500, endedAt: undefined })
    })

    it("leaves the state it was given as it was", () => {
      const before = after([call("a"), 1000], [queued("a", 1000), 1000])
      Waterfall.advance(before, started("a", 1001), 1001)
      assert.strictEqual(Waterfall.rowsOf(before)[0]!.state, "waiting")
    })

    it("keeps a cancelled call cancelled when its answer follows, and a failed one failed", () => {
      const state = after(
        ...["a", "b"].flatMap((id) => [[call(id), 1000], [queued(id, 1000), 1000], [started(id, 1000), 1000]] as const),
        [cancelled("a", 1200), 1200],
        [result("a", true), 1300],
        [result("b", true), 1400]
      )
      assert.deepStrictEqual(Waterfall.rowsOf(state).map((row) => row.state), ["cancelled", "failed"])
    })

    it("counts a retried call's time from its first attempt", () => {
      const state = after([call("a"), 0], [queued("a", 1000), 0], [started("a", 1100), 0], [started("a", 1900, 2), 0])
      assert.strictEqual(Waterfall.rowsOf(state)[0]!.startedAt, 1100)
    })

    it("shows a call that waits for its next attempt as waiting, and counts its attempts", () => {
      const parts = [[call("a"), 0], [queued("a", 1000), 0], [started("a", 1100), 0], [retried("a", 1200), 0]] as const
      const between = after(...parts)
      assert.deepInclude(Waterfall.rowsOf(between)[0], { state: "waiting", attempts: 1, startedAt: 1100 })
      const again = after(...parts, [started("a", 1900, 2), 0])
      assert.deepInclude(Waterfall.rowsOf(again)[0], { state: "running", attempts: 2 })
      assert.match(Waterfall.render(again, 2000, frame(80, 5))[1]!, /^▸ read x2 a\.ts /)
      const done = after(...parts, [started("a", 1900, 2), 0], [result("a"), 2000])
      assert.strictEqual(Waterfall.plain(done, result("a")), "done        900 ms  read x2 a.ts")
    })

    it("shows a call that claimed a guess: as running while that runs, as guessed where it had ended", () => {
      const claimed = (callId: string, running: boolean): AnyPart => ({
        type: "tool-claimed",
        callId,
        speculationId: "spec_1",
        name: "read",
        running,
        aheadMillis: 90,
        time: 1100
      })
      const waits = after([call("a"), 0], [queued("a", 1100), 0], [claimed("a", true), 0])
      assert.deepInclude(Waterfall.rowsOf(waits)[0], { state: "running", startedAt: 1100 })
      const afresh = after([call("a"), 0], [queued("a", 1100), 0], [claimed("a", true), 0], [started("a", 1300), 0])
      assert.deepInclude(Waterfall.rowsOf(afresh)[0], { state: "running", startedAt: 1100 })
      const had = after([call("a"), 0], [queued("a", 1100), 0], [claimed("a", false), 0], [result("a"), 1100])
      assert.strictEqual(Waterfall.plain(had, result("a")), "done       guessed  read a.ts")
      assert.match(Waterfall.render(had, 2000, frame(60, 5))[1]!, /^✓ read a\.ts +guessed +█$/)
    })

    it("draws an adopted call's work once, under its new name", () => {
      const adopted: AnyPart = { type: "tool-adopted", callId: "b", name: "read", from: "a", time: 1500 }
      const state = after(
        [call("a"), 0],
        [queued("a", 1000), 0],
        [started("a", 1100), 0],
        [call("b", { path: "b.ts" }), 0],
        [adopted, 0],
        [result("a"), 1600],
        [result("b"), 1600]
      )
      assert.deepStrictEqual(Waterfall.rowsOf(state).map(({ callId, hint, startedAt }) => [callId, hint, startedAt]), [
        ["b", "b.ts", 1100]
      ])
      assert.deepInclude(Waterfall.rowsOf(state)[0], { state: "done", endedAt: 1600 })
      assert.isUndefined(Waterfall.plain(state, result("a")))
      assert.deepInclude(Waterfall.rowsOf(after([call("b"), 0], [adopted, 0]))[0], { callId: "b", state: "waiting" })
    })

    it("forgets the text of an answer that broke off", () => {
      const said: AnyPart = { type: "text-delta", id: "t", delta: "half" } as never
      assert.strictEqual(after([said, 0], [stepRetry, 0]).text, "")
    })

    it("ignores results and starts of calls it never saw", () => {
      assert.strictEqual(HashMap.size(after([result("x"), 0], [started("x", 0), 0]).rows), 0)
    })

    it("lets no control character of an argument through", () => {
      const state = after([call("a", { path: "a\u001b[31m\nb\u202ec" }), 0], [queued("a", 0), 0])
      assert.strictEqual(Waterfall.rowsOf(state)[0]!.hint, "a [31m b c")
    })
  })

  describe("render", () => {
    it("draws each call's wait and run at their place on the time axis", () => {
      assert.strictEqual(
        Waterfall.render(whole, 2000, frame(60, 10))[0],
        "step 1 · 1.00 s · 2 calls: 1 running, 1 done"
      )
      const [, a, b] = Waterfall.render(whole, 2000, frame(60, 10))
      const axis = (line: string) => line.slice(line.indexOf("ms ") + 3)
      const room = 60 - (a!.indexOf("ms ") + 3) - 1
      assert.strictEqual(axis(a!).length, Math.round(room * 0.5), "ends at half of the axis")
      assert.strictEqual(axis(a!).indexOf("█"), Math.round(room * 0.1), "starts at a tenth")
      assert.strictEqual(axis(b!).indexOf("─"), Math.round(room * 0.1), "waits from a tenth")
      assert.strictEqual(axis(b!).indexOf("█"), Math.round(room * 0.5), "starts at half")
      assert.strictEqual(axis(b!).length, room, "runs until now")
    })

    it("fits every size of terminal, whatever the calls are called", () => {
      const names = [
        "x",
        "日本語のとても長いファイル名.ts",
        "😀".repeat(40),
        "e\u0301".repeat(50),
        "a/".repeat(100) + "end.ts"
      ]
      const state = after(
        ...names.flatMap((path, i) =>
          [[call(`c${i}`, { path }), 1000], [queued(`c${i}`, 1000), 1000], [started(`c${i}`, 1001), 1001]] as const
        )
      )
      for (const columns of [20, 40, 80, 200]) {
        for (const rows of [0, 1, 2, 4, 24]) {
          const lines = Waterfall.render(state, 5000, frame(columns, rows, true))
          assert.isAtMost(lines.length, rows)
          for (const line of lines) assert.isAtMost(columnsOf(bare(line)), columns, JSON.stringify(line))
        }
      }
    })

    it("shows the running calls first when there are more than fit, and counts the rest", () => {
      const ids = Array.from({ length: 500 }, (_, i) => `c${i}`)
      const state = after(
        ...ids.flatMap((id) => [[call(id), 1000], [queued(id, 1000), 1000]] as const),
        ...ids.slice(0, 480).flatMap((id) => [[started(id, 1000), 1000]] as const),
        ...ids.slice(0, 470).map((id) => [result(id), 2000] as const)
      )
      const lines = Waterfall.render(state, 3000, frame(100, 16))
      assert.strictEqual(lines.length, 16)
      assert.include(lines[0], "500 calls: 10 running, 20 waiting, 470 done (15 shown)")
      assert.strictEqual(lines.filter((line) => line.startsWith("▸")).length, 10)
      assert.strictEqual(lines.filter((line) => line.startsWith("✓")).length, 5)
    })

    it("keeps the end of a long path, which tells two calls apart", () => {
      const state = after([call("a", { path: "src/engine/internal/very/deep/folder/Orchestrator.ts" }), 0], [
        queued("a", 0),
        0
      ])
      assert.include(Waterfall.render(state, 10, frame(60, 5))[1], "Orchestrator.ts")
    })

    it("stops its clock when nothing runs any more", () => {
      const state = after([call("a"), 0], [queued("a", 1000), 0], [started("a", 1000), 0], [result("a"), 1250])
      assert.deepStrictEqual(Waterfall.render(state, 99_000, frame(80, 5)), Waterfall.render(state, 1250, frame(80, 5)))
    })

    it("says that it waits for the model before the first call", () => {
      assert.deepStrictEqual(Waterfall.render(Waterfall.start(0), 40, frame(80, 5)), [
        "step 1 · 0 ms · waiting for the model"
      ])
    })

    it("colours only when asked", () => {
      const coloured = Waterfall.render(whole, 2000, frame(60, 10, true))
      assert.isTrue(coloured.slice(1).every((line) => line.includes("\u001b[")))
      assert.deepStrictEqual(coloured.map(bare), Waterfall.render(whole, 2000, frame(60, 10)))
    })
  })

  describe("plain", () => {
    it("is one line for a call's end and for each step", () => {
      assert.strictEqual(Waterfall.plain(whole, result("a")), "done        400 ms  read a.ts")
      assert.strictEqual(Waterfall.plain(whole, { type: "step-start", step: 2, time: 0 }), "step 2")
      assert.isUndefined(Waterfall.plain(whole, started("b", 0)))
    })

    it("is one line for a call's next attempt and for a turn that is asked again", () => {
      assert.strictEqual(Waterfall.plain(whole, retried("b", 0)), "again in    1.50 s  read b.ts: busy now")
      assert.strictEqual(
        Waterfall.plain(whole, stepRetry),
        "again in    200 ms  step 1, the model once more: it broke off"
      )
      assert.include(Waterfall.plain(whole, { ...stepRetry, failover: true } as AnyPart), "step 1, the next model: ")
      assert.isUndefined(Waterfall.plain(whole, retried("x", 0)))
    })
  })

  it("writes lengths of time for a person", () => {
    assert.deepStrictEqual([-1, 0.4, 999, 1000, 61_000].map(Waterfall.millis), [
      "0 ms",
      "0 ms",
      "999 ms",
      "1.00 s",
      "1 min 1 s"
    ])
  })
})

// A terminal's width, written apart from the one under test.
const columnsOf = (text: string): number =>
  [...new Intl.Segmenter().segment(text)].reduce(
    (sum, { segment }) => sum + (/[\u3000-\u9fff\uff00-\uff60]|\p{Extended_Pictographic}/u.test(segment) ? 2 : 1),
    0
  )
