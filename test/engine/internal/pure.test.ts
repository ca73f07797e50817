import { assert, describe, it } from "@effect/vitest"
import * as Prompt from "effect/ai/Prompt"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import * as Approvals from "../../../src/engine/internal/Approvals.ts"
import { Repeats } from "../../../src/engine/internal/Repeats.ts"
import { ResourceLocks } from "../../../src/engine/internal/ResourceLocks.ts"
import { Timers } from "../../../src/engine/internal/Timers.ts"

describe("ResourceLocks", () => {
  const setUp = () => {
    const locks = new ResourceLocks<{ readonly name: string }>()
    const owners = new Map<string, { readonly name: string }>()
    const owner = (name: string) => {
      if (!owners.has(name)) owners.set(name, { name })
      return owners.get(name)!
    }
    return {
      request: (name: string, ...keys: ReadonlyArray<string>) =>
        locks.request(
          owner(name),
          keys.map((key) => key.startsWith("w") ? { write: key.slice(1) } : { read: key.slice(1) })
        ),
      release: (name: string) => locks.release(owner(name)).map(({ name }) => name),
      behind: (name: string) => locks.behind(owner(name)).map(({ name }) => name)
    }
  }

  it("lets readers share and gives a writer the key alone", () => {
    const { release, request } = setUp()
    assert.deepStrictEqual([request("r1", "rx"), request("r2", "rx"), request("w", "wx"), request("r3", "rx")], [
      true,
      true,
      false,
      false
    ])
    assert.deepStrictEqual(release("r1"), [])
    assert.deepStrictEqual(release("r2"), ["w"])
    assert.deepStrictEqual(release("w"), ["r3"])
  })

  it("frees an owner only when it holds all its keys", () => {
    const { release, request } = setUp()
    request("a", "wx")
    request("b", "wy")
    assert.isFalse(request("c", "wx", "wy"))
    assert.deepStrictEqual(release("a"), [])
    assert.deepStrictEqual(release("b"), ["c"])
  })

  it("counts a key that is read and written by one call as written, once", () => {
    const { release, request } = setUp()
    assert.isTrue(request("a", "rx", "wx", "wx"))
    assert.isFalse(request("b", "rx"))
    assert.deepStrictEqual(release("a"), ["b"])
  })

  it("lets everybody through in order when one that waits gives up", () => {
    const { release, request } = setUp()
    request("r1", "rx")
    request("w", "wx")
    request("r2", "rx")
    assert.deepStrictEqual(release("w"), ["r2"])
    assert.deepStrictEqual(release("w"), [])
    assert.deepStrictEqual(release("nobody"), [])
  })

  it("knows who waits for an owner", () => {
    const { behind, request } = setUp()
    request("r1", "rx")
    request("r2", "rx")
    request("w", "wx")
    request("r3", "rx", "wz")
    assert.deepStrictEqual(behind("r1"), ["w"])
    assert.deepStrictEqual(behind("r3"), [])
  })

  it("of no keys is free at once", () => {
    const { release, request } = setUp()
    assert.isTrue(request("a"))
    assert.deepStrictEqual(release("a"), [])
  })
})

describe("Repeats", () => {
  it("sees a call made in more turns than allowed, however many times in each", () => {
    const repeats = new Repeats(2)
    const turn = (...params: ReadonlyArray<unknown>) => {
      repeats.nextTurn()
      return params.map((params) => repeats.isLoop("f", params))
    }
    assert.deepStrictEqual(turn(1, 1, 1), [false, false, false])
    assert.deepStrictEqual(turn(1, 2), [false, false])
    assert.deepStrictEqual(turn(2, 1, 3), [false, true, false])
    assert.deepStrictEqual(turn(2), [true])
  })

  it("tells tools apart, and does not mistake a name and its arguments for another name", () => {
    const repeats = new Repeats(1)
    repeats.nextTurn()
    assert.isFalse(repeats.isLoop("f", "x"))
    repeats.nextTurn()
    assert.isFalse(repeats.isLoop("g", "x"))
    assert.isTrue(repeats.isLoop("f", "x"))
  })
})

