import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { ToolPolicy } from "../../src/index.ts"
import { MockOrchestrator, TestModel, ToolCall } from "../../src/testing/index.ts"
import type { Expectation } from "../../src/testing/internal/expectations.ts"
import { verify } from "../../src/testing/internal/expectations.ts"
import { isComplete, match } from "../../src/testing/internal/matching.ts"
import type { RecordedCall, Span, Timeline } from "../../src/testing/internal/recorded.ts"
import type { Rules } from "../../src/testing/internal/together.ts"
import { apart, together } from "../../src/testing/internal/together.ts"
import { difference, textOf } from "../../src/testing/internal/wanted.ts"
import type { Wanted } from "../../src/testing/internal/wanted.ts"
import { random } from "../random.ts"
import { Search, Single, Write } from "./kit.ts"

// ---- timelines by hand -------------------------------------------------------------------------------------------------

interface Says {
  readonly name?: string
  readonly params?: unknown
  readonly step?: number
  readonly queued?: number
  /** From and to, each a place in the order of events and its millisecond. */
  readonly at?: ReadonlyArray<readonly [from: number, to: number | undefined]>
  readonly call?: Partial<RecordedCall>
}

const happened = (
  id: string,
  { at = [], call, name = "search", params = { query: id }, queued = 0, step = 1 }: Says = {}
): RecordedCall => {
  const spans = at.map(([from, to]): Span => ({ startedAt: from, startedAs: from, endedAt: to, endedAs: to }))
  const end = spans.at(-1)?.endedAs
  return {
    id,
    name,
    params,
    decoded: params,
    step,
    queuedAt: queued,
    queuedAs: queued,
    startedAt: spans[0]?.startedAt,
    startedAs: spans[0]?.startedAs,
    endedAt: end,
    endedAs: end,
    spans,
    status: "success",
    result: "ok",
    reason: undefined,
    attempts: spans.length,
    abandoned: false,
    adoptedFrom: [],
    claimed: undefined,
    limiterMillis: undefined,
    ...call
  }
}

const timeline = (calls: ReadonlyArray<RecordedCall>, maxConcurrentCalls = 1): Timeline => ({
  calls,
  guesses: [],
  turns: [],
  totalMillis: 100,
  maxConcurrentCalls,
  end: "finished (stop)"
})

const rules = (policies: Record<string, Tool.Any> = {}, concurrency = 30): Rules => ({
  concurrency,
  policies: new Map(Object.entries(policies).map(([name, tool]) => [name, ToolPolicy.read(tool)]))
})

const wanted = (name: string | undefined, params?: unknown, id?: string): Wanted => ({
  name,
  params,
  decoded: params,
  id
})
const the = (id: string): Wanted => wanted(undefined, undefined, id)

const judged = (expectation: Expectation, calls: ReadonlyArray<RecordedCall>, all: ReadonlyArray<Expectation> = []) =>
  verify([expectation, ...all], timeline(calls), rules()).map(({ happened }) => happened)

const calls = (
  how: "inParallel" | "inOrder" | "inAnyOrder" | "anyTimes",
  ...list: ReadonlyArray<Wanted>
): Expectation => ({
  _tag: "Calls",
  how,
  wanted: list
})

// ---- why calls were apart ----------------------------------------------------------------------------------------------

