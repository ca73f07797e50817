import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { join } from "node:path"
import * as Predictor from "../../../src/policy/Predictor.ts"
import { describeData } from "../../data.ts"
import { random } from "../../replay/report.ts"
import * as Baseline from "./baseline.ts"
import { differencesIn, learn, mostStarts, predictorOf, test, timed } from "./contest.ts"
import type { Conversation } from "./conversation.ts"
import { episodesOf, keyOf, turnsOf } from "./conversation.ts"
import { figuresOf } from "./metrics.ts"
import { castOf, turnName } from "./replay.ts"
import { share } from "./report.ts"
import { halves, ruleOf } from "./sets.ts"
import { drawn } from "./times.ts"
import { load, type Step } from "./Trace.ts"

const { isRead } = ruleOf("tau-of-ours")

const user = (text: string): Step => ({ type: "user", text })
const says = (text: string): Step => ({ type: "assistant", text })

let made = 0
const called = (name: string, params: unknown, result: unknown): ReadonlyArray<Step> => {
  const id = `r${++made}`
  return [
    { type: "call", id, name, arguments: JSON.stringify(params), batch: 1 },
    { type: "result", id, text: JSON.stringify(result) }
  ]
}

const conversation = (task: string, ...steps: ReadonlyArray<Step>): Conversation => ({
  id: `traces/tau-of-ours/${task}`,
  task,
  episodes: episodesOf(steps)
})

/** Somebody asks where their order is, and has it changed. */
const support = (task: number): Conversation =>
  conversation(
    `task-${task}`,
    user("Where is my order?"),
    says("Who are you?"),
    user(`I am mia_li_${1000 + task}`),
    ...called("get_user", { id: `mia_li_${1000 + task}` }, { orders: [`A${100 + task}`, `B${100 + task}`] }),
    ...called("get_order", { id: `A${100 + task}` }, { state: "sent" }),
    says("It is on its way."),
    user("Then cancel it"),
    ...called("cancel_order", { id: `A${100 + task}` }, "done"),
    says("Cancelled.")
  )

const many = Array.from({ length: 6 }, (_, task) => support(task))
const cast = castOf(many, isRead)

const learned = (layer: Layer.Layer<Predictor.Predictor>, conversations: ReadonlyArray<Conversation>) =>
  Effect.tap(
    predictorOf(layer),
    (predictor) => learn(predictor, castOf([...many, ...conversations], isRead), conversations, () => {})
  )

/** Knows what comes: right with a probability, else it names a call that nobody makes. */
const oracle = (conversations: ReadonlyArray<Conversation>, probability: number, seed: number, confidence = 0.9) => {
  const next = new Map(
    conversations.flatMap(({ episodes, id }) =>
      episodes.flatMap(({ turns }, run) =>
        turns.map((turn, index) => [turnName(`${id} ${run + 1}`, index + 1), turn.calls[0]] as const)
      )
    )
  )
  const draw = random(seed)
  return Predictor.make({
    name: "oracle",
    predict: ({ runId, step }) => {
      const call = next.get(turnName(runId.split(" #")[0]!, step))
      const right = draw() < probability && call !== undefined
      return Stream.make({
        tool: right ? call.name : "get_user",
        params: right ? call.params : { id: "nobody" },
        confidence
      })
    }
  })
}