describe("Timers", () => {
  const setUp = Effect.gen(function*() {
    const context = yield* Effect.context()
    const timers = new Timers(yield* Clock.clockWith(Effect.succeed), context)
    const fired: Array<string> = []
    const add = (name: string, millis: number) => timers.add(millis, () => fired.push(name))
    return { timers, fired, add }
  })

  it.effect("fire once, in the order of their time, never early", () =>
    Effect.gen(function*() {
      const { add, fired } = yield* setUp
      add("b", 200)
      add("a", 100)
      add("c", 200)
      yield* TestClock.adjust(99)
      assert.deepStrictEqual(fired, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(fired, ["a"])
      add("d", 100)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual([...fired].sort(), ["a", "b", "c", "d"])
      assert.isBelow(fired.indexOf("b"), fired.indexOf("c"))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(fired.length, 4)
    }))

  it.effect("do not fire when removed, and removing twice or late does nothing", () =>
    Effect.gen(function*() {
      const { add, fired, timers } = yield* setUp
      const a = add("a", 100)
      const b = add("b", 100)
      timers.remove(a)
      timers.remove(a)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(fired, ["b"])
      timers.remove(b)
      add("c", 100)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(fired, ["b", "c"])
    }))

  it.effect("go on after every entry of a length was removed, and after one fired adds another", () =>
    Effect.gen(function*() {
      const { add, fired, timers } = yield* setUp
      timers.remove(add("a", 100))
      yield* TestClock.adjust(50)
      timers.add(100, () => {
        fired.push("b")
        add("c", 100)
      })
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(fired, ["b"])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(fired, ["b", "c"])
    }))

  it.effect("are all dropped by close", () =>
    Effect.gen(function*() {
      const { add, fired, timers } = yield* setUp
      add("a", 100)
      add("b", 200)
      timers.close()
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(fired, [])
    }))

  it.effect("of endless or very long time do not fire at once", () =>
    Effect.gen(function*() {
      const { add, fired, timers } = yield* setUp
      add("never", Infinity)
      add("a month", 30 * 24 * 3600 * 1000)
      yield* TestClock.adjust("29 days")
      assert.deepStrictEqual(fired, [])
      yield* TestClock.adjust("1 days")
      assert.deepStrictEqual(fired, ["a month"])
      timers.close()
    }))

  it.effect("serve thousands of one length with most of them removed", () =>
    Effect.gen(function*() {
      const { fired, timers } = yield* setUp
      for (let i = 0; i < 5000; i++) {
        const timer = timers.add(100, () => fired.push(String(i)))
        if (i % 100 !== 0) timers.remove(timer)
        if (i === 2500) yield* TestClock.adjust(100)
      }
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(fired, Array.from({ length: 50 }, (_, i) => String(i * 100)))
    }))
})

describe("Approvals.collect", () => {
  const call = (id: string) => Prompt.toolCallPart({ id, name: "f", params: {}, providerExecuted: false })
  const request = (id: string) => Prompt.toolApprovalRequestPart({ approvalId: `ok_${id}`, toolCallId: id })
  const asked = (...ids: ReadonlyArray<string>) =>
    Prompt.assistantMessage({ content: ids.flatMap((id) => [call(id), request(id)]) })
  const answers = (...all: ReadonlyArray<readonly [id: string, approved: boolean]>) =>
    Prompt.toolMessage({
      content: all.map(([id, approved]) => Prompt.toolApprovalResponsePart({ approvalId: `ok_${id}`, approved }))
    })
  const of = (...messages: ReadonlyArray<Prompt.Message>) => {
    const { resolved, unanswered } = Approvals.collect(Prompt.fromMessages(messages))
    return [
      resolved.map(({ approved, call }) => `${call.id} ${approved}`),
      unanswered.map(({ call }) => call.id)
    ]
  }

  it("tells approved, denied and unanswered calls, in the order they were asked", () => {
    assert.deepStrictEqual(of(asked("a", "b", "c"), answers(["c", false], ["a", true])), [["a true", "c false"], ["b"]])
  })

  it("takes the first of two answers", () => {
    assert.deepStrictEqual(of(asked("a"), answers(["a", false], ["a", true])), [["a false"], []])
  })

  it("leaves out calls that have a result, answers nobody asked for, and requests without a call", () => {
    const result = Prompt.toolMessage({
      content: [Prompt.toolResultPart({ id: "a", name: "f", isFailure: false, result: 1, providerExecuted: false })]
    })
    assert.deepStrictEqual(of(asked("a"), answers(["a", true]), result), [[], []])
    assert.deepStrictEqual(of(answers(["z", true])), [[], []])
    assert.deepStrictEqual(of(Prompt.assistantMessage({ content: [request("z")] }), answers(["z", true])), [[], []])
  })

  it("asks once for a call with two requests", () => {
    const twice = Prompt.assistantMessage({
      content: [call("a"), request("a"), Prompt.toolApprovalRequestPart({ approvalId: "again", toolCallId: "a" })]
    })
    assert.deepStrictEqual(of(twice, answers(["a", true])), [["a true"], []])
  })
})
