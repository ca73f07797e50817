import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { along, Evidence, logistic, logOdds, Posteriors } from "../../../src/policy/internal/historyCalibration.ts"
import { rankerFrom, rankerPages } from "../../../src/policy/internal/historyKeeping.ts"
import { blank, fitting, probabilities, rebased } from "../../../src/policy/internal/historyLogit.ts"
import { amongSeveral, fittingAll, Ranker } from "../../../src/policy/internal/historyRanker.ts"
import { capacity, packed, unpacked } from "../../../src/policy/internal/historyRows.ts"
import type { Row } from "../../../src/policy/internal/historyTypes.ts"
import { random } from "../../random.ts"
import { Tally } from "../historyTally.ts"

const widths = { choice: 12, turn: 5 }

/** Turns of a source whose rule is a logit with weights of its own; `several`: how often a turn that calls makes two calls. */
const sourceOf = (seed: number, several: number) => {
  const chance = random(seed)
  const gauss = () => Array.from({ length: 12 }, chance.next).reduce((a, b) => a + b) - 6
  const weights = Array.from({ length: widths.choice }, (_, i) => i < 5 ? gauss() : 0)
  const turnWeights = Array.from({ length: widths.turn }, gauss)
  const dot = (features: Float64Array, by: ReadonlyArray<number>) => features.reduce((sum, x, i) => sum + x * by[i]!, 0)
  const draw = (odds: ReadonlyArray<number>) => {
    let at = chance.next() * (odds.reduce((a, b) => a + b, 0) + 4)
    return odds.findIndex((odd) => (at -= odd) < 0)
  }
  return (): Row => {
    const choices = Array.from({ length: 6 }, (_, i) => ({
      tool: `tool${i % 3}`,
      params: { i },
      features: Float64Array.from({ length: widths.choice }, gauss)
    }))
    const turn = Float64Array.from({ length: widths.turn }, gauss)
    const odds = choices.map((choice) => Math.exp(dot(choice.features, weights)))
    const calls = chance.chance(logistic(dot(turn, turnWeights))) ? chance.chance(several) ? 2 : 1 : 0
    const right = Array.from({ length: calls }, () => draw(odds)).filter((choice) => choice >= 0)
    return { situation: { choices, turn }, truth: { calls, right: [...new Set(right)] } }
  }
}

const learn = Effect.fnUntraced(function*(ranker: Ranker, rows: ReadonlyArray<Row>) {
  ranker.take(rows)
  if (ranker.due) yield* ranker.fit
})

const run = Effect.fnUntraced(function*(ranker: Ranker, next: () => Row, runs: number) {
  const confidence = new Tally()
  const ifCalling = new Tally()
  for (let i = 0; i < runs; i++) {
    const rows = Array.from({ length: 4 }, next)
    for (const { situation, truth } of rows) {
      ranker.state(situation).forEach((stated, choice) => {
        const right = truth.right.includes(choice)
        confidence.add(stated.confidence, right)
        if (truth.calls > 0) ifCalling.add(stated.ifCalling, right)
        if (stated.confidence >= 0.01) ranker.judge(situation.choices[choice]!.tool, stated.raw, right)
      })
    }
    yield* learn(ranker, rows)
  }
  return { confidence, ifCalling }
})