describe("expectations, why calls did not run together", () => {
  const why = (first: Says, last: Says, known: Rules = rules(), most = 1) =>
    apart([[0], [1]], timeline([happened("a", first), happened("b", last)], most), known).happened.split("\n")[1]

  it.each<readonly [string, Says, Says, Rules, number, string | undefined]>([
    [
      "turns",
      { at: [[1, 5]] },
      { at: [[6, 9]], queued: 6, step: 2 },
      rules(),
      1,
      "b was asked for in turn 2, after a of turn 1 was answered: let the model make both in one turn."
    ],
    [
      "made late",
      { at: [[1, 5]] },
      { at: [[7, 9]], queued: 6 },
      rules(),
      1,
      "b was made at 6 ms, when a had ended: give a a longer latency, or let the model make them sooner after each other."
    ],
    [
      "places",
      { at: [[1, 5]] },
      { at: [[6, 9]], queued: 2 },
      rules({}, 1),
      1,
      "b waited from 2 to 6 ms: of all tools at most 1 run at once (toolCallConcurrency)."
    ],
    [
      "a tool's cap",
      { at: [[1, 5]], name: "single" },
      { at: [[6, 9]], name: "single", queued: 2 },
      rules({ single: Single }),
      1,
      "b waited from 2 to 6 ms: of single at most 1 run at once (ToolPolicy.Concurrency)."
    ],
    [
      "a limit",
      { at: [[1, 5]] },
      { at: [[6, 9]], queued: 2, call: { limiterMillis: 4 } },
      rules(),
      1,
      "b waited from 2 to 6 ms: a limit held it for 4 ms (Limiter)."
    ],
    [
      "a lock",
      { at: [[1, 5]], name: "write", params: { path: "x" } },
      { at: [[6, 9]], name: "write", params: { path: "x" }, queued: 2 },
      rules({ write: Write }),
      1,
      "b waited from 2 to 6 ms: both touch the resource \"file:x\", and one writes it (ToolPolicy.Resources)."
    ],
    [
      "the end of the turn",
      { at: [[1, 5]] },
      { at: [[6, 9]], name: "late", queued: 2 },
      rules({ late: Search.annotate(ToolPolicy.Eager, "after-finish") }),
      1,
      "b waited from 2 to 6 ms: late starts only when the model's turn has ended (ToolPolicy.Eager)."
    ],
    ["nothing known", { at: [[1, 5]] }, { at: [[6, 9]], queued: 2 }, rules(), 3, "b waited from 2 to 6 ms."],
    [
      "no time",
      { at: [[1, 1]] },
      { at: [[6, 9]], queued: 2 },
      rules(),
      3,
      "a took no time, so nothing could run beside it: give it a latency, such as TestTools.succeed(value, { after: \"1 millis\" })."
    ]
  ])("%s", (_, first, last, known, most, expected) => {
    assert.strictEqual(why(first, last, known, most), expected)
  })

  it("between two attempts", () => {
    const a = happened("a", { at: [[1, 3], [8, 9]] })
    const b = happened("b", { at: [[4, 7]] })
    assert.isFalse(together([[0], [1]], [a, b]))
    assert.deepStrictEqual(judged({ _tag: "Overlap", wanted: [the("a"), the("b")] }, [a, b]), [
      "They were not all at work at one moment: a search {\"query\":\"a\"} was at work 1-3 ms and 8-9 ms, and waited between its attempts"
    ])
  })
})

// ---- what is said --------------------------------------------------------------------------------------------------------

describe("expectations, what is said of a call that is missing", () => {
  it("nothing was called at all", () => {
    assert.deepStrictEqual(judged(calls("inOrder", wanted("search")), []), [
      "ToolCall(\"search\") was not called: the model made no calls"
    ])
  })

  it("another id", () => {
    const made = [happened("a", { at: [[1, 2]] }), happened("b", { at: [[3, 4]] })]
    assert.deepStrictEqual(judged({ _tag: "Overlap", wanted: [the("a"), the("c")] }, made), [
      "\"c\" was not called: no call has this id; there are a, b"
    ])
    assert.deepStrictEqual(judged(calls("inOrder", wanted("read", undefined, "a")), made), [
      "ToolCall(\"read\", undefined, { id: \"a\" }) was not called: this id has a search {\"query\":\"a\"}"
    ])
    assert.deepStrictEqual(judged(calls("inOrder", wanted("search", { query: "x" }, "a")), made), [
      "ToolCall(\"search\", {\"query\":\"x\"}, { id: \"a\" }) was not called: this id has a search {\"query\":\"a\"} (\"query\" is \"a\", not \"x\")"
    ])
  })

  it("made, and never started", () => {
    const made = [happened("a", { call: { status: "Rejected", result: "no" } })]
    assert.deepStrictEqual(judged(calls("inAnyOrder", wanted("search")), made), [
      "ToolCall(\"search\") did not run: a search {\"query\":\"a\"}: Rejected: \"no\"; never started"
    ])
  })

  it("called, but not often enough", () => {
    assert.deepStrictEqual(
      judged(calls("inOrder", wanted("search"), wanted("search")), [happened("a", { at: [[1, 2]] })]),
      [
        "ToolCall(\"search\") was not called once more: a is the only call that would do, for 2 calls expected"
      ]
    )
  })

  it("more than can be said", () => {
    const many = Array.from({ length: 8 }, (_, index) => wanted(`t${index}`))
    const [text] = judged(calls("inParallel", ...many), [happened("a", { at: [[1, 2]] })])
    assert.deepStrictEqual(text!.split("\n").slice(5), [
      "ToolCall(\"t5\") was not called: no call of t5 was made, of 1 call (search)",
      "… and 2 more are missing"
    ])
  })
})