describe("a predictor on recorded conversations", () => {
  it.effect("that learned them is right where it can be, through the engine", () =>
    Effect.gen(function*() {
      const predictor = yield* learned(Baseline.layer(), many.slice(0, 4))
      const { differences, turns } = yield* test(predictor, cast, many.slice(4))
      assert.deepStrictEqual(differences, [])
      const { anyStarted, maxStartsInATurn, steps, writesStarted } = figuresOf("ours", "baseline", turns)
      // Two look-ups of three calls; the third writes.
      assert.deepStrictEqual([steps, turns.length, anyStarted, writesStarted], [6, 12, 2 / 3, 0])
      assert.isAtMost(maxStartsInATurn, mostStarts)
    }).pipe(Effect.scoped))

  it.effect("that learned nothing starts nothing, and testing teaches it nothing", () =>
    Effect.gen(function*() {
      const predictor = yield* learned(Baseline.layer(), [])
      yield* test(predictor, cast, many)
      const { turns } = yield* test(predictor, cast, many)
      assert.deepStrictEqual(turns.flatMap(({ guesses, started }) => [...guesses, ...started]), [])
    }).pipe(Effect.scoped))

  it.effect("sees nothing of the turn that it is asked about, nor of later ones", () =>
    Effect.gen(function*() {
      const predictor = yield* learned(Baseline.layer(), many)
      const shared: ReadonlyArray<Step> = [
        user("I am tom_orr_7777"),
        ...called("get_user", { id: "tom_orr_7777" }, { orders: ["A7", "B7"] })
      ]
      const tails: ReadonlyArray<ReadonlyArray<Step>> = [
        [...called("get_order", { id: "A7" }, {}), says("Sent.")],
        [...called("get_order", { id: "B7" }, { state: "lost" }), user("Oh."), says("Sorry.")],
        [...called("cancel_order", { id: "B7" }, "done"), ...called("get_user", { id: "x" }, {}), says("Gone.")],
        [says("Which one?"), user("A7"), ...called("get_order", { id: "A7" }, {})]
      ]
      const before = yield* Effect.forEach(tails, (tail) => {
        const one = conversation("task-99", ...shared, ...tail)
        return Effect.map(test(predictor, castOf(many, isRead), [one]), ({ turns }) =>
          turns.slice(0, 2).map(({ guesses, started, startedAbove }) => ({ guesses, started, startedAbove })))
      })
      assert.isAbove(before[0]![1]!.guesses.length, 0)
      for (const other of before) {
        assert.deepStrictEqual(other, before[0])
      }
    }).pipe(Effect.scoped))

  it.effect("is asked once before every turn, each time with all that was said before", () =>
    Effect.gen(function*() {
      const asked: Array<readonly [said: number, earlier: number]> = []
      const listener = Predictor.make({
        predict: ({ from, prompt }) => {
          asked.push([prompt.content.length, from])
          return Stream.empty
        }
      })
      const predictor = yield* predictorOf(listener)
      yield* timed(predictor, cast, [support(1)], drawn({ from: "", model: [500], tool: [500] }, 1000, 1))
      // User, reply; user, call, result, call, result, reply; user, call, result, reply.
      assert.deepStrictEqual(asked, [[1, 1], [3, 3], [5, 3], [7, 3], [9, 9], [11, 9]])
    }).pipe(Effect.scoped))

  it.effect("that names writes starts none of them", () =>
    Effect.gen(function*() {
      const writer = Predictor.make({
        predict: () =>
          Stream.make(
            { tool: "cancel_order", params: { id: "A104" }, confidence: 1 },
            { tool: "get_order", params: { id: "A104" }, confidence: 0.9 }
          )
      })
      const predictor = yield* predictorOf(writer)
      const { differences, turns } = yield* test(predictor, cast, [support(4)])
      assert.deepStrictEqual(differences, [])
      assert.deepStrictEqual(
        new Set(turns.flatMap(({ started }) => started)),
        new Set([keyOf("get_order", { id: "A104" })])
      )
      assert.strictEqual(figuresOf("ours", "writer", turns).writesStarted, 0)
    }).pipe(Effect.scoped))

  it.effect("that names many has the two likeliest started, before every turn", () =>
    Effect.gen(function*() {
      const flood = Predictor.make({
        predict: () =>
          Stream.fromIterable([0.5, 0.4, 0.3, 0.2].map((confidence) => ({
            tool: "get_order",
            params: { id: `X${confidence}` },
            confidence
          })))
      })
      const predictor = yield* predictorOf(flood)
      const { differences, turns } = yield* test(predictor, cast, [support(4)])
      assert.deepStrictEqual(differences, [])
      for (const { started } of turns) {
        assert.deepStrictEqual(started, [keyOf("get_order", { id: "X0.5" }), keyOf("get_order", { id: "X0.4" })])
      }
    }).pipe(Effect.scoped))

  it.effect("has its starts below 0.05 left out where they are said not to be made", () =>
    Effect.gen(function*() {
      const predictor = yield* predictorOf(oracle(many, 1, 1, 0.04))
      const { turns } = yield* test(predictor, cast, many)
      const { anyStarted, startsPerTurn, turnPrecision } = figuresOf("ours", "oracle", turns)
      assert.deepStrictEqual([anyStarted, startsPerTurn, turnPrecision], [2 / 3, 0, 0])
    }).pipe(Effect.scoped))

  for (const [seed, toolSeconds] of [[1, 0.25], [2, 1], [3, 3]] as const) {
    it.effect(`saves at least 90 % of what its hits allow, with tools of ${toolSeconds} s (seed ${seed})`, () =>
      Effect.gen(function*() {
        const predictor = yield* predictorOf(oracle(many, 0.7, seed))
        const times = drawn(
          { from: "", model: [300, 700, 1900, 4900], tool: [200, 700, 3000] },
          toolSeconds * 1000,
          seed
        )
        const measured = yield* timed(predictor, cast, many, times)
        assert.isAbove(measured.hits, 0)
        assert.isAbove(measured.bound, 0)
        const saved = measured.without - measured.with
        assert.isAtLeast(saved, 0.9 * measured.bound, JSON.stringify(measured))
        assert.isAtMost(saved, measured.bound, JSON.stringify(measured))
        assert.strictEqual(share(measured), saved / measured.bound)
      }).pipe(Effect.scoped))
  }

  it.effect("that is always wrong saves nothing and costs no time", () =>
    Effect.gen(function*() {
      const predictor = yield* predictorOf(oracle(many, 0, 1))
      const measured = yield* timed(predictor, cast, many, drawn({ from: "", model: [500], tool: [500] }, 1000, 1))
      assert.deepStrictEqual([measured.hits, measured.bound], [0, 0])
      assert.strictEqual(measured.with, measured.without)
    }).pipe(Effect.scoped))
})

