/**
 * Random programs that read and write, run with guesses and without: the same results, the same history. What is guessed is right,
 * wrong, late, or about another turn. `GUESS_SEED=n` runs one alone.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Predictor, Speculation, ToolPolicy } from "../../src/index.ts"
import { MockOrchestrator, TestModel, TestTools, ToolCall } from "../../src/testing/index.ts"
import { random } from "../random.ts"

const Params = Schema.Struct({ key: Schema.String, millis: Schema.NumberFromString })
const Failure = Schema.Struct({ why: Schema.String })
type Params = typeof Params.Type

const tool = (annotations: ToolPolicy.Annotations<Params, string>) =>
  ToolPolicy.tool({
    parameters: Params,
    success: Schema.String,
    failure: Failure,
    annotations,
    handler: ({ key }) => Effect.succeed(key)
  })

/** Some say what they touch; of the others a turn only reads or only writes, since nothing else keeps them apart. */
const { toolkit } = ToolPolicy.define({
  read: tool({ readonly: true, resources: ({ key }) => [{ read: key }], concurrency: 3 }),
  write: tool({ resources: ({ key }) => [{ write: key }] }),
  look: tool({ readonly: true }),
  change: tool({}),
  fail: tool({ readonly: true, resources: () => [] }),
  erase: tool({ destructive: true, resources: ({ key }) => [{ write: key }] })
})
type Name = keyof typeof toolkit.tools

interface Made {
  readonly name: Name
  readonly key: string
  readonly millis: number
}

interface Program {
  readonly seed: number
  readonly turns: ReadonlyArray<ReadonlyArray<Made & { readonly after: number }>>
  readonly ends: ReadonlyArray<number>
  /** Turn by turn: what is guessed, and how long after the one before. */
  readonly guesses: ReadonlyArray<ReadonlyArray<Made & { readonly after: number; readonly confidence: number }>>
  readonly places: number
}

const named: ReadonlyArray<ReadonlyArray<Name>> = [
  ["read", "read", "write", "fail", "erase"],
  ["read", "look", "look", "fail"],
  ["write", "change", "change"]
]

const makeProgram = (seed: number): Program => {
  const { chance, int, pick } = random(seed)
  const make = (names: ReadonlyArray<Name>): Made => ({
    name: pick(names),
    key: pick(["a", "b", "c"]),
    millis: pick([0, 0, 20, 150, 400])
  })
  const turns = Array.from({ length: int(1, 4) }, () => {
    const names = pick(named)
    const calls = Array.from({ length: int(1, 5) }, () => ({ ...make(names), after: pick([0, 0, 50, 300]) }))
    const keys = new Set<string>()
    // Two undeclared writes of one key would race.
    return calls.filter(({ key, name }) => name !== "change" || (!keys.has(key) && keys.add(key) !== undefined))
      .filter(({ key, name }, _, all) =>
        name !== "write" || !all.some((call) => call.name === "change" && call.key === key)
      )
  })
  const all = turns.flat()
  const guesses = [...turns, []].map((turn) =>
    Array.from({ length: int(0, 6) }, () => ({
      ...(chance(0.6) && turn.length > 0 ? pick(turn) : chance(0.5) ? pick(all) : make(["read", "look", "fail"])),
      after: pick([0, 0, 30, 200]),
      confidence: pick([0.4, 0.9])
    }))
  )
  return { seed, turns, ends: turns.map(() => pick([0, 100])), guesses, places: pick([1, 2, 30]) }
}

const paramsOf = ({ key, millis }: Made) => ({ key, millis: String(millis) })

/** One value a key; a read sees it when it begins. */
const world = () => {
  const values = new Map<string, number>()
  const writing = new Set<string>()
  const seen = { overlaps: 0, starts: 0 }
  const read = ({ key, millis }: Params) =>
    TestTools.effect(Effect.suspend(() => {
      seen.starts++
      return Effect.as(Effect.sleep(millis), `${key} is ${values.get(key) ?? 0}`).pipe(
        // Whatever was written meanwhile, nobody may see it.
        Effect.map((text) => `${text}, later ${values.get(key) ?? 0}`)
      )
    }))
  const write = ({ key, millis }: Params) =>
    TestTools.effect(Effect.suspend(() => {
      seen.starts++
      if (writing.has(key)) seen.overlaps++
      writing.add(key)
      return Effect.map(Effect.sleep(millis), () => {
        writing.delete(key)
        const value = (values.get(key) ?? 0) + 1
        values.set(key, value)
        return `wrote ${key} ${value}`
      })
    }))
  const layer = TestTools.layer(toolkit, {
    read,
    look: read,
    write,
    change: write,
    erase: write,
    fail: ({ millis }) => TestTools.effect(Effect.delay(Effect.fail({ why: "as always" }), millis))
  })
  return { layer, seen }
}