describe("expectations, order", () => {
  const [a, b] = [happened("a", { at: [[1, 4]] }), happened("b", { at: [[5, 9]], step: 2 })]

  it("says that they ran the other way round", () => {
    assert.deepStrictEqual(judged(calls("inOrder", the("b"), the("a")), [a, b]), [
      "\"a\" did not start after \"b\" ended: a search {\"query\":\"a\"} (1-4 ms) ended before b search {\"query\":\"b\"} (5-9 ms) started\nThey ran in the other order."
    ])
  })

  it("says that one call fits both", () => {
    const both = [a, happened("c", { name: "read", at: [[2, 3]] })]
    assert.deepStrictEqual(judged(calls("inOrder", wanted("search"), the("a")), both), [
      "\"a\" was not called once more: a is the only call that would do, for 2 calls expected"
    ])
  })

  it("chooses calls that leave room for those behind", () => {
    const long = happened("long", { at: [[0, 8]] })
    const short = happened("short", { at: [[1, 2]] })
    const last = happened("last", { name: "read", at: [[3, 4]] })
    assert.deepStrictEqual(judged(calls("inOrder", wanted("search"), wanted("read")), [long, short, last]), [])
  })

  it("a call that never ended leaves the place to one that did", () => {
    const open = happened("open", { at: [[0, undefined]] })
    const short = happened("short", { at: [[1, 2]] })
    const last = happened("last", { name: "read", at: [[3, 4]] })
    assert.deepStrictEqual(judged(calls("inOrder", wanted("search"), wanted("read")), [open, short, last]), [])
  })

  it("does not take an end at the same moment but later in the order of events", () => {
    assert.deepStrictEqual(judged(calls("inOrder", the("a"), the("b")), [a, { ...b, startedAs: 3 }]).length, 1)
  })
})

describe("expectations, cancelled", () => {
  it("a call that succeeded before the stop reached it was not cancelled", () => {
    const late = happened("a", { at: [[1, 4]], call: { reason: { _tag: "CallerGone" } } })
    assert.deepStrictEqual(judged({ _tag: "Cancelled", wanted: the("a"), reason: undefined }, [late]), [
      "a search {\"query\":\"a\"} was not cancelled: it succeeded at 4 ms"
    ])
  })

  it("a call of another id was not made", () => {
    assert.deepStrictEqual(judged({ _tag: "Cancelled", wanted: the("b"), reason: undefined }, [happened("a")]), [
      "\"b\" was not called: no call has this id; there are a"
    ])
  })

  it("a call is known by the id under which it began", () => {
    const adopted = happened("b", {
      at: [[1, 4]],
      call: { adoptedFrom: ["a"], reason: { _tag: "Shutdown" }, status: "Cancelled" }
    })
    assert.deepStrictEqual(judged({ _tag: "Cancelled", wanted: the("a"), reason: "Shutdown" }, [adopted]), [])
  })
})

