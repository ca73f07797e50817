/**
 * Random programs with a random predictor: what anybody can see of a run is what it is without guesses, whatever they are; and every
 * guess that started came to one thing. `SPECULATION_SEEDS=n` tries n more programs.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Branch, Limiter, Predictor, Retry, Speculation, ToolPolicy } from "../../../src/index.ts"
import { TestModel, TestTools, ToolCall } from "../../../src/testing/index.ts"
import { assertBalanced, ledgerOf, played, type Setting } from "../../faults/guessing.ts"
import { aiError } from "../../model.ts"
import { random } from "../../random.ts"

const Params = Schema.Struct({ key: Schema.String })
type Params = typeof Params.Type
type Random = ReturnType<typeof random>
const Failure = Schema.TaggedStruct("Busy", { isRetryable: Schema.Boolean })

const speculable: ReadonlySet<string> = new Set(["look", "file", "capped", "flaky", "broken", "stuck", "scored"])
const keys = ["1", "2", "3"]

/** Tools over one small world; how long each call takes and when it looks is random, what it gives is not. */
const kitOf = (seed: number, watch: { readonly most: Map<string, number> }) => (tools: TestTools.HandlerRecorder) => {
  const { int } = random(seed)
  const world = new Map<string, number>()
  const at = (key: string) => world.get(key) ?? 0
  const running = new Map<string, number>()
  const counted = <A, E>(name: string, effect: Effect.Effect<A, E>) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        const now = (running.get(name) ?? 0) + 1
        running.set(name, now)
        watch.most.set(name, Math.max(watch.most.get(name) ?? 0, now))
      }),
      () => effect,
      () => Effect.sync(() => void running.set(name, running.get(name)! - 1))
    )
  const tool = (
    name: string,
    annotations: ToolPolicy.Annotations<Params, string>,
    body: (key: string, attempt: number) => Effect.Effect<string, typeof Failure.Type>
  ) =>
    ToolPolicy.tool({
      parameters: Params,
      success: Schema.String,
      failure: Failure,
      annotations,
      handler: tools.handler(name, ({ key }: Params) =>
        TestTools.effect(({ attempt }) =>
          counted(
            name,
            Effect.suspend(() =>
              Effect.delay(
                Effect.flatMap(body(key, attempt), (value) => Effect.delay(Effect.succeed(value), int(0, 20))),
                int(0, 20)
              )
            )
          )
        )) as never
    })
  const read = (key: string) => Effect.sync(() => `${key} is ${at(key)}`)
  const write = (key: string) =>
    Effect.sync(() => {
      world.set(key, at(key) + 1)
      return `${key} is now ${at(key)}`
    })
  const busy = { _tag: "Busy", isRetryable: true } as const
  return ToolPolicy.define({
    look: tool("look", { readonly: true }, read),
    file: tool("file", { readonly: true, resources: ({ key }) => [{ read: key }], deadline: "1 hour" }, read),
    put: tool("put", { resources: ({ key }) => [{ write: key }] }, write),
    save: tool("save", {}, write),
    capped: tool("capped", { readonly: true, concurrency: 1, service: "api" }, read),
    flaky: tool(
      "flaky",
      { readonly: true, retry: { attempts: 3, base: "4 millis", while: () => true } },
      (key, attempt) => attempt === 1 ? Effect.fail(busy) : read(key)
    ),
    broken: tool("broken", { readonly: true, retry: false }, () => Effect.fail(busy)),
    stuck: tool("stuck", { readonly: true, timeout: "30 millis", retry: false }, () => Effect.never),
    scored: tool("scored", { readonly: true }, read)
  })
}

type Made = readonly [name: string, key: string]

/** A write that says nothing of what it writes stands alone: what it races with without guesses nobody knows either. */
const callsOf = ({ chance, int, pick }: Random): ReadonlyArray<Made> => {
  if (chance(0.2)) return [["save", pick(keys)]]
  const names = ["look", "file", "file", "put", "capped", "flaky", "broken", "stuck", "scored"]
  const racing = new Set(["look", "capped", "flaky", "scored"])
  let scored = 0
  // Of three that are scored the worst loses to whichever better one ends first.
  const made = Array.from({ length: int(1, 6) }, (): Made => [pick(names), pick(keys)])
    .filter(([name]) => name !== "scored" || ++scored <= 2)
  // Nor does a read that says nothing race with a write.
  return made.some(([name]) => name === "put") ? made.filter(([name]) => !racing.has(name)) : made
}

interface Program {
  readonly answers: ReadonlyArray<ReadonlyArray<Made>>
  readonly turns: ReadonlyArray<TestModel.Turn>
}