const run = ({ ends, guesses, places, turns }: Program, speculates: boolean) => {
  const { layer, seen } = world()
  const script = turns.map((calls, t) => [
    ...calls.flatMap((call, i) => [
      TestModel.wait(call.after),
      ToolCall(call.name, paramsOf(call), { id: `t${t}c${i}` })
    ]),
    TestModel.wait(ends[t]!)
  ])
  const predictor = Predictor.make({
    predict: ({ step }) =>
      Stream.fromIterable(guesses[step - 1] ?? []).pipe(
        Stream.mapEffect(({ after, confidence, ...made }) =>
          Effect.as(Effect.sleep(after), { tool: made.name, params: paramsOf(made), confidence })
        )
      )
  })
  return MockOrchestrator.execute({ prompt: "go", toolCallConcurrency: places }).pipe(
    Effect.tap(({ assertNoOrphans }) => assertNoOrphans()),
    Effect.map(({ result }) => ({
      results: result.toolResults.map(({ id, result }) => `${id} ${JSON.stringify(result)}`),
      history: JSON.stringify(result.prompt),
      report: result.report,
      seen
    })),
    Effect.provide(
      MockOrchestrator.layer({ toolkit }).pipe(Layer.provideMerge(Layer.mergeAll(
        TestModel.script([...script, "done"]),
        layer,
        speculates ? Layer.merge(Speculation.layer({ budget: { calls: 1000 } }), predictor) : Layer.empty
      )))
    )
  )
}

const judge = Effect.fnUntraced(function*(seed: number) {
  const program = makeProgram(seed)
  const plain = yield* run(program, false)
  const guessed = yield* run(program, true)
  const where = `GUESS_SEED=${seed}`
  assert.deepStrictEqual(guessed.results, plain.results, where)
  assert.strictEqual(guessed.history, plain.history, where)
  assert.strictEqual(guessed.seen.overlaps, 0, where)
  // A call waits in vain for a guess that fails, once.
  const inVain = program.turns.flat().reduce((sum, { millis, name }) => sum + (name === "fail" ? millis : 0), 0)
  assert.isAtMost(guessed.report.totalMillis, plain.report.totalMillis + inVain, where)
  const entries = guessed.report.speculation!.entries
  for (const { failed, hit, lateHit, miss, preempted, started } of entries) {
    assert.strictEqual(started, hit + lateHit + miss + failed + preempted, where)
  }
  const writes = program.turns.flat().filter(({ name }) => name === "write" || name === "change" || name === "erase")
  assert.isFalse(entries.some(({ tool }) => tool === "write" || tool === "change" || tool === "erase"), where)
  const sum = (of: (entry: typeof entries[number]) => number) => entries.reduce((total, entry) => total + of(entry), 0)
  return {
    writes: writes.length,
    hits: sum(({ hit }) => hit),
    lateHits: sum(({ lateHit }) => lateHit),
    misses: sum(({ miss }) => miss),
    failed: sum(({ failed }) => failed),
    preempted: sum(({ preempted }) => preempted)
  }
})

describe("programs with guesses", () => {
  const alone = process.env["GUESS_SEED"]
  const seeds = alone === undefined ? Array.from({ length: 400 }, (_, i) => i + 1) : [Number(alone)]
  it.effect(
    "have the results and the history they have without, and take no longer where nothing fails",
    () =>
      Effect.gen(function*() {
        const seen = { writes: 0, hits: 0, lateHits: 0, misses: 0, failed: 0, preempted: 0 }
        for (const seed of seeds) {
          const counts = yield* judge(seed)
          for (const key of Object.keys(seen) as Array<keyof typeof seen>) seen[key] += counts[key]
        }
        if (alone !== undefined) return
        for (const [what, count] of Object.entries(seen)) {
          assert.isAtLeast(count, 20, `${what}: ${JSON.stringify(seen)}`)
        }
      }),
    120_000
  )
})