describe("difference", () => {
  it.each<readonly [string, unknown, unknown, string | undefined]>([
    ["a value within", { a: { b: [1, { c: 2 }] } }, { a: { b: [1, { c: 3 }] } }, "\"a\".\"b\".\"1\".\"c\" is 3, not 2"],
    ["a key too few", { a: 1 }, {}, "\"a\" is missing, not 1"],
    ["a key too many", {}, { a: null }, "\"a\" is null, not missing"],
    ["another kind", { a: [] }, { a: {} }, "\"a\" is {}, not []"],
    ["no object at all", { a: 1 }, "{\"a\":", "the parameters is \"{\\\"a\\\":\", not {\"a\":1}"],
    ["dates", { at: new Date(0) }, { at: new Date(1) }, undefined],
    ["a secret", { apiKey: "one" }, { apiKey: "two" }, "\"apiKey\" differs (not shown)"],
    ["nothing", { a: [1] }, { a: [1] }, undefined]
  ])("%s", (name, expected, actual, text) => {
    if (name === "dates") assert.include(difference(expected, actual), "1970-01-01T00:00:00.001Z")
    else assert.strictEqual(difference(expected, actual), text)
  })

  it("tells long texts apart", () => {
    const [a, b] = ["x".repeat(60) + "a", "x".repeat(60) + "b"]
    assert.strictEqual(difference({ q: a }, { q: b }), `"q" is "${b}", not "${a}"`)
  })
})

it("a declaration's words hold no secret and no control character", () => {
  assert.strictEqual(
    textOf(wanted("x\u001b[0m", { token: "abc", q: "y".repeat(40) })),
    `ToolCall("x [0m", {"token":"…","q":"${"y".repeat(23)}…"})`
  )
})

// ---- against every possibility ---------------------------------------------------------------------------------------------

const assignments = (candidates: ReadonlyArray<ReadonlyArray<number>>): ReadonlyArray<ReadonlyArray<number>> =>
  candidates.reduce<ReadonlyArray<ReadonlyArray<number>>>(
    (found, each) =>
      found.flatMap((taken) => each.filter((call) => !taken.includes(call)).map((call) => [...taken, call])),
    [[]]
  )

describe("verdicts agree with every possible assignment", () => {
  const cases = Array.from({ length: 400 }, (_, index) => {
    const { chance, int, pick } = random(index + 1)
    let place = 0
    const made = Array.from({ length: int(1, 6) }, (_, n) => {
      const names = ["search", "read"]
      const [from, to] = [int(0, 20) * 100, int(1, 20) * 100]
      const spans = chance(0.85) ? [[from + place++, from + to + place++] as const] : []
      return happened(`c${n}`, { name: pick(names), params: { q: int(0, 1) }, at: spans })
    })
    const list = Array.from({ length: int(1, 4) }, () =>
      chance(0.2)
        ? the(`c${int(0, 6)}`)
        : wanted(pick(["search", "read"]), chance(0.5) ? { q: int(0, 1) } : undefined))
    const candidates = list.map((each) =>
      made.flatMap((call, at) =>
        call.startedAs !== undefined && (each.id === undefined || each.id === call.id) &&
          (each.name === undefined || each.name === call.name) &&
          (each.params === undefined || JSON.stringify(each.params) === JSON.stringify(call.params))
          ? [at]
          : []
      )
    )
    return { seed: index + 1, made, list, candidates, all: assignments(candidates) }
  })
  const holds = (how: "inParallel" | "inOrder" | "inAnyOrder", { list, made }: typeof cases[number]) =>
    judged(calls(how, ...list), made).length === 0

  it("some of each hold and some do not", () => {
    for (const how of ["inParallel", "inOrder", "inAnyOrder"] as const) {
      const held = cases.filter((each) => holds(how, each)).length
      assert.isTrue(held > 20 && held < 380, `${how}: ${held}`)
    }
  })

  it("matching", () => {
    for (const { all, candidates, seed } of cases) {
      const matching = match(candidates)
      assert.strictEqual(isComplete(matching), all.length > 0, `seed ${seed}`)
      const taken = matching.filter((call) => call !== undefined)
      assert.strictEqual(new Set(taken).size, taken.length, `seed ${seed}`)
      const most = Math.max(
        ...subsets(candidates).filter((some) => assignments(some).length > 0).map((some) => some.length)
      )
      assert.strictEqual(taken.length, most, `seed ${seed}`)
    }
  })

  it("inParallel", () => {
    for (const each of cases) {
      const expected = each.all.some((taken) => {
        const working = taken.map((call) => each.made[call]!)
        return Math.max(...working.map((call) => call.startedAs!)) < Math.min(...working.map((call) => call.endedAs!))
      })
      assert.strictEqual(holds("inParallel", each), expected, `seed ${each.seed}`)
    }
  })

  it("inOrder", () => {
    for (const each of cases) {
      const expected = each.all.some((taken) =>
        taken.every((call, at) => at === 0 || each.made[taken[at - 1]!]!.endedAs! < each.made[call]!.startedAs!)
      )
      assert.strictEqual(holds("inOrder", each), expected, `seed ${each.seed}`)
    }
  })

  it("inAnyOrder", () => {
    for (const each of cases) {
      const fitting = new Set(each.candidates.flat()).size
      assert.strictEqual(
        holds("inAnyOrder", each),
        each.all.length > 0 && fitting === each.list.length,
        `seed ${each.seed}`
      )
    }
  })

  it("noOtherCalls", () => {
    for (const { list, made, seed } of cases) {
      const slots = new Map(list.map((each) => [JSON.stringify(each), each]))
      // Two declarations of one call are one; here each stands alone.
      const each = list.map((one) => calls("inAnyOrder", one))
      const free = made.map((call) =>
        [...slots.values()].flatMap((one, at) =>
          (one.id === undefined || one.id === call.id) && (one.name === undefined || one.name === call.name) &&
            (one.params === undefined || JSON.stringify(one.params) === JSON.stringify(call.params))
            ? [at]
            : []
        )
      )
      const found = verify([{ _tag: "NoOtherCalls" }, ...each], timeline(made), rules())
        .filter(({ expected }) => expected === "expectNoOtherCalls()")
      assert.strictEqual(found.length === 0, assignments(free).length > 0, `seed ${seed}`)
    }
  })
})