describe("historyRanker", () => {
  it.effect.each([[1, 0], [2, 0.3], [3, 1]])(
    "is calibrated over turns and over calling turns (seed %i, several %d)",
    ([seed, several]) =>
      Effect.gen(function*() {
        const ranker = new Ranker(widths)
        const next = sourceOf(seed!, several!)
        yield* run(ranker, next, 60)
        const { confidence, ifCalling } = yield* run(ranker, next, 600)
        const about = JSON.stringify({ seed, confidence: confidence.bins, ifCalling: ifCalling.bins })
        assert.isAtLeast(confidence.full().length, 4, about)
        assert.isAtLeast(ifCalling.full().length, 5, about)
        assert.isAtMost(confidence.worst(), 0.1, about)
        assert.isAtMost(ifCalling.worst(), 0.1, about)
      })
  )

  it.effect("states next to nothing before there is evidence, and never more of a turn than of one that calls", () =>
    Effect.gen(function*() {
      const ranker = new Ranker(widths)
      const next = sourceOf(4, 0)
      for (let i = 0; i < 40; i++) {
        const rows = Array.from({ length: 10 }, next)
        for (const { situation } of rows) {
          for (const { confidence, ifCalling } of ranker.state(situation)) {
            if (i < 6) assert.isAtMost(ifCalling, 0.3)
            assert.isAtMost(confidence, ifCalling)
          }
        }
        yield* learn(ranker, rows)
      }
      assert.strictEqual(ranker.belief, 1)
    }))

  it.effect("states less of a turn that is likely to answer, and the same of it if it calls", () =>
    Effect.gen(function*() {
      const ranker = new Ranker(widths)
      const next = sourceOf(13, 0)
      yield* run(ranker, next, 200)
      const best = (row: Row) => ranker.state(row.situation).reduce((a, b) => a.ifCalling > b.ifCalling ? a : b)
      const shares = Array.from({ length: 400 }, next).map((row) => ({
        share: best(row).confidence / best(row).ifCalling,
        called: row.truth.calls > 0
      }))
      const mean = (called: boolean) => {
        const some = shares.filter((one) => one.called === called)
        return some.reduce((sum, { share }) => sum + share, 0) / some.length
      }
      assert.isAbove(mean(true), mean(false) + 0.25, `${mean(true)} of those that call, ${mean(false)} of the others`)
    }))

  it.effect("follows a source whose rule changes", () =>
    Effect.gen(function*() {
      const ranker = new Ranker(widths)
      yield* run(ranker, sourceOf(5, 0), 300)
      const next = sourceOf(6, 0)
      const hits = (count: number) =>
        Array.from({ length: count }, next).filter(({ situation, truth }) => {
          const stated = ranker.state(situation).map(({ ifCalling }) => ifCalling)
          return truth.right.includes(stated.indexOf(Math.max(...stated)))
        }).length / count
      const before = hits(400)
      yield* run(ranker, next, 200)
      const { confidence } = yield* run(ranker, next, 400)
      const after = hits(400)
      assert.isAbove(after, before + 0.1, JSON.stringify({ before, after }))
      assert.isAtMost(confidence.worst(), 0.1, JSON.stringify(confidence.bins))
    }))

  it.effect("states the same after it was kept and read again, and goes on learning from there", () =>
    Effect.gen(function*() {
      const ranker = new Ranker(widths)
      const next = sourceOf(7, 0.2)
      yield* run(ranker, next, 200)
      const again = rankerFrom(rankerPages(ranker, "all"), widths)
      assert.isDefined(again)
      const { situation } = next()
      const stated = (of: Ranker) => of.state(situation).flatMap(({ confidence, ifCalling }) => [confidence, ifCalling])
      stated(ranker).forEach((value, i) => assert.approximately(stated(again)[i]!, value, 1e-3))
      assert.strictEqual(again.lessons.size, ranker.lessons.size)
      const { confidence } = yield* run(again, next, 200)
      assert.isAtMost(confidence.worst(), 0.1, JSON.stringify(confidence.bins))
    }))

  it.effect("keeps the newest 512 turns, in pages of which only the changed are given", () =>
    Effect.gen(function*() {
      const ranker = new Ranker(widths)
      const next = sourceOf(8, 0)
      yield* run(ranker, next, 400)
      assert.strictEqual(ranker.lessons.size, capacity)
      assert.strictEqual(rankerPages(ranker, "all").size, 9)
      assert.deepStrictEqual([...rankerPages(ranker, "changed").keys()], ["ranker"])
      ranker.take(Array.from({ length: 4 }, next))
      assert.strictEqual(rankerPages(ranker, "changed").size, 2)
    }))

  it("takes no pages that it did not write", () => {
    const ranker = new Ranker(widths)
    ranker.take(Array.from({ length: 100 }, sourceOf(9, 0)))
    const pages = rankerPages(ranker, "all")
    assert.isDefined(rankerFrom(pages, widths))
    assert.isUndefined(rankerFrom(pages, { ...widths, choice: 11 }))
    const short = JSON.parse(pages.get("ranker")!) as { choice: { weights: Array<number> } }
    short.choice.weights.pop()
    assert.isUndefined(rankerFrom(new Map(pages).set("ranker", JSON.stringify(short)), widths))
    const without = new Map(pages)
    without.delete("rows/0")
    assert.isUndefined(rankerFrom(without, widths))
    for (const [name, text] of pages) {
      for (const bad of ["", "null", "[]", "{}", text.slice(0, -9), text.replace(/"[A-Za-z0-9+/]{4}/, "\"")]) {
        if (bad !== text) {
          assert.isUndefined(rankerFrom(new Map(pages).set(name, bad), widths), `${name}: ${bad.slice(0, 60)}`)
        }
      }
    }
  })

  it("fits in slices, none of them longer than a few thousand steps", () => {
    const ranker = new Ranker(widths)
    const next = sourceOf(10, 0)
    ranker.take(Array.from({ length: 500 }, next))
    const slices = [...fittingAll(ranker.kept.fitted, ranker.lessons.all(), widths)].length
    assert.isAbove(slices, 20)
  })

  it.effect("lets others run while it fits, who are told by the weights before", () =>
    Effect.gen(function*() {
      const ranker = new Ranker(widths)
      const next = sourceOf(11, 0)
      ranker.take(Array.from({ length: 500 }, next))
      const before = ranker.kept.fitted
      const seen: Array<boolean> = []
      const watcher = Effect.forever(Effect.andThen(
        Effect.sync(() => {
          seen.push(ranker.kept.fitted === before)
        }),
        Effect.yieldNow
      ))
      yield* Effect.raceFirst(ranker.fit, watcher)
      assert.isAbove(seen.filter((same) => same).length, 10)
      assert.notStrictEqual(ranker.kept.fitted, before)
    }))
})