const programOf = (seed: number): Program => {
  const r = random(seed)
  const answers = Array.from({ length: r.int(2, 6) }, () => callsOf(r))
  let ids = 0
  const item = ([name, key]: Made): ReadonlyArray<TestModel.Item> => {
    const call = ToolCall(name, { key }, { id: `c${ids++}` })
    return [
      TestModel.wait(r.int(0, 15)),
      r.chance(0.5) ? call : TestModel.call(call, { chunks: r.int(1, 4), every: r.int(0, 4) })
    ]
  }
  const answer = (made: ReadonlyArray<Made>) => [TestModel.wait(r.int(0, 60)), ...made.flatMap(item)]
  const turns = answers.flatMap((made): ReadonlyArray<TestModel.Turn> => {
    const isRepeatable = made.every(([name]) => name === "look" || name === "file")
    return isRepeatable && r.chance(0.3)
      ? [[...answer(made), TestModel.wait(1), TestModel.fail(aiError)], answer(made)]
      : [[...answer(made), TestModel.wait(r.int(0, 30))]]
  })
  return { answers, turns }
}

/** Right, wrong, senseless and late guesses, and now and then an end that is none. */
const predictorOf = (seed: number, { answers }: Program): Layer.Layer<Predictor.Predictor> => {
  const r = random(seed)
  const names = ["look", "file", "put", "save", "capped", "flaky", "broken", "stuck", "scored", "nobody"]
  return Predictor.make({
    predict: ({ step }) => {
      const right = (answers[step - 1] ?? []).filter(() => r.chance(0.7))
      const later = (answers[step] ?? []).filter(() => r.chance(0.3))
      const wrong = Array.from({ length: r.int(0, 3) }, (): Made => [r.pick(names), r.pick(keys)])
      const all = [...right, ...later, ...wrong].sort(() => r.next() - 0.5)
      return Stream.fromIterable(all).pipe(
        Stream.mapEffect(([tool, key]) =>
          Effect.delay(
            Effect.sync((): Predictor.Guess => ({
              tool,
              params: r.chance(0.05) ? { key: 7 } : { key },
              confidence: r.chance(0.05) ? Number.NaN : 0.9
            })),
            r.int(0, 12)
          )
        ),
        r.chance(0.1) ? Stream.concat(Stream.die("tired")) : (stream) => stream
      )
    }
  })
}

const look = (seed: number) =>
  Effect.gen(function*() {
    const r = random(seed)
    const program = programOf(seed)
    const most = new Map<string, number>()
    const concurrency = r.pick([1, 2, 3, 20])
    const limited = r.chance(0.5)
    const policies = Layer.mergeAll(
      Retry.layer({ base: "3 millis" }),
      limited ? Limiter.layer({ services: { api: Limiter.permits(2) } }) : Layer.empty
    )
    const setting: Setting = {
      kit: kitOf(seed, { most }),
      turns: program.turns,
      run: {
        toolCallConcurrency: concurrency,
        completion: { scored: { tools: ["scored"], policy: Branch.best({ score: (each) => String(each).length }) } }
      },
      policies
    }
    const plain = yield* played(setting)
    const guessing = yield* played({
      ...setting,
      policies: Layer.mergeAll(
        policies,
        Speculation.layer({ confidenceThreshold: 0, maxConcurrent: r.int(1, 8), budget: { calls: 10_000 } }),
        predictorOf(seed, program)
      ) as Layer.Layer<never>
    })
    const visible = ({ finish: { finishReason, prompt, usage } }: typeof plain) =>
      JSON.stringify([finishReason, usage, prompt.content], undefined, 1)
    assert.strictEqual(visible(guessing), visible(plain))
    assertBalanced(guessing)
    for (const { name } of guessing.guessed) assert.isTrue(speculable.has(name), `${name} was guessed`)
    assert.isAtMost(most.get("capped") ?? 0, 1, "calls of a cap of 1 at once")
    assert.isAtMost(guessing.finish.report.peakConcurrency, concurrency)
    assert.isEmpty(guessing.calls.filter(({ status }) => status === "running"), "handlers at work at the end")
    assert.deepStrictEqual(guessing.finish.report.abandoned, [])
    const claims = guessing.parts.flatMap((part) => part.type === "tool-claimed" ? [part.speculationId] : [])
    assert.strictEqual(new Set(claims).size, claims.length, "a guess was claimed twice")
    return ledgerOf(guessing)
  }).pipe(
    Effect.catchDefect((error) => Effect.die(new Error(`seed ${seed}: ${String(error)}`, { cause: error })))
  )

describe("a run that guesses", () => {
  it.effect("looks like one that does not, whatever is guessed", () =>
    Effect.gen(function*() {
      const sum = { started: 0, hit: 0, lateHit: 0, miss: 0, failed: 0, preempted: 0 }
      const seeds = 150 + Number(process.env["SPECULATION_SEEDS"] ?? 0)
      for (let seed = 1; seed <= seeds; seed++) {
        const ledger = yield* look(seed)
        for (const name of Object.keys(sum) as Array<keyof typeof sum>) sum[name] += ledger[name]
      }
      // The programs have something of everything.
      for (const [name, times] of Object.entries(sum)) assert.isAtLeast(times, seeds / 5, name)
    }), 120_000)
})