const subsets = <A>(items: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
  items.reduce<ReadonlyArray<ReadonlyArray<A>>>((found, item) => [...found, ...found.map((some) => [...some, item])], [
    []
  ])

describe("parameters are compared as decoded", () => {
  const fit = (one: unknown, other: unknown, sent: readonly [unknown, unknown] = ["a", "b"]) =>
    judged(calls("inOrder", { name: "search", params: sent[0], decoded: one, id: undefined }), [
      happened("a", { at: [[1, 2]], params: sent[1], call: { decoded: other } })
    ]).length === 0

  it.each<readonly [string, unknown, unknown, boolean]>([
    ["in any order of keys", { a: 1, b: [2] }, { b: [2], a: 1 }, true],
    ["dates", { at: new Date(1) }, { at: new Date(1) }, true],
    ["other dates", { at: new Date(1) }, { at: new Date(2) }, false],
    ["a date and its text", { at: new Date(0) }, { at: new Date(0).toISOString() }, false],
    ["a date and no keys", { at: new Date(0) }, { at: {} }, false],
    ["sets", new Set([1]), new Set([1]), true],
    ["big numbers", { n: 1n }, { n: "1n" }, false],
    ["no number and null", { n: NaN }, { n: null }, false],
    ["an absent value and an absent key", { n: undefined }, {}, false],
    ["lists that agree in part, with what is no data", [1, NaN], [1, null], false],
    ["an empty set and a full one", { s: new Set() }, { s: new Set([1]) }, false],
    ["empty sets", { s: new Set() }, { s: new Set() }, true],
    ["bytes", { b: new Uint8Array([1]) }, { b: new Uint8Array([1]) }, true],
    ["addresses", { at: new URL("https://a.test") }, { at: new URL("https://a.test") }, true],
    ["other addresses", { at: new URL("https://a.test") }, { at: new URL("https://b.test") }, false],
    ["an instance that shows nothing", [new URLSearchParams("a=1")], [new URLSearchParams("a=2")], false],
    ["one in a map", new Map([["k", new Blob(["a"])]]), new Map([["k", new Blob(["b"])]]), false],
    ["what is not decoded", { n: 1 }, undefined, false]
  ])("%s", (_, one, other, expected) => assert.strictEqual(fit(one, other), expected))

  it("what was sent alike is alike, whatever it decodes to", () => {
    assert.isTrue(fit({ f: () => 1 }, { f: () => 2 }, [{ x: 1, y: 2 }, { y: 2, x: 1 }]))
  })
})

it("ten thousand alike calls are matched at once", () => {
  const made = Array.from({ length: 10_000 }, (_, n) => happened(`c${n}`, { params: { q: 1 }, at: [[n, 20_000]] }))
  const list = Array.from({ length: 200 }, () => wanted("search", { q: 1 }))
  assert.deepStrictEqual(judged(calls("inParallel", ...list), made), [])
  assert.strictEqual(judged(calls("inAnyOrder", ...list), made).length, 1)
})

// ---- against handlers that look around ---------------------------------------------------------------------------------------

describe("the parallel verdict agrees with what handlers saw", () => {
  const Params = Schema.Struct({ n: Schema.Int, millis: Schema.Finite })
  const Fail = Schema.Struct({ status: Schema.Int })
  const Plain = Tool.make("plain", { parameters: Params, failure: Fail })
  const Flaky = Tool.make("flaky", { parameters: Params, failure: Fail }).annotate(Tool.Readonly, true)
    .annotate(ToolPolicy.Retry, { attempts: 3, base: "7 millis" })
  const Capped = Tool.make("capped", { parameters: Params, failure: Fail }).annotate(ToolPolicy.Concurrency, 2)
  const kit = Toolkit.make(Plain, Flaky, Capped)

  const decision = (seed: number) => {
    const { chance, int, pick } = random(seed)
    let n = 0
    const turn = () =>
      Array.from({ length: int(1, 7) }, () => {
        const call = ToolCall(pick(["plain", "flaky", "capped"]), { n: n++, millis: int(0, 6) * 5 }, {
          id: `c${n - 1}`
        })
        return chance(0.3) ? TestModel.call(call, { after: int(0, 4) * 5 }) : call
      })
    const turns = [...Array.from({ length: int(1, 3) }, turn), "done"]
    // Who was at work at each moment, as the handlers saw it.
    const working = new Set<number>()
    const moments: Array<ReadonlySet<number>> = []
    const attempts = new Map<number, number>()
    const handler = (flaky: boolean) => ({ millis, n }: { readonly millis: number; readonly n: number }) =>
      Effect.suspend(() => {
        working.add(n)
        moments.push(new Set(working))
        attempts.set(n, (attempts.get(n) ?? 0) + 1)
        const fails = flaky && attempts.get(n)! < (n % 3) + 1
        // One that succeeds has yielded: a call that takes no time is seen by nobody.
        return Effect.andThen(
          millis === 0 ? Effect.void : Effect.sleep(Duration.millis(millis)),
          fails ? Effect.fail({ status: 503 }) : Effect.void
        )
      }).pipe(Effect.ensuring(Effect.sync(() => working.delete(n))))
    const handlers = kit.toLayer({ plain: handler(false), flaky: handler(true), capped: handler(false) })
    const layer = MockOrchestrator.layer({ toolkit: kit, toolCallConcurrency: int(2, 8) }).pipe(
      Layer.provideMerge(Layer.merge(TestModel.script(turns), handlers))
    )
    return { count: () => n, layer, moments, int }
  }

  it.effect("for random decisions of several turns, with caps, retries and waits", () =>
    Effect.gen(function*() {
      let [yes, no] = [0, 0]
      for (let seed = 1; seed <= 60; seed++) {
        const { count, int, layer, moments } = decision(seed)
        const { maxConcurrentCalls, timeline } = yield* Effect.provide(MockOrchestrator.execute("go"), layer)
        assert.strictEqual(maxConcurrentCalls, Math.max(...moments.map(({ size }) => size)), `seed ${seed}`)
        for (let tries = 0; tries < 20; tries++) {
          const group = new Set(Array.from({ length: int(2, 3) }, () => int(0, count() - 1)))
          const saw = moments.some((moment) => [...group].every((n) => moment.has(n)))
          const found = verify([calls("inParallel", ...[...group].map((n) => the(`c${n}`)))], timeline, rules())
          assert.strictEqual(found.length === 0, saw, `seed ${seed}, calls ${[...group].join(", ")}`)
          if (saw) yes++
          else no++
        }
      }
      assert.isTrue(yes > 100 && no > 100, `${yes} together, ${no} apart`)
    }))
})