describe("historyLogit", () => {
  it("says the same before and after its means are moved", () => {
    const rows = Array.from({ length: 300 }, sourceOf(12, 0))
    const ranker = new Ranker(widths)
    ranker.take(rows)
    const examples = ranker.lessons.all().map(({ choices, count, right }) => ({
      count,
      features: choices.map((x) => 3 + 10 * x),
      shares: Float64Array.from(
        { length: count + 1 },
        (_, i) => right[0] === i || (right.length === 0 && i === count) ? 1 : 0
      )
    }))
    const end = <A>(slices: Generator<void, A>): A => {
      let slice = slices.next()
      while (slice.done !== true) slice = slices.next()
      return slice.value
    }
    const first = end(fitting(blank(widths.choice), examples, 10))
    const moved = end(rebased(first, examples.slice(0, 50)))
    assert.notDeepEqual(moved.mean, first.mean)
    const inside = examples[0]!.features.map(() => 3)
    probabilities(first, inside).forEach((p, i) => assert.approximately(probabilities(moved, inside)[i]!, p, 1e-9))
  })

  it("leaves a model without examples as it is", () => {
    const model = blank(3)
    assert.strictEqual(fitting(model, [], 5).next().value, model)
  })
})

describe("historyCalibration", () => {
  it("finds the line that the predictions are off by", () => {
    const chance = random(1)
    const evidence = new Evidence()
    for (let i = 0; i < 5000; i++) {
      const stated = chance.next()
      evidence.add(stated, chance.chance(logistic(0.6 * logOdds(stated) - 0.8)), 1)
    }
    const line = evidence.line()
    assert.approximately(line.slope, 0.6, 0.08)
    assert.approximately(line.shift, -0.8, 0.12)
    assert.approximately(along(line, 0.5), logistic(-0.8), 0.03)
  })

  it("is moved little by little evidence", () => {
    const evidence = new Evidence()
    for (let i = 0; i < 3; i++) evidence.add(0.5, true, 1)
    assert.approximately(evidence.line().shift, 0.32, 0.05)
  })

  it("leaves what is stated alone without evidence, and keeps the order where it says nothing", () => {
    assert.deepStrictEqual(new Evidence().line(), { slope: 1, shift: 0 })
    const evidence = new Evidence()
    for (let i = 0; i < 1000; i++) evidence.add(i % 2 ? 0.9 : 0.1, i % 2 === 0, 1)
    assert.isAbove(evidence.line().slope, 0)
  })

  it("moves what is stated of a tool by what came of it, a Beta with a prior of 8", () => {
    const posteriors = new Posteriors(2)
    for (let i = 0; i < 8; i++) posteriors.note("one", 0.75, false)
    assert.approximately(posteriors.corrected("one", 0.75), 0.375, 0.01)
    assert.strictEqual(posteriors.corrected("one", 0.25), 0.25)
    assert.strictEqual(posteriors.corrected("two", 0.75), 0.75)
    for (let i = 0; i < 3000; i++) posteriors.note("one", 0.75, true)
    assert.isAbove(posteriors.corrected("one", 0.75), 0.95)
    for (let i = 0; i < 400; i++) posteriors.note("one", 0.75, false)
    assert.isBelow(posteriors.corrected("one", 0.75), 0.2)
    posteriors.note("two", 0.5, true)
    posteriors.note("three", 0.5, true)
    assert.strictEqual(posteriors.entries().length, 2)
    assert.strictEqual(posteriors.corrected("one", 0.75), 0.75)
  })

  it("knows the chances of a choice among several calls", () => {
    const both = amongSeveral(Float64Array.of(0.5, 0.5), 2)
    assert.isAbove(both[0]!, 0.99)
    const three = amongSeveral(Float64Array.of(0.4, 0.3, 0.2), 2)
    assert.isTrue(three[0]! > three[1]! && three[1]! > three[2]! && three[0]! < 1)
    assert.approximately(three.reduce((a, b) => a + b, 0), 2, 0.4)
  })

  it("packs numbers to 16 bits and back", () => {
    const values = [0, 1, -1, 0.5, -9.21, 127.99, -128, 1000, -1000]
    const back = unpacked(packed(values))!
    values.forEach((value, i) =>
      assert.approximately(back[i]!, Math.max(-128, Math.min(127.997, value)), 1 / 512 + 1e-9)
    )
    assert.isUndefined(unpacked("####"))
    assert.isUndefined(unpacked("AAA"))
  })
})