describe("what the engine did and what was guessed", () => {
  const [call] = turnsOf(support(1)).flatMap(({ calls }) => calls)
  const key = call!.key
  const predictor = { names: ["ours"] } as unknown as Predictor.Predictor["Service"]
  const differences = (started: ReadonlyArray<string>, guessed: ReadonlyArray<string>, claimed: boolean) =>
    differencesIn(
      {
        name: "run 1",
        turn: { text: "", calls: [call!] },
        starts: [
          ...started.map((key) => ({ key, predictor: "ours", isRead: true })),
          { key: "other {}", predictor: "arguments", isRead: true }
        ],
        ahead: new Map(claimed ? [[call!.id, 1000]] : []),
        modelMillis: 1000,
        toolMillis: () => 100
      },
      guessed.map((key, index) => ({ tool: "", key, confidence: 0.5 - index / 10, ifCalling: 0.5 })),
      predictor
    ).length

  it("is compared start by start and claim by claim", () => {
    assert.deepStrictEqual(
      [
        differences([key, "b"], [key, "b", "c"], true),
        differences([], [], false),
        differences(["b"], ["b"], false)
      ],
      [0, 0, 0]
    )
    assert.deepStrictEqual(
      [
        differences([key], [key, "b"], true),
        differences([key, "c"], [key, "b", "c"], true),
        differences(["b"], [], false),
        differences([key], [key], false),
        differences([], [], true)
      ],
      [1, 1, 1, 1, 1]
    )
  })
})

describeData("traces", "a predictor on recorded traces", (folder) => {
  it.effect("is asked before every turn, starts reads only, and the engine does what was guessed", () =>
    Effect.gen(function*() {
      const [set] = yield* load(join(folder), "tau-airline")
      const [fold] = halves(set!.conversations)
      const some = { learn: fold!.learn.slice(0, 12), test: fold!.test.slice(0, 6) }
      const own = castOf(set!.conversations, ruleOf("tau-airline").isRead)
      const predictor = yield* predictorOf(Baseline.layer())
      yield* learn(predictor, own, some.learn, () => {})
      const { differences, turns } = yield* test(predictor, own, some.test)
      const figures = figuresOf("tau-airline", "baseline", turns)
      assert.deepStrictEqual(differences, [])
      assert.strictEqual(turns.length, some.test.flatMap(turnsOf).length)
      assert.strictEqual(figures.writesStarted, 0)
      assert.isAbove(figures.anyStarted, 0)
      assert.isAtMost(figures.maxStartsInATurn, mostStarts)
    }).pipe(Effect.scoped))
})
